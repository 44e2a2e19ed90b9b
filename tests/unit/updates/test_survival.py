from __future__ import annotations

import math
from dataclasses import astuple
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adapterops.arrays.dtypes import FLOATS
from adapterops.arrays.floats import array, narrowed, tensor
from adapterops.arrays.scratch import Scratch
from adapterops.errors import IncompatibleError, InputError
from adapterops.updates.survival import Block, Change, Survival, survival
from adapterops.updates.survival import rounded as rounded_block

NAMES = {getattr(torch, long): short for short, long in FLOATS.items()}
HALVES = [torch.bfloat16, torch.float16]
DTYPES = [torch.float64, torch.float32, *HALVES]
FORMATS = {torch.bfloat16: (8, -126, 127), torch.float16: (11, -14, 15), torch.float32: (24, -126, 127)}
"""Bits of the significand, the smallest and the largest exponent."""


def narrow(x: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor(narrowed(array(x), NAMES[dtype], Scratch()), NAMES[dtype])


def add(W: Tensor, delta: Tensor, dtype: torch.dtype) -> tuple[Tensor, Survival]:
    """W + ΔW as it is stored, and what survived of ΔW."""
    wide = W.to(delta.dtype)
    block = Block(array(wide + delta), [Change("m", (slice(None), slice(None)), array(wide), array(delta))])
    stored = rounded_block(block, NAMES[dtype], Scratch())
    return tensor(stored, NAMES[dtype]).clone(), survival(block, block.values, NAMES[dtype])["m"]


def rounded(x: float, dtype: torch.dtype) -> float:
    """`x` to nearest, ties to even, in exact arithmetic."""
    if x == 0 or math.isinf(x):
        return x
    bits, lowest, highest = FORMATS[dtype]
    step = Fraction(2) ** (max(math.frexp(x)[1] - 1, lowest) - bits + 1)
    nearest = round(Fraction(x) / step) * step
    return math.copysign(math.inf if abs(nearest) >= 2 ** (highest + 1) else float(nearest), x)


def neighbours(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Every number of a 16-bit dtype that is finite and not negative, and the next larger one, in float64;
    after the last 2^(emax+1).
    """
    infinite = int(torch.tensor(math.inf, dtype=dtype).view(torch.int16))
    low = torch.arange(infinite, dtype=torch.int16).view(dtype).double()
    return low, torch.cat([low[1:], torch.tensor([2.0 ** (FORMATS[dtype][2] + 1)], dtype=torch.float64)])


@pytest.mark.parametrize("wide", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_tie_of_a_half_dtype_goes_to_even_and_what_is_beside_it_to_the_nearer(
    dtype: torch.dtype, wide: torch.dtype
) -> None:
    low, high = neighbours(dtype)
    tie = ((low + high) / 2).to(wide)
    even = torch.where(torch.arange(len(low)) % 2 == 0, low, high)
    numbers = tie.numpy()
    for sign in (1, -1):
        for nudged, expected in (
            (torch.from_numpy(np.nextafter(numbers, np.zeros_like(numbers))), low),
            (tie, even),
            (torch.from_numpy(np.nextafter(numbers, np.full_like(numbers, np.inf))), high),
        ):
            assert torch.equal(narrow(sign * nudged, dtype), (sign * expected).to(dtype))


def test_just_above_a_tie_is_not_rounded_twice() -> None:
    """Rounded to float32 first, these would be ties, and go the other way."""
    above = torch.tensor([1 + 2**-8 + 2**-40, -(1 + 2**-8 + 2**-40), 1 + 3 * 2**-8 - 2**-40], dtype=torch.float64)
    assert narrow(above, torch.bfloat16).tolist() == [1 + 2**-7, -(1 + 2**-7), 1 + 2**-7]
    assert narrow(torch.tensor([2048 + 1 + 2**-30], dtype=torch.float64), torch.float16).tolist() == [2050]
    assert narrow(torch.tensor([65520 - 2**-30, 65520], dtype=torch.float64), torch.float16).tolist() == [
        65504,
        math.inf,
    ]
    assert narrow(torch.tensor([2**-25 + 2**-70, 2**-25], dtype=torch.float64), torch.float16).tolist() == [2**-24, 0]


@given(st.floats(allow_nan=False), st.sampled_from(list(FORMATS)))
def test_any_number_is_rounded_to_the_nearest(x: float, dtype: torch.dtype) -> None:
    assert narrow(torch.tensor([x], dtype=torch.float64), dtype).item() == rounded(x, dtype)


@given(st.integers(-(2**12), 2**12), st.integers(-30, 30), st.integers(-60, 60), st.sampled_from(HALVES))
def test_numbers_close_to_ties(halves: int, exponent: int, ulps: int, dtype: torch.dtype) -> None:
    """Half steps of the dtype, and up to 60 steps of float64 away from them: all within what float32 cannot tell."""
    x = math.ldexp(halves, exponent - 16)
    for _ in range(abs(ulps)):
        x = math.nextafter(x, math.copysign(math.inf, ulps))
    assert narrow(torch.tensor([x], dtype=torch.float64), dtype).item() == rounded(x, dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_what_is_not_finite_stays_so(dtype: torch.dtype) -> None:
    result = narrow(torch.tensor([math.inf, -math.inf, math.nan, -0.0], dtype=torch.float64), dtype).tolist()
    assert result[:2] == [math.inf, -math.inf]
    assert math.isnan(result[2])
    assert math.copysign(1, result[3]) == -1


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("wide", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_sum_is_rounded_once_and_its_terms_are_left_alone(dtype: torch.dtype, wide: torch.dtype) -> None:
    W, delta = (8 * numbers(1, 5, 7)).round().div(8).to(dtype), (8 * numbers(2, 5, 7)).round().div(64).to(wide)
    before = W.clone(), delta.clone()
    result, _ = add(W, delta, dtype)
    exact = W.double() + delta.double()  # an eighth and a 64th: no bit is lost in float32 either
    expected = exact if dtype == torch.float64 else exact.apply_(lambda x: rounded(x, dtype))
    assert result.dtype == dtype
    assert torch.equal(result.double(), expected)
    assert torch.equal(W, before[0])
    assert torch.equal(delta, before[1])


def test_the_stored_dtype_may_be_another_than_that_of_the_weight() -> None:
    W, delta = torch.tensor([[1.0]]).bfloat16(), torch.tensor([[2.0**-12]])
    assert add(W, delta, torch.float32)[0].tolist() == [[1 + 2**-12]]
    assert add(W, delta, torch.bfloat16)[0].tolist() == [[1.0]]


@pytest.mark.parametrize("wide", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_survival_is_what_its_formulas_say(dtype: torch.dtype, wide: torch.dtype) -> None:
    W, delta = numbers(1, 6, 9).to(dtype), (0.004 * numbers(2, 6, 9)).to(wide)
    result, found = add(W, delta, dtype)
    base, update = W.to(wide).double(), delta.double()
    moved = result.double() - base
    assert found.entries == 54
    assert found.changed == int((result.to(wide) != W.to(wide)).sum())
    close = 1e-5 if wide == torch.float32 else 1e-12
    assert found.base == pytest.approx(float(base.square().sum()), rel=close)
    assert found.delta == pytest.approx(float(update.square().sum()), rel=close)
    assert found.gain == pytest.approx(
        float((moved * update).sum() / update.square().sum()), abs=1e-3 if wide == torch.float32 else 1e-9
    )
    assert found.relative == pytest.approx(float(update.norm() / base.norm()), rel=close)


@given(st.integers(0, 10**6), st.integers(0, 6), st.sampled_from(DTYPES))
def test_the_survivals_of_parts_add_up_to_that_of_the_whole(seed: int, cut: int, dtype: torch.dtype) -> None:
    W, delta = (4 * numbers(seed, 6, 5)).round().to(dtype), (4 * numbers(seed + 1, 6, 5)).round().float()
    whole = add(W, delta, dtype)[1]
    parts = [add(W[rows], delta[rows], dtype)[1] for rows in (slice(0, cut), slice(cut, 6))]
    assert astuple(parts[0] + parts[1]) == astuple(whole)  # whole numbers: the sums are exact in any order
    assert astuple(sum(parts, Survival())) == astuple(whole)


def test_gain_is_one_where_all_survived_and_zero_where_rounding_erased_it() -> None:
    W = torch.full((2, 3), 256.0)
    kept, erased = (
        add(W, torch.ones(2, 3), torch.float32)[1],
        add(W.bfloat16(), torch.full((2, 3), 0.5), torch.bfloat16)[1],
    )
    assert (kept.gain, kept.changed) == (1.0, 6)
    assert (erased.gain, erased.changed) == (0.0, 0)
    assert erased.relative == pytest.approx(0.5 / 256)


def test_no_update_and_no_weight() -> None:
    assert Survival().gain == 1.0
    assert Survival().relative == 0.0
    assert Survival(base=4.0).gain == 1.0
    assert Survival(delta=1.0, dot=1.0).relative == math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_base_that_is_not_finite_is_an_input_error(dtype: torch.dtype, bad: float) -> None:
    W = torch.ones(2, 3)
    W[1, 2] = bad
    for delta in (torch.ones(2, 3), torch.zeros(2, 3), torch.full((2, 3), -bad)):
        with pytest.raises(InputError, match="the base has numbers that are NaN or infinite") as caught:
            add(W.to(dtype), delta, dtype)
        assert caught.value.code == "E-NONFINITE"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_an_update_that_is_not_finite_is_an_input_error(dtype: torch.dtype, bad: float) -> None:
    delta = torch.zeros(2, 3)
    delta[0, 1] = bad
    for W in (torch.ones(2, 3), torch.zeros(2, 3)):
        with pytest.raises(InputError, match="the update has numbers that are NaN or infinite") as caught:
            add(W.to(dtype), delta, dtype)
        assert caught.value.code == "E-NONFINITE"
        assert "--precision float64" in str(caught.value)


def test_sums_too_large_for_float32_take_float64() -> None:
    with pytest.raises(IncompatibleError, match="1 sums are too large for float32") as caught:
        add(torch.zeros(1, 1), torch.full((1, 1), 1e39, dtype=torch.float64), torch.float32)
    assert caught.value.hint == "store it wider: --dtype float64"


@pytest.mark.parametrize("wide", [torch.float32, torch.float64], ids=str)
def test_sums_too_large_for_float16_are_counted(wide: torch.dtype) -> None:
    W, delta = torch.full((2, 3), 65504.0).half(), torch.zeros(2, 3, dtype=wide)
    assert add(W, delta + 15.99, torch.float16)[0].eq(65504).all()  # below the tie with 65536
    delta[0, 0], delta[1, 2] = 16.0, 1e6
    with pytest.raises(IncompatibleError, match="2 sums are too large for float16") as caught:
        add(W, delta, torch.float16)
    assert caught.value.code == "E-OVERFLOW"
    with pytest.raises(IncompatibleError, match="2 sums are too large for float16"):
        add(-W, -delta, torch.float16)
    delta[1, 2] = 0.0
    W[1, 1], delta[1, 1] = -65504.0, -16.0
    with pytest.raises(IncompatibleError, match="2 sums"):  # of opposite signs, which cancel in any sum over them
        add(W, delta, torch.float16)


def test_a_weight_too_large_for_the_stored_dtype_is_found_where_nothing_is_added() -> None:
    with pytest.raises(IncompatibleError, match="1 sums are too large for float16"):
        add(torch.tensor([[70000.0, 1.0]]), torch.tensor([[0.0, 1.0]]), torch.float16)


def test_numbers_whose_squares_do_not_fit_float32_are_none_too_large() -> None:
    W, delta = torch.full((2, 3), 2.0**70).bfloat16(), torch.full((2, 3), 2.0**69)
    result, found = add(W, delta, torch.bfloat16)
    assert result.eq(1.5 * 2.0**70).all()
    assert found.base == pytest.approx(6 * 2.0**140)
    assert found.gain == pytest.approx(1.0)
    assert found.relative == pytest.approx(0.5)
