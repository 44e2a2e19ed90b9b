"""How far a stored number may be from what it stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[Any]

BITS = {"F64": 52, "F32": 23, "F16": 10, "BF16": 7}
SMALLEST = {"F64": -1022, "F32": -126, "F16": -14, "BF16": -126}
"""Of the numbers of a dtype: bits of the fraction, and the least exponent of a normal one."""

EXPONENT = np.int64(0x7FF0000000000000)
"""Where a float64 has its exponent: with all other bits zero it is the power of two at or below its size."""


LARGE = 2.0**900
"""Steps are those of numbers up to this, which is beyond all dtypes but F64."""


def half_step(x: Matrix, dtype: str) -> Matrix:
    """Half the distance of neighbouring numbers of a dtype at x, in float64."""
    steps = _powers(x, dtype, 2.0**1023)
    steps *= 2.0 ** (-BITS[dtype] - 1)
    return steps


def rounded_to(x: Matrix, dtype: str) -> Matrix:
    """The numbers of a dtype that are nearest, ties to even, in float64. No number is too large for it.

    The sum with 1.5 · 2⁵² steps has steps for its own: float64 rounds it as is asked for, and the difference is exact.
    """
    if dtype == "F64":
        return np.array(x, np.float64)
    base = _powers(x, dtype, LARGE)
    base *= 1.5 * 2.0 ** (52 - BITS[dtype])
    nearest: Matrix = x + base
    nearest -= base
    return nearest


def _powers(x: Matrix, dtype: str, most: float) -> Matrix:
    """The powers of two at or below the sizes of numbers, from the least normal number of a dtype to `most`."""
    bits = np.asarray(x, np.float64).view(np.int64)
    powers: Matrix = np.bitwise_and(bits, EXPONENT, out=np.empty_like(bits)).view(np.float64)
    np.maximum(powers, 2.0 ** SMALLEST[dtype], out=powers)
    return np.minimum(powers, most, out=powers)
