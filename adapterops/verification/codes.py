"""Whether codes are the nearest to what they should stand for, or where chance decided, one of the two neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np

from adapterops.checkpoints.stored import StoredTensor
from adapterops.verification.decoding import NESTED, absmax4, blocks, book, codes4
from adapterops.verification.ggml import TERMS
from adapterops.verification.grids import GridRows
from adapterops.verification.numbers import floats, raw
from adapterops.verification.rounding import Matrix

TOLERANCE = 1e-4
"""Of a step: how far past the middle of two codes float32 may see it."""

ROUNDED = 2.0**-8
"""How far a number of the base, in a dtype of 16 bits, may be from its place on the grid."""

FLOAT32 = 2.0**-20
"""How far, relative to itself, a sum in float32 may be from that in float64."""

MAP_GAP = 0.0075
"""Half the largest gap of the 256 numbers that nested scales are stored in."""


def aligned(scheme: Any, shape: tuple[int, ...]) -> int:
    """Rows that are judged together: whole blocks."""
    if hasattr(scheme, "block_size"):
        return int(np.lcm(scheme.block_size, shape[-1])) // shape[-1]
    return 1


def four_bits(stored: StoredTensor, scheme: Any, S: Matrix, begin: int, stochastic: bool) -> Matrix:
    """Which entries of rows from `begin` on have another code than the sum S calls for, or another scale."""
    width = S.shape[1]
    first, last, size = begin * width, begin * width + S.size, scheme.block_size
    codes = codes4(stored, first, last)
    block = np.arange(last - first) // size
    kept = absmax4(stored, scheme, first // size, -(-last // size))
    flat = S.reshape(-1)
    own = np.maximum.reduceat(np.abs(flat), np.arange(0, len(flat), size)) if len(flat) else flat
    scale = kept if stochastic else own
    with np.errstate(all="ignore"):
        s = np.where(scale[block] == 0, 0, flat / scale[block])
    numbers = np.sort(book(scheme))
    value = book(scheme)[codes]
    up = numbers[np.clip(np.searchsorted(numbers, value, "right"), 0, 15)]
    down = numbers[np.clip(np.searchsorted(numbers, value, "left") - 1, 0, 15)]
    gap = np.where(s > value, up - value, value - down)
    wrong = ~(np.abs(s - value) <= (gap + ROUNDED if stochastic else gap / 2 + TOLERANCE))  # NaN is never near
    wrong &= ~(((gap == 0) & (np.abs(s) >= np.abs(value))) if stochastic else np.zeros_like(wrong))
    if not stochastic:
        room = TOLERANCE * own
        if scheme.nested:
            scales = floats(raw(stored, "weight.nested_absmax"), "F32")
            room = room + MAP_GAP * scales[(np.arange(len(own)) + first // size) // NESTED]
        wrong |= ~(np.abs(kept - own) <= room)[block]
    result: Matrix = wrong.reshape(S.shape)
    return result


def int8(stored: StoredTensor, scheme: Any, S: Matrix, begin: int, stochastic: bool) -> Matrix:
    """The same for a byte an entry and a scale a row, found after rounding to float16."""
    codes = raw(stored, "weight", begin * S.shape[1], (begin + len(S)) * S.shape[1]).view(np.int8).reshape(S.shape)
    scales = floats(raw(stored, "SCB"), "F32")[begin : begin + len(S), None]
    own = np.abs(S).max(axis=1, keepdims=True, initial=0)
    with np.errstate(all="ignore"):
        s = np.where(scales == 0, 0, S * 127 / scales)
    if stochastic:
        far: Matrix = ~(np.abs(np.clip(s, -127, 127) - codes) <= 1 + 127 * TOLERANCE)
        return far
    off = ~(np.abs(s - codes) <= 0.5 + np.abs(s) * 2.0**-10 + 127 * TOLERANCE)
    off |= ~(np.abs(scales - own) <= 2.0**-10 * own + 1e-7)
    result: Matrix = off
    return result


def neighbours(entries: GridRows, S: Matrix, stochastic: bool) -> Matrix:
    """The same for codes with a number, a zero point and a scale each, whose grid is kept."""
    number, down, up, scale = entries
    with np.errstate(all="ignore"):
        s = np.where(scale == 0, number, S / scale)
    gap = np.where(s > number, up, down)
    room = (1 if stochastic else 0.5) * gap + TOLERANCE * gap + FLOAT32 * np.abs(s)
    wrong: Matrix = ~(np.abs(s - number) <= room) & (gap > 0)  # what is past the last number has that
    return wrong


def in_blocks(stored: StoredTensor, scheme: Any, S: Matrix, begin: int, stochastic: bool) -> Matrix:
    """The same for the blocks of ggml, whose grid is kept, or widened to hold what is past its ends."""
    found = blocks(stored, scheme, begin, begin + len(S))
    step, above = np.abs(found.step), (S + found.below) * np.where(found.step < 0, -1, 1)
    place, last = np.searchsorted(found.numbers, found.code), len(found.numbers) - 1
    upwards = above > found.code * step
    other = np.where(upwards, np.minimum(place + 1, last), np.maximum(place - 1, 0))
    gap = np.abs(found.numbers[other] - found.code) * step
    room = (1 if stochastic else 0.5) * gap * (1 + TOLERANCE) + FLOAT32 * (np.abs(S) + np.abs(found.below))
    wrong: Matrix = ~(np.abs(above - found.code * step) <= room) & (gap > 0)  # what is past the last number has that
    return wrong


HALF = 2.0**-10
"""How far, relative to itself, a scale in float16 may be from the one that codes were found with, with room for the next."""


def as_new_blocks(stored: StoredTensor, scheme: Any, S: Matrix, begin: int) -> Matrix:
    """Which entries are right where a scale was rounded to float16 after the codes were found: half a step, and what
    that moves the number by.
    """
    found = blocks(stored, scheme, begin, begin + len(S))
    away = np.abs(found.step * found.code - found.below - S)
    size = np.abs(found.step * found.code) + np.abs(found.below)
    half = TINY / 4 * (np.abs(found.code) + 1.5)  # of float16's smallest numbers, for each scale and for half a step
    near: Matrix = away <= 0.5 * np.abs(found.step) * (1 + TOLERANCE) + HALF * size + half
    return near


def off_grid(stored: StoredTensor, scheme: Any, S: Matrix, begin: int, stochastic: bool) -> Matrix:
    """Which entries are in groups whose step is larger than their numbers need, or so small that it cuts off more of them
    than a step of the least error may; or whose lowest value is not that of their numbers. With chance all are reached.

    What whole numbers of the block's scales are off by is allowed, and what float16 is.
    """
    found = blocks(stored, scheme, begin, begin + len(S))
    size, whole, joint = GROUPS.get(scheme.name, (BLOCKS_OF, 0, 1))
    groups, step, below = (each.reshape(len(S), -1, size) for each in (S, np.abs(found.step), found.below))
    step, below, first, last = step[..., 0], below[..., 0], -found.numbers[0], found.numbers[-1]
    low, high = groups.min(axis=2), groups.max(axis=2)
    if whole:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    deepest = _of_blocks(-low, joint) / whole if whole else 0 * low  # a unit of the lowest values
    if first > 0:
        most = np.maximum(np.abs(low), np.abs(high))
        needed, least = most / min(first, last), most / max(first, last)
    else:
        needed = (high - low) / last
        least = needed if stochastic or not whole else (high + np.maximum(-low - deepest, 0)) / last
    largest, room = needed, np.zeros_like(needed)
    if whole:
        room = _of_blocks(needed, joint) / whole + deepest / max(last, 1)
        largest = needed * (1 + FINE) + 2 * room
    part, lost = (1.0, 0.0) if stochastic else (FINEST.get(scheme.name, 1.0), 0.5 * (1 + FINE))
    wrong = step > largest * (1 + 2 * HALF) + TINY
    wrong |= step < least * part * (1 - 2 * HALF) - lost * room - TINY
    if first == 0:  # with a lowest value
        room = 2 * HALF * np.abs(low) + TINY
        wrong |= below + low > room + deepest * (1 + FINE)
        wrong |= below + low < -room - (0 if stochastic else 1) * deepest * (1 + FINE)
    off: Matrix = np.repeat(wrong, size, axis=1)
    return off


def _of_blocks(values: Matrix, joint: int) -> Matrix:
    """Of every group the largest of its block."""
    most = values.reshape(len(values), -1, joint).max(axis=2)
    return np.repeat(most, joint, axis=1)


TINY = 2.0**-23
"""What float16 is off by at least."""

FINEST = {
    "Q2_K": 0.6,
    "Q3_K": 0.79,
    "Q4_K": 0.85,
    "IQ4_XS": 0.85,
    "IQ4_NL": 0.85,
    "Q4_0": 0.89,
    "Q5_0": 0.89,
    "Q5_K": 0.9,
    "Q6_K": 0.96,
}
"""Least part of the step that reaches all numbers, where a smaller one may have less error: as small as this package and
llama.cpp try.
"""

BLOCKS_OF = 32
"""Entries of the blocks that are made again."""

FINE = 1 / 32
"""By how much the scale of a whole block may be larger, for the sake of one group."""

GROUPS = {
    "Q2_K": (16, 15, 16),
    "Q3_K": (16, 31, 16),
    "Q4_K": (32, 63, 8),
    "Q5_K": (32, 63, 8),
    "Q6_K": (16, 127, 16),
    "IQ4_XS": (32, 31, 8),
}
"""Entries of a group, the largest whole number that it has of the block's scale, and groups of a block."""

JUDGES = {
    **dict.fromkeys(TERMS, in_blocks),
    "nf4": four_bits,
    "fp4": four_bits,
    "int8": int8,
}
"""Of schemes without a grid of numbers."""
