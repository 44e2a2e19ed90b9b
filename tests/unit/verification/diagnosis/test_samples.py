"""Rows of a weight, and what is known of them without an adapter."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.verification.deltas import Delta
from adapterops.verification.diagnosis.samples import TILE, Sample, Unit
from adapterops.verification.rounding import rounded_to


def of(M: np.ndarray, dtype: str, change: float = 0.0) -> Sample:
    values = np.full(M.shape, change)
    return Sample(M - values, M, [Delta(values, np.zeros(M.shape))], dtype, [None], [slice(2, 2 + len(M))])


def test_tiles_are_the_unit() -> None:
    unit = Unit("m", "m.weight", range(5, 5 + 3 * TILE // 8), slice(0, 16))
    assert [row for tile in unit.tiles() for row in tile.rows] == list(unit.rows)
    assert all(0 < tile.entries <= TILE for tile in unit.tiles())


@pytest.mark.parametrize(("numbers", "dtype"), [("BF16", "F32"), ("F16", "F32"), ("BF16", "F16"), ("F32", "F64")])
def test_the_grid_is_that_of_the_numbers(numbers: str, dtype: str) -> None:
    random = np.random.default_rng(0).standard_normal((4, 8))
    assert of(rounded_to(random, numbers), dtype).grid == numbers


def test_what_rounding_hides_is_no_change() -> None:
    M = rounded_to(1 + np.random.default_rng(0).random((4, 8)), "BF16")
    assert of(M, "BF16", 2.0**-9).unchanged
    assert not of(M, "BF16", 2.0**-6).unchanged
    assert np.array_equal(of(M, "BF16", 0.5).sum(np.array([1.0])), M)
    assert of(M, "BF16").rows.tolist() == [2, 3, 4, 5]
