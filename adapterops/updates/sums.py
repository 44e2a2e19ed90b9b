"""Sums of updates of several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from adapterops.errors import ShapeError
from adapterops.updates.lowrank import LowRank, joined
from adapterops.updates.protocol import Array, Linear, Part, all_rows, change_by_rows, norm_by_rows


def total(updates: Sequence[Any]) -> Any:
    """Their sum, in their order; factors are put side by side at once, and not one after the other.

    Raises:
        ShapeError: they are updates of different weights.
    """
    if len(updates) > 1 and all(type(each) is LowRank for each in updates):
        return joined(updates)
    return reduce(add, updates)


def added(one: Linear, other: Linear) -> Linear:
    """one + other; terms that have factors are added at once.

    Raises:
        ShapeError: they are updates of different weights.
    """
    if one.shape != other.shape:
        raise ShapeError(f"cannot add updates of shape {one.shape} and {other.shape}")
    return Sum([term for each in (one, other) for term in (each.terms if isinstance(each, Sum) else [each])])


def added_to(one: Linear, other: Linear) -> Linear:
    """other + one: the order of the terms is that of the sum, and so are its last bits."""
    return added(other, one)


@dataclass(frozen=True, eq=False)
class Sum:
    """Σ terms, computed part by part: the entries of a sum are the sums of the entries."""

    terms: Sequence[Linear]

    @property
    def shape(self) -> tuple[int, int]:
        return self.terms[0].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(*(term.dtype for term in self.terms))

    @property
    def error(self) -> float:
        return sum(term.error for term in self.terms)

    @property
    def near(self) -> LowRank | None:
        known = [near for term in self.terms if (near := term.near) is not None]
        return joined(known) if len(known) == len(self.terms) else None

    def lowrank(self) -> LowRank | None:
        known = [factors for term in self.terms if (factors := term.lowrank()) is not None]
        return joined(known) if len(known) == len(self.terms) else None

    @property
    def T(self) -> Sum:
        return replace(self, terms=[term.T for term in self.terms])

    dense, change = all_rows, change_by_rows

    def norm(self) -> float:
        factors = self.lowrank()
        return factors.norm() if factors else norm_by_rows(self)

    def rows(self, part: Part, out: Array) -> Array:
        first, *rest = self.terms
        total = first.rows(part, out)
        if total is not out:
            np.copyto(out, total)
        memory = np.empty_like(out)
        with np.errstate(all="ignore"):  # what is not finite is found when it is stored
            for term in rest:
                np.add(out, term.rows(part, memory), out=out)
        return out

    __add__, __radd__ = added, added_to

    def __mul__(self, factor: float) -> Sum:
        return replace(self, terms=[factor * term for term in self.terms])

    __rmul__ = __mul__
