"""TIES in the core and in KnOTS' coordinates against whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank, merged, orthogonal, several


def ties(parts: list[np.ndarray], weights: list[float], density: float) -> np.ndarray:
    kept = []
    for part in parts:
        order = np.argsort(-np.abs(part.reshape(-1)), kind="stable")[: int(density * part.size)]
        flat = np.zeros(part.size)
        flat[order] = part.reshape(-1)[order]
        kept.append(flat.reshape(part.shape))
    weighted = np.array([w * x for w, x in zip(weights, kept, strict=True)])
    sign = np.where(weighted.sum(axis=0) >= 0, 1, -1)
    agrees = np.sign(weighted) == sign
    count = np.array([agrees[i] * abs(weights[i]) for i in range(len(weights))]).sum(axis=0)
    return (weighted * agrees).sum(axis=0) / np.where(count, count, 1)


WEIGHTS = [0.7, -1.0, 2.0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("density", [0.2, 0.7])
def test_knots_is_ties_on_the_blocks_of_the_joint_svd(seed: int, density: float) -> None:
    updates = several(seed)
    parts = [each.dense() for each in updates]
    u, s, vt = np.linalg.svd(np.concatenate(parts, axis=1), full_matrices=False)
    blocks = [s[:6, None] * block for block in np.split(vt[:6], 3, axis=1)]
    expected = u[:, :6] @ ties(blocks, WEIGHTS, density)
    found = merged(updates, "knots_ties", weights=WEIGHTS, density=density)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    again = merged(updates, "ties", space="knots", weights=WEIGHTS, density=density)
    assert np.array_equal(found, again)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("density", [0.2, 0.7])
def test_core_space_is_ties_in_the_singular_vectors_of_stacked_factors(seed: int, density: float) -> None:
    updates = several(seed)
    Bs, As = [], []
    for each in updates:  # canonical: B = U √Σ, A = √Σ Vᵀ
        u, s, vt = np.linalg.svd(each.dense(), full_matrices=False)
        Bs.append(u[:, : each.rank] * np.sqrt(s[: each.rank]))
        As.append(np.sqrt(s[: each.rank])[:, None] * vt[: each.rank])
    U = np.linalg.svd(np.concatenate(Bs, axis=1), full_matrices=False)[0]
    V = np.linalg.svd(np.concatenate(As), full_matrices=False)[2].T
    cores = [U.T @ B @ A @ V for B, A in zip(Bs, As, strict=True)]
    expected = U @ ties(cores, WEIGHTS, density) @ V.T
    np.testing.assert_allclose(merged(updates, "core_ties", weights=WEIGHTS, density=density), expected, atol=1e-10)
    assert np.array_equal(
        merged(updates, "core_ties", weights=WEIGHTS, density=density),
        merged(updates, "ties", space="core", weights=WEIGHTS, density=density),
    )


@pytest.mark.parametrize("space", ["knots", "core"])
def test_a_linear_rule_is_the_sum_in_every_space(space: str) -> None:
    updates = several(7, (3, 8, 5), (9, 8))
    expected = merged(updates, "linear", weights=WEIGHTS)
    np.testing.assert_allclose(merged(updates, "linear", space=space, weights=WEIGHTS), expected, atol=1e-11)


@pytest.mark.parametrize("method", ["knots_ties", "core_ties"])
def test_rounding_has_no_vote(method: str) -> None:
    """Updates without a common direction are added: no entry of one meets anything of another."""
    updates = orthogonal(3)
    np.testing.assert_allclose(merged(updates, method, density=1.0), merged(updates, "linear"), atol=1e-12)


@pytest.mark.parametrize("method", ["knots_ties", "core_ties"])
def test_duplicates_are_averaged(method: str) -> None:
    one = low_rank(0, 12, 10, 3)
    np.testing.assert_allclose(merged([one, one], method, density=1.0), one.dense(), atol=1e-12)
