"""Bytes as numbers, against torch's own types and numpy's whole bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adapterops.verification.numbers import floats, stream


@pytest.mark.parametrize(("name", "dtype"), [("F8_E4M3", torch.float8_e4m3fn), ("F8_E5M2", torch.float8_e5m2)])
def test_all_floats_of_8_bits(name: str, dtype: torch.dtype) -> None:
    codes = torch.arange(256, dtype=torch.uint8)
    assert np.array_equal(floats(codes.numpy(), name), codes.view(dtype).double().numpy(), equal_nan=True)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8])
def test_codes_go_on_in_the_next_byte(bits: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (5, 16))
    number = [sum(int(code) << bits * place for place, code in enumerate(row)) for row in codes]
    rows = np.array([list(each.to_bytes(2 * bits, "little")) for each in number], np.uint8)
    assert np.array_equal(stream(rows, bits), codes)
