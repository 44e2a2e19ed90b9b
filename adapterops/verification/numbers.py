"""The parts that a tensor is stored in, as numbers: floats, codes of few bits, and columns of what lies transposed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import numpy as np

from adapterops.arrays.columns import Columns
from adapterops.arrays.dtypes import BITS
from adapterops.checkpoints.stored import StoredTensor
from adapterops.verification.rounding import Matrix

Decoder: TypeAlias = Callable[[int, int], Matrix]
"""Rows [begin, end) in float64."""

WORD = 32


def plain(stored: StoredTensor, begin: int, end: int) -> Matrix:
    """Rows of a tensor of floats."""
    part = stored.parts[""]
    found = part.file.array(part.name, (begin, end))
    if part.spec.dtype == "BF16":
        found = (found.astype(np.uint32) << 16).view(np.float32)
    return found.astype(np.float64)


def raw(stored: StoredTensor, role: str, begin: int = 0, end: int | None = None) -> Matrix:
    """Bytes of a part."""
    part = stored.parts[role]
    return np.frombuffer(part.file.read(part.name, begin, part.spec.bytes if end is None else end), np.uint8)


def floats(data: Matrix, dtype: str) -> Matrix:
    """Bytes as the floats they are, in float64."""
    if dtype == "BF16":
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if dtype in ("U8", "F8_E8M0"):
        return np.where(data == 255, np.nan, np.ldexp(1.0, data.astype(np.int32) - 127))
    if dtype.startswith("F8"):
        return eight_bits(dtype)[data]
    return data.view({"F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype]).astype(np.float64)


@cache
def eight_bits(dtype: str) -> Matrix:
    """The 256 numbers of a float in 8 bits: E4M3 has no infinity, and NaN where all bits are set."""
    exponent_bits, bias = (4, 7) if dtype == "F8_E4M3" else (5, 15)
    fraction_bits = 7 - exponent_bits
    found = []
    for byte in range(256):
        exponent, fraction = (byte & 127) >> fraction_bits, byte & ((1 << fraction_bits) - 1)
        unit = fraction / (1 << fraction_bits)
        size = (1 + unit) * 2.0 ** (exponent - bias) if exponent else unit * 2.0 ** (1 - bias)
        if dtype == "F8_E4M3" and byte & 127 == 127:
            size = np.nan
        elif dtype != "F8_E4M3" and exponent == 31:
            size = np.nan if fraction else np.inf
        found.append(-size if byte > 127 else size)
    return np.array(found)


def stream(data: Matrix, bits: int) -> Matrix:
    """Rows of bytes as codes of so many bits, from the lowest bit on; a code may go on in the next byte."""
    every = np.unpackbits(data, axis=1, bitorder="little")
    spread = every[:, : every.shape[1] // bits * bits].reshape(len(data), -1, bits)
    codes: Matrix = np.packbits(spread, axis=2, bitorder="little")[..., 0]
    return codes


def stream_of(stored: StoredTensor, role: str, groups: int, bits: int) -> Decoder:
    """Codes [begin, end) of a part with a row of words for each group, as (codes, groups)."""
    matrix = columns(stored, role, groups)

    def codes(begin: int, end: int) -> Matrix:
        first, last = begin // WORD * WORD, -(-end // WORD) * WORD  # where codes begin with a word
        data = np.ascontiguousarray(matrix(first * bits // 8, min(last * bits // 8, matrix.width)))
        found: Matrix = stream(data, bits)[:, begin - first : end - first].T
        return found

    return codes


def columns(stored: StoredTensor, role: str, height: int) -> Columns:
    """A part with so many rows, by its columns."""
    return columns_inside(stored, role, 0, height, stored.parts[role].spec.bytes // height)


def columns_inside(stored: StoredTensor, role: str, first: int, height: int, width: int) -> Columns:
    """A matrix of bytes that begins at the byte `first` of a part, by its columns."""
    return Columns(lambda begin, end: raw(stored, role, first + begin, first + end), height, width)


def floats_of(stored: StoredTensor, role: str, groups: int, dtype: str) -> Decoder:
    """Scales [begin, end) of a part with a row for each group, as (scales, groups)."""
    matrix, size = columns(stored, role, groups), BITS[dtype] // 8

    def scales(begin: int, end: int) -> Matrix:
        data = np.ascontiguousarray(matrix(begin * size, end * size))
        found: Matrix = floats(data.ravel(), dtype).reshape(groups, -1).T
        return found

    return scales
