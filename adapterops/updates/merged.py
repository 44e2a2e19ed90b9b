"""A merge as an update: computed tile by tile, when its entries are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from adapterops.arrays.device import beside
from adapterops.updates.dense import Dense
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array, Part, all_rows, change_by_rows, no_factors, norm_by_rows
from adapterops.updates.sums import added, added_to


@dataclass(frozen=True, eq=False)
class Merged:
    """ΔW = factor · f(ΔW₁, ΔW₂, ...), f acting on entries.

    Attributes:
        tiling: of f: how many rows a tile has, and the tile from a row on, (tile, in). Tiles are always the same, so
            that every pass sees the same bits. What f has to know before the first one, such as thresholds, it finds
            when it is first asked.
        near: the weighted sum, where that has a low rank.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    tiling: Tiling
    near: LowRank | None = None
    factor: float = 1.0

    error: ClassVar[float] = 0.0

    lowrank = no_factors

    dense, norm, change = all_rows, norm_by_rows, change_by_rows

    def rows(self, part: Part, out: Array) -> Array:
        wanted, height = range(self.shape[0])[part[0]], self.tiling.height
        for first in range(wanted.start - wanted.start % height, wanted.stop, height):
            low, high = (_before(wanted, end) for end in (first, first + height))
            if low < high:
                tile, own = self.tiling.tile(first), slice(wanted[low] - first, height, wanted.step)
                with np.errstate(all="ignore"):
                    np.multiply(beside(tile[own, part[1]][: high - low], out), self.factor, out=out[low:high])
        return out

    @property
    def T(self) -> Dense:
        """ΔWᵀ, for weights that are stored as (in, out): all of it, since its rows run across all tiles."""
        return Dense(self.dense().T, near=None if self.near is None else self.near.T)

    __add__, __radd__ = added, added_to

    def __mul__(self, factor: float) -> Merged:
        near = None if self.near is None else factor * self.near
        return replace(self, factor=factor * self.factor, near=near)

    __rmul__ = __mul__


def _before(rows: range, end: int) -> int:
    """How many of some rows, in ascending order, are before one."""
    return min(max(0, -((rows.start - end) // rows.step)), len(rows))


@dataclass(frozen=True, eq=False)
class Tiling:
    """Rows of a matrix, `height` at a time, by a function that is made when the first of them is asked for."""

    height: int
    open: Callable[[], Callable[[int], Array]]
    _opened: list[Callable[[int], Array]] = field(default_factory=list, init=False, repr=False)
    _last: dict[int, Array] = field(default_factory=dict, init=False, repr=False)

    def tile(self, first: int) -> Array:
        """The rows from `first` on, a multiple of `height`. The last tile is kept: a block of rows that ends in it and the
        next one both need it.
        """
        if not self._opened:
            self._opened.append(self.open())
        tile = self._last.get(first)
        if tile is None:
            tile = self._opened[0](first)
            self._last.clear()
            self._last[first] = tile
        return tile
