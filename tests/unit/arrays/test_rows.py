"""Rows of whole multiples of a step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapterops.arrays.rows import BITS, LARGEST, decode, encode, held, squared_errors


@given(st.integers(0, 10**6), st.integers(0, 4), st.integers(1, 9), st.sampled_from(BITS))
def test_every_number_is_within_half_a_step(seed: int, count: int, width: int, bits: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((count, width)) * 10.0 ** (seed % 9 - 4)
    coded = encode(rows, bits)
    assert coded.codes.shape == (count, held(width, bits))
    found = decode(coded, bits, width)
    assert found.dtype == np.float32
    assert found.shape == rows.shape
    step = np.abs(rows).max(axis=1, initial=0) / LARGEST.get(bits, 1e30)
    assert (np.abs(found - rows) <= 0.5001 * step[:, None] + 1e-6 * np.abs(rows)).all()


@pytest.mark.parametrize("bits", BITS)
def test_zeros_stay_zeros(bits: int) -> None:
    assert not decode(encode(np.zeros((2, 3)), bits), bits, 3).any()


def test_the_codes_of_eight_bits_are_those_of_the_formula() -> None:
    row = np.array([[2.0, -1.0, 0.3, 0.0]])
    assert encode(row, 8).codes.tolist() == [[127, -64, 19, 0]]
    assert encode(row, 8).steps[0] == np.float32(2 / 127)


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_expected_errors_are_those_of_many_numbers(bits: int) -> None:
    rows = np.random.default_rng(0).standard_normal((3, 20_000))
    found = np.square(decode(encode(rows, bits), bits, rows.shape[1]) - rows).sum(axis=1)
    expected = squared_errors(rows)
    np.testing.assert_allclose(found, expected[:, 1 + BITS.index(bits)], rtol=0.05)
    np.testing.assert_allclose(expected[:, 0], np.square(rows).sum(axis=1))
