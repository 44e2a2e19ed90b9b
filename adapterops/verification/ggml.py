"""What the blocks of ggml stand for, once more, in float64: bit after bit, as ggml-quants.c of llama.cpp reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from adapterops.verification.rounding import Matrix


class Terms(NamedTuple):
    """value = step · code - below, of every entry of blocks (blocks, entries); a code is one of `numbers`, ascending."""

    step: Matrix
    code: Matrix
    below: Matrix
    numbers: Matrix


def _half(data: Matrix, begin: int) -> Matrix:
    """The float16 at a byte of each block."""
    return np.ascontiguousarray(data[:, begin : begin + 2]).view("<f2").astype(np.float64)


def _bits(data: Matrix, begin: int, end: int) -> Matrix:
    """Bits of bytes [begin, end) of each block, (blocks, bytes, 8), from the lowest on."""
    return np.unpackbits(data[:, begin:end, None], axis=2, bitorder="little").astype(np.int64)


def _number(bits: Matrix) -> Matrix:
    """Bits along the last axis as a number."""
    found: Matrix = bits @ (1 << np.arange(bits.shape[-1]))
    return found


def _pieces(data: Matrix, begin: int, end: int, width: int, run: int) -> Matrix:
    """Codes of `width` bits: of each run of bytes the lowest bits of all, then the next."""
    bits = _bits(data, begin, end).reshape(len(data), -1, run, 8 // width, width)
    return _number(bits).swapaxes(2, 3).reshape(len(data), -1)


def _each(values: Matrix, times: int) -> Matrix:
    return np.repeat(values, times, axis=1)


def _q4_0(data: Matrix) -> Terms:
    return Terms(_half(data, 0), _pieces(data, 2, 18, 4, 16) - 8, np.zeros((1, 1)), np.arange(-8, 8))


def _q4_1(data: Matrix) -> Terms:
    return Terms(_half(data, 0), _pieces(data, 4, 20, 4, 16), -_half(data, 2), np.arange(0, 16))


def _q5_0(data: Matrix) -> Terms:
    code = _pieces(data, 6, 22, 4, 16) + 16 * _bits(data, 2, 6).reshape(len(data), -1)
    return Terms(_half(data, 0), code - 16, np.zeros((1, 1)), np.arange(-16, 16))


def _q5_1(data: Matrix) -> Terms:
    code = _pieces(data, 8, 24, 4, 16) + 16 * _bits(data, 4, 8).reshape(len(data), -1)
    return Terms(_half(data, 0), code, -_half(data, 2), np.arange(0, 32))


def _q8_0(data: Matrix) -> Terms:
    code = np.ascontiguousarray(data[:, 2:34]).view(np.int8).astype(np.int64)
    return Terms(_half(data, 0), code, np.zeros((1, 1)), np.arange(-128, 128))


def _q2_k(data: Matrix) -> Terms:
    scale, minimum = data[:, :16] % 16, data[:, :16] // 16
    step, below = _half(data, 80) * scale, _half(data, 82) * minimum
    return Terms(_each(step, 16), _pieces(data, 16, 80, 2, 32), _each(below, 16), np.arange(0, 4))


def _q3_k(data: Matrix) -> Terms:
    low, high = _bits(data, 96, 104), _bits(data, 104, 108)
    scale = np.concatenate([_number(low[..., :4]), _number(low[..., 4:])], axis=1)
    scale = scale + 16 * np.concatenate([_number(high[..., k : k + 2]) for k in (0, 2, 4, 6)], axis=1) - 32
    upper = _bits(data, 0, 32).swapaxes(1, 2).reshape(len(data), -1)
    code = _pieces(data, 32, 96, 2, 32) + 4 * upper - 4
    return Terms(_each(_half(data, 108) * scale, 16), code, np.zeros((1, 1)), np.arange(-4, 4))


def _sixes(data: Matrix) -> tuple[Matrix, Matrix]:
    """The eight steps and the eight lowest values of Q4_K and Q5_K."""
    first, second, third = (_bits(data, begin, begin + 4) for begin in (4, 8, 12))
    found = []
    for each, last in ((first, third[..., :4]), (second, third[..., 4:])):
        late = np.concatenate([last, each[..., 6:]], axis=2)
        found.append(np.concatenate([_number(each[..., :6]), _number(late)], axis=1))
    return _half(data, 0) * found[0], _half(data, 2) * found[1]


def _q4_k(data: Matrix) -> Terms:
    step, below = _sixes(data)
    return Terms(_each(step, 32), _pieces(data, 16, 144, 4, 32), _each(below, 32), np.arange(0, 16))


def _q5_k(data: Matrix) -> Terms:
    step, below = _sixes(data)
    code = _pieces(data, 48, 176, 4, 32) + 16 * _bits(data, 16, 48).swapaxes(1, 2).reshape(len(data), -1)
    return Terms(_each(step, 32), code, _each(below, 32), np.arange(0, 32))


def _q6_k(data: Matrix) -> Terms:
    scale = np.ascontiguousarray(data[:, 192:208]).view(np.int8).astype(np.int64)
    code = _pieces(data, 0, 128, 4, 64) + 16 * _pieces(data, 128, 192, 2, 32) - 32
    return Terms(_each(_half(data, 208) * scale, 16), code, np.zeros((1, 1)), np.arange(-32, 32))


TABLE = np.array((-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113))


def _iq4_nl(data: Matrix) -> Terms:
    return Terms(_half(data, 0), TABLE[_pieces(data, 2, 18, 4, 16)], np.zeros((1, 1)), TABLE)


def _iq4_xs(data: Matrix) -> Terms:
    high, low = _bits(data, 2, 4).reshape(len(data), 8, 2), _bits(data, 4, 8).reshape(len(data), 8, 4)
    scale = _number(np.concatenate([low, high], axis=2)) - 32
    step = _each(_half(data, 0) * scale, 32)
    return Terms(step, TABLE[_pieces(data, 8, 136, 4, 16)], np.zeros((1, 1)), TABLE)


TERMS: Mapping[str, tuple[int, Callable[[Matrix], Terms]]] = {
    "Q4_0": (18, _q4_0),
    "Q4_1": (20, _q4_1),
    "Q5_0": (22, _q5_0),
    "Q5_1": (24, _q5_1),
    "Q8_0": (34, _q8_0),
    "Q2_K": (84, _q2_k),
    "Q3_K": (110, _q3_k),
    "Q4_K": (144, _q4_k),
    "Q5_K": (176, _q5_k),
    "Q6_K": (210, _q6_k),
    "IQ4_NL": (18, _iq4_nl),
    "IQ4_XS": (136, _iq4_xs),
}
"""Bytes of a block, and what it is made of."""


def terms(data: Matrix, kind: str, rows: int) -> Terms:
    """Rows of entries."""
    size, read = TERMS[kind]
    found = read(data.reshape(-1, size))
    shape = found.code.shape
    step, code, below = (np.broadcast_to(each, shape).reshape(rows, -1) for each in found[:3])
    return Terms(step, code, below, found.numbers)
