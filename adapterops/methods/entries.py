"""The entries of updates, in tiles that stay in cache, and the exact threshold that keeps the largest of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from operator import add

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adapterops.methods.tiles import Cut, Tile
from adapterops.methods.vocabulary import total, trim
from adapterops.updates.dense import Dense
from adapterops.updates.layout import TILE
from adapterops.updates.lowrank import LowRank

SAMPLE = 30_000
"""Entries looked at to guess where a threshold lies."""

Numbers = NDArray[np.floating]


class Entries:
    """The entries of T updates of one shape, (out, in): computed from the factors tile by tile, anew in every pass.

    Args:
        updates: what is merged.
        names: for each update, what its random numbers depend on.
        model: the entries of all modules, for methods that look at the whole model; by default these alone.
    """

    def __init__(self, updates: Sequence[LowRank | Dense], names: Sequence[str] = (), model: Model | None = None) -> None:
        dtype = torch.float32
        for update in updates:
            dtype = torch.promote_types(dtype, update.B.dtype if isinstance(update, LowRank) else update.weight.dtype)
        self.dtype = dtype
        self.shape = updates[0].shape
        self.names = names or [str(index) for index in range(len(updates))]
        self._model = model
        self._updates = updates
        self._rows = [update.rows(dtype) for update in updates]
        self._height = max(1, TILE // max(1, self.shape[1]))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def model(self) -> Model:
        return self._model or Model([lambda: self])

    @property
    def size(self) -> int:
        """Entries of one update."""
        return self.shape[0] * self.shape[1]

    def sum(self, weights: Sequence[float]) -> LowRank | None:
        """Σ wᵢ ΔWᵢ, where that has a low rank."""
        low = [weight * update for weight, update in zip(weights, self._updates, strict=True) if isinstance(update, LowRank)]
        return reduce(add, low) if len(low) == len(self) else None

    def tiles(self) -> Iterator[Tile]:
        """All entries, some rows at a time; always the same rows, so that every pass sees the same bits."""
        for begin in range(0, self.shape[0], self._height):
            part = slice(begin, min(begin + self._height, self.shape[0]))
            yield Tile([rows(part) for rows in self._rows], begin * self.shape[1], self.names)

    def map(self, function: Callable[[Tile], Tensor]) -> Tensor:
        """`function` of every tile, put together: (out, in)."""
        result = torch.empty(self.shape, dtype=self.dtype)
        flat = result.view(-1)
        for tile in self.tiles():
            part = function(tile)
            flat[tile.start : tile.start + part.numel()] = part.reshape(-1)
        return result

    def cuts(self, density: float) -> list[Cut]:
        """For each update the cut that keeps exactly int(density · n) entries; equal magnitudes: the lower index wins."""
        return [self._cut(index, int(density * self.size)) for index in range(len(self))]

    def _cut(self, index: int, keep: int) -> Cut:
        value, equal = threshold(lambda: self.magnitudes(index), self.sample(index), self.size, keep)
        if equal is None:
            return Cut(value)
        start = 0
        for tile in self.magnitudes(index):
            places = np.flatnonzero(tile == value)
            if len(places) >= equal:
                return Cut(value, start + int(places[equal - 1]))
            start, equal = start + len(tile), equal - len(places)
        raise AssertionError("the numbers changed between two passes")

    def magnitudes(self, index: int) -> Iterator[Numbers]:
        """|x| of one update, flat, tile by tile."""
        for begin in range(0, self.shape[0], self._height):
            yield np.abs(self._rows[index](slice(begin, begin + self._height)).numpy()).reshape(-1)

    def sample(self, index: int, fraction: float | None = None) -> Numbers:
        """|x| of one update on a grid of evenly spaced rows and columns: about `SAMPLE` numbers, or a fraction of all."""
        step = max(1, round((1 / fraction if fraction else self.size / SAMPLE) ** 0.5))
        grid: Numbers = self._rows[index](slice(None, None, step), slice(None, None, step)).numpy()
        return np.abs(grid).reshape(-1)


class Model:
    """The entries of all modules together. What is asked of it is computed once, by whoever asks first."""

    def __init__(self, modules: Sequence[Callable[[], Entries]]) -> None:
        self._modules = modules
        self._known: dict[tuple[object, ...], object] = {}
        self._lock = threading.Lock()

    def cuts(self, density: float) -> list[Cut]:
        """For each update one threshold over all modules: that of the (n - int(density · n))-th smallest magnitude."""
        with self._lock:
            return self._cuts(density)

    def majority(self, density: float, majority: str) -> float:
        """+1 or -1: the sign that most entries of the model elect, after trimming to `density`."""
        with self._lock:
            key = ("majority", density, majority)
            if key not in self._known:
                cuts = self._cuts(density)
                balance = sum(
                    float(total(trim(tile, cuts), majority).sign().sum()) for module in self._modules for tile in module().tiles()
                )
                self._known[key] = -1.0 if balance < 0 else 1.0
            return self._known[key]  # type: ignore[return-value]  # one dictionary for two kinds of answer

    def _cuts(self, density: float) -> list[Cut]:
        key = ("cuts", density)
        if key not in self._known:
            size = sum(module().size for module in self._modules)
            keep = min(int(density * size) + 1, size)  # the paper's ">=" keeps one more than it counts
            self._known[key] = [self._cut(index, size, keep) for index in range(len(self._modules[0]()))]
        return self._known[key]  # type: ignore[return-value]

    def _cut(self, index: int, size: int, keep: int) -> Cut:
        sample = np.concatenate([module().sample(index, SAMPLE / size) for module in self._modules])
        value, _ = threshold(lambda: (part for module in self._modules for part in module().magnitudes(index)), sample, size, keep)
        return Cut(value)


def threshold(tiles: Callable[[], Iterable[Numbers]], sample: Numbers, size: int, keep: int) -> tuple[float, int | None]:
    """The `keep`-th largest of all magnitudes, and how many of those equal to it are among the `keep` (None: all of them).

    No sort: a sample brackets the answer, one pass counts what lies above the bracket and collects what lies in it.

    Args:
        tiles: starts a pass over all numbers, which must not be negative.
        sample: some of them.
        size: how many there are.
        keep: at least 0, at most `size`.

    Cost: one pass as a rule, three where the sample misleads; memory for the bracket, about one percent of the numbers.
    """
    if keep == 0:
        return np.inf, None
    low, high = _bracket(sample, keep / size)
    smallest = np.nextafter(np.zeros((), sample.dtype), np.asarray(1, sample.dtype))
    while True:
        above, inside = _count(tiles(), low, high)
        if above >= keep:
            low, high = high, np.asarray(np.inf, sample.dtype)
        elif above + len(inside) >= keep:
            break
        elif low <= smallest:
            return 0.0, None  # only zeros are left to choose from
        else:
            low, high = smallest, low
    wanted = keep - above
    inside.partition(len(inside) - wanted)
    value = inside[len(inside) - wanted]
    larger = int(np.count_nonzero(inside > value))
    equal = int(np.count_nonzero(inside == value))
    return float(value), None if larger + equal == wanted else wanted - larger


def _bracket(sample: Numbers, fraction: float) -> tuple[Numbers, Numbers]:
    """Two magnitudes between which the `fraction` largest end, with room for the rows and columns of a sample being less
    varied than so many independent numbers: 8 standard errors on either side."""
    count = len(sample)
    margin = 8 * (fraction * (1 - fraction) / count) ** 0.5 + 2 / count
    low, high = (int((1 - fraction + side * margin) * count) for side in (-1, 1))
    inside = [place for place in (low, high) if 0 <= place < count]
    ordered = np.partition(sample, inside) if inside else sample
    smallest = np.nextafter(np.zeros((), sample.dtype), np.asarray(1, sample.dtype))
    return (
        np.maximum(ordered[low], smallest) if 0 <= low < count else smallest,
        np.maximum(ordered[high], smallest) if 0 <= high < count else np.asarray(np.inf, sample.dtype),
    )


def _count(tiles: Iterable[Numbers], low: Numbers, high: Numbers) -> tuple[int, Numbers]:
    """How many lie above `high`, and those in [low, high]."""
    above, inside = 0, []
    for tile in tiles:
        beyond = tile > high
        above += int(np.count_nonzero(beyond))
        inside.append(tile[np.flatnonzero(beyond ^ (tile >= low))])
    return above, np.concatenate(inside)
