"""The updates of one module in many adapters, in as few bytes as an error allows."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adapterops.arrays.collected import Shared, Tables, factors, size, stacked
from adapterops.arrays.rows import Rows
from adapterops.errors import IncompatibleError
from adapterops.linalg.factor import balanced
from adapterops.linalg.sharing import alike, bases, distance
from adapterops.linalg.ways import Way, nonzero, way_of
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array

SAME = 0.5
"""The part of the error by which updates may differ that are stored as one."""

SAMPLE = 12
"""Updates by which ways to store are compared."""


@dataclass(frozen=True, eq=False)
class Code:
    """The updates of a module as they are stored.

    Attributes:
        numbers: for each update which of the stored ones it is.
        norms, errors: ‖ΔW‖_F of each, and ‖ΔW - ΔW'‖_F, measured on the factors that are read from what is stored.
        separate: about the bytes that all of them would take for the same error if each was stored by itself.
    """

    shared: Shared
    sides: dict[str, Rows]
    tables: Tables
    arrays: dict[str, Array]
    numbers: list[int]
    norms: list[float]
    errors: list[float]
    separate: int

    def rows(self, name: str, begin: int, end: int) -> Array:
        """Some rows of one of the arrays."""
        rows: Array = self.arrays[name][begin:end]
        return rows


def code(updates: Sequence[LowRank], error: float, rank: int | None = None) -> Code:
    """Updates of one shape, each within `error` of its norm; with a `rank` cut to so many dimensions of their own, besides
    what is shared, and then with the error that this makes.

    Those that are equal up to half of the error are stored once. Shared bases are those, of some that may be worth
    it, or none, under which the bytes are expected to be fewest. What is left of an update in them are its singular
    values and vectors; each row of codes has the bits at which all of them together cost least for the error. Nothing
    depends on the factors by which the updates are given, up to rounding.

    Raises:
        IncompatibleError: a number is too large for what is stored.

    Cost: O(n (out + in) r²) time, times the ways to share; memory for all factors in float64, and for codes.
    """
    with np.errstate(all="ignore"):  # what is too large is found in the errors
        return _code(updates, error, rank)


def _code(updates: Sequence[LowRank], error: float, rank: int | None) -> Code:
    canonical = [nonzero(balanced(update)) for update in updates]
    norms = [float(np.linalg.norm(np.linalg.norm(each.A, axis=1) ** 2)) for each in canonical]
    if not all(norm < math.sqrt(sys.float_info.max) for norm in norms):
        raise _too_large()
    same = alike(canonical, norms, SAME * error)
    firsts = sorted({first for first, _ in same})
    budgets = {
        first: min(error * norm - gap for (each, gap), norm in zip(same, norms, strict=True) if each == first)
        for first in firsts
    }
    trained = [first for first in firsts if norms[first] > 0]
    best, separate = _best([canonical[at] for at in trained], [norms[at] for at in trained], error, rank)
    way = (best or way_of(None, None, canonical[0].shape, error)).centred([canonical[first] for first in firsts])
    owns = [way.own(canonical[first], budgets[first], rank) for first in firsts]
    tables, arrays = stacked(owns, way.shared)
    found = {first: LowRank(*factors(way.shared, own)) for first, own in zip(firsts, owns, strict=True)}
    errors = [distance(update, found[first]) for update, (first, _) in zip(updates, same, strict=True)]
    if not all(map(math.isfinite, errors)):
        raise _too_large()
    numbers = [firsts.index(first) for first, _ in same]
    return Code(
        way.shared, way.sides, tables, arrays, numbers, norms, errors, round(separate * sum(norm > 0 for norm in norms))
    )


def _best(
    updates: Sequence[LowRank], norms: Sequence[float], error: float, rank: int | None
) -> tuple[Way | None, float]:
    """The way to store these under which the bytes are expected to be fewest, judged by some of them; and the bytes of one
    where nothing is shared. None of them is zero.
    """
    if not updates:
        return None, 0.0
    every = -(-len(updates) // SAMPLE)
    sample, sizes = updates[::every], norms[::every]
    ways = [way_of(*sides, updates[0].shape, error) for sides in bases(updates, norms, error / 2)]
    costs = [way.expected(sample, sizes, error, rank) * len(updates) / len(sample) + way.fixed() for way in ways]
    by_itself = ways[0]  # nothing is shared
    owns = [by_itself.own(each, error * norm, rank) for each, norm in zip(sample, sizes, strict=True)]
    separate = size(stacked(owns, by_itself.shared)[1].values()) / len(sample)
    return ways[costs.index(min(costs))], separate


def _too_large() -> IncompatibleError:
    hint = "are those the weights, and is that the alpha, that were meant?"
    return IncompatibleError("has numbers that are too large for float32", hint=hint, code="E-OVERFLOW")
