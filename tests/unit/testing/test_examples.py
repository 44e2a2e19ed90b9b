"""Examples on which laws are tried."""

from __future__ import annotations

import numpy as np

from adapterops.testing.examples import SHAPES, adapters, low_rank, other_factors


def test_all_adapters_have_the_first_module_and_some_lack_another() -> None:
    found = adapters(np.random.default_rng(0), 20)
    assert all(next(iter(SHAPES)) in each.layout for each in found)
    assert any(len(each.layout) < len(SHAPES) for each in found)
    assert max(layout.rank for each in found for layout in each.layout.values()) > 5


def test_other_factors_are_the_same_update() -> None:
    random = np.random.default_rng(0)
    update = low_rank(random, (7, 5), 3)
    other = other_factors(random, update)
    assert not np.allclose(other.B, update.B)
    np.testing.assert_allclose(other.dense(), update.dense(), atol=1e-9)
