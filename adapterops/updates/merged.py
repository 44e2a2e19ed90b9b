"""A merge as an update: computed tile by tile, when its entries are asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any, ClassVar, TypeVar

import numpy as np

from adapterops.arrays.device import placed_like
from adapterops.arrays.parallel import in_parallel
from adapterops.updates.dense import Dense
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array, Part, all_rows, change_by_rows, no_factors, norm_by_rows
from adapterops.updates.sums import Sum, added, added_to

Result = TypeVar("Result")


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
        in_place = isinstance(out, np.ndarray) and out.dtype == self.dtype and out.shape[1] == self.shape[1]
        for first in range(wanted.start - wanted.start % height, wanted.stop, height):
            low, high = (_before(wanted, end) for end in (first, first + height))
            if low < high:
                into = out[low:high]
                if in_place and len(into) == min(height, self.shape[0] - first):
                    tile = self.tiling.opened(first, into)
                else:
                    own = slice(wanted[low] - first, height, wanted.step)
                    tile = self.tiling.tile(first)[own, part[1]][: high - low]
                if tile is not into or self.factor != 1:
                    with np.errstate(all="ignore"):
                        np.multiply(placed_like(tile, out), self.factor, out=into)
        return out

    def each(self, function: Callable[[slice], Result]) -> list[Result]:
        """`function` of the rows of each tile, in their order; by several threads, each of which asks for these rows alone."""
        return in_parallel(function, self.tiling.tiles(self.shape[0]))

    def begin(self) -> None:
        """Find what has to be known before the first tile, such as thresholds."""
        self.tiling.tiles(0)

    def into(self, W: Array) -> None:
        """All entries, in a matrix."""
        self.each(lambda rows: self.rows((rows, slice(0, self.shape[1])), W[rows]))

    @property
    def T(self) -> Dense:
        """ΔWᵀ, for weights that are stored as (in, out): all of it, since its rows run across all tiles."""
        return Dense(self.dense().T, near=None if self.near is None else self.near.T, transpose_of=self)

    __add__, __radd__ = added, added_to

    def __mul__(self, factor: float) -> Merged:
        near = None if self.near is None else factor * self.near
        return replace(self, factor=factor * self.factor, near=near)

    __rmul__ = __mul__


def elsewhere(update: Any, part: Part, seed: int) -> Array | None:
    """What the entries of an update may be on another processor, which rounds products otherwise: an entry that is nearly as
    large as a threshold, or as another one, is kept there, and dropped here. None where no entries are merged.
    """
    if isinstance(update, Merged):
        opened = update.tiling.opened  # thresholds are those of entries that are not moved
        with update.tiling.moving(seed):
            tiling = Tiling(update.tiling.height, lambda: opened)
            return replace(update, tiling=tiling).rows(part, np.empty(_size(part, update.shape), update.dtype))
    if isinstance(update, Dense) and update.transpose_of is not None:
        found = elsewhere(update.transpose_of, (part[1], part[0]), seed)
        return None if found is None else found.T
    if isinstance(update, Sum):
        terms = [elsewhere(term, part, seed) for term in update.terms]
        if any(term is not None for term in terms):
            size = _size(part, update.shape)
            each = (
                term.rows(part, np.empty(size, update.dtype)) if found is None else found
                for term, found in zip(update.terms, terms, strict=True)
            )
            return reduce(add, each)
    return None


def _size(part: Part, shape: tuple[int, int]) -> tuple[int, ...]:
    return tuple(len(range(length)[each]) for each, length in zip(part, shape, strict=True))


def _before(rows: range, end: int) -> int:
    """How many of some rows, in ascending order, are before one."""
    return min(max(0, -((rows.start - end) // rows.step)), len(rows))


@dataclass(frozen=True, eq=False)
class Tiling:
    """Rows of a matrix, `height` at a time, by a function that is made when the first of them is asked for: of the first row, and
    of the memory for them, where they are to be all in one place; it may return others. `moving` makes, until the end of its block,
    what the function is of entries that are rounded otherwise.
    """

    height: int
    open: Callable[[], Callable[..., Array]]
    moving: Callable[[int], AbstractContextManager[None]] = lambda seed: nullcontext()
    _opened: list[Callable[..., Array]] = field(default_factory=list, init=False, repr=False)
    _last: dict[int, Array] = field(default_factory=dict, init=False, repr=False)

    @property
    def opened(self) -> Callable[..., Array]:
        """The function."""
        self._find()
        return self._opened[0]

    def tiles(self, height: int) -> list[slice]:
        """The rows of each tile of a matrix. What has to be known before the first one is found by this thread, and not by each that
        asks for one.
        """
        self._find()
        return [slice(first, min(first + self.height, height)) for first in range(0, height, self.height)]

    def _find(self) -> None:
        if not self._opened:
            self._opened.append(self.open())

    def tile(self, first: int) -> Array:
        """The rows from `first` on, a multiple of `height`. The last tile is kept: a block of rows that ends in it and the
        next one both need it.
        """
        tile = self._last.get(first)
        if tile is None:
            tile = self.opened(first)
            self._last.clear()
            self._last[first] = tile
        return tile
