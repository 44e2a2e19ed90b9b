"""New blocks of ggml, whose scales are found from their numbers: for a tensor that gets another type.

Blocks without groups as `quantize_row_*_ref` of ggml-quants.c finds them: d is that of the number that is farthest from
zero, or of the span from the lowest to the highest; a code is the nearest, computed with d before it is rounded to float16.

Blocks with groups, and those with a table: the grid is chosen first, and every code is the nearest on it. Of each group the
step is that of the number farthest from zero, or of the span from the lowest to the highest, zero included; d and dmin are
the largest of them over the largest whole number. Of the whole numbers next to the step and to some smaller steps, which
cut the largest numbers off and are finer for all others, the one with the least squared error is taken. ggml weighs its
errors, and its bytes differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adapterops.errors import IncompatibleError
from adapterops.quant.ggml_blocks import KINDS, BlockType, Fields
from adapterops.quant.ggml_grid import nearest, up

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array

PLAIN = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
NEW = (*PLAIN, "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "IQ4_XS", "IQ4_NL")
"""The types that blocks are made again in."""

FINER = {2: (1.0, 0.9, 0.8, 0.7, 0.6), 3: (1.0, 0.93, 0.86, 0.79), 4: (1.0, 0.95, 0.9, 0.85)}
"""Bits of a code → parts of the step that reaches all numbers, of which the best is taken."""


def new(name: str, values: Array, *, reaching: bool = False) -> Fields:
    """The blocks of a type that is one of `NEW`, near values (blocks, groups, entries) in float32.

    Args:
        reaching: the grids reach all numbers, also where others are nearer to them on the whole.

    Raises:
        IncompatibleError: a scale does not fit float16.
    """
    import numpy as np

    if name not in PLAIN:
        return _in_groups(name, values, reaching)
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
    _check(name, values, half, lowest)
    if name == "Q8_0":  # halves away from zero
        codes = np.copysign(np.floor(np.abs(exact) + np.float32(0.5)), exact)
    else:
        codes = np.floor(exact + np.float32(kind.zero + 0.5)) - np.float32(kind.zero)
    codes = np.clip(codes, kind.low, kind.high).astype(np.int16).reshape(values.shape)
    ones = np.ones((len(rows), 1), np.int16)
    return Fields(half, ones, -lowest if kind.minimum else None, ones if kind.minimum else None, codes)


def _in_groups(name: str, values: Array, reaching: bool) -> Fields:
    """Of every group the candidate of the least squared error: parts of the full step, counted in units of the block to
    nearest and away from zero, for next to a group of large numbers the nearest count of a small one may be none.
    """
    import numpy as np

    kind = KINDS[name]
    most = kind.scales.largest if kind.scales else 1
    scales, minima, codes, errors = [], [], [], []
    with np.errstate(all="ignore"):
        low, high = np.minimum(values.min(axis=2), 0), np.maximum(values.max(axis=2), 0)
        dmin, lowest = None, [np.zeros_like(low)]
        if kind.scales is not None and kind.scales.minima:
            dmin = up(-low.min(axis=1) / np.float32(most))
            unit = dmin.astype(np.float32)[:, None]
            lowest = [np.minimum(_counts(-low, unit, whole), most) for whole in (np.ceil, np.floor)[: 2 - reaching]]
        d: Array | None = None
        for minimum in lowest:
            below = minimum if dmin is None else dmin.astype(np.float32)[:, None] * minimum.astype(np.float32)
            step = (high + below) / np.float32(kind.high) if dmin is not None else _signed(kind, low, high, reaching)
            if d is None:  # of the largest minima, with which steps are largest
                d = up(np.abs(step).max(axis=1) / np.float32(most))
                _check(name, values, d, d if dmin is None else dmin)
            unit = d.astype(np.float32)[:, None]
            for part in (1.0,) if reaching else FINER.get(kind.width, (1.0,)):
                wanted = step * np.float32(part)
                for whole in (_away,) if reaching else (np.rint, _away) if kind.scales else (np.rint,):
                    scale = (
                        np.clip(_counts(wanted, unit, whole), -most, most) if kind.scales else wanted.astype(np.float16)
                    )
                    steps = unit * scale if kind.scales else scale.astype(np.float32)
                    tried = nearest(kind, (values + below[..., None]) / steps[..., None])
                    tried = np.where(steps[..., None] == 0, kind.table[8] if kind.table else 0, tried)
                    errors.append(np.square(steps[..., None] * tried - below[..., None] - values).sum(axis=2))
                    scales.append(scale)
                    minima.append(minimum)
                    codes.append(tried)
    least = np.argmin(errors, axis=0)[None]

    def chosen(of: list[Array]) -> Array:
        found: Array = np.take_along_axis(np.stack(of), least, axis=0)[0]
        return found

    assert d is not None
    found = np.take_along_axis(np.stack(codes), least[..., None], axis=0)[0].astype(np.int16)
    if kind.scales is None:
        return Fields(chosen(scales)[:, 0], np.ones((len(found), 1), np.int16), None, None, found)
    return Fields(
        d, chosen(scales).astype(np.int16), dmin, None if dmin is None else chosen(minima).astype(np.int16), found
    )


def _signed(kind: BlockType, low: Array, high: Array, reaching: bool) -> Array:
    """The step of groups without minima, with the sign that gives the number of the largest size the code at that end."""
    import numpy as np

    outer, inner = np.where(high > -low, high, low), np.where(high > -low, low, high)
    step: Array = outer / np.float32(kind.low)
    if reaching:  # of the side with fewer codes, too
        step = np.where(inner / step > kind.high, inner / np.float32(kind.high), step)
    return step


def _counts(needed: Array, unit: Array, whole: Callable[[Array], Array]) -> Array:
    """How many units something is; of units of zero none."""
    import numpy as np

    return np.where(unit > 0, whole(needed / np.where(unit > 0, unit, 1)), 0)


def _away(values: Array) -> Array:
    import numpy as np

    return np.copysign(np.ceil(np.abs(values)), values)


def _check(name: str, values: Array, *halves: Array) -> None:
    import numpy as np

    if not all(np.isfinite(each).all() for each in halves):
        raise IncompatibleError(
            f"has numbers up to {float(np.abs(values).max()):.3g}, whose scale in {name} does not fit float16",
            hint="give another type for it with --tensor-type, such as F32",
        )
