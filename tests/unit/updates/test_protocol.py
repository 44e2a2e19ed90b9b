"""Norms by tiles are those of the whole, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.updates.dense import Dense
from adapterops.updates.layout import TILE
from adapterops.updates.protocol import all_rows, norm, norm_by_rows, squares


@pytest.mark.parametrize("shape", [(3, 4), (TILE // 100 + 1, 150), (0, 4), (2, 0)])
def test_the_norm_of_tiles_is_that_of_all(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    update = Dense(matrix)
    assert norm_by_rows(update) == norm(matrix)
    assert norm(matrix) == pytest.approx(np.linalg.norm(matrix.astype(np.float64)), rel=1e-6)
    assert np.array_equal(all_rows(update), matrix)
    assert all_rows(update, np.dtype(np.float64)).dtype == np.float64


def test_squares_are_those_of_rows() -> None:
    assert squares(np.array([[3.0, 4.0], [0.0, 2.0]])).ravel().tolist() == [25.0, 4.0]
