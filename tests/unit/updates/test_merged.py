from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import adapterops as ao
from adapterops.testing import check_update
from adapterops.updates.merged import Merged, Tiling, elsewhere
from adapterops.updates.protocol import Array

ENTRIES = np.random.default_rng(0).standard_normal((23, 6))


def tiles(first: int, out: Array | None = None) -> Array:
    assert first % 5 == 0
    return ENTRIES[first : first + 5]


MERGED = Merged((23, 6), np.dtype(np.float64), Tiling(5, lambda: tiles))


def test_the_laws_hold() -> None:
    check_update(MERGED)
    check_update(-0.5 * MERGED)


@pytest.mark.parametrize("start", [0, 3, 5, 12, 22])
@pytest.mark.parametrize("stop", [4, 15, 23])
@pytest.mark.parametrize("step", [1, 2, 5, 7, 30])
def test_rows_at_any_distance(start: int, stop: int, step: int) -> None:
    part = slice(start, stop, step), slice(1, 6, 2)
    out = np.full(ENTRIES[part].shape, np.nan)
    assert np.array_equal(MERGED.rows(part, out), ENTRIES[part])


def test_a_merge_of_entries_of_a_merge_of_entries() -> None:
    """Large enough that thresholds are guessed from a sample of rows and columns."""
    random = np.random.default_rng(1)
    adapters = [
        ao.Adapter.of({"m": ao.LowRank(random.standard_normal((400, 3)), random.standard_normal((3, 300)))})
        for _ in range(3)
    ]
    inner = ao.merge(adapters[:2], "ties", density=0.2, scale="sum")
    outer = ao.merge([inner, adapters[2]], "magnitude_prune", density=0.1, scale="sum").updates["m"].dense()
    expected = np.zeros((400, 300))
    for each in (inner, adapters[2]):
        x = each.updates["m"].dense()
        expected += x * (np.abs(x) >= np.sort(np.abs(x), axis=None)[-12_000])
    np.testing.assert_allclose(outer, expected, atol=1e-12)


def test_what_is_found_in_all_entries_is_found_in_those_that_are_not_moved() -> None:
    """Also where another processor's are asked for first: thresholds that are kept are those of this one."""
    by = [0.0]

    @contextmanager
    def moving(seed: int) -> Iterator[None]:
        by[0] = 1.0
        yield
        by[0] = 0.0

    def opened() -> Callable[..., Array]:
        threshold = by[0]
        return lambda first, out=None: ENTRIES[first : first + 5] + by[0] + 100 * threshold

    update = Merged((23, 6), np.dtype(np.float64), Tiling(5, opened, moving))
    part = slice(0, 23), slice(0, 6)
    there = elsewhere(update, part, 0)
    assert there is not None
    assert np.array_equal(there, ENTRIES + 1)
    assert np.array_equal(update.dense(), ENTRIES)
