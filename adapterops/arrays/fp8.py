"""Floats in 8 bits as the float32 numbers they are: every one of them is exact."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array

FLOATS = {"F8_E4M3": (3, 7), "F8_E5M2": (2, 15)}
"""Bits of the fraction and the bias of the exponent, by safetensors' name."""


def decode(data: bytearray, dtype: str) -> Array:
    """The numbers of bytes of sign, exponent e and fraction f: ±2^(e - bias) (1 + f / 2^bits), and for e = 0
    ±2^(1 - bias) f / 2^bits.

    E4M3 has no infinity, and is NaN where all bits of both are set. E5M2 is as IEEE has it. A cost of one look-up each.

    >>> decode(bytearray([0, 1, 56, 126, 184]), "F8_E4M3").tolist()
    [0.0, 0.001953125, 1.0, 448.0, -1.0]

    Source: Micikevicius et al., FP8 formats for deep learning, 2022.
    """
    found: Array = _table(dtype)[np.frombuffer(data, np.uint8)]
    return found


@cache
def _table(dtype: str) -> Array:
    bits, bias = FLOATS[dtype]
    codes = np.arange(128)
    exponent, fraction = codes >> bits, (codes & (1 << bits) - 1) / (1 << bits)
    half = np.where(exponent, np.ldexp(1 + fraction, exponent - bias), np.ldexp(fraction, 1 - bias))
    if dtype == "F8_E4M3":
        half[127] = np.nan
    else:
        half[124:] = [np.inf, np.nan, np.nan, np.nan]
    return np.concatenate([half, -half]).astype(np.float32)
