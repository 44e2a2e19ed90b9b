"""Cuts keep exactly as many as they should, and random numbers depend on seed, name and place alone."""

from __future__ import annotations

import numpy as np

from adapterops.methods.tiles import Cut, Tile


def test_equal_magnitudes_up_to_the_last_place_are_kept() -> None:
    x = np.array([[1.0, -2.0, 2.0], [2.0, 3.0, -2.0]])
    assert Cut(2.0).kept(x, 0).tolist() == [[False, True, True], [True, True, True]]
    assert Cut(2.0, last=2).kept(x, 0).tolist() == [[False, True, True], [False, True, False]]
    assert Cut(2.0, last=12).kept(x, 10).tolist() == [[False, True, True], [False, True, False]]
    assert Cut(2.0, last=5).kept(x, 10).tolist() == [[False, False, False], [False, True, False]]


def test_a_tile_has_its_own_random_numbers() -> None:
    values = [np.zeros((3, 4))] * 2
    tile = Tile(values, 24, ["a", "b"])
    first = tile.uniform(0, 7)
    assert first.shape == (3, 4)
    assert ((first >= 0) & (first < 1)).all()
    assert np.array_equal(first, Tile(values, 24, ["a", "c"]).uniform(0, 7))
    for other in (tile.uniform(1, 7), tile.uniform(0, 8), Tile(values, 36, ["a", "b"]).uniform(0, 7)):
        assert not np.array_equal(first, other)
