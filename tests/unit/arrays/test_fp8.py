"""Floats in 8 bits, judged by torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adapterops.arrays.fp8 import decode

TORCH = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}


@pytest.mark.parametrize("dtype", TORCH)
def test_all_256_are_what_torch_has(dtype: str) -> None:
    codes = np.arange(256, dtype=np.uint8)
    wanted = torch.from_numpy(codes).view(TORCH[dtype]).float().numpy()
    found = decode(bytearray(codes.tobytes()), dtype)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)
    assert (np.signbit(found) == np.signbit(wanted))[~np.isnan(wanted)].all()
