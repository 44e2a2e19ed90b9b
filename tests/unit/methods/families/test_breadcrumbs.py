"""Breadcrumbs against its formula in float64, by a full sort."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.methods.entries import Entries
from adapterops.methods.families.breadcrumbs import breadcrumbs
from adapterops.updates.dense import Dense
from adapterops.updates.protocol import Array

SHAPE = (700, 450)
"""Of two tiles."""


def masked(x: Array, keep: int, outliers: int) -> Array:
    """x with only the entries of the ranks [outliers, outliers + keep) by magnitude, equal ones by their place."""
    order = np.argsort(-np.abs(x.reshape(-1)), kind="stable")
    result = np.zeros(x.size)
    kept = order[outliers : outliers + keep]
    result[kept] = x.reshape(-1)[kept]
    return result.reshape(x.shape)


def merged(parts: list[Array], weights: list[float], **options: float) -> Array:
    entries = Entries([Dense(each) for each in parts])
    tile = breadcrumbs(entries, weights, **options)
    return np.concatenate([tile(first) for first in range(0, parts[0].shape[0], entries.height)])


@pytest.mark.parametrize(
    ("density", "gamma", "keep", "outliers"),
    [
        (0.5, 0.01, 157_500, 3150),
        (0.1, 0.2, 31_500, 63_000),
        (0.7, 0.3, 220_500, 94_500),
        (0.1, 0.0, 31_500, 0),
        (0.1, 1e-6, 31_500, 0),  # less than one entry: mergekit's mask is empty
        (0.9, 0.5, 283_500, 31_500),  # more than 1 together: the density counts
        (1.0, 0.01, 315_000, 0),
        (1e-9, 0.01, 1, 3150),
    ],
)
def test_entries_are_those_of_the_formula(density: float, gamma: float, keep: int, outliers: int) -> None:
    random = np.random.default_rng(0)
    parts, weights = [random.standard_normal(SHAPE) for _ in range(2)], [0.7, -1.5]
    expected = sum(w * masked(x, keep, outliers) for w, x in zip(weights, parts, strict=True))
    np.testing.assert_allclose(merged(parts, weights, density=density, gamma=gamma), expected, atol=1e-12)
    assert [np.count_nonzero(masked(x, keep, outliers)) for x in parts] == [keep, keep]


def test_of_equal_magnitudes_the_first_count_as_the_largest() -> None:
    x = np.random.default_rng(1).choice([-2.0, -1.0, 0.0, 1.0, 2.0], SHAPE)
    found = merged([x], [1.0], density=0.3, gamma=0.1)
    assert np.array_equal(found, masked(x, int(0.3 * x.size), int(0.1 * x.size)))
    assert not found[0, 0]
    assert np.array_equal(
        merged([np.ones((3, 4))], [1.0], density=0.5, gamma=0.25).reshape(-1), [0] * 3 + [1] * 6 + [0] * 3
    )


def test_outliers_alone_leave_nothing() -> None:
    x = np.zeros((20, 30))
    x[3, 4], x[7, 1] = 5.0, -4.0
    assert not merged([x], [1.0], density=0.5, gamma=0.01).any()
