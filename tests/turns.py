"""Which combinations `make test` tries, and which only `make test-all` does, before a release.

A defect in a program's names shows with nearly every model, one in a model's with nearly every program: they take turns, and
the suite stays short enough to be run before each commit. What is compared, and how exactly, is the same in both.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import product
from math import lcm
from typing import Any

ALL = os.environ.get("TESTS") == "all"


def in_turn(first: Iterable[Any], *others: Iterable[Any], times: int = 1) -> list[tuple[Any, ...]]:
    """Values of the first axis, each beside the next combination of the others, until each of both had `times` turns.

    No combination occurs twice. With `make test-all`: all there are.
    """
    left, right = list(first), list(product(*others))
    turns, pairs = times * max(len(left), len(right)), lcm(len(left), len(right))
    if ALL or turns >= len(left) * len(right):
        return [(one, *rest) for one in left for rest in right]
    return [(left[turn % len(left)], *right[(turn + turn // pairs) % len(right)]) for turn in range(turns)]


def some(cases: Iterable[Any], of: int) -> list[Any]:
    """One of so many, the first among them. With `make test-all`: every one."""
    return list(cases)[:: 1 if ALL else of]
