"""MagPrune: probabilities by rank in a row, and a mean that stays."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.errors import OptionError
from adapterops.methods import METHODS
from adapterops.methods.families.della import magprune
from adapterops.methods.tiles import Tile


def test_kept_entries_are_divided_by_their_probability() -> None:
    x = np.array([[4.0, -1.0, 2.0, 3.0, 0.5]])
    probability = 0.5 - 0.2 + 2 * 0.2 * np.array([4, 1, 2, 3, 0]) / 4
    found = [magprune(Tile([x], 0, ["a"]), 0.5, 0.2, seed)[0] for seed in range(3000)]
    for entries in found:
        kept = entries != 0
        np.testing.assert_allclose(entries[kept], (x / probability)[kept])
    np.testing.assert_allclose((np.array(found) != 0).mean(axis=0)[0], probability, atol=0.04)


@pytest.mark.parametrize(("density", "epsilon"), [(0.1, 0.1), (0.9, 0.2)])
def test_probabilities_stay_within_reach(density: float, epsilon: float) -> None:
    for name in ("della", "della_linear"):
        check = METHODS[name].check
        assert check
        with pytest.raises(OptionError, match="the fraction kept would run from"):
            check([1.0], {"density": density, "epsilon": epsilon})


def test_both_precisions_rank_alike() -> None:
    """Equal magnitudes of either sign by their place, zeros and subnormal numbers, too."""
    x = np.random.default_rng(0).integers(-3, 4, (50, 64)).astype(np.float32)
    x[0] *= 1e-45
    wide, narrow = (magprune(Tile([each], 0, ["a"]), 0.5, 0.4, 1)[0] for each in (x.astype(np.float64), x))
    assert np.array_equal(wide != 0, narrow != 0)
    np.testing.assert_allclose(narrow, wide, rtol=1e-6, atol=2e-45)
