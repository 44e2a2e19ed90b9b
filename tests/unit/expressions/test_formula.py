"""The text of a tree means the tree."""

from __future__ import annotations

import pytest

from adapterops.expressions.expression import parse
from adapterops.expressions.formula import Call, Input, Node, Scaled, Sum

A, B, C = map(Input, "abc")


@pytest.mark.parametrize(
    ("tree", "names", "text"),
    [
        (Scaled(-1.0, A), "a", "-a"),
        (Scaled(0.5, Sum((A, B))), "ab", "0.5*(a + b)"),
        (Sum((A, Scaled(-2.0, B))), "ab", "a - 2.0*b"),
        (Sum((A, Sum((B, Scaled(-1.0, C))))), "abc", "a + (b - c)"),
        (Call("select", (A,), {"patterns": ["*.q", 'say "x"']}), "a", 'select(a, "*.q", \'say "x"\')'),
        (Call("scale", (Sum((A, B)),), {"by": {"x": 0.5}}), "ab", 'scale(a + b, {"x": 0.5})'),
        (Call("truncate", (A,), {"rank": 8, "exact": True}), "a", "truncate(a, rank=8, exact=true)"),
    ],
)
def test_a_tree_is_what_its_text_means(tree: Node, names: str, text: str) -> None:
    assert str(tree) == text
    assert parse(text, names).tree == tree


def test_a_parameter_without_a_value_is_left_out() -> None:
    assert str(Call("ties", (A, B), {"weights": [1.0, 2.0], "majority": None})) == "ties(a, b, weights=[1.0, 2.0])"


def test_where_a_node_came_from_is_no_part_of_it() -> None:
    assert Input("a", 3) == A
    assert Sum((A, B), 7) == Sum((A, B))
    assert Call("ties", (A,), {}, 1) == Call("ties", (A,), {})
