"""Steps and rounding of the dtypes, against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adapterops.arrays.dtypes import FLOATS
from adapterops.verification.rounding import half_step, rounded_to

NUMBERS = torch.cat([torch.randn(4000), torch.randn(100) * 1e-5, torch.tensor([0.0, 1.0, -2.0, 65504.0, 1.00390625])])


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_rounding_is_that_of_torch(dtype: str) -> None:
    kept = NUMBERS[NUMBERS.abs() < 6e4]
    expected = kept.to(getattr(torch, FLOATS[dtype])).double().numpy()
    assert np.array_equal(rounded_to(kept.double().numpy(), dtype), expected)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64"])
def test_the_next_number_is_two_half_steps_away(dtype: str) -> None:
    x = torch.tensor([1.0, 1.5, 3.0, 100.0], dtype=getattr(torch, FLOATS[dtype]))
    step = torch.nextafter(x, torch.tensor(torch.inf, dtype=x.dtype)).double() - x.double()
    assert np.array_equal(2 * half_step(x.double().numpy(), dtype), step.numpy())


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_next_to_zero_is_the_smallest_number_of_all(dtype: str) -> None:
    zero = torch.zeros(1, dtype=getattr(torch, FLOATS[dtype]))
    step = torch.nextafter(zero, torch.ones_like(zero)).double().numpy()
    assert np.array_equal(2 * half_step(np.array([0.0]), dtype), step)
    assert np.array_equal(2 * half_step(np.array([-0.0]), dtype), step)
    assert rounded_to(step, dtype) == step


def test_infinity_stays_what_it_is() -> None:
    assert np.array_equal(rounded_to(np.array([np.inf, -np.inf]), "F32"), [np.inf, -np.inf])
    assert np.isnan(rounded_to(np.array([np.nan]), "F32")).all()


def test_zero_and_the_smallest_numbers_of_all_are_kept() -> None:
    x = np.array([0.0, -0.0, 5e-324, -1e-310, 2.0**-1022, 1.0])
    assert np.array_equal(rounded_to(x, "F64"), x)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_numbers_of_all_sizes_are_quotients_that_are_rounded(dtype: str) -> None:
    """x / step to the nearest integer, ties to even, and back: with few bits, of which many are halfway."""
    stochastic = np.random.default_rng(0)
    x = np.ldexp(stochastic.integers(-(1 << 13), 1 << 13, 50000).astype(float), stochastic.integers(-190, 800, 50000))
    step = 2 * half_step(x, dtype)
    assert np.array_equal(rounded_to(x, dtype), np.rint(x / step) * step)


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32", "F64"])
def test_one_number_is_an_array_without_an_axis(dtype: str) -> None:
    for x in (np.array(3.3), np.array(-0.0)):
        assert half_step(x, dtype) == half_step(x[None], dtype)[0]
        assert rounded_to(x, dtype) == rounded_to(x[None], dtype)[0]
