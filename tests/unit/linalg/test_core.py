"""QR by Cholesky against Householder's, and the joint core against the updates it stands for."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import low_rank, same_shaped

from adapterops.linalg import core
from adapterops.linalg.core import JointCore, orthonormal, triangle
from adapterops.updates.lowrank import LowRank


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e5, 1e7, 1e12, np.inf])
@pytest.mark.parametrize("shape", [(300, 12), (20, 12), (5, 12), (40, 1)])
def test_a_qr_is_one_whatever_the_condition(shape: tuple[int, int], condition: float) -> None:
    random = np.random.default_rng(0)
    matrix = random.standard_normal(shape) @ np.diag(
        np.geomspace(1, 1 / condition, shape[1]) if condition < np.inf else np.eye(shape[1])[0]
    )
    matrix = matrix @ random.standard_normal((shape[1], shape[1]))
    Q, R = orthonormal(matrix)
    size = np.linalg.norm(matrix)
    assert np.allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=1e-12)
    assert np.linalg.norm(Q @ R - matrix) <= 1e-13 * size
    assert np.linalg.norm(triangle(matrix).T @ triangle(matrix) - matrix.T @ matrix) <= 1e-13 * size**2


def test_a_well_conditioned_matrix_needs_no_householder(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(0).standard_normal((300, 12))
    monkeypatch.setattr(np.linalg, "qr", None)
    Q, R = orthonormal(matrix)
    assert np.allclose(Q @ R, matrix)
    monkeypatch.setattr(core, "CONDITION", 1.0)
    with pytest.raises(TypeError):
        orthonormal(matrix)


@given(same_shaped(3))
def test_a_core_holds_its_updates(updates: list[LowRank]) -> None:
    joint = JointCore.of(updates)
    size = 1 + max(update.norm() for update in updates)
    for update, matrix in zip(updates, joint.matrices, strict=True):
        assert np.allclose(joint.back(matrix).dense(), update.dense(), atol=1e-10 * size)
    for (a, M), (b, N) in combinations(zip(updates, joint.matrices, strict=True), 2):
        assert float((M * N).sum()) == pytest.approx(float((a.dense() * b.dense()).sum()), abs=1e-9 * size**2)


@given(st.integers(0, 999), st.integers(1, 4))
def test_another_factorization_has_the_same_core(seed: int, rank: int) -> None:
    one, other = low_rank(seed, 9, 8, rank), low_rank(seed + 1, 9, 8, 2)
    G = low_rank(seed + 2, rank, rank, rank).dense() / rank + 3 * np.eye(rank)
    again = LowRank(one.B @ G, np.linalg.solve(G, one.A), one.scale)
    for mine, theirs in zip(JointCore.of([one, other]).matrices, JointCore.of([again, other]).matrices, strict=True):
        assert np.allclose(np.abs(mine), np.abs(theirs), atol=1e-8 * (1 + one.norm() + other.norm()))
