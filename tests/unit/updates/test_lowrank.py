from __future__ import annotations

import math

import pytest
import torch

from adapterops.errors import ShapeError
from adapterops.updates.dense import Dense
from adapterops.updates.lowrank import LowRank, zero


def update(rank: int = 2, scale: float = 1.0, error: float = 0.0) -> LowRank:
    generator = torch.Generator().manual_seed(rank)
    B, A = torch.randn(5, rank, generator=generator), torch.randn(rank, 4, generator=generator)
    return LowRank(B, A, scale, error)


def test_ranks_of_a_sum_add_up_and_errors_too() -> None:
    total = update(2, 3.0, error=1.0) - update(1, error=0.5)
    assert total.rank == 3
    assert total.error == 1.5
    torch.testing.assert_close(total.dense(), update(2, 3.0).dense() - update(1).dense())


def test_scaling_touches_no_tensor() -> None:
    one = update(error=1.0)
    assert (2 * one).B is one.B
    assert (-2.0 * one).error == 2.0
    assert (-one).scale == -1.0


def test_norm_is_that_of_the_dense_matrix() -> None:
    assert update(3, -2.0).norm() == pytest.approx(update(3, -2.0).dense().double().norm().item())
    assert zero((3, 4)).norm() == 0


def test_a_narrow_dtype_is_not_rounded_in_a_sum() -> None:
    half = LowRank(torch.tensor([[1.0]]).bfloat16(), torch.tensor([[1.0]]).bfloat16(), 1 / 3)
    assert (half + half).dense().item() == pytest.approx(2 / 3)


def test_shapes_must_fit() -> None:
    with pytest.raises(ShapeError, match="rank"):
        LowRank(torch.zeros(3, 2), torch.zeros(1, 4))
    with pytest.raises(ShapeError, match="cannot add"):
        update() + zero((3, 3))
    with pytest.raises(ShapeError, match="cannot add"):
        Dense(torch.zeros(2, 2)) + zero((3, 3))


def test_dense_and_low_rank_mix() -> None:
    dense = Dense(torch.ones(5, 4), error=1.0)
    for mixed in (dense + update(), update() + dense):
        assert isinstance(mixed, Dense)
        torch.testing.assert_close(mixed.dense(), 1 + update().dense())
        assert mixed.error == 1.0
    torch.testing.assert_close((dense - update()).dense(), 1 - update().dense())
    torch.testing.assert_close((-dense).dense(), -torch.ones(5, 4))
    assert dense.norm() == pytest.approx(math.sqrt(20))
