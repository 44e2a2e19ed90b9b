"""Numbers that are none: NaN and infinity, in every entry of a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

from adapterops.arrays.dtypes import FLOATS
from adapterops.checkpoints.stored import StoredTensor

EXPONENT = {"F16": 0x7C00, "BF16": 0x7F80, "F32": 0x7F800000, "F64": 0x7FF << 52}
"""Bits that are all set in NaN and infinity, and in no number."""

LARGEST = {"F16": " (float16 holds numbers up to 65504)"}
TILE = 1 << 22


def not_finite(stored: StoredTensor) -> str | None:
    """How many entries are NaN, and how many are infinite; None where all are numbers, or are in codes.

    Cost: its bytes are read once, a tile at a time.
    """
    if stored.scheme is not None or stored.dtype not in EXPONENT or stored.dtype not in FLOATS:
        return None
    part, bits = stored.parts[""], EXPONENT[stored.dtype]
    kind: Any = {"F16": np.uint16, "BF16": np.uint16, "F32": np.uint32, "F64": np.uint64}[stored.dtype]
    height, width = part.spec.matrix
    step, entries, nan, infinite = max(1, TILE // max(1, width)), 0, 0, 0
    for begin in range(0, height, step):
        found = part.file.array(part.name, (begin, min(begin + step, height))).view(kind)
        entries += found.size
        wrong = found & kind(bits)
        if found.size and wrong.max() == bits:
            numbers = found[wrong == bits]
            mantissa = kind((bits & -bits) - 1)
            nan += int(np.count_nonzero(numbers & mantissa))
            infinite += int(np.count_nonzero((numbers & mantissa) == 0))
    if not nan and not infinite:
        return None
    which = [f"NaN in {nan}"] * bool(nan) + [f"infinite in {infinite}"] * bool(infinite)
    return f"is {' and '.join(which)} of {entries} entries{LARGEST.get(stored.dtype, '') * bool(infinite)}"
