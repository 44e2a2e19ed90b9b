"""Coordinates of updates, and the way back: what adds is the same in all of them."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.errors import UnsupportedError
from adapterops.methods.spaces import SPACES, factored
from adapterops.updates.dense import Dense
from adapterops.updates.difference import Difference
from adapterops.updates.lowrank import LowRank

RANDOM = np.random.default_rng(0)
UPDATES = [LowRank(RANDOM.standard_normal((9, rank)), RANDOM.standard_normal((rank, 7)), 0.5) for rank in (1, 2)]
WEIGHTS = [0.7, -0.3]
EXPECTED = sum(weight * update.dense() for weight, update in zip(WEIGHTS, UPDATES, strict=True))


@pytest.mark.parametrize("name", ["delta", "core", "knots"])
def test_a_sum_there_is_the_sum(name: str) -> None:
    blocks, back = SPACES[name].open(UPDATES, WEIGHTS)
    results = [
        Dense(sum(weight * update.dense() for weight, update in zip(block.weights, block.updates, strict=True)))
        for block in blocks
    ]
    np.testing.assert_allclose(back(results).dense(), EXPECTED, atol=1e-6)


def test_aligned_updates_are_those_of_the_definition() -> None:
    """U S [V₁ …]ᵀ the SVD of [ΔW₁ …]: S Vᵢᵀ, up to the sign of each row, at the rank of the update."""
    deltas = [update.dense() for update in UPDATES]
    _, S, Vt = np.linalg.svd(np.concatenate(deltas, axis=1), full_matrices=False)
    (block,), _ = SPACES["knots"].open(UPDATES, WEIGHTS)
    for aligned, update, part in zip(block.updates, UPDATES, np.split(S[:3, None] * Vt[:3], 2, axis=1), strict=True):
        np.testing.assert_allclose(np.abs(aligned.dense()), np.abs(part), atol=1e-12)
        assert aligned.rank == update.rank


def test_inputs_that_no_update_reads_have_no_entries_in_aligned_updates() -> None:
    A, B = np.eye(2, 7), RANDOM.standard_normal((9, 2))
    (block,), _ = SPACES["knots"].open([LowRank(B, A), LowRank(B, np.roll(A, 3, axis=1))], [1, 1])
    for aligned, columns in zip(block.updates, ([0, 1], [3, 4]), strict=True):
        assert np.flatnonzero(aligned.dense().any(axis=0)).tolist() == columns


def test_small_matrices_have_the_joint_rank() -> None:
    (block,), _ = SPACES["core"].open(UPDATES, WEIGHTS)
    assert {update.shape for update in block.updates} == {(3, 3)}


def test_weights_of_models_are_theirs_and_that_of_the_base_what_is_left() -> None:
    before, after = RANDOM.standard_normal((4, 5)), RANDOM.standard_normal((4, 5))
    change = Difference(
        (4, 5), np.dtype(np.float64), lambda begin, end: after[begin:end], lambda begin, end: before[begin:end]
    )
    (block,), back = SPACES["weights"].open([change], [0.25])
    assert list(block.weights) == [0.75, 0.25]
    np.testing.assert_allclose([each.dense() for each in block.updates], [before, after])
    np.testing.assert_allclose(back([block.updates[1]]).dense(), after - before)
    with pytest.raises(UnsupportedError, match="--space weights is for whole models"):
        SPACES["weights"].open(UPDATES, WEIGHTS)


def test_what_has_no_factors_has_no_core() -> None:
    with pytest.raises(UnsupportedError, match="no factors of low rank"):
        factored([Difference((4, 5), np.dtype(np.float64), lambda begin, end: np.ones((end - begin, 5)), None)])
