from __future__ import annotations

import numpy as np
import pytest
import torch
from strategies import entries

from adapterops.errors import OptionError
from adapterops.linalg import factor
from adapterops.updates.dense import Dense
from adapterops.updates.lowrank import LowRank


def random_update(out: int, into: int, rank: int, dtype: torch.dtype = torch.float64) -> LowRank:
    generator = torch.Generator().manual_seed(out + into)
    return LowRank(
        torch.randn(out, rank, generator=generator, dtype=dtype),
        torch.randn(rank, into, generator=generator, dtype=dtype),
        0.5,
    )


@pytest.mark.parametrize(("out", "into", "rank"), [(30, 20, 6), (20, 30, 6), (4, 30, 6), (5, 5, 9), (1, 7, 3)])
@pytest.mark.parametrize("kept", [0, 1, 3, 5])
def test_truncation_is_the_truncated_svd(out: int, into: int, rank: int, kept: int) -> None:
    update = random_update(out, into, rank)
    if kept >= rank:
        return
    u, s, vt = torch.linalg.svd(entries(update), full_matrices=False)
    small = factor.truncate(update, kept)
    assert small.rank == kept
    torch.testing.assert_close(entries(small), (u[:, :kept] * s[:kept]) @ vt[:kept])
    assert small.error == pytest.approx(s[kept:].norm().item(), abs=1e-9)
    np.testing.assert_allclose(factor.spectrum(update)[: len(s)], s[: min(len(s), rank)], rtol=1e-9, atol=1e-12)


def test_factors_are_balanced() -> None:
    small = factor.truncate(random_update(30, 20, 6), 4)
    np.testing.assert_allclose(small.B.T @ small.B, small.A @ small.A.T, atol=1e-9)


def test_zero_and_deficient_updates() -> None:
    untrained = LowRank(torch.zeros(6, 4), torch.randn(4, 5))
    assert factor.truncate(untrained, 2).norm() == 0
    column = torch.randn(6, 1)
    deficient = LowRank(column.repeat(1, 4), torch.randn(4, 5))
    small = factor.truncate(deficient, 3)
    assert np.isfinite(small.B).all()
    assert (small.B[:, 1:] == 0).all()
    torch.testing.assert_close(entries(small).float(), entries(deficient))


def test_a_negative_rank_is_refused() -> None:
    with pytest.raises(OptionError, match="at least 0"):
        factor.truncate(random_update(3, 3, 2), -1)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("shape", [(200, 120), (120, 200), (30, 12)])
def test_an_svd_reports_the_error_it_has(shape: tuple[int, int], exact: bool) -> None:
    W = entries(random_update(*shape, 60)).float()
    found = factor.factorize(Dense(W), 10, exact=exact)
    true = (W.double() - entries(found).double()).norm().item()
    best = torch.linalg.svdvals(W.double())[10:].norm().item()
    assert found.error == pytest.approx(true, rel=1e-4)
    assert best * (1 - 1e-6) <= true <= best * (1.0001 if exact else 1.02)


def test_an_exactly_low_rank_matrix_has_a_tiny_error() -> None:
    W = entries(random_update(200, 120, 5)).float()
    found = factor.factorize(Dense(W), 8)
    assert found.error < 1e-5 * W.norm()
    assert factor.factorize(Dense(W), 0).error == pytest.approx(W.norm().item(), rel=1e-5)


def noisy(seed: int) -> tuple[torch.Tensor, LowRank]:
    """A matrix whose spectrum falls slowly, and the low-rank update that it is mostly made of."""
    generator = torch.Generator().manual_seed(seed)
    near = LowRank(torch.randn(300, 20, generator=generator), torch.randn(20, 200, generator=generator))
    return entries(near) + 2 * torch.randn(300, 200, generator=generator), near


@pytest.mark.parametrize("kind", ["near", "far", "zero", "narrow", "rank 0", "wider dtype"])
def test_where_the_search_starts_decides_no_truth(kind: str) -> None:
    W, near = noisy(1)
    column = torch.ones(300, 1)
    starts = {
        "near": near,
        "far": noisy(2)[1],
        "zero": 0.0 * near,
        "narrow": LowRank(column, torch.ones(1, 200)),
        "rank 0": LowRank(column[:, :0], torch.ones(0, 200)),
        "wider dtype": LowRank(near.B.astype(np.float64), near.A.astype(np.float64)),
    }
    found = factor.factorize(Dense(W, near=starts[kind]), 10)
    best = torch.linalg.svdvals(W.double())[10:].norm().item()
    assert best * (1 - 1e-6) <= found.error <= 1.01 * best
    assert found.error == pytest.approx((W - entries(found)).norm().item(), rel=1e-4)


def test_a_near_update_saves_products(monkeypatch: pytest.MonkeyPatch) -> None:
    W, near = noisy(1)
    blocks = []
    real = factor._orthonormal
    monkeypatch.setattr(factor, "_orthonormal", lambda rows: blocks.append(len(rows)) or real(rows))
    factor.factorize(Dense(W), 20)
    without = len(blocks)
    blocks.clear()
    factor.factorize(Dense(W, near=near), 20)
    assert len(blocks) < without


def test_a_near_update_of_full_rank_is_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    W, _ = noisy(1)
    monkeypatch.setattr(factor, "triangle", lambda factors: pytest.fail(f"QR of {factors.shape}"))
    factor.factorize(Dense(W, near=LowRank(W, torch.eye(200))), 10)


def test_a_narrow_dtype_is_widened() -> None:
    W, _ = noisy(3)
    found = factor.factorize(Dense(W.bfloat16()), 10)
    assert found.error == pytest.approx((W.bfloat16().float() - entries(found)).norm().item(), rel=1e-4)


def test_the_other_path_when_the_svd_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = np.linalg.svd, []

    def fails_once(matrix: np.ndarray, **options: bool) -> object:
        calls.append(matrix.shape)
        if len(calls) == 1:
            raise np.linalg.LinAlgError("did not converge")
        return real(matrix, **options)

    update = random_update(9, 7, 5)
    expected = entries(factor.truncate(update, 2))
    monkeypatch.setattr(np.linalg, "svd", fails_once)
    torch.testing.assert_close(entries(factor.truncate(update, 2)), expected)
    assert len(calls) == 2


@pytest.mark.parametrize(("rows", "columns"), [(0, 1), (1, 0), (3, 2), (30, 20)])
def test_what_rounding_moves_of_a_few_rows_and_columns(rows: int, columns: int) -> None:
    """The rest is left out of the products."""
    rng = np.random.default_rng(1)
    update = LowRank(rng.standard_normal((30, 4)), rng.standard_normal((4, 20)), 0.5)
    B, A = update.folded().copy(), update.A.copy()
    B[:rows] *= 1.001
    A[:, :columns] *= 0.999
    expected = pytest.approx(float(np.linalg.norm(update.dense() - B @ A)), rel=1e-9)
    assert factor.moved(update, B.__getitem__, A.T.__getitem__) == expected


def test_what_rounding_moves_is_the_norm_of_the_difference() -> None:
    rng = np.random.default_rng(0)
    update = LowRank(rng.standard_normal((30, 4)), rng.standard_normal((4, 20)), 0.5)
    B, A = update.folded().astype(np.float16), update.A.astype(np.float16)
    difference = update.dense() - B.astype(np.float64) @ A.astype(np.float64)
    assert factor.moved(update, B.__getitem__, A.T.__getitem__) == pytest.approx(
        float(np.linalg.norm(difference)), rel=1e-9
    )
    assert factor.moved(update, update.folded().__getitem__, update.A.T.__getitem__) == 0
