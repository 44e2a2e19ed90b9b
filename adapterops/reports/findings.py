"""What a rule found, and how sentences name things."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adapterops.errors import listed
from adapterops.operations.comparing.comparison import Comparison
from adapterops.reports.figures import brief

SHOWN = 6
"""Pairs, layers and modules that a sentence names."""


@dataclass(frozen=True)
class Finding:
    """A sentence about some adapters, by their numbers, and the numbers that made it true.
    A `warning` wants to be acted on.
    """

    rule: str
    level: str
    text: str
    adapters: tuple[int, ...]
    numbers: dict[str, Any]


def shares(comparison: Comparison, index: int, key: Callable[[str], Any]) -> dict[Any, float]:
    """The fraction of an adapter's energy in each group of modules; nothing for an update that is zero."""
    found: dict[Any, float] = {}
    for module, each in comparison.profiles[index].spectra.items():
        found[key(module)] = found.get(key(module), 0.0) + each.norm**2
    total = sum(found.values())
    return {group: energy / total for group, energy in sorted(found.items())} if total else {}


def some(names: Sequence[str]) -> str:
    """
    >>> some(["a", "b"]), some(list("abcdefghi"))
    ('a, b', 'a, b, c, d, e, f and 3 more')
    """
    return listed(names, SHOWN)


def span(values: Sequence[float], form: Callable[[float], str]) -> str:
    """
    >>> span([0.1, 0.3, 0.2], str), span([0.1, 0.1], str)
    ('0.1 to 0.3', '0.1')
    """
    low, high = form(min(values)), form(max(values))
    return low if low == high else f"{low} to {high}"


def times(ratio: float) -> str:
    """
    >>> times(5.23), times(math.inf)
    ('5.23 times', 'infinitely many times')
    """
    return f"{brief(ratio)} times" if math.isfinite(ratio) else "infinitely many times"
