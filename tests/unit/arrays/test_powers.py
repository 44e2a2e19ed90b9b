"""Stored numbers times a power of two are the products themselves, bit for bit, or nothing."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.arrays.floats import STORED, narrowed, widened
from adapterops.arrays.powers import multiplied
from adapterops.arrays.scratch import Scratch

FACTORS = (1.0, 2.0, 0.5, -4.0, -0.125, 2.0**-20, 2.0**20, 2.0**140, 2.0**-140)


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
@pytest.mark.parametrize("factor", FACTORS)
def test_all_numbers_of_sixteen_bits(dtype: str, factor: float) -> None:
    """64 at a time: those that have products in the dtype have them, and of others nothing is made."""
    numbers = np.arange(1 << 16, dtype=np.uint16).view(STORED[dtype])
    for stored in numbers.reshape(-1, 64):
        with np.errstate(all="ignore"):
            exact = widened(stored, dtype, Scratch()).astype(np.float64) * factor
            rounded = narrowed(exact, dtype, Scratch())
            same = np.array_equal(widened(rounded, dtype, Scratch()).astype(np.float64), exact)
        found = multiplied(stored, dtype, factor)
        assert (found is not None) == bool(same and np.isfinite(exact).all())
        if found is not None:
            assert found.view(np.uint16).tolist() == rounded.view(np.uint16).tolist()


@pytest.mark.parametrize(("dtype", "kind"), [("F32", np.float32), ("F64", np.float64)])
@pytest.mark.parametrize("factor", FACTORS)
def test_numbers_of_every_size(dtype: str, kind: type[np.floating[np.generic]], factor: float) -> None:
    signs = np.random.default_rng(0).standard_normal((7, 9))
    for exponent in (-1074, -1060, -1022, -149, -130, -126, 0, 100, 127, 900):
        with np.errstate(all="ignore"):
            stored = np.ldexp(signs, exponent).astype(kind)
            product = stored.astype(np.longdouble) * factor
            same = np.array_equal(product.astype(kind).astype(np.longdouble), product) and np.isfinite(product).all()
        found = multiplied(stored, dtype, factor)
        assert (found is not None) == bool(same)
        assert found is None or (found == product.astype(kind)).all()


@pytest.mark.parametrize("factor", [3.0, 0.0, 1.0000001, float("inf"), float("nan")])
def test_a_factor_that_is_no_power_of_two(factor: float) -> None:
    assert multiplied(np.ones(3, np.float32), "F32", factor) is None


def test_the_factor_one_takes_nothing_and_copies_nothing() -> None:
    stored = np.array([1.0, -0.0], np.float16)
    assert multiplied(stored, "F16", 1.0) is stored
    assert multiplied(np.array([np.nan], np.float16), "F16", 1.0) is None
