"""What an update may have been added to: the base, the model that a base was quantized from, or what codes make of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.storage.tensors import Spec
from adapterops.verification.decoding import FP4, NF4, decoder
from adapterops.verification.deltas import UNIT
from adapterops.verification.diagnosis.conventions import EDGE
from adapterops.verification.diagnosis.runs import ENTRIES, blocks
from adapterops.verification.diagnosis.samples import Ground
from adapterops.verification.judges import Judge, judge_of
from adapterops.verification.names import Base
from adapterops.verification.numbers import Decoder
from adapterops.verification.rounding import Matrix, half_step, rounded_to

BLOCK, SIDE = 64, 128
"""Entries that share a scale in NF4 and FP4, as bitsandbytes has it unless asked otherwise; sides of a block of FP8."""


def of_checkpoint(original: Checkpoint, layout: Mapping[str, Spec]) -> Ground:
    """The tensors of another checkpoint, by the names of the base, where they have the shapes of `layout`."""
    there = Base(original.layout, original.config or {})

    def rows(tensor: str) -> Decoder | None:
        name = there.find(tensor)
        if name is None or (tensor in layout and original.layout[name].shape != layout[tensor].shape):
            return None
        return decoder(original.stored[name], rounded=True)

    return rows


def through(base: Checkpoint, ground: Ground, name: str) -> Ground:
    """What a base stands for after codes of `THROUGH`, rounded to its own dtype: what training on the codes saw."""
    codes = THROUGH[name]

    def rows(tensor: str) -> Decoder | None:
        exact, spec = ground(tensor), base.layout.get(tensor)
        if exact is None or spec is None or len(spec.shape) != 2 or base.stored[tensor].scheme:
            return None
        height, width = spec.shape
        step = codes.rows(width)

        def back(begin: int, end: int) -> Matrix:
            first, last = begin // step * step, min(-(-end // step) * step, height)
            return rounded_to(codes.back(exact(first, last)), spec.dtype)[begin - first : end - first]

        return back

    return rows


def only_rounded(model: Checkpoint, base: Checkpoint, tensor: str) -> str | None:
    """How a tensor that differs from the base's was rounded, where that is all that happened to it: the scheme that it is
    in, of whose codes every entry has the nearest, or that of `THROUGH` for numbers that went through its codes and back. None where it was
    not, or no formula says so.

    Cost: rows spread over it are read once of both.
    """
    found, before = model.stored[tensor], decoder(base.stored[tensor], rounded=True)
    if found.scheme == base.stored[tensor].scheme and found.scheme is not None:
        return None
    judge = judge_of(found)
    if judge is None:
        return None
    if found.scheme is not None:
        return found.scheme.name if _is_rounded(judge, before, None, 0.0) else None
    grounds = {name: through(base, lambda name: before, name)(tensor) for name in THROUGH}
    fits = (name for name, back in grounds.items() if back and _is_rounded(judge, before, back, THROUGH[name].loose))
    return next(fits, None)


def _is_rounded(judge: Judge, before: Decoder, back: Decoder | None, loose: float) -> bool:
    """Whether a tensor is a base's in its codes, or what `back` makes of it."""
    found = judge.found
    height, width = Spec(found.dtype, found.shape).matrix
    wrong = looked_at = 0
    for first, last in blocks(range(height), width, ENTRIES):
        begin, end = first // judge.rows * judge.rows, min(-(-last // judge.rows) * judge.rows, height)
        if back is None:
            W = before(begin, end)
            off = judge(W, 2 * UNIT * np.abs(W), begin, end)[0]
        else:
            M, R = judge.value(begin, end), back(begin, end)
            off = ~(np.abs(M - R) <= loose * np.abs(R) + 2 * half_step(M, found.dtype))  # NaN is never near
        wrong, looked_at = wrong + int(np.count_nonzero(off)), looked_at + off.size
    return wrong <= (EDGE * looked_at if back else 0)


def nf4(W: Matrix, table: Sequence[float] = NF4) -> Matrix:
    """Every number as the nearest of sixteen times the largest of its block; the last block may be shorter.

    >>> nf4(np.array([[0.5, -1.0, 0.09, 0.0] * 16]))[0, :4].round(3)
    array([ 0.441, -1.   ,  0.08 ,  0.   ])
    """
    grid = np.sort(np.array(table, np.float32).astype(np.float64))
    blocks = np.pad(W.ravel(), (0, -W.size % BLOCK)).reshape(-1, BLOCK)
    absmax = np.abs(blocks).max(axis=1, keepdims=True)
    unit = blocks / np.where(absmax > 0, absmax, 1.0)
    codes = np.searchsorted((grid[1:] + grid[:-1]) / 2, unit)
    found: Matrix = (grid[codes] * absmax).ravel()[: W.size].reshape(W.shape)
    return found


def int8(W: Matrix) -> Matrix:
    """Every number as the nearest 127th of the largest of its row."""
    most = np.abs(W).max(axis=1, keepdims=True)
    scale = np.where(most > 0, most, 1.0) / 127
    found: Matrix = np.rint(W / scale) * scale
    return found


def fp8(W: Matrix, height: int = SIDE, width: int = SIDE) -> Matrix:
    """Every number as the nearest E4M3 times a 448th of the largest of its block; the last blocks may be smaller.

    >>> fp8(np.array([[448.0, 1.0, 17.0, 0.07]])).tolist()
    [[448.0, 1.0, 16.0, 0.0703125]]
    """
    found = np.empty_like(W)
    for row in range(0, W.shape[0], height):
        for column in range(0, W.shape[1], width):
            part = slice(row, row + height), slice(column, column + width)
            scale = np.abs(W[part]).max() / 448 or 1.0
            exponent = np.maximum(np.frexp(np.abs(W[part] / scale))[1] - 1, -6)
            step = np.ldexp(scale, exponent - 3)
            found[part] = np.rint(W[part] / step) * step
    return found


@dataclass(frozen=True)
class Codes:
    """Codes that a base may have been in.

    Attributes:
        rows: how many rows of so many columns are coded together.
        back: what they stand for.
        loose: part of |W| that scales of scales may shift a weight by. Where it is not zero, `EDGE` of the entries may be
            off altogether: they are so near to the middle of two codes that float32 chose the other one.
    """

    says: str
    rows: Callable[[int], int]
    back: Callable[[Matrix], Matrix]
    loose: float = 1e-6


THROUGH = {
    "nf4": Codes("NF4", lambda width: BLOCK // math.gcd(width, BLOCK), nf4, 0.02),
    "fp8": Codes("FP8 in blocks of 128", lambda width: SIDE, fp8),
    "fp8-rows": Codes("FP8 in rows", lambda width: 1, lambda W: fp8(W, 1, W.shape[1])),
    "int8": Codes("int8", lambda width: 1, int8),
    "fp4": Codes("FP4", lambda width: BLOCK // math.gcd(width, BLOCK), lambda W: nf4(W, FP4), 0.02),
}
"""What bases are usually in while adapters are trained, with scales of the largest numbers."""
