"""Q8_0 against the library that owns it, byte for byte."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from adapterops.arrays.q8 import decode, encode, rounded
from adapterops.errors import IncompatibleError

Q8 = gguf.GGMLQuantizationType.Q8_0


@pytest.mark.parametrize("size", [1e-6, 1e-2, 1.0, 1e4])
def test_bytes_are_those_of_the_gguf_library(size: float) -> None:
    numbers = (size * np.random.default_rng(0).standard_normal((5, 96))).astype(np.float32)
    numbers[0, :32] = 0
    numbers[1, :32] = np.arange(32) * size  # of which many are halves of a step
    data = encode(numbers)
    np.testing.assert_array_equal(data, gguf.quantize(numbers, Q8))
    np.testing.assert_array_equal(decode(data).reshape(5, 96), gguf.dequantize(data, Q8))
    np.testing.assert_array_equal(decode(encode(decode(data).reshape(5, 96))), decode(data))


def test_rows_of_any_length_are_filled_up_with_zeros() -> None:
    numbers = np.random.default_rng(0).standard_normal((3, 17)).astype(np.float32)
    filled = np.pad(numbers, [(0, 0), (0, 15)])
    np.testing.assert_array_equal(rounded(numbers), decode(encode(filled)).reshape(3, 32)[:, :17])


@pytest.mark.parametrize("number", [1e9, np.inf, np.nan])
def test_what_it_cannot_hold(number: float) -> None:
    with pytest.raises(IncompatibleError, match="Q8_0 cannot hold"):
        encode(np.full((1, 32), number, np.float32))
