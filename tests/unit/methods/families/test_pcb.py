"""PCB-Merging against the steps of its paper, on whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import merged, several


def published(parts: np.ndarray, ratio: float) -> np.ndarray:
    """The paper's steps on flat updates, (n, d), that have no outliers to cut and are small."""
    count, size = parts.shape

    def normalized(x: np.ndarray) -> np.ndarray:
        low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
        return (x - low) / (high - low)

    magnitudes = np.abs(parts)
    own = magnitudes / magnitudes.max(axis=1, keepdims=True)
    scores = np.exp(count * own**2) * np.tanh(parts * parts.sum(axis=0))
    floor = np.sort(scores, axis=1)[:, [int(size * (1 - ratio))]]
    shares = normalized(np.maximum(scores, floor))
    return (parts * shares).sum(axis=0) / np.maximum(shares.sum(axis=0), 1e-12)


@pytest.mark.parametrize("density", [0.1, 0.25, 0.4])
def test_it_is_the_papers_for_small_updates(density: float) -> None:
    updates, weights = [1e-4 * each for each in several(1)], [0.7, 1.0, 2.0]
    parts = np.array([weight * each.dense().reshape(-1) for each, weight in zip(updates, weights, strict=True)])
    found = merged(updates, "pcb", weights=weights, density=density).reshape(-1)
    np.testing.assert_allclose(found, published(parts, density), rtol=1e-6, atol=1e-12)
    assert np.count_nonzero(found) <= 3 * density * found.size


def test_entries_that_oppose_the_sum_count_nothing() -> None:
    updates = several(2, ranks=(2, 3))
    found, parts = merged(updates, "pcb", density=1), [each.dense() for each in updates]
    opposed = np.sign(parts[0]) != np.sign(parts[1])
    larger = np.where(np.abs(parts[0]) > np.abs(parts[1]), *parts)
    np.testing.assert_allclose(found[opposed], larger[opposed])


def test_nothing_makes_nothing() -> None:
    one = several(0)[0]
    assert not merged([0.0 * one, 0.0 * one], "pcb").any()
    assert not merged([one, one], "pcb", density=1e-9).any()
