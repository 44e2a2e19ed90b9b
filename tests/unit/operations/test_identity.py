"""What rounding explains, against sums in float64: a right rounding passes, one step beside it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.methods import METHODS
from adapterops.methods.entries import Entries
from adapterops.operations.additions import Piece
from adapterops.operations.identity import TRIES, Elsewhere, Probe, near_sum
from adapterops.operations.targets.target import Target
from adapterops.updates.dense import Dense
from adapterops.updates.lowrank import LowRank
from adapterops.updates.merged import Merged, Tiling, elsewhere
from adapterops.updates.survival import Change
from adapterops.verification.rounding import half_step, rounded_to

OUT, IN, RANK, SCALE = 24, 40, 3, 1.5
DTYPES = ("BF16", "F16", "F32")
ROWS = slice(4, 20)
OWN = (ROWS, slice(0, IN))


def made(kind: str, dtype: str) -> tuple[Piece, Change, Any]:
    """An update of a weight in `dtype`, those rows of it, and their exact sum in float64."""
    random = np.random.default_rng(3)
    B, A = (random.standard_normal(shape).astype(np.float32) for shape in ((OUT, RANK), (RANK, IN)))
    W = rounded_to(random.standard_normal((OUT, IN)), dtype).astype(np.float32)
    product = SCALE * B.astype(np.float64) @ A.astype(np.float64)
    update = LowRank(B, A, SCALE) if kind == "factors" else Dense(product.astype(np.float32))
    delta = product if kind == "factors" else product.astype(np.float32)
    part = (slice(0, ROWS.stop - ROWS.start), slice(0, IN))
    change = Change("q", part, W[ROWS], delta[ROWS].astype(np.float32))
    return Piece(Target("q.weight", "q", "q", (OUT, IN)), update), change, (W.astype(np.float64) + delta)[ROWS]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["factors", "dense"])
def test_the_nearest_number_is_near_and_its_neighbours_are_not(kind: str, dtype: str) -> None:
    piece, change, exact = made(kind, dtype)
    stored = rounded_to(exact, dtype).astype(np.float32)
    assert near_sum(stored, dtype, change, piece, OWN, None).all()
    for sign in (-1, 1):  # of float32, sums of float32 leave the last bits open
        step = 1e-4 if dtype == "F32" else 2 * half_step(stored, dtype)
        beside = (stored + sign * step).astype(np.float32)
        clear = np.abs(beside - exact) > 1.01 * half_step(beside, dtype) + 1e-5
        assert clear.mean() > 0.9
        assert not near_sum(beside, dtype, change, piece, OWN, None)[clear].any()


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_at_random_it_is_the_neighbour_that_the_draws_choose(dtype: str) -> None:
    piece, change, exact = made("factors", dtype)
    nearest = rounded_to(exact, dtype)
    step = 2 * half_step(nearest, dtype)
    below = np.where(nearest <= exact, nearest, nearest - step)
    distance = (exact - below) / step
    clear = (distance > 0.1) & (distance < 0.9) & (half_step(below, dtype) == half_step(below + step, dtype))
    clear &= np.abs(exact) > 0.5  # below, float32 cannot tell the halves of a step
    assert clear.mean() > 0.4
    low, high = (below.astype(np.float32), (below + step).astype(np.float32))
    draws = np.random.default_rng(0).random(exact.shape, np.float32)
    clear &= np.abs(draws - distance) > 0.05
    clear &= np.abs(draws - (1 - distance)) > 0.05
    of_low, of_high = (near_sum(each, dtype, change, piece, OWN, draws) for each in (low, high))
    assert (of_low ^ of_high)[clear].all(), "exactly one of the two neighbours"
    up = np.mean(of_high[clear])
    assert abs(up - distance[clear].mean()) < 0.1, "as often as it is near"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["factors", "dense"])
def test_random_vectors_tell_a_merge_from_what_is_none(kind: str, dtype: str) -> None:
    """The bound is at least the error of one right rounding, and far below an update that is not there, or twice."""
    piece, change, exact = made(kind, dtype)
    probe = Probe(piece)

    def ratio(values: Any) -> float:
        return probe.ratio(rounded_to(values, dtype), dtype, change.W, change.delta, OWN)

    update = exact - change.W
    assert ratio(exact) <= 1
    assert ratio(exact - update) > 3
    assert ratio(exact + update) > 3
    assert ratio(exact - 2 * update) > 3


def test_the_vectors_are_those_of_the_module() -> None:
    """Whoever verifies, wherever: the same module is tried on the same vectors."""
    piece, _, _ = made("factors", "F32")
    other = Piece(Target("k.weight", "k", "k", (OUT, IN)), piece.update)
    assert np.array_equal(Probe(piece).x, Probe(piece).x)
    assert not np.array_equal(Probe(piece).x, Probe(other).x)


@pytest.mark.parametrize("form", ["merged", "scaled", "transposed", "in a sum"])
@pytest.mark.parametrize("method", ["ties", "della", "consensus"])
def test_an_entry_at_a_threshold_may_be_decided_otherwise_elsewhere(method: str, form: str) -> None:
    """Entries that are nearly equal, of which a processor keeps one, and another processor the other; nothing else passes."""
    random = np.random.default_rng(0)
    shape = 60, 50
    values = random.standard_normal((2, *shape)).astype(np.float32)
    values[0, :, 1] = values[0, :, 0]  # of each row two are equal,
    values[0, ::7, 2] = np.partition(np.abs(values[0]), -600, axis=None)[-600]  # and some at the threshold of TIES
    values[1, ::5, 3] = np.float32(0.5) * values[0, ::5, 3]  # or where the second is wanted or not
    entries = Entries([Dense(each) for each in values])
    kernel = METHODS[method].kernel
    tiling = Tiling(entries.height, lambda: kernel(entries, [1.0, 0.8]), entries.moving)
    merged: Any = Merged(shape, entries.dtype, tiling)
    more = LowRank(random.standard_normal((60, 1)), random.standard_normal((1, 50)))
    forms = {"merged": merged, "scaled": -0.5 * merged, "transposed": 2.0 * merged.T, "in a sum": merged + more}
    update = forms[form]
    own = slice(0, 40), slice(0, update.shape[1])
    W = random.standard_normal(update.shape).astype(np.float32)[own]
    here, there = update.dense()[own], elsewhere(update, own, 1000)
    assert there is not None
    other = np.abs(there - here) > 1e-3 * np.abs(here)
    assert 0 < np.count_nonzero(other) < 0.5 * other.size
    asked, tried = np.ones(W.shape, bool), Elsewhere(update)
    assert tried.near(rounded_to(W + there.astype(np.float64), "BF16"), "BF16", W, own, asked).all()
    wrong = tried.near(rounded_to(W + 1.02 * there.astype(np.float64), "F32"), "F32", W, own, asked)
    assert not wrong[np.abs(there) > 0.1].any()


VALUES = np.random.default_rng(0).standard_normal((60, 50)).astype(np.float32)


def counted(tried: list[int]) -> Merged:
    """A merge that notes which tiles of it are computed."""
    return Merged(
        VALUES.shape,
        VALUES.dtype,
        Tiling(10, lambda: lambda first, out=None: tried.append(first) or VALUES[first : first + 10]),
    )


def test_another_processor_is_tried_for_the_rows_that_are_asked_for_until_all_are_explained() -> None:
    tried: list[int] = []
    other, own = Elsewhere(counted(tried)), (slice(20, 60), slice(0, 50))
    W, stored, asked = np.zeros((40, 50), np.float32), VALUES[20:].copy(), np.zeros((40, 50), bool)
    assert not other.near(stored, "F32", W, own, asked).any()
    assert tried == []
    asked[[12, 14], [3, 40]] = True
    assert np.array_equal(other.near(stored, "F32", W, own, asked), asked)
    assert tried == [30]
    stored[12, 3] += 1
    assert np.count_nonzero(other.near(stored, "F32", W, own, asked)) == 1
    assert set(tried) == {30}


def test_what_is_transposed_in_memory_is_merged_once_for_each_try() -> None:
    """And not for each block of its rows, which are of all tiles."""
    tried: list[int] = []
    update = counted(tried).T
    tried.clear()
    other, asked = Elsewhere(update), np.ones((10, 60), bool)
    for begin in range(0, 50, 10):
        own = slice(begin, begin + 10), slice(0, 60)
        wrong = VALUES.T[own].copy()
        wrong[4, 5] += 1
        W = np.zeros_like(wrong)
        assert np.count_nonzero(other.near(wrong, "F32", W, own, asked)) == asked.size - 1
    assert tried == [*range(0, 60, 10)] * TRIES


def test_where_no_entries_are_merged_nothing_is_decided() -> None:
    piece, change, _ = made("factors", "BF16")
    asked = np.ones(change.W.shape, bool)
    assert not Elsewhere(piece.update).near(change.W + change.delta, "BF16", change.W, OWN, asked).any()
