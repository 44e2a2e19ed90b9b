"""What several updates have in common."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.linalg.factor import balanced
from adapterops.linalg.sharing import MOST, alike, bases, distance
from adapterops.updates.lowrank import LowRank

RANDOM = np.random.default_rng(0)
OUT, IN = 30, 20


def update(rank: int, scale: float = 1.0) -> LowRank:
    return LowRank(RANDOM.standard_normal((OUT, rank)), RANDOM.standard_normal((rank, IN)), scale)


def regauged(each: LowRank) -> LowRank:
    G = RANDOM.standard_normal((each.rank, each.rank))
    return LowRank(each.B @ G, np.linalg.inv(G) @ each.A, each.scale)


def test_a_distance_is_that_of_the_entries() -> None:
    a, b = update(3, 0.5), update(2, -2.0)
    assert distance(a, b) == pytest.approx(np.linalg.norm(a.dense() - b.dense()), rel=1e-12)
    near = LowRank(a.B, a.A + 1e-9, a.scale)
    assert distance(a, near) == pytest.approx(np.linalg.norm(a.B.sum(axis=1)) * 0.5e-9 * IN**0.5, rel=1e-4)


def test_equal_updates_are_found_in_other_factors() -> None:
    first, other = update(3), update(3)
    updates = [first, other, regauged(first), regauged(other), update(3)]
    found = alike(updates, [each.norm() for each in updates], 1e-8)
    assert [place for place, _ in found] == [0, 1, 0, 1, 4]
    assert all(apart <= 1e-8 * update.norm() for update, (_, apart) in zip(updates, found, strict=True))


def test_one_that_is_near_is_the_same_within_the_error_alone() -> None:
    first = update(3)
    near = LowRank(first.B * 1.002, first.A)
    norms = [first.norm(), near.norm()]
    assert [place for place, _ in alike([first, near], norms, 1e-3)] == [0, 1]
    (_, (place, apart)) = alike([first, near], norms, 3e-3)
    assert place == 0
    assert apart == pytest.approx(0.002 * first.norm(), rel=1e-6)


def test_zeros_are_alike() -> None:
    nothing = LowRank(np.zeros((OUT, 0)), np.zeros((0, IN)))
    assert alike([nothing, update(1), nothing], [0.0, 5.0, 0.0], 0.01) == [(0, 0.0), (1, 0.0), (0, 0.0)]


def sides(updates: list[LowRank]) -> set[tuple[int, int]]:
    """How many directions of outputs and inputs may be shared."""
    canonical = [balanced(each) for each in updates]
    found = bases(canonical, [each.norm() for each in updates], 0.005)
    return {(0 if L is None else L.shape[1], 0 if R is None else R.shape[1]) for L, R in found}


def test_an_A_that_all_have_is_found() -> None:
    A = RANDOM.standard_normal((4, IN))
    updates = [LowRank(RANDOM.standard_normal((OUT, 4)), A) for _ in range(5)]
    assert {(0, 0), (0, 4)} <= sides(updates)


def test_a_base_under_directions_of_their_own_is_found() -> None:
    base = update(4)
    updates = [base + 0.02 * update(1) for _ in range(6)]
    assert {(0, 0), (4, 4), (4, 0), (0, 4)} <= sides(updates)


def test_bases_are_orthonormal_also_where_there_are_many_directions() -> None:
    wide = [LowRank(RANDOM.standard_normal((400, 8)), RANDOM.standard_normal((8, 390))) for _ in range(40)]
    for L, R in bases([balanced(each) for each in wide], [each.norm() for each in wide], 0.005):
        for side in (L, R):
            if side is not None:
                assert side.shape[1] <= MOST
                np.testing.assert_allclose(side.T @ side, np.eye(side.shape[1]), atol=1e-10)
