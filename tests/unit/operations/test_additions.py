"""Some rows of W + ΔW, and what is said of the change."""

from __future__ import annotations

import numpy as np

from adapterops.operations.additions import Addition, Piece
from adapterops.operations.targets.target import Target
from adapterops.updates.lowrank import LowRank
from adapterops.updates.survival import Block

SHAPE = 6, 4


def test_the_rows_that_are_asked_for_have_the_update_added() -> None:
    numbers = np.random.default_rng(0)
    W, B, A = (numbers.standard_normal(shape).astype(np.float32) for shape in (SHAPE, (6, 2), (2, 4)))
    piece = Piece(Target("q.weight", "q", "q", SHAPE), LowRank(B, A, 0.5))
    added = Addition(lambda begin, end: Block(W[begin:end]), [piece], "float64")
    block = added(1, 4)
    np.testing.assert_allclose(block.values, (W + 0.5 * B.astype(np.float64) @ A)[1:4], rtol=1e-12)
    (change,) = block.changes
    assert change.module == "q"
    np.testing.assert_array_equal(change.W, W[1:4])
    np.testing.assert_allclose(change.W + change.delta, block.values, rtol=1e-12)
    assert not np.may_share_memory(block.values, W)


def test_a_basis_spans_the_rows_of_the_update() -> None:
    A = np.array([[3.0, 0, 0, 4], [0, 1, 0, 0]])
    basis = Piece(Target("q.weight", "q", "q", SHAPE), LowRank(np.ones((6, 2)), A)).basis()
    assert basis is not None
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-6)
    np.testing.assert_allclose(basis @ (basis.T @ A.T), A.T, atol=1e-6)
