"""Tokens, and the tree of each rule of the grammar."""

from __future__ import annotations

import pytest

from adapterops.expressions.formula import Call, Operand, Product, Total
from adapterops.expressions.functions import ExpressionError
from adapterops.expressions.grammar import DEPTH, Parser, tokens

A, B = Operand("a"), Operand("b")


def test_tokens_know_their_kind_and_place() -> None:
    found = [(token.kind, token.text, token.start) for token in tokens('2.5e-1*a ["x y"]')]
    kinds = [("number", "2.5e-1", 0), ("sign", "*", 6), ("name", "a", 7), ("sign", "[", 9), ("text", '"x y"', 10)]
    assert found == [*kinds, ("sign", "]", 15), ("end", "", 16)]


@pytest.mark.parametrize(
    ("text", "at", "hint"),
    [
        ("a − b", 2, "did you mean - ?"),
        ("f(‘x’)", 2, "did you mean ' ?"),
        ('f("x', 2, 'close it with " on the same line'),
        ("a § b", 2, None),
    ],
)
def test_what_is_no_token(text: str, at: int, hint: str | None) -> None:
    with pytest.raises(ExpressionError) as caught:
        list(tokens(text))
    assert (caught.value.index, caught.value.hint) == (at, hint)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a + b", Total((A, B))),
        ("a - 2*b", Total((A, Product(-2.0, B)))),
        ("-(a + b) / 4", Product(-0.25, Total((A, B)))),
        ("2 * 3 * a + b", Total((Product(6.0, A), B))),
        ("(1 + 2) * a - -b", Total((Product(3.0, A), Product(1.0, B)))),
        ("truncate(a + b, rank=2,)", Call("truncate", (Total((A, B)),), {"rank": 2, "exact": False})),
        ('scale(a, {"x.*": -.5}) + b', Total((Call("scale", (A,), {"by": {"x.*": -0.5}}), B))),
    ],
)
def test_a_text_is_a_tree(text: str, tree: object) -> None:
    assert Parser(text, ["a", "b"]).whole() == tree


@pytest.mark.parametrize(
    ("text", "at", "fact"),
    [
        ("a * b", 2, "not multiplied"),
        ("a + 2", 2, "a number and an adapter cannot be added"),
        ("2 / a + b", 2, "only a number can divide"),
        ("a / 0 + b", 2, "divide by zero"),
        ("a b", 2, "expected an operator or the end"),
        ("a", 0, "b is given and not used"),
        ("3", 0, "this is the number 3"),
        ("a + c", 4, "no adapter named 'c'"),
        ("ties(a, density=0.2, density=0.3) + b", 21, "density is given twice"),
        ("ties(density=0.2, a) + b", 18, "adapters come before parameters"),
        ('scale(a, {"x": 1, "x": 2}) + b', 18, "is given twice"),
        ("ties(a, b, convention=peft)", 22, "'peft' is not a value"),
        ("(" * (DEPTH + 1) + "a", DEPTH, "nested more than"),
    ],
)
def test_a_mistake_has_its_place(text: str, at: int, fact: str) -> None:
    with pytest.raises(ExpressionError, match=fact) as caught:
        Parser(text, ["a", "b"]).whole()
    assert caught.value.index == at
