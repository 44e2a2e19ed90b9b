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


def half_step(x: Matrix, dtype: str) -> Matrix:
    """Half the distance of neighbouring numbers of a dtype at x, in float64."""
    powers = (np.asarray(x, np.float64).view(np.int64) & EXPONENT).view(np.float64)
    steps: Matrix = np.clip(powers, 2.0 ** SMALLEST[dtype], 2.0**1023) * 2.0 ** (-BITS[dtype] - 1)
    return steps


def rounded_to(x: Matrix, dtype: str) -> Matrix:
    """The numbers of a dtype that are nearest, ties to even, in float64. No number is too large for it.

    What float64 has no half step for, zero and its smallest numbers, is kept: they are numbers of F64.
    """
    step = 2 * half_step(x, dtype)
    nearest: Matrix = np.array(x, np.float64)
    np.divide(x, step, out=nearest, where=step > 0)
    np.rint(nearest, out=nearest, where=step > 0)
    np.multiply(nearest, step, out=nearest, where=step > 0)
    return nearest
