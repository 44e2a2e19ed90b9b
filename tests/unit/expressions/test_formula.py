"""The text of a tree means the tree."""

from __future__ import annotations

import pytest

from adapterops.expressions.expression import parse
from adapterops.expressions.formula import Call, Node, Operand, Product, Total

A, B, C = map(Operand, "abc")


@pytest.mark.parametrize(
    ("tree", "names", "text"),
    [
        (Product(-1.0, A), "a", "-a"),
        (Product(0.5, Total((A, B))), "ab", "0.5*(a + b)"),
        (Total((A, Product(-2.0, B))), "ab", "a - 2.0*b"),
        (Total((A, Total((B, Product(-1.0, C))))), "abc", "a + (b - c)"),
        (Call("select", (A,), {"patterns": ["*.q", 'say "x"']}), "a", 'select(a, "*.q", \'say "x"\')'),
        (Call("scale", (Total((A, B)),), {"by": {"x": 0.5}}), "ab", 'scale(a + b, {"x": 0.5})'),
        (Call("truncate", (A,), {"rank": 8, "exact": True}), "a", "truncate(a, rank=8, exact=true)"),
    ],
)
def test_a_tree_is_what_its_text_means(tree: Node, names: str, text: str) -> None:
    assert str(tree) == text
    assert parse(text, names).tree == tree


def test_a_parameter_without_a_value_is_left_out() -> None:
    assert str(Call("ties", (A, B), {"weights": [1.0, 2.0], "majority": None})) == "ties(a, b, weights=[1.0, 2.0])"


def test_where_a_node_came_from_is_no_part_of_it() -> None:
    assert Operand("a", 3) == A
    assert Total((A, B), 7) == Total((A, B))
    assert Call("ties", (A,), {}, 1) == Call("ties", (A,), {})
