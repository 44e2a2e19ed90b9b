"""TSV-Merge against its formula on whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank, merged, orthogonal, several

WEIGHTS = [0.7, -1.0, 2.0]


def whitened(columns: np.ndarray) -> np.ndarray:
    """X (XᵀX)^(-1/2)"""
    w, Q = np.linalg.eigh(columns.T @ columns)
    return columns @ (Q / np.sqrt(w)) @ Q.T


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_formula_on_whole_matrices(seed: int) -> None:
    updates = several(seed)
    parts = [
        np.linalg.svd(weight * each.dense(), full_matrices=False) for each, weight in zip(updates, WEIGHTS, strict=True)
    ]
    U = np.concatenate([u[:, : each.rank] for (u, _, _), each in zip(parts, updates, strict=True)], axis=1)
    V = np.concatenate([v[: each.rank] for (_, _, v), each in zip(parts, updates, strict=True)]).T
    values = np.concatenate([s[: each.rank] for (_, s, _), each in zip(parts, updates, strict=True)])
    expected = (whitened(U) * values) @ whitened(V).T
    np.testing.assert_allclose(merged(updates, "tsv", weights=WEIGHTS), expected, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_orthogonal_updates_are_added(seed: int) -> None:
    updates = orthogonal(seed)
    expected = merged(updates, "linear", weights=WEIGHTS)
    np.testing.assert_allclose(merged(updates, "tsv", weights=WEIGHTS), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_duplicates_do_not_depend_on_their_order(seed: int) -> None:
    one, other = low_rank(seed, 12, 10, 3), low_rank(seed + 50, 12, 10, 2)
    found = merged([one, other, one], "tsv")
    np.testing.assert_allclose(found, merged([one, one, other], "tsv"), atol=1e-10)
    np.testing.assert_allclose(merged([one, one], "tsv"), one.dense(), atol=1e-11)


def test_ranks_may_add_up_past_the_matrix() -> None:
    updates = several(3, (4, 5, 3), (6, 5))
    found = merged(updates, "tsv")
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, merged(updates, "tsv", space="delta"), atol=1e-10)


def test_small_directions_are_added_and_steer_nothing() -> None:
    U, V = np.linalg.qr(np.random.default_rng(0).standard_normal((12, 3)))[0], np.eye(10)[:, :3]
    graded = low_rank(1, 12, 10, 3)
    graded = type(graded)(U * np.array([1.0, 0.5, 1e-5]), V.T)
    np.testing.assert_allclose(merged([graded], "tsv"), graded.dense(), atol=1e-15)
