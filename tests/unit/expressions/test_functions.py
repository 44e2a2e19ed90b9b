"""What functions of an expression take, and what is said where they do not."""

from __future__ import annotations

from typing import Any

import pytest

from adapterops.expressions.formula import Call, Operand, Product
from adapterops.expressions.functions import Argument, ExpressionError, call, finite, known, nearest, times
from adapterops.methods import METHODS

A, B = Operand("a"), Operand("b")


def given(*values: Any, **named: Any) -> list[Argument]:
    places = iter(range(100))
    return [Argument(name, value, next(places)) for name, value in [*((None, v) for v in values), *named.items()]]


def test_every_method_is_a_function_with_all_its_parameters() -> None:
    for name, method in METHODS.items():
        found = call(name, given(A, B), 0)
        assert isinstance(found, Call)
        assert {*method.defaults} <= found.parameters.keys()
    assert {"truncate", "select", "scale"} <= {*known()}


def test_a_scale_by_a_number_is_a_factor() -> None:
    assert call("scale", given(Product(2.0, A), 3), 0) == Product(6.0, A)
    assert call("scale", given(A, {"*.q": 2}), 0) == Call("scale", (A,), {"by": {"*.q": 2.0}})


def test_a_cut_is_complete() -> None:
    assert call("truncate", given(A, budget=10), 0) == Call(
        "truncate", (A,), {"budget": 10, "unit": "parameters", "exact": False}
    )


@pytest.mark.parametrize(
    ("function", "arguments", "at", "fact"),
    [
        ("tize", given(A), 9, "there is no function 'tize'"),
        ("ties", given(), 9, "ties needs an adapter"),
        ("ties", given(A, 0.3), 1, "expected an adapter, found the number 0.3"),
        ("ties", given(A, B, weights=[1]), 2, "1 weight for 2 adapters"),
        ("ties", given(A, weights=[True]), 1, "weights is a list, expected a list of numbers"),
        ("ties", given(A, density=2), 1, "density"),
        ("ties", given(A, density=B), 1, "density is an adapter, expected a value"),
        ("ties", given(A, space="moon"), 1, "space must be one of"),
        ("ties", given(A, scale="big"), 1, "scale"),
        ("ties", given(A, speed=1), 1, "ties has no parameter 'speed'"),
        ("truncate", given(A, B), 1, "truncate takes one adapter"),
        ("truncate", given(A, rank=1.5), 1, "rank is the number 1.5, expected a whole number"),
        ("truncate", given(A, rank=0), 1, "rank"),
        ("select", given(A), 9, "select needs a pattern"),
        ("select", given(A, 3), 1, "expected a pattern in quotes, found the number 3"),
        ("scale", given(A), 9, "scale needs an adapter, and a number"),
        ("scale", given(A, {}), 1, "found a table"),
    ],
)
def test_a_mistake_has_its_place(function: str, arguments: list[Argument], at: int, fact: str) -> None:
    with pytest.raises(ExpressionError, match=fact) as caught:
        call(function, arguments, 9)
    assert caught.value.index == at


def test_numbers_stay_finite() -> None:
    assert times(2, Product(4.0, A), 0) == Product(8.0, A)
    with pytest.raises(ExpressionError, match="too large"):
        finite(float("inf"), 0)
    with pytest.raises(ExpressionError, match="too large"):
        times(1e300, Product(1e300, A), 0)


def test_the_nearest_name_or_all_of_them() -> None:
    assert nearest("tise", ["ties", "dare"]) == "did you mean ties?"
    assert nearest("x", ["ties", "dare"]) == "known: ties, dare"
    assert nearest("x", []) is None
