"""Blocks of ggml, as gguf decodes them."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from adapterops.arrays.ggml import BLOCKS
from adapterops.quant.ggml_blocks import KINDS, gathered, join, split, spread

SIZES = {kind.name: kind.bytes for kind in BLOCKS.values()}


def some(name: str, count: int = 300) -> np.ndarray:
    """Blocks of any bytes: every code, every scale, and what is no number."""
    return np.random.default_rng(0).integers(0, 256, (count, SIZES[name]), dtype=np.uint8)


@pytest.mark.parametrize("name", KINDS)
def test_values_are_those_of_gguf_bit_for_bit(name: str) -> None:
    data = some(name)
    with np.errstate(all="ignore"):
        found = split(KINDS[name], data).values().reshape(len(data), -1)
        known = gguf.dequantize(data, gguf.GGMLQuantizationType[name])
    np.testing.assert_array_equal(found, known)


@pytest.mark.parametrize("name", KINDS)
def test_taken_apart_and_put_together_blocks_are_what_they_were(name: str) -> None:
    np.testing.assert_array_equal(join(KINDS[name], split(KINDS[name], some(name))), some(name))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("stride", [1, 4, 16])
def test_spread_and_gathered_are_inverse(bits: int, stride: int) -> None:
    data = np.random.default_rng(1).integers(0, 256, (5, 32), dtype=np.uint8)
    np.testing.assert_array_equal(gathered(spread(data, bits, stride), bits, stride), data)
