"""Stored numbers times a power of two, in their bits: no number is widened or rounded for it."""

from __future__ import annotations

import math

import numpy as np

from adapterops.arrays.floats import STORED, Array, narrowed, widened
from adapterops.arrays.scratch import Scratch

FRACTION = {"F64": 52, "F32": 23, "F16": 10, "BF16": 7}
"""Bits of the fraction of a stored number, which are its last ones; above them is the exponent, and then the sign."""


def multiplied(stored: Array, dtype: str, factor: float) -> Array | None:
    """Stored numbers times `factor`, as they are stored: the products themselves. The same array where the factor is 1.

    The product with ±2^k has k added to the exponent. A number whose exponent is the least, or would become it, is
    multiplied as a number.

    None where that may not be done: the factor is no power of two, a number is NaN or infinite, or a product is too
    large for the dtype, or between two of its numbers.

    >>> multiplied(np.array([1.5, 0.0, -3.0], np.float16), "F16", -0.5).tolist()
    [-0.75, -0.0, 1.5]
    >>> multiplied(np.array([6e-8], np.float16), "F16", 0.5) is None
    True
    """
    fraction, exponent = math.frexp(factor)
    if abs(fraction) != 0.5 or not stored.size or not stored.flags.c_contiguous:
        return None
    bits = stored.view(f"u{stored.itemsize}")
    kind, step = bits.dtype.type, (exponent - 1) << FRACTION[dtype]
    sign = 1 << (8 * stored.itemsize - 1)
    endless, least = sign - (1 << FRACTION[dtype]), (1 << FRACTION[dtype]) + max(-step, 0)
    if _largest(bits, sign) + max(step, 0) >= endless:
        return None
    if factor == 1:
        return stored
    if least >= endless:
        return None
    result = np.add(bits, kind(step % (2 * sign)))
    if _smallest(bits, sign) < least:
        small = np.flatnonzero(np.bitwise_and(bits, kind(sign - 1)) < kind(least))
        if (products := _products(bits.reshape(-1)[small].view(STORED[dtype]), dtype, abs(factor))) is None:
            return None
        result.reshape(-1)[small] = products.view(bits.dtype)
    if factor < 0:
        np.bitwise_xor(result, kind(sign), out=result)
    product: Array = result.view(stored.dtype)
    return product


def _smallest(bits: Array, sign: int) -> int:
    """The smallest of numbers without their signs, in their bits: as numbers with a sign those of either sign come one after
    the other, and those without a sign at one end, and so nothing is computed of each.
    """
    low, least = int(bits.min()), int(bits.view(f"i{bits.itemsize}").min())
    return min(low if low < sign else sign, least + sign if least < 0 else sign)


def _largest(bits: Array, sign: int) -> int:
    """The largest, in the same way."""
    high, most = int(bits.max()), int(bits.view(f"i{bits.itemsize}").max())
    return max(most, high - sign)


def _products(stored: Array, dtype: str, factor: float) -> Array | None:
    """The products of a few numbers; None where one is none of the dtype."""
    numbers = widened(stored, dtype, Scratch()).astype(np.float64)
    with np.errstate(all="ignore"):
        products = narrowed(numbers * factor, dtype, Scratch())
        back = widened(products, dtype, Scratch()).astype(np.float64)
        return products if np.array_equal(back / factor, numbers) else None
