"""What an update may have been added to: the base, the model that a base was quantized from, or what NF4 makes of it."""

from __future__ import annotations

import math

import numpy as np

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.verification.decoding import NF4, Decoder, decoder
from adapterops.verification.diagnosis.samples import Ground
from adapterops.verification.names import Base
from adapterops.verification.rounding import Matrix, rounded_to

BLOCK = 64
"""Entries that share a scale in NF4, as bitsandbytes has it unless asked otherwise."""


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
