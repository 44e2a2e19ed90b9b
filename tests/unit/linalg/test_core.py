"""The joint core, against the updates it stands for."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import low_rank, same_shaped, several

from adapterops.linalg.core import JointCore
from adapterops.updates.lowrank import LowRank


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


def test_updates_with_one_A_or_one_B_have_a_core_of_its_rank() -> None:
    one, other = low_rank(0, 12, 10, 3), low_rank(1, 12, 10, 3)
    for updates in ([one, LowRank(other.B, one.A)], [one, LowRank(one.B, other.A)]):
        joint = JointCore.of(updates)
        for update, matrix in zip(updates, joint.matrices, strict=True):
            back = joint.back(matrix)
            assert back.rank == 3
            np.testing.assert_allclose(back.dense(), update.dense(), atol=1e-12)


def test_the_order_of_updates_changes_signs_at_most() -> None:
    updates = [low_rank(seed, 12, 10, rank) for seed, rank in ((0, 3), (1, 2), (2, 4))]
    found = JointCore.of(updates[::-1]).matrices[::-1]
    for mine, theirs in zip(JointCore.of(updates).matrices, found, strict=True):
        np.testing.assert_allclose(np.abs(mine), np.abs(theirs), atol=1e-10)


@pytest.mark.parametrize("shape", [(40, 30), (9, 7)])
@pytest.mark.parametrize("ranks", [(3, 2, 4), (1, 1), (4, 4, 4, 4)])
def test_one_update_more_is_the_core_of_all(shape: tuple[int, int], ranks: tuple[int, ...]) -> None:
    updates = several(1, ranks, shape)
    updates.append(0.5 * updates[0])  # nothing new in it
    grown = JointCore.of(updates[:1])
    for each in updates[1:]:
        grown = grown.with_another(each)
    whole = JointCore.of(updates)
    assert grown.left.shape == whole.left.shape
    assert grown.right.shape == whole.right.shape
    for side in ("left", "right"):
        basis = getattr(grown, side)
        np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-10)
        signs = np.sign((basis * getattr(whole, side)).sum(axis=0))
        np.testing.assert_allclose(basis * signs, getattr(whole, side), atol=1e-7)
    for ours, theirs in zip(grown.values, whole.values, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    for matrix, update in zip(grown.matrices, updates, strict=True):
        np.testing.assert_allclose(grown.back(matrix).dense(), update.dense(), atol=1e-10)


@pytest.mark.parametrize("distance", [1e-12, 1e-10, 1e-8, 1e-6])
def test_a_core_with_one_that_is_nearly_there_has_orthonormal_sides(distance: float) -> None:
    random = np.random.default_rng(0)
    B, A = random.standard_normal((256, 8)), random.standard_normal((8, 200))
    near = LowRank(B + distance * random.standard_normal(B.shape), A)
    found = JointCore.of([LowRank(B, A)]).with_another(near)
    for side in (found.left, found.right):
        np.testing.assert_allclose(side.T @ side, np.eye(side.shape[1]), atol=1e-13)
    np.testing.assert_allclose(found.back(found.matrices[1]).dense(), near.dense(), atol=1e-10)
