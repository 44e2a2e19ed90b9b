"""The entries of updates, in tiles that stay in cache, and the exact threshold that keeps the largest of them."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapterops.arrays.device import device, home, sent
from adapterops.linalg.qr import check_core
from adapterops.methods.tiles import Cut, Tile
from adapterops.methods.vocabulary import total, trim
from adapterops.updates.layout import LAUNCHED, TILE
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array, Linear

SAMPLE = 30_000
"""Entries looked at to guess where a threshold is."""

UNCERTAIN = 2.0**-20
"""Of an entry that is a sum of some products in float32: what the order of the sum, and how each product is rounded, change."""

WORTH = TILE
"""Entries from which on a device merges them: with fewer it would only be started."""

LARGE = 1 << 25
"""Numbers of which a bracket is not collected, but counted."""
BINS = 1 << 20

FAR = 400
"""The exponent of a number that is none next to 1: no product of two in float32 is as small."""

LARGER, SMALLER, SQUARED = (600, 950), -600, 1e-200
"""Powers of two that numbers are multiplied by whose squares float64 holds as less than this, or does not hold."""

Numbers = NDArray[np.floating]


class Entries:
    """The entries of T updates of one shape, (out, in): computed tile by tile, anew in every pass.

    Args:
        updates: what is merged.
        names: for each update, what its random numbers depend on.
        model: the entries of all modules, for methods that look at the whole model; by default these alone.
    """

    def __init__(self, updates: Sequence[Linear], names: Sequence[str] = (), model: Model | None = None) -> None:
        self.dtype = np.result_type(np.float32, *(update.dtype for update in updates))
        self.shape = updates[0].shape
        self.names = names or [str(index) for index in range(len(updates))]
        self.way = device() if self.size >= WORTH else None
        self.height = tile_height(self.shape) * (LAUNCHED if self.way else 1)
        self._model = model
        self._moving: int | None = None
        self._updates = updates
        self._sent: dict[int, tuple[Any, Any]] = {}

    def __len__(self) -> int:
        return len(self._updates)

    @property
    def model(self) -> Model:
        return self._model or Model([lambda: self])

    @property
    def size(self) -> int:
        """Entries of one update."""
        return self.shape[0] * self.shape[1]

    def tiles(self) -> Iterator[Tile]:
        """All entries, some rows at a time; always the same rows, so that every pass sees the same bits."""
        return map(self.tile, range(0, self.shape[0], self.height))

    def tile(self, first: int) -> Tile:
        """The rows from `first` on, a multiple of `height`."""
        values = [self._rows(update, first) for update in self._updates]
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

    def _rows(self, update: Linear, first: int) -> Array:
        part = slice(first, min(first + self.height, self.shape[0])), slice(0, self.shape[1])
        if self.way and isinstance(update, LowRank):
            if id(update) not in self._sent:
                self._sent[id(update)] = update.sent(self.dtype, self.way)
            B, A = self._sent[id(update)]
            rows: Array = B[part[0]] @ A
            return rows
        out = np.empty((part[0].stop - first, self.shape[1]), self.dtype)
        found: Array = sent(update.rows(part, out), self.way)  # what has no factors is computed here
        return found

    def map(self, function: Callable[[Tile], Array]) -> Callable[[int], Array]:
        """`function` of a tile, as a function of its first row."""
        return lambda first: function(self.tile(first))

    def largest(self, count: int) -> list[Cut]:
        """For each update the cut that keeps exactly `count` entries; equal magnitudes: the lower index wins."""
        return [
            self._cut(lambda index=index: self.magnitudes(index), self.sample(index), count)  # type: ignore[misc]  # no type is inferred for a default
            for index in range(len(self))
        ]

    def cut(self, score: Callable[[Sequence[Array]], Array], count: int) -> Cut:
        """The cut that keeps the `count` entries of the largest score, computed from those of all updates: none negative."""
        sample = score([self._grid(update, self._step()) for update in self._updates]).reshape(-1)
        return self._cut(lambda: (score(tile.values).reshape(-1) for tile in self.tiles()), sample, count)

    def _cut(self, scores: Callable[[], Iterator[Numbers]], sample: Numbers, keep: int) -> Cut:
        value, equal = threshold(scores, sample, self.size, keep)
        if equal is None:
            return Cut(value)
        start = 0
        for tile in scores():
            places = home(np.flatnonzero(tile == value))
            if len(places) >= equal:
                return Cut(value, start + int(places[equal - 1]))
            start, equal = start + len(tile), equal - len(places)
        raise AssertionError("the numbers changed between two passes")

    def magnitudes(self, index: int) -> Iterator[Numbers]:
        """|x| of one update, flat, tile by tile."""
        for first in range(0, self.shape[0], self.height):
            yield np.abs(self._rows(self._updates[index], first)).reshape(-1)

    def sample(self, index: int, fraction: float | None = None) -> Numbers:
        """|x| of one update on a grid of evenly spaced rows and columns: about `SAMPLE` numbers, or a fraction of all."""
        return np.abs(self._grid(self._updates[index], self._step(fraction))).reshape(-1)

    def _step(self, fraction: float | None = None) -> int:
        return max(1, round(math.sqrt(1 / fraction if fraction else self.size / SAMPLE)))

    def _grid(self, update: Linear, step: int) -> Array:
        """Every step-th row and column of an update."""
        shape = [len(range(0, length, step)) for length in self.shape]
        part = slice(0, self.shape[0], step), slice(0, self.shape[1], step)
        return update.rows(part, np.empty(shape, self.dtype))


def uncertainty(rows: Array) -> Array:
    """How far other processors may be off in each entry: some units of the last place of it, and of a usual one of its row."""
    usual = np.sqrt(np.square(rows).mean(axis=1, keepdims=True))
    return rows.dtype.type(UNCERTAIN) * (np.abs(rows) + usual)  # type: ignore[no-any-return]  # numpy's type of a product


def _moved(rows: Array, random: np.random.Generator) -> Array:
    signs = random.integers(0, 2, rows.shape, np.int8) * np.int8(2) - np.int8(1)
    moved: Array = rows + uncertainty(rows) * signs.astype(rows.dtype)
    return moved


def tile_height(shape: tuple[int, int]) -> int:
    """How many rows of a matrix are worked on at a time."""
    return max(1, TILE // max(1, shape[1]))


def inner_products(updates: Sequence[Linear]) -> Array:
    """⟨ΔWᵢ, ΔWⱼ⟩ in float64, tile by tile; times one power of two where they are too small or too large for that."""
    found, zero = products_at(updates, 0)
    if not np.isfinite(found).all():
        return products_at(updates, SMALLER)[0]
    for exponent in LARGER:
        if zero or found.diagonal().max() > SQUARED:
            break
        found, _ = products_at(updates, exponent)
    return found


def products_at(updates: Sequence[Linear], exponent: int) -> tuple[Array, bool]:
    """⟨cΔWᵢ, cΔWⱼ⟩, c = 2^exponent, and whether all entries are zero."""
    (height, width), step = updates[0].shape, tile_height(updates[0].shape)
    found, memory = np.zeros((len(updates), len(updates))), np.empty((len(updates), min(step, height), width))
    zero = True
    for first in range(0, height, step):
        part = slice(first, min(first + step, height)), slice(0, width)
        tiles = memory[:, : part[0].stop - first]
        for update, tile in zip(updates, tiles, strict=True):
            np.copyto(tile, update.rows(part, tile))
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            flat = (np.ldexp(tiles, exponent, out=tiles) if exponent else tiles).reshape(len(updates), -1)
            found += flat @ flat.T
        zero = zero and not flat.any()
    return found, zero


def ordinary(matrices: Sequence[Array]) -> tuple[Sequence[Array], int]:
    """Matrices whose squares and fourth powers float64 holds, and the power of two that they are to be multiplied by: 0
    as a rule. What is less than 2^-FAR of the largest is zero next to it.

    Raises:
        InputError: a number is not finite.
    """
    peaks = [float(np.abs(check_core(each)).max(initial=0.0)) for each in matrices]
    exponent = math.frexp(max(peaks))[1]
    if abs(exponent) > FAR // 4:
        matrices = [np.ldexp(each, -exponent) for each in matrices]
        peaks = [math.ldexp(peak, -exponent) for peak in peaks]
    else:
        exponent = 0
    least = math.ldexp(max(peaks), -FAR)
    return [
        each if peak >= least else np.zeros_like(each) for each, peak in zip(matrices, peaks, strict=True)
    ], exponent


def near(updates: Sequence[Linear], weights: Sequence[float]) -> LowRank | None:
    """Σ wᵢ ΔWᵢ, where that has a low rank: probably not far from any merge of them."""
    known = [
        weight * factors
        for weight, update in zip(weights, updates, strict=True)
        if (factors := update.near) is not None
    ]
    return reduce(add, known) if len(known) == len(updates) else None


class Model:
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
                self._known[key] = self._once(
                    f"majority {density!r} {majority}", (1.0, -1.0).__contains__, lambda: self._balance(cuts, majority)
                )
            return self._known[key]  # type: ignore[return-value]  # one dictionary for two kinds of answer

    def _balance(self, cuts: Sequence[Cut], majority: str) -> float:
        balance = sum(
            float(np.sign(total(trim(tile, cuts), majority)).sum())
            for module in self._modules
            for tile in module().tiles()
        )
        return -1.0 if balance < 0 else 1.0

    def _cuts(self, density: float) -> list[Cut]:
        key = ("cuts", density)
        if key not in self._known:
            size = sum(module().size for module in self._modules)
            keep = min(int(density * size) + 1, size)  # the paper's ">=" keeps one more than it counts
            count = len(self._modules[0]())
            values = self._once(
                f"cuts {density!r}",
                lambda found: isinstance(found, list) and list(map(type, found)) == count * [float],
                lambda: [self._cut(index, size, keep) for index in range(count)],
            )
            self._known[key] = list(map(Cut, values))
        return self._known[key]  # type: ignore[return-value]  # as above

    def _cut(self, index: int, size: int, keep: int) -> float:
        sample = np.concatenate([module().sample(index, SAMPLE / size) for module in self._modules])
        value, _ = threshold(
            lambda: (part for module in self._modules for part in module().magnitudes(index)), sample, size, keep
        )
        return value


def threshold(
    tiles: Callable[[], Iterable[Numbers]], sample: Numbers, size: int, keep: int
) -> tuple[float, int | None]:
    """The `keep`-th largest of all magnitudes, and how many of those equal to it are among the `keep` (None: all of
    them).

    No sort: a sample brackets the answer, one pass counts what is above the bracket and collects what is in it.

    Args:
        tiles: starts a pass over all numbers, which must not be negative.
        sample: some of them.
        size: how many there are.
        keep: at least 0, at most `size`.

    Cost: one pass as a rule, three where the sample misleads; memory for the bracket, about one percent of the numbers,
        or of more than `LARGE` numbers for `BINS` counts.
    """
    if keep == 0:
        return np.inf, None
    low, high = _bracket(sample, keep / size)
    if size > LARGE:
        return _by_bits(tiles, low, high, keep)
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
    """Two magnitudes between which the `fraction` largest end, with room for the rows and columns of a sample being
    less
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


def _inside(tiles: Iterable[Numbers], low: Numbers, high: Numbers) -> Iterator[tuple[int, Numbers]]:
    """Of every tile how many are above `high`, and those in [low, high]."""
    for tile in tiles:
        beyond = tile > high
        yield int(np.count_nonzero(beyond)), home(tile[np.flatnonzero(beyond ^ (tile >= low))])


def _count(tiles: Iterable[Numbers], low: Numbers, high: Numbers) -> tuple[int, Numbers]:
    """How many are above `high`, and those in [low, high]."""
    above, inside = zip(*_inside(tiles, low, high), strict=True)
    return sum(above), np.concatenate(inside)


def _by_bits(
    tiles: Callable[[], Iterable[Numbers]], low: Numbers, high: Numbers, keep: int
) -> tuple[float, int | None]:
    """The same as `threshold`, and nothing is collected: numbers in the bracket are counted by their bits, which are in
    the order of the numbers, in ever narrower bins until one is one number.
    """
    kind = np.dtype(f"u{low.itemsize}")
    largest = int(np.asarray(np.inf, low.dtype).view(kind))
    first, last = int(low.view(kind)), int(high.view(kind))
    while True:
        shift = max(0, (last - first).bit_length() - BINS.bit_length() + 1)
        counts, above = np.zeros(((last - first) >> shift) + 1, np.int64), 0
        bracket = [np.asarray(end, kind).view(low.dtype) for end in (first, last)]
        for beyond, inside in _inside(tiles(), *bracket):
            above += beyond
            np.add.at(counts, ((inside.view(kind) - kind.type(first)) >> kind.type(shift)).astype(np.intp), 1)
        reached = above + np.cumsum(counts[::-1])
        if above >= keep and last < largest:
            first, last = last, largest
        elif reached[-1] < keep:
            if first <= 1:
                return 0.0, None  # only zeros are left to choose from
            first, last = 1, first
        else:
            place = int(np.searchsorted(reached, keep))
            chosen = first + ((len(counts) - 1 - place) << shift)
            if shift == 0:
                value, larger = np.asarray(chosen, kind).view(low.dtype), reached[place] - counts[-1 - place]
                return float(value), None if reached[place] == keep else int(keep - larger)
            first, last = chosen, min(last, chosen + (1 << shift) - 1)
