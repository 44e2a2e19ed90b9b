"""The joint core, against the updates it stands for."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import low_rank, same_shaped

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
