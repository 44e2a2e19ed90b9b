"""The weighted sum, of whatever can be scaled and added."""

from __future__ import annotations

import numpy as np

from adapterops.methods import METHODS
from adapterops.methods.families.linear import cat, linear
from adapterops.updates.lowrank import LowRank


def test_the_sum_is_exact_and_stays_in_factors() -> None:
    random = np.random.default_rng(0)
    updates = [LowRank(random.standard_normal((5, 2)), random.standard_normal((2, 4)), s) for s in (0.5, 2.0)]
    expected = 0.7 * updates[0].dense() - 0.3 * updates[1].dense()
    for method in (linear, cat):
        found = method(updates, [0.7, -0.3])
        assert isinstance(found, LowRank)
        assert len(found.A) == 4
        np.testing.assert_allclose(found.dense(), expected, atol=1e-12)


def test_only_cat_has_more_dimensions_than_the_matrix() -> None:
    assert METHODS["linear"].capped
    assert not METHODS["cat"].capped
