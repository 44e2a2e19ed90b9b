"""PCB-Merging against the steps of its paper, on whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import merged, several

from adapterops import LowRank


def published(parts: np.ndarray, ratio: float, *, clipped: bool) -> np.ndarray:
    """The steps of the authors' code on flat updates, (n, d); `clipped`: outliers are cut in what is merged, too."""
    count, size = parts.shape

    def normalized(x: np.ndarray) -> np.ndarray:
        low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
        return (x - low) / (high - low)

    def clamped(x: np.ndarray, least: float, most: float) -> np.ndarray:
        ordered = np.sort(x, axis=1)
        return np.clip(x, ordered[:, [int(size * least)]], ordered[:, [int(size * (1 - most) - 1)]])

    magnitudes = clamped(np.abs(parts), 1e-4, 1e-4)
    scores = np.exp(count * normalized(magnitudes) ** 2) * np.tanh(parts * parts.sum(axis=0))
    floor = np.sort(scores, axis=1)[:, [int(size * (1 - ratio))]]
    shares = normalized(np.maximum(scores, floor))
    merging = np.sign(parts) * magnitudes if clipped else parts
    return (merging * shares).sum(axis=0) / np.maximum(shares.sum(axis=0), 1e-12)


def small(seed: int, shape: tuple[int, int]) -> tuple[list[LowRank], list[float], np.ndarray]:
    """Updates with a row of zeros, which are the least of their magnitudes, their weights, and their entries."""
    updates, weights = [1e-4 * each for each in several(seed, shape=shape)], [0.7, 1.0, 2.0]
    for each in updates:
        each.B[0] = 0
    return updates, weights, np.array([w * each.dense().reshape(-1) for each, w in zip(updates, weights, strict=True)])


@pytest.mark.parametrize("shape", [(12, 10), (250, 160)])
@pytest.mark.parametrize("density", [0.1, 0.25, 0.4])
def test_it_is_the_authors_for_small_updates(density: float, shape: tuple[int, int]) -> None:
    updates, weights, parts = small(1, shape)
    found = merged(updates, "pcb", weights=weights, density=density).reshape(-1)
    np.testing.assert_allclose(found, published(parts, density, clipped=False), rtol=1e-6, atol=1e-12)
    assert np.count_nonzero(found) <= 3 * density * found.size


def test_the_authors_cut_outliers_in_what_is_merged_too_which_changes_few_entries() -> None:
    updates, weights, parts = small(2, (250, 160))
    found = merged(updates, "pcb", weights=weights, density=0.1).reshape(-1)
    theirs = published(parts, 0.1, clipped=True)
    np.testing.assert_allclose(np.median(np.abs(found[theirs != 0] / theirs[theirs != 0] - 1)), 0, atol=1e-3)
    assert 0 < np.count_nonzero(~np.isclose(found, theirs, rtol=1e-6, atol=1e-12)) <= 3 * 5


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
