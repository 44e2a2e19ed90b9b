"""Q8_0 of ggml: 32 entries of a row in a float16 and 32 signed bytes, whose products they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapterops.arrays.dtypes import WIDE
from adapterops.errors import IncompatibleError

Array = NDArray[Any]

ENTRIES = 32
BYTE = np.dtype(np.uint8)
BLOCK = np.dtype([("scale", "<f2"), ("codes", "i1", ENTRIES)])


STEP = 1 << 10
"""Blocks that are encoded at a time: their numbers fit a core's cache, and memory does not depend on how many there are."""


def decode(data: Array | bytearray) -> Array:
    """The entries, in float32, which holds them exactly."""
    blocks = np.frombuffer(data, BLOCK)
    values = np.empty((len(blocks), ENTRIES), np.float32)
    np.multiply(blocks["scale"].astype(np.float32)[:, None], blocks["codes"], out=values)
    return values.ravel()


def encode(numbers: Array) -> Array:
    """Rows of numbers as rows of bytes; the length of a row is a multiple of 32. What `decode` made becomes the same numbers again.

    Raises:
        IncompatibleError: a number is not finite, or too large for it.

    Source: quantize_row_q8_0 of ggml, and gguf-py: the largest of a block is 127 steps, halves are rounded away from zero.
    """
    rows = numbers.reshape(-1, ENTRIES)
    blocks = np.empty(len(rows), BLOCK)
    for first in range(0, len(rows), STEP):
        _encode(rows[first : first + STEP].astype(np.float32), blocks[first : first + STEP])
    return blocks.view(np.uint8).reshape(*numbers.shape[:-1], -1)


def _encode(values: Array, blocks: Array) -> None:
    """Some of the rows, in memory that is written to."""
    with np.errstate(all="ignore"):
        step = np.abs(values).max(axis=1, initial=0) / np.float32(127)
        blocks["scale"] = step
        if not np.isfinite(blocks["scale"]).all():
            raise IncompatibleError(
                f"has numbers that {WIDE} cannot hold: larger than 8e6, or not finite", code="E-OVERFLOW"
            )
        values *= np.where(step == 0, 0, 1 / step)[:, None]
        values += np.copysign(np.float32(0.5), values)
        blocks["codes"] = np.trunc(values, out=values)


def filled(numbers: Array) -> Array:
    """The same rows, with zeros up to the end of their last block.

    >>> filled(np.ones((2, 40), np.float32)).shape
    (2, 64)
    """
    more = -numbers.shape[-1] % ENTRIES
    return np.pad(numbers, [(0, 0)] * (numbers.ndim - 1) + [(0, more)]) if more else numbers


def rounded(numbers: Array, own: bool = False) -> Array:
    """The numbers that Q8_0 has for rows of any length, as if zeros filled up the last block; in float32.

    Args:
        own: nobody else has these numbers, and where they are is room for the result.
    """
    width = numbers.shape[-1]
    if width % ENTRIES:
        whole = filled(numbers)
        return decode(encode(whole)).reshape(whole.shape)[..., :width]
    reuse = own and numbers.dtype == np.float32 and numbers.flags.c_contiguous and numbers.flags.writeable
    result = numbers if reuse else np.empty(numbers.shape, np.float32)
    rows, found = numbers.reshape(-1, ENTRIES), result.reshape(-1, ENTRIES)
    for first in range(0, len(rows), STEP):
        part = slice(first, first + STEP)
        found[part] = decode(encode(rows[part])).reshape(-1, ENTRIES)
    return result
