"""New blocks of ggml, whose scales are found from their numbers: for a tensor that gets another type.

As `quantize_row_*_ref` of ggml-quants.c finds them. d is that of the number that is farthest from zero, or of the span
from the lowest to the highest; a code is the nearest, computed with d before it is rounded to float16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterops.errors import IncompatibleError
from adapterops.quant.ggml_blocks import KINDS, Fields

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array

NEW = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
"""The types that blocks are made anew in."""


def new(name: str, values: Array) -> Fields:
    """The blocks of a type that is one of `NEW`, nearest to values (blocks, 1, 32) in float32.

    Raises:
        IncompatibleError: a scale does not fit float16.
    """
    import numpy as np

    kind, rows = KINDS[name], values.reshape(len(values), -1)
    low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        if kind.minimum:
            d, start = (high - low) / np.float32(kind.high), low
        elif name == "Q8_0":
            d, start = np.maximum(np.abs(low), np.abs(high)) / np.float32(kind.high), np.zeros_like(low)
        else:
            farthest = np.take_along_axis(rows, np.abs(rows).argmax(axis=1, keepdims=True), axis=1)
            d, start = farthest / np.float32(kind.low), np.zeros_like(low)
        exact = (rows - start) * np.where(d == 0, 0, 1 / d).astype(np.float32)
        half, lowest = d.astype(np.float16)[:, 0], start.astype(np.float16)[:, 0]
    if not (np.isfinite(half).all() and np.isfinite(lowest).all()):
        raise IncompatibleError(
            f"has numbers up to {float(np.abs(values).max()):.3g}, whose scale in {name} does not fit float16",
            hint="give another type for it with --tensor-type, such as F32",
        )
    if name == "Q8_0":  # halves away from zero
        codes = np.copysign(np.floor(np.abs(exact) + np.float32(0.5)), exact)
    else:
        codes = np.floor(exact + np.float32(kind.zero + 0.5)) - np.float32(kind.zero)
    codes = np.clip(codes, kind.low, kind.high).astype(np.int16).reshape(values.shape)
    ones = np.ones((len(rows), 1), np.int16)
    return Fields(half, ones, -lowest if kind.minimum else None, ones if kind.minimum else None, codes)
