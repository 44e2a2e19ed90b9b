"""WUDI against its formula on whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank, merged, orthogonal, several

from adapterops import LowRank


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 3.0])
def test_it_is_where_the_gradient_is_zero(ridge: float) -> None:
    updates, weights = several(1), [0.7, -1.0, 2.0]
    parts = [weight * each.dense() for each, weight in zip(updates, weights, strict=True)]
    grams = [part.T @ part / np.linalg.norm(part) ** 2 for part in parts]
    epsilon = ridge * np.linalg.eigvalsh(sum(grams))[-1]
    found = merged(updates, "wudi", weights=weights, ridge=ridge)
    gradient = sum((found - part) @ gram for part, gram in zip(parts, grams, strict=True))
    np.testing.assert_allclose(gradient + epsilon * (found - sum(parts)), 0, atol=1e-10)


def test_orthogonal_updates_are_added() -> None:
    updates = orthogonal(0)
    np.testing.assert_allclose(merged(updates, "wudi"), sum(each.dense() for each in updates), atol=1e-10)


def test_what_two_share_is_there_once_and_not_twice() -> None:
    one = low_rank(0, 12, 10, 3)
    twice = merged([one, one], "wudi", ridge=1e-6)
    np.testing.assert_allclose(twice, one.dense(), atol=1e-3)
    assert not merged([0.0 * one, 0.0 * one], "wudi").any()


@pytest.mark.parametrize("seed", range(3))
def test_it_is_where_the_steps_of_the_authors_end_if_none_stops_them(seed: int) -> None:
    """Their loss, Σ ‖(M - Xᵢ) Xᵢᵀ‖² / ‖Xᵢ‖², falls from the sum along its gradient to what has least of it next to the sum."""
    parts = [each.dense() for each in orthogonal(seed)]
    mixed = [parts[0] + 0.3 * parts[1], parts[1] - 0.5 * parts[2], parts[2] + 0.4 * parts[0]]
    found = sum(mixed)
    for _ in range(20_000):
        slope = sum(2 * (found - x) @ x.T @ x / np.square(x).sum() for x in mixed)
        if np.abs(slope).max() < 1e-12:
            break
        found = found - 0.3 * slope
    updates = [LowRank(part, np.eye(part.shape[1])) for part in mixed]
    np.testing.assert_allclose(merged(updates, "wudi", ridge=1e-6), found, atol=1e-4)
