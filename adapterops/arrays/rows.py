"""Rows of numbers as whole multiples of a step, one step a row, in 4, 8 or 16 bits; or in float32, in 32."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BITS = (4, 8, 16, 32)
LARGEST = {4: 7, 8: 127, 16: 32767}
"""The largest code; the least is its negative."""

CODES: dict[int, type[Any]] = {4: np.uint8, 8: np.int8, 16: np.int16, 32: np.float32}
"""What holds the codes: those of 4 bits in pairs, the first one in the lower half, 8 added to each."""

SINGLE = float(np.finfo(np.float32).eps)


class Rows(NamedTuple):
    """Codes (n, bytes or numbers of a row) and steps (n,), in float32."""

    codes: Array
    steps: Array


def held(width: int, bits: int) -> int:
    """How many elements hold a row of so many numbers.

    >>> held(5, 4), held(5, 16)
    (3, 5)
    """
    return -(-width // 2) if bits == 4 else width


def encode(rows: Array, bits: int) -> Rows:
    """The nearest codes; the step of a row is its largest magnitude over the largest code.

    >>> encode(np.array([[1.0, -0.5, 0.0]]), 8).codes.tolist()
    [[127, -64, 0]]
    """
    if bits == 32:
        return Rows(rows.astype(np.float32), np.ones(len(rows), np.float32))
    most = LARGEST[bits]
    steps = (np.abs(rows).max(axis=1, initial=0) / most).astype(np.float32)
    with np.errstate(all="ignore"):
        exact = np.where(steps[:, None] > 0, rows / steps[:, None].astype(np.float64), 0)
    codes = np.rint(exact).clip(-most, most).astype(np.int16)
    if bits == 4:
        even = np.pad(codes + 8, ((0, 0), (0, codes.shape[1] % 2))).astype(np.uint8)
        return Rows(even[:, 0::2] | even[:, 1::2] << 4, steps)
    return Rows(codes.astype(CODES[bits]), steps)


def decode(rows: Rows, bits: int, width: int) -> Array:
    """The numbers, (n, width) in float32: codes times steps, each product rounded once.

    >>> decode(encode(np.array([[7.0, -3.0, 1.0]]), 4), 4, 3).tolist()
    [[7.0, -3.0, 1.0]]
    """
    codes, steps = rows
    if bits == 4:
        pairs = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(codes), 2 * codes.shape[1])
        codes = pairs[:, :width].astype(np.int8) - np.int8(8)
    with np.errstate(all="ignore"):
        found: Array = codes * steps[:, None]
    return found


def squared_errors(rows: Array) -> Array:
    """The squared error of each row that is expected of 0 bits (left out) and of each of `BITS`, (n, 5): a rounding is
    uniform over a step.
    """
    squares = np.square(rows).sum(axis=1)
    peaks = np.abs(rows).max(axis=1, initial=0)
    rounded = [rows.shape[1] * np.square(peaks / LARGEST[bits]) / 12 for bits in BITS if bits in LARGEST]
    return np.stack([squares, *rounded, SINGLE**2 / 12 * squares], axis=1)
