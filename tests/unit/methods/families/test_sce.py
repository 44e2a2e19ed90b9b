"""SCE against its formula in float64."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import merged, several

from adapterops.methods.entries import Entries
from adapterops.methods.families.sce import sce
from adapterops.updates.dense import Dense


def formula(parts: np.ndarray, density: float) -> np.ndarray:
    variance = parts.var(axis=0)
    kept = np.zeros(variance.size, bool)
    kept[np.argsort(-variance.reshape(-1), kind="stable")[: int(density * variance.size)]] = True
    parts = parts * kept.reshape(variance.shape)
    shares = np.square(parts).sum(axis=(1, 2))
    sign = np.where(parts.sum(axis=0) >= 0, 1, -1)
    shares = (shares / (shares.sum() or 1))[:, None, None] * (np.sign(parts) == sign)
    total = shares.sum(axis=0)
    return (parts * shares).sum(axis=0) / np.where(total, total, 1)


@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
def test_it_is_the_formula(density: float) -> None:
    updates, weights = several(2), [0.7, -1.0, 2.0]
    parts = np.array([weight * each.dense() for each, weight in zip(updates, weights, strict=True)])
    found = merged(updates, "sce", weights=weights, density=density)
    np.testing.assert_allclose(found, formula(parts, density), atol=1e-12)


def test_over_several_tiles() -> None:
    parts = np.random.default_rng(0).standard_normal((3, 700, 450))
    entries = Entries([Dense(each) for each in parts])
    tile = sce(entries, [1.0, 1.0, 1.0], density=0.3)
    found = np.concatenate([tile(first) for first in range(0, 700, entries.height)])
    np.testing.assert_allclose(found, formula(parts, 0.3), atol=1e-12)
