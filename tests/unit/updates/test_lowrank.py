from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import entries, low_rank

from adapterops.errors import IncompatibleError, ShapeError
from adapterops.testing import check_update
from adapterops.updates.dense import Dense
from adapterops.updates.lowrank import COLUMNS, AsStored, LowRank, _runs, measure, zero


def update(rank: int = 2, scale: float = 1.0, error: float = 0.0) -> LowRank:
    generator = torch.Generator().manual_seed(rank)
    B, A = torch.randn(5, rank, generator=generator), torch.randn(rank, 4, generator=generator)
    return LowRank(B, A, scale, error)


def test_the_laws_hold() -> None:
    check_update(update(3, -2.0))
    check_update(update(1) + update(2))


def test_ranks_of_a_sum_add_up_and_errors_too() -> None:
    total = update(2, 3.0, error=1.0) - update(1, error=0.5)
    assert total.rank == 3
    assert total.error == 1.5
    torch.testing.assert_close(entries(total), entries(update(2, 3.0)) - entries(update(1)))


def test_scaling_touches_no_tensor() -> None:
    one = update(error=1.0)
    assert (2 * one).B is one.B
    assert (-2.0 * one).error == 2.0
    assert (-one).scale == -1.0


def test_norm_is_that_of_the_dense_matrix() -> None:
    assert update(3, -2.0).norm() == pytest.approx(entries(update(3, -2.0)).double().norm().item())
    assert zero((3, 4)).norm() == 0


def test_norms_are_measured_once_for_all_multiples(monkeypatch: pytest.MonkeyPatch) -> None:
    one = update(3, -2.0)
    norm, across = one.norm(), one.across()

    def again(*arguments: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("adapterops.updates.lowrank.gram", again)
    assert (3.0 * one).norm() == pytest.approx(3 * norm)
    assert (-0.5 * (3.0 * one)).across() is across
    with pytest.raises(AssertionError, match="measured again"):
        one.T.norm()


def test_a_narrow_dtype_is_not_rounded_in_a_sum() -> None:
    half = LowRank(torch.tensor([[1.0]]).bfloat16(), torch.tensor([[1.0]]).bfloat16(), 1 / 3)
    assert entries(half + half).item() == pytest.approx(2 / 3)


def test_shapes_must_fit() -> None:
    with pytest.raises(ShapeError, match="rank"):
        LowRank(torch.zeros(3, 2), torch.zeros(1, 4))
    with pytest.raises(ShapeError, match="cannot add"):
        update() + zero((3, 3))
    with pytest.raises(ShapeError, match="cannot add"):
        Dense(torch.zeros(2, 2)) + zero((3, 3))


def test_what_is_given_as_torch_tensors_is_converted_exactly() -> None:
    B, A = torch.randn(3, 2).bfloat16(), torch.randn(2, 4).half()
    one = LowRank(B, A)
    assert (one.B.dtype, one.A.dtype) == (np.float32, np.float32)
    assert np.array_equal(one.B, B.float().numpy())
    assert LowRank(B.double(), A.double()).dtype == np.float64


sizes = st.integers(1, 9)


@given(
    st.integers(0, 999),
    sizes,
    sizes,
    st.integers(0, 5),
    st.integers(0, 5),
    st.floats(-3, 3, width=32),
    st.floats(-2, 2, width=32),
)
def test_sums_multiples_and_transposes(seed: int, out: int, into: int, r: int, s: int, scale: float, by: float) -> None:
    one, other = low_rank(seed, out, into, r, scale), low_rank(seed + 1, out, into, s, 0.5)
    exact = by * one.scale * one.B @ one.A + 0.5 * other.B @ other.A
    size = max(1.0, float(np.abs(exact).max(initial=0)))
    for dtype in (np.float32, np.float64):
        total = by * one + other
        for update, wanted in ((total, exact), (total.T, exact.T)):
            found = update.rows((slice(0, update.shape[0]), slice(0, update.shape[1])), np.empty(update.shape, dtype))
            assert found.dtype == dtype
            assert np.abs(found - wanted).max() <= 1e-5 * size


@pytest.mark.parametrize("rank", [1, 16, 80])
@pytest.mark.parametrize("width", [COLUMNS - 1, COLUMNS, COLUMNS + 1, 2 * COLUMNS + 300, 2 * COLUMNS + 301])
def test_the_pieces_of_a_product_are_all_of_it(width: int, rank: int) -> None:
    update = low_rank(1, 150, width, rank, 0.5, torch.float32)
    B, A = 0.5 * update.B.astype(np.float64), update.A.astype(np.float64)
    size = np.abs(B) @ np.abs(A)  # of what is summed
    for part in (slice(0, 150), slice(7, 149), slice(3, 4)):
        found = update.rows((part, slice(0, width)), np.full((part.stop - part.start, width), np.nan, np.float32))
        assert (np.abs(found - (B @ A)[part]) <= (rank + 2) * 2**-24 * size[part]).all()


@given(st.integers(0, 5000), st.integers(1, 1000))
def test_runs_are_all_of_a_length_in_pieces_that_are_not_too_large(length: int, most: int) -> None:
    runs = _runs(length, most)
    assert all(count * size == run.stop - run.start for run, count, size in runs)
    assert [entry for run, _, _ in runs for entry in range(length)[run]] == list(range(length))
    assert all(0 < size <= most for _, _, size in runs)
    assert len(runs) <= 2


@pytest.mark.parametrize("columns", [slice(0, 6), slice(1, 4), slice(0, 6, 2)])
def test_a_part_in_memory_that_is_given(columns: slice) -> None:
    update = low_rank(0, 8, 6, 3, 2.0, torch.float32)
    wanted = update.dense()[3:5, columns]
    out = np.full(wanted.shape, np.nan, np.float32)
    assert update.rows((slice(3, 5), columns), out) is out
    assert np.allclose(out, wanted, rtol=1e-5, atol=1e-6)


def test_a_scale_that_is_too_large_is_an_error_and_numbers_that_are_not_finite_are_none_here() -> None:
    B, A = np.full((2, 1), 1e38, np.float32), np.ones((1, 2), np.float32)
    with pytest.raises(IncompatibleError, match="1e\\+06 times B is too large for float32"):
        LowRank(B, A, 1e6).folded()
    assert not np.isfinite(LowRank(B * np.float32(np.inf), A, 1e6).folded()).any()


def test_what_a_file_has_is_widened_when_numbers_are_asked_for() -> None:
    B, A = np.ones((3, 2), np.float16), np.full((2, 4), 2.0, np.float16)
    update = LowRank(AsStored(B, "F16"), AsStored(A, "F16"), 0.5)
    assert (update.shape, update.rank) == ((3, 4), 2)
    assert update.stored("B", "F16") is B
    assert not {"A", "B"} & vars(update).keys()
    half = 0.5 * update
    assert [half.stored("A", "F16"), half.stored("B", "F16")] == [A, B]
    assert [half.stored("B", "BF16"), (update + half).stored("A", "F16"), update.T.stored("A", "F16")] == [None] * 3
    np.testing.assert_array_equal(half.dense(), np.ones((3, 4)))
    np.testing.assert_array_equal(update.T.dense(), 2 * np.ones((4, 3)))
    with pytest.raises(ShapeError, match="do not share a rank"):
        LowRank(AsStored(B, "F16"), AsStored(A.T, "F16"), 1.0)
    with pytest.raises(AttributeError):
        _ = update.C


@pytest.mark.parametrize("ones", [(1,), (1, 1), (1, 1, 1)])
def test_the_ones_of_a_convolution_may_be_left_out_of_either_factor(ones: tuple[int, ...]) -> None:
    expected = ((5, 6), 2, 2, (6, *ones))
    assert measure({"lora_A": (2, 6, *ones), "lora_B": (5, 2)}) == expected
    assert measure({"lora_A": (2, 6), "lora_B": (5, 2, *ones)}) == expected
