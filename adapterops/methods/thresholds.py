"""The exact threshold above which the largest of many numbers are, without a sort, and without all of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapterops.arrays.device import home, own
from adapterops.arrays.parallel import in_parallel

LARGE = 1 << 27
"""Numbers of which a bracket is not collected, but counted."""
BINS = 1 << 20
ERRORS, WIDER = 8, 4
"""Standard errors on either side of where a sample says that the threshold is: for rows and columns are less varied than so many
independent numbers; and how many times as many there are each time that it is not there. So what is collected stays a small part.
"""

Numbers = NDArray[np.floating]
Tiles = Sequence[Callable[[], Numbers]]
"""Numbers, some at a time: computed when they are asked for, by any thread."""


def threshold(
    matrices: Callable[[], Iterable[Tiles]], sample: Numbers, size: int, keep: int
) -> tuple[float, int | None]:
    """The `keep`-th largest of all magnitudes, and how many of those equal to it are among the `keep` (None: all of
    them).

    No sort: a sample brackets the answer, one pass counts what is above the bracket and collects what is in it.

    Args:
        matrices: starts a pass over all numbers, which must not be negative.
        sample: some of them.
        size: how many there are.
        keep: at least 0, at most `size`.

    Cost: one pass as a rule, two or three where the sample misleads; memory for the bracket, about one percent of the numbers,
        or of more than `LARGE` numbers for `BINS` counts.
    """
    if keep == 0:
        return np.inf, None
    ordered, fraction, reach = np.sort(sample), keep / size, ERRORS
    low, high = (_end(ordered, fraction, side * reach) for side in (-1, 1))
    if size > LARGE:
        return _by_bits(matrices, low, high, keep)
    while True:
        above, inside = _count(matrices(), low, high)
        reach *= WIDER
        if above >= keep:
            low, high = high, _end(ordered, fraction, reach)
        elif above + len(inside) >= keep:
            break
        elif low <= _smallest(sample.dtype):
            return 0.0, None  # only zeros are left to choose from
        else:
            low, high = _end(ordered, fraction, -reach), low
    wanted = keep - above
    inside.partition(len(inside) - wanted)
    value = inside[len(inside) - wanted]
    larger = int(np.count_nonzero(inside > value))
    equal = int(np.count_nonzero(inside == value))
    return float(value), None if larger + equal == wanted else wanted - larger


def _end(ordered: Numbers, fraction: float, errors: float) -> Numbers:
    """Where the `fraction` largest end of a sample in ascending order, and some standard errors above that."""
    count = len(ordered)
    place = int((1 - fraction + errors * ((fraction * (1 - fraction) / count) ** 0.5 + 1 / (4 * count))) * count)
    if place >= count:
        return np.asarray(np.inf, ordered.dtype)
    smallest = _smallest(ordered.dtype)
    return np.maximum(ordered[place], smallest) if place >= 0 else smallest


def _smallest(dtype: np.dtype[Any]) -> Numbers:
    return np.nextafter(np.zeros((), dtype), np.asarray(1, dtype))  # type: ignore[no-any-return]  # numpy's type of a function


def _inside(tile: Callable[[], Numbers], low: Numbers, high: Numbers) -> tuple[int, Numbers]:
    """Of a tile how many are above `high`, and those in [low, high]."""
    numbers = tile()
    beyond = np.greater(numbers, high, out=own("beyond", numbers, bool))
    count = int(np.count_nonzero(beyond))
    bracket = np.bitwise_xor(beyond, np.greater_equal(numbers, low, out=own("reached", numbers, bool)), out=beyond)
    return count, home(numbers[np.flatnonzero(bracket)])


def _count(matrices: Iterable[Tiles], low: Numbers, high: Numbers) -> tuple[int, Numbers]:
    """How many are above `high`, and those in [low, high]."""
    found = (in_parallel(lambda tile: _inside(tile, low, high), tiles) for tiles in matrices)
    above, inside = zip(*chain.from_iterable(found), strict=True)
    return sum(above), np.concatenate(inside)


def _by_bits(
    matrices: Callable[[], Iterable[Tiles]], low: Numbers, high: Numbers, keep: int
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
        for beyond, inside in (_inside(tile, *bracket) for tile in chain.from_iterable(matrices())):
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
