"""Updates in numpy are those in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from adapterops import engine
from adapterops.errors import IncompatibleError
from adapterops.floats import Array
from adapterops.updates.factors import COLUMNS, Factors, _runs
from adapterops.updates.lowrank import LowRank


def low_rank(seed: int, out: int, into: int, rank: int, scale: float) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    return LowRank(torch.randn(out, rank, generator=generator), torch.randn(rank, into, generator=generator), scale)


def dense(factors: Factors) -> Array:
    shape = factors.B.shape[0], factors.A.shape[1]
    return factors.rows()(slice(0, shape[0]), np.empty(shape, factors.B.dtype))


sizes = st.integers(1, 9)


@given(st.integers(0, 999), sizes, sizes, st.integers(0, 5), st.integers(0, 5), st.floats(-3, 3, width=32), st.floats(-2, 2, width=32))
def test_sums_multiples_and_transposes_are_those_of_torch(seed: int, out: int, into: int, r: int, s: int, scale: float, by: float) -> None:
    one, other = low_rank(seed, out, into, r, scale), low_rank(seed + 1, out, into, s, 0.5)
    for dtype in (torch.float32, torch.float64):
        first, second = one.factors(dtype), other.factors(dtype)
        exact = by * one.dense().double() + other.dense().double()
        found = dense(by * first + second)
        assert found.dtype == first.B.dtype
        size = max(1.0, float(exact.abs().max()))
        assert np.abs(found - exact.numpy()).max() <= 1e-5 * size
        assert np.abs(dense((by * first + second).T) - exact.T.numpy()).max() <= 1e-5 * size


def test_factors_are_folded_as_those_of_torch_are() -> None:
    update = low_rank(0, 8, 6, 3, 0.37)
    assert np.array_equal(Factors(update.B.numpy(), update.A.numpy(), 0.37).folded(), update.folded(torch.float32).numpy())


@pytest.mark.parametrize("rank", [1, 16, 80])
@pytest.mark.parametrize("width", [COLUMNS - 1, COLUMNS, COLUMNS + 1, 2 * COLUMNS + 300, 2 * COLUMNS + 301])
def test_the_pieces_of_a_product_are_the_whole_of_it(width: int, rank: int) -> None:
    update = low_rank(1, 150, width, rank, 0.5)
    exact = 0.5 * update.B.double() @ update.A.double()
    size = 0.5 * update.B.abs().double() @ update.A.abs().double()  # of what is summed
    rows = update.factors(torch.float32).rows()
    for part in (slice(0, 150), slice(7, 149), slice(3, 4)):
        found = torch.from_numpy(rows(part, np.full((part.stop - part.start, width), np.nan, np.float32))).double()
        assert bool(((found - exact[part]).abs() <= (rank + 2) * 2**-24 * size[part]).all())


@given(st.integers(0, 5000), st.integers(1, 1000))
def test_runs_are_all_of_a_length_in_pieces_that_are_not_too_large(length: int, most: int) -> None:
    runs = _runs(length, most)
    assert all(count * size == run.stop - run.start for run, count, size in runs)
    assert [entry for run, _, _ in runs for entry in range(length)[run]] == list(range(length))
    assert all(0 < size <= most for _, _, size in runs)
    assert len(runs) <= 2


def test_some_rows_in_memory_that_is_given() -> None:
    update = low_rank(0, 8, 6, 3, 2.0)
    out = np.full((2, 6), np.nan, np.float32)
    found = update.factors(torch.float32).rows()(slice(3, 5), out)
    assert found is out
    assert np.allclose(found, update.dense()[3:5].numpy(), rtol=1e-5, atol=1e-6)


def test_a_scale_that_is_too_large_is_an_error_and_numbers_that_are_not_finite_are_none_here() -> None:
    B, A = np.full((2, 1), 1e38, np.float32), np.ones((1, 2), np.float32)
    with pytest.raises(IncompatibleError, match="1e\\+06 times B is too large for float32"):
        Factors(B, A, 1e6).folded()
    assert not np.isfinite(Factors(B * np.float32(np.inf), A, 1e6).folded()).any()


@pytest.mark.parametrize(
    ("rows", "rank", "width"), [(585, 16, 896), (107, 16, 4864), (4096, 64, 128), (3, 1, 7), (1, 8, 4096), (600, 400, 512)]
)
def test_the_bits_of_a_product_in_a_worker_do_not_depend_on_the_threads_of_blas(rows: int, rank: int, width: int) -> None:
    random = np.random.default_rng(0)
    B, A = random.standard_normal((rows, rank), np.float32), random.standard_normal((rank, width), np.float32)
    results = []
    for threads in (1, 2, 4):
        with threadpool_limits(threads, user_api="blas"):
            results += engine.run(lambda _: B @ A, [None])
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_the_threads_of_blas_are_one_while_there_are_workers_and_as_before_after_them() -> None:
    def threads() -> set[int]:
        return {each["num_threads"] for each in engine._numpy().info() if each["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        assert threads() == {2}
        assert list(engine.run(lambda _: threads(), range(3), workers=2)) == [{1}, {1}, {1}]
        assert threads() == {2}
