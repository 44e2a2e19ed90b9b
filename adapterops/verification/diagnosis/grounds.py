"""What an update may have been added to: the base, the model that a base was quantized from, or what NF4 makes of it."""

from __future__ import annotations

import math

import numpy as np

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.verification.decoding import NF4, Decoder, decoder
from adapterops.verification.deltas import UNIT
from adapterops.verification.diagnosis.samples import ENTRIES, Ground, blocks
from adapterops.verification.names import Base
from adapterops.verification.rounding import Matrix, half_step, rounded_to
from adapterops.verification.witness import judge_of

BLOCK = 64
"""Entries that share a scale in NF4, as bitsandbytes has it unless asked otherwise."""


LOOSE = 0.02
"""Part of |W| that scales of NF4's scales may shift a weight by."""

EDGE = 1e-4
"""Of the entries that may lie so near to the middle of two codes that float32 chose the other one."""


def of_checkpoint(original: Checkpoint) -> Ground:
    """The tensors of another checkpoint, by the names of the base."""
    there = Base(original.layout, original.config or {})

    def rows(tensor: str) -> Decoder | None:
        name = there.find(tensor)
        return None if name is None else decoder(original.stored[name], rounded=True)

    return rows


def through_nf4(base: Checkpoint, ground: Ground) -> Ground:
    """What a base stands for after NF4 in blocks of 64, rounded to its own dtype: what QLoRA trains on."""

    def rows(tensor: str) -> Decoder | None:
        exact, spec = ground(tensor), base.layout.get(tensor)
        if exact is None or spec is None or len(spec.shape) != 2 or base.stored[tensor].scheme:
            return None
        height, width = spec.shape
        step = BLOCK // math.gcd(width, BLOCK)  # rows that are whole blocks

        def through(begin: int, end: int) -> Matrix:
            first, last = begin // step * step, min(-(-end // step) * step, height)
            return rounded_to(nf4(exact(first, last)), spec.dtype)[begin - first : end - first]

        return through

    return rows


def rounded_alone(model: Checkpoint, base: Checkpoint, tensor: str) -> str | None:
    """How a tensor that differs from the base's was rounded, where that is all that happened to it: the scheme that it is
    in, of whose codes every entry has the nearest, or "nf4" for numbers that went through it and back. None where it was
    not, or no formula says so.

    Cost: rows spread over it are read once of both.
    """
    found, before = model.stored[tensor], decoder(base.stored[tensor], rounded=True)
    if found.scheme == base.stored[tensor].scheme and found.scheme is not None:
        return None
    back = through_nf4(base, lambda name: before)(tensor) if found.scheme is None else None
    judge = judge_of(found)
    if before is None or judge is None or (found.scheme is None and back is None):
        return None
    height, width = model.layout[tensor].matrix
    wrong = looked_at = 0
    for first, last in blocks(range(height), width, ENTRIES):
        begin, end = first // judge.rows * judge.rows, min(-(-last // judge.rows) * judge.rows, height)
        if back is None:
            W = before(begin, end)
            off = judge(W, 2 * UNIT * np.abs(W), begin, end)[0]
        else:
            M, R = judge.value(begin, end), back(begin, end)
            off = ~(np.abs(M - R) <= LOOSE * np.abs(R) + 2 * half_step(M, found.dtype))  # NaN is never near
        wrong, looked_at = wrong + int(np.count_nonzero(off)), looked_at + off.size
    if wrong > (EDGE * looked_at if back else 0):
        return None
    return "nf4" if found.scheme is None else found.scheme.name


def nf4(W: Matrix) -> Matrix:
    """Every number as the nearest of sixteen times the largest of its block; the last block may be shorter.

    >>> nf4(np.array([[0.5, -1.0, 0.09, 0.0] * 16]))[0, :4].round(3)
    array([ 0.441, -1.   ,  0.08 ,  0.   ])
    """
    grid = np.array(NF4, np.float32).astype(np.float64)
    blocks = np.pad(W.ravel(), (0, -W.size % BLOCK)).reshape(-1, BLOCK)
    absmax = np.abs(blocks).max(axis=1, keepdims=True)
    unit = blocks / np.where(absmax > 0, absmax, 1.0)
    codes = np.searchsorted((grid[1:] + grid[:-1]) / 2, unit)
    found: Matrix = (grid[codes] * absmax).ravel()[: W.size].reshape(W.shape)
    return found
