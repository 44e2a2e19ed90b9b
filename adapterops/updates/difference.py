"""What training made of a weight: the difference of two tensors that are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np

from adapterops.updates.dense import Dense
from adapterops.updates.layout import TILE
from adapterops.updates.protocol import Array, Part, all_rows, change_by_rows, no_factors, norm_by_rows
from adapterops.updates.sums import added, added_to

Read: TypeAlias = Callable[[int, int], Array]
"""Whole rows [begin, end) of a tensor in float32 or float64, good until the next ones are asked for."""

SPREAD = 4096
"""Entries from one wanted row to the next from which on each is read by itself."""


@dataclass(frozen=True, eq=False)
class Difference:
    """ΔW = factor · (after - before), read tile by tile whenever entries are asked for; nothing is kept.

    Attributes:
        before: None for zeros.
        group: rows are read from a multiple of it on, as codes that are stored in blocks have to be.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    after: Read
    before: Read | None
    group: int = 1
    factor: float = 1.0

    error: ClassVar[float] = 0.0

    @property
    def near(self) -> None:
        return None

    lowrank = no_factors

    dense, norm, change = all_rows, norm_by_rows, change_by_rows

    def rows(self, part: Part, out: Array) -> Array:
        wanted, columns = range(self.shape[0])[part[0]], part[1]
        spread = max(1, self.shape[1] * wanted.step)
        count = max(self.group, 1 if spread > SPREAD and wanted.step > 1 else TILE // spread)
        for first in range(0, len(wanted), count):
            chosen = wanted[first : first + count]
            begin, end = chosen[0] - chosen[0] % self.group, -(-(chosen[-1] + 1) // self.group) * self.group
            own = slice(chosen[0] - begin, chosen[-1] + 1 - begin, wanted.step), columns
            stop = min(end, self.shape[0])
            found = out[first : first + count]
            if self.before is None:
                np.copyto(found, self.after(begin, stop)[own])
                continue
            with np.errstate(all="ignore"):  # what is not finite is found when it is stored
                np.subtract(self.after(begin, stop)[own], self.before(begin, stop)[own], out=found, dtype=out.dtype)
        return out if self.factor == 1 else np.multiply(out, self.factor, out=out)

    @property
    def start(self) -> Difference:
        """The weight before: W, as an update of zeros."""
        assert self.before is not None
        return replace(self, after=self.before, before=None, factor=1.0)

    @property
    def T(self) -> Dense:
        """ΔWᵀ, for weights that are stored as (in, out): all of it, since its rows run across all that is read."""
        return Dense(self.dense().T)

    __add__, __radd__ = added, added_to

    def __mul__(self, factor: float) -> Difference:
        return replace(self, factor=factor * self.factor)

    __rmul__ = __mul__
