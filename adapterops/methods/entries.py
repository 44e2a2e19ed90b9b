"""The entries of updates, in tiles that stay in cache, and the cuts that keep the largest of them."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from adapterops.arrays.device import device, home, sent
from adapterops.arrays.scratch import lent
from adapterops.methods.thresholds import Numbers, Tiles, threshold
from adapterops.methods.tiles import Cut, Tile
from adapterops.methods.vocabulary import total, trim
from adapterops.updates.layout import LAUNCHED, TILE
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array, Linear

SAMPLE, GRIDS = 30_000, 16
"""Entries looked at to guess where a threshold is, at least; and on how many grids, of which none has a row or column of another:
entries of one row are alike.
"""

UNCERTAIN = 2.0**-20
"""Of an entry that is a sum of some products in float32: what the order of the sum, and how each product is rounded, change."""

WORTH = TILE
"""Entries from which on a device merges them: with fewer it would only be started."""


class Entries:
    """The entries of T updates of one shape, (out, in): computed tile by tile, again in every pass.

    Args:
        updates: what is merged.
        names: for each update, what its random numbers depend on.
        model: the entries of all modules, for methods that look at the whole model; by default these alone.
    """

    def __init__(self, updates: Sequence[Linear], names: Sequence[str] = (), model: ModelEntries | None = None) -> None:
        self.dtype = np.result_type(np.float32, *(update.dtype for update in updates))
        self.shape = updates[0].shape
        self.names = names or [str(index) for index in range(len(updates))]
        self.way = device() if self.size >= WORTH else None
        self.height = tile_height(self.shape) * (LAUNCHED if self.way else 1)
        self._model = model
        self._moving: int | None = None
        factors = all(isinstance(update, LowRank) for update in updates)
        self._reading: AbstractContextManager[object] = (
            nullcontext() if factors else threading.Lock()
        )  # what reads has one memory
        self._updates = updates
        self._sent: dict[int, tuple[Any, Any]] = {}

    def __len__(self) -> int:
        return len(self._updates)

    @property
    def model(self) -> ModelEntries:
        return self._model or ModelEntries([lambda: self])

    @property
    def size(self) -> int:
        """Entries of one update."""
        return self.shape[0] * self.shape[1]

    def tiles(self) -> Iterator[Tile]:
        """All entries, some rows at a time; always the same rows, so that every pass sees the same bits."""
        return map(self.tile, range(0, self.shape[0], self.height))

    def tile(self, first: int, memory: Array | None = None) -> Tile:
        """The rows from `first` on, a multiple of `height`; in `memory`, where that is given. They are not those of an update."""
        rows = np.empty((len(self), *self._tile), self.dtype) if memory is None else memory
        values = [self._rows(update, first, into) for update, into in zip(self._updates, rows, strict=True)]
        if self._moving is not None:
            random = np.random.default_rng((self._moving, first))
            values = [_moved(rows, random) for rows in values]
        return Tile(values, first * self.shape[1], self.names, tile_height(self.shape))

    @contextmanager
    def moving(self, seed: int) -> Iterator[None]:
        """Until the end of the block every entry is moved as far as rounding may move it elsewhere, up or down at random. What was
        found in all entries before, such as thresholds, stays.
        """
        self._moving = seed
        try:
            yield
        finally:
            self._moving = None

    @property
    def _tile(self) -> tuple[int, int]:
        return min(self.height, self.shape[0]), self.shape[1]

    def _rows(self, update: Linear, first: int, memory: Array) -> Array:
        part = slice(first, min(first + self.height, self.shape[0])), slice(0, self.shape[1])
        if self.way and isinstance(update, LowRank):
            if id(update) not in self._sent:
                self._sent[id(update)] = update.sent(self.dtype, self.way)
            B, A = self._sent[id(update)]
            rows: Array = B[part[0]] @ A
            return rows
        out = memory[: part[0].stop - first]
        with self._reading:
            found = update.rows(part, out)
            if found is not out:
                np.copyto(out, found)
        there: Array = sent(out, self.way)  # what has no factors is computed here
        return there

    def map(self, function: Callable[[Tile], Array]) -> Callable[..., Array]:
        """`function` of a tile, as a function of its first row, and of where it is to be, if that is known."""

        def in_lent_memory(first: int, out: Array | None = None) -> Array:
            with lent((len(self), *self._tile), self.dtype) as memory:
                found = function(self.tile(first, memory))
                if out is not None:
                    np.copyto(out, found)
                    return out
                return found.copy() if np.may_share_memory(found, memory) else found

        return (lambda first, out=None: function(self.tile(first))) if self.way else in_lent_memory

    def largest(self, count: int) -> list[Cut]:
        """For each update the cut that keeps exactly `count` entries; equal magnitudes: the lower index wins."""
        return [self._cut(self.magnitudes(index), self.sample(index), count) for index in range(len(self))]

    def cut(self, score: Callable[[Sequence[Array]], Array], count: int) -> Cut:
        """The cut that keeps the `count` entries of the largest score, computed from those of all updates: none negative."""
        each = zip(*map(self._grids, self._updates), strict=True)
        sample = np.concatenate([score(grids).reshape(-1) for grids in each])
        return self._cut(self._each(lambda first: score(self.tile(first).values).reshape(-1)), sample, count)

    def _each(self, tile: Callable[[int], Numbers]) -> list[Callable[[], Numbers]]:
        """A function of each tile's first row as one of nothing."""
        return [partial(tile, first) for first in range(0, self.shape[0], self.height)]

    def _cut(self, scores: Tiles, sample: Numbers, keep: int) -> Cut:
        value, equal = threshold(lambda: [scores], sample, self.size, keep)
        if equal is None:
            return Cut(value)
        start = 0
        for numbers in (tile() for tile in scores):
            places = home(np.flatnonzero(numbers == value))
            if len(places) >= equal:
                return Cut(value, start + int(places[equal - 1]))
            start, equal = start + len(numbers), equal - len(places)
        raise AssertionError("the numbers changed between two passes")

    def magnitudes(self, index: int) -> list[Callable[[], Numbers]]:
        """|x| of one update, flat: a function for each tile, whose numbers are good until this thread asks for others."""

        def tile(first: int) -> Numbers:
            with lent(self._tile, self.dtype) as memory:
                rows = self._rows(self._updates[index], first, memory)
                return np.abs(rows, out=rows).reshape(-1)

        return self._each(tile)

    def sample(self, index: int, of: int | None = None) -> Numbers:
        """|x| of one update, as many as a threshold of it is guessed by; or its share of those for `of` entries in all."""
        return np.concatenate([np.abs(grid).reshape(-1) for grid in self._grids(self._updates[index], of)])

    def _grids(self, update: Linear, of: int | None = None) -> Iterator[Array]:
        """Evenly spaced rows and columns of an update, some at a time."""
        of = of or self.size
        every = of / max(SAMPLE, of ** (2 / 3))  # more take as long to sort as they spare
        step = max(1, round(min(every, math.sqrt(GRIDS * every))))
        grids = min(GRIDS, step, *self.shape)
        for first in (grid * step // grids for grid in range(grids)):
            part = slice(first, self.shape[0], step), slice(first, self.shape[1], step)
            shape = [len(range(length)[each]) for length, each in zip(self.shape, part, strict=True)]
            yield update.rows(part, np.empty(shape, self.dtype))


def tile_height(shape: tuple[int, int]) -> int:
    """How many rows of a matrix are worked on at a time."""
    return max(1, TILE // max(1, shape[1]))


def uncertainty(rows: Array) -> Array:
    """How far other processors may be off in each entry: some units of the last place of it, and of a usual one of its row."""
    usual = np.sqrt(np.square(rows).mean(axis=1, keepdims=True))
    return rows.dtype.type(UNCERTAIN) * (np.abs(rows) + usual)  # type: ignore[no-any-return]  # numpy's type of a product


def _moved(rows: Array, random: np.random.Generator) -> Array:
    signs = random.integers(0, 2, rows.shape, np.int8) * np.int8(2) - np.int8(1)
    moved: Array = rows + uncertainty(rows) * signs.astype(rows.dtype)
    return moved


class ModelEntries:
    """The entries of all modules together. What is asked of it is computed once, by whoever asks first.

    Args:
        once: called with a name, the shape of a value of JSON, and what computes it; it may know the value from another process.
    """

    def __init__(
        self,
        modules: Sequence[Callable[[], Entries]],
        once: Callable[[str, Any, Callable[[], Any]], Any] = lambda name, shape, compute: compute(),
    ) -> None:
        self._modules, self._once = modules, once
        self._known: dict[str, Any] = {}
        self._lock = threading.RLock()

    def entries(self) -> Iterator[Entries]:
        """Those of each module."""
        return (module() for module in self._modules)

    def once(self, name: str, shape: Any, compute: Callable[[], Any]) -> Any:
        """A value of JSON that depends on all entries, and besides on nothing that its name does not say.

        Args:
            shape: its type, or what tells whether a value is one; a file that another process wrote may be damaged.
        """
        with self._lock:
            if name not in self._known:
                self._known[name] = self._once(name, shape, compute)
            return self._known[name]

    def cuts(self, density: float) -> list[Cut]:
        """For each update one threshold over all modules: that of the (n - int(density · n))-th smallest magnitude."""
        count = len(next(self.entries()))
        values = self.once(
            f"cuts {density!r}",
            lambda found: isinstance(found, list) and list(map(type, found)) == count * [float],
            lambda: self._values(density, count),
        )
        return list(map(Cut, values))

    def _values(self, density: float, count: int) -> list[float]:
        size = sum(each.size for each in self.entries())
        keep = min(int(density * size) + 1, size)  # the paper's ">=" keeps one more than it counts
        return [self._cut(index, size, keep) for index in range(count)]

    def _cut(self, index: int, size: int, keep: int) -> float:
        sample = np.concatenate([each.sample(index, size) for each in self.entries()])
        value, _ = threshold(lambda: (each.magnitudes(index) for each in self.entries()), sample, size, keep)
        return value

    def majority(self, density: float, majority: str) -> float:
        """+1 or -1: the sign that most entries of the model elect, after trimming to `density`."""
        sign: float = self.once(
            f"majority {density!r} {majority}", (1.0, -1.0).__contains__, lambda: self._balance(density, majority)
        )
        return sign

    def _balance(self, density: float, majority: str) -> float:
        cuts = self.cuts(density)
        balance = sum(
            float(np.sign(total(trim(tile, cuts), majority)).sum()) for each in self.entries() for tile in each.tiles()
        )
        return -1.0 if balance < 0 else 1.0
