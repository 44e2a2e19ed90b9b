"""Iso-C and Iso-CTS against their formulas on whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank, merged, orthogonal, several

WEIGHTS = [0.7, -1.0, 2.0]


def summed(updates: list, weights: list[float]) -> np.ndarray:
    return sum(weight * each.dense() for each, weight in zip(updates, weights, strict=True))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("flatness", [1.0, 0.4, 0.0])
def test_iso_c_is_the_formula_at_the_rank_of_the_sum(seed: int, flatness: float) -> None:
    updates = several(seed)
    u, s, vt = np.linalg.svd(summed(updates, WEIGHTS), full_matrices=False)
    s = s[:6]
    expected = (u[:, :6] * (s + flatness * (s.mean() - s))) @ vt[:6]
    np.testing.assert_allclose(merged(updates, "iso_c", weights=WEIGHTS, flatness=flatness), expected, atol=1e-10)


def test_duplicates_fill_no_null_space() -> None:
    one = low_rank(0, 12, 10, 3)
    assert np.linalg.matrix_rank(merged([one, one], "iso_c"), tol=1e-9) == 3


def test_what_is_rounding_to_16_bits_is_not_made_large() -> None:
    one, noise = low_rank(0, 12, 10, 3), 1e-5 * low_rank(1, 12, 10, 3)
    found = np.linalg.svd(merged([one, one + noise], "iso_c"), compute_uv=False)
    assert found[3] < 1e-3 * found[0]


def dense_cts(parts: list[np.ndarray], rank: int, own: int) -> np.ndarray:
    u, _, vt = np.linalg.svd(sum(parts))
    s = np.linalg.svd(sum(parts), compute_uv=False)
    kept = rank - own * len(parts)
    U, S, V = [u[:, :kept]], [s[:kept]], [vt[:kept]]
    for each in parts:
        left, values, right = np.linalg.svd(each - U[0] @ U[0].T @ each)
        U.append(left[:, :own])
        S.append(values[:own])
        V.append(right[:own])
    left, right = np.concatenate(U, axis=1), np.concatenate(V).T
    return np.concatenate(S).mean() * polar(left) @ polar(right).T


def polar(columns: np.ndarray) -> np.ndarray:
    """That of the directions above 0.001 of the largest."""
    u, s, vt = np.linalg.svd(columns, full_matrices=False)
    return u[:, s > 1e-3 * s[0]] @ vt[s > 1e-3 * s[0]]


@pytest.mark.parametrize(("common", "own"), [(0.8, 1), (0.5, 2), (0.45, 3), (0.0, 4), (1.0, 0)])
@pytest.mark.parametrize("seed", range(3))
def test_iso_cts_is_the_formula_at_the_rank_of_the_sum(seed: int, common: float, own: int) -> None:
    updates = several(seed, (4, 5, 4), (40, 36))
    parts = [weight * each.dense() for each, weight in zip(updates, WEIGHTS, strict=True)]
    expected = dense_cts(parts, 13, own)
    found = merged(updates, "iso_cts", weights=WEIGHTS, common=common)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_more_directions_than_there_are_are_not_shared_out() -> None:
    updates = several(3, (1, 2), (12, 10))
    found = merged(updates, "iso_cts", common=0.0)
    assert np.linalg.matrix_rank(found, tol=1e-9) == 3
    np.testing.assert_allclose(found, dense_cts([each.dense() for each in updates], 3, 1), atol=1e-10)


def test_with_nothing_from_single_updates_it_is_iso_c() -> None:
    updates = several(9)
    np.testing.assert_allclose(merged(updates, "iso_cts", common=1.0), merged(updates, "iso_c"), atol=1e-10)


@pytest.mark.parametrize(("method", "options"), [("iso_c", {}), ("iso_cts", {"common": 1.0})])
def test_equal_orthogonal_updates_are_added(method: str, options: dict[str, float]) -> None:
    updates = [type(each)(each.B / np.linalg.norm(each.B, axis=0), each.A) for each in orthogonal(4)]
    np.testing.assert_allclose(merged(updates, method, **options), summed(updates, [1, 1, 1]), atol=1e-12)
