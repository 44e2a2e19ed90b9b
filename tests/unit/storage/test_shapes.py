"""Shapes of values of JSON."""

from __future__ import annotations

import math
from typing import Any

import pytest

from adapterops.storage.shapes import Shape, counted, fits, hashed, number


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        (int, [0, -3], [True, 1.0, "1", None]),
        ((str, type(None)), ["", None], [1, []]),
        ([int], [[], [1, 2]], [[1, "2"], {}, None]),
        ({str: int}, [{}, {"a": 1, "b": 2}], [{"a": "1"}, [], None]),
        ({"a": int}, [{"a": 1}], [{}, {"a": 1, "b": 2}, {"a": "1"}]),
        ({}, [{}], [{"a": 1}, []]),
        ([{"a": (int, [str])}], [[{"a": 1}, {"a": ["b"]}]], [[{"a": [1]}], [1]]),
        (number, [0, -1.5], [True, math.nan, math.inf, "1", None]),
        (counted, [0, 10**30], [-1, 1.0, False]),
        (hashed, ["0a" * 32], ["0A" * 32, "0a" * 31, 1, None]),
    ],
)
def test_what_fits(shape: Shape, good: list[Any], bad: list[Any]) -> None:
    assert all(fits(value, shape) for value in good)
    assert not any(fits(value, shape) for value in bad)
