"""Trimming against a full sort."""

from __future__ import annotations

import numpy as np

from adapterops.methods.entries import Entries
from adapterops.methods.families.magnitude import magnitude_prune
from adapterops.updates.dense import Dense


def test_the_largest_entries_of_each_are_added() -> None:
    random = np.random.default_rng(0)
    parts, weights = [random.standard_normal((30, 20)) for _ in range(2)], [0.7, -1.5]
    expected = np.zeros((30, 20))
    for weight, x in zip(weights, parts, strict=True):
        kept = np.argsort(-np.abs(x.reshape(-1)), kind="stable")[:150]
        trimmed = np.zeros(600)
        trimmed[kept] = x.reshape(-1)[kept]
        expected += weight * trimmed.reshape(x.shape)
    tile = magnitude_prune(Entries([Dense(each) for each in parts]), weights, density=0.25)
    np.testing.assert_allclose(tile(0), expected, atol=1e-12)
