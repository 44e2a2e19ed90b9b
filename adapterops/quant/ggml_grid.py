"""Other numbers in blocks of ggml: codes at random, so that the mean is right, on the grid that is there.

Where a number is past the last code of its group, the grid is widened to reach it, and no further: d and dmin of the
block, in the fine steps of float16, by up to `FINE`, and beyond that the whole numbers of the group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterops.quant.ggml_blocks import Fields, Kind

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array

FINE = 1 / 32
"""How much of itself the scale of a whole block of groups may grow by, for the sake of one of them."""

SLACK = 1e-5
"""By how much a number may be past the last code: that is float32."""


def reached(kind: Kind, fields: Fields, values: Array) -> Fields:
    """The blocks with grids that reach the values (blocks, groups, entries), and the codes that are there."""
    import numpy as np

    low, high = values.min(axis=2), values.max(axis=2)
    with np.errstate(all="ignore"):
        dmin, minimum = _deeper(kind, fields, -low)
        fields = fields._replace(dmin=dmin, minimum=minimum)
        step, below = (each[..., 0] for each in fields.steps())
        sign: Array
        if minimum is None:
            sign = np.where(step < 0, np.float32(-1), np.float32(1))
            ends = np.where(step < 0, -high, low), np.where(step < 0, -low, high)
            needed = np.maximum(ends[0] / np.float32(kind.low), ends[1] / np.float32(kind.high))
        else:
            sign, needed = np.ones_like(step), (high + below) / np.float32(kind.high)
        needed = np.where(np.isfinite(needed), np.maximum(needed, 0), 0)
        d, scale = _wider(kind, fields, np.abs(step), needed, sign)
    return fields._replace(d=d, scale=scale)


def _deeper(kind: Kind, fields: Fields, needed: Array) -> tuple[Array | None, Array | None]:
    """dmin and the minima, so that the lowest code is as low as is needed: at -needed (blocks, groups)."""
    import numpy as np

    if fields.dmin is None or fields.minimum is None:
        return fields.dmin, fields.minimum
    below = fields.steps()[1][..., 0]
    short = needed > below + SLACK * np.abs(below)
    if kind.scales is None:
        return np.where(short[:, 0], _up(needed[:, 0]), fields.dmin), fields.minimum
    ratio = np.where(short & (below > 0), needed / below, 1).max(axis=1)
    grown = _up(fields.dmin.astype(np.float32) * np.minimum(ratio, np.float32(1 + FINE)))
    dmin = np.where((ratio > 1) & np.isfinite(grown), grown, fields.dmin)
    wide = dmin.astype(np.float32)[:, None]
    still = needed > wide * fields.minimum * np.float32(1 + SLACK)
    more = np.where(wide > 0, np.minimum(np.ceil(needed / wide), kind.scales.largest), fields.minimum)
    return dmin, np.where(short & still, np.maximum(more, fields.minimum), fields.minimum).astype(np.int16)


def _wider(kind: Kind, fields: Fields, step: Array, needed: Array, sign: Array) -> tuple[Array, Array]:
    """d and the scales, so that steps (blocks, groups) are as large as is needed."""
    import numpy as np

    short = needed > step * np.float32(1 + SLACK)
    d = fields.d.astype(np.float32)
    if kind.scales is None:
        grown = np.copysign(_up(needed[:, 0]), fields.d)
        return np.where(short[:, 0] & np.isfinite(grown), grown, fields.d), fields.scale
    largest = np.float32(kind.scales.largest)
    ratio = np.where(short & (step > 0), needed / step, 1).max(axis=1)
    grown = np.where(d == 0, needed.max(axis=1) / largest, np.abs(d) * np.minimum(ratio, np.float32(1 + FINE)))
    grown = np.copysign(_up(grown), fields.d)
    d = np.where(((ratio > 1) | (d == 0)) & np.isfinite(grown), grown, fields.d)
    wide = np.abs(d.astype(np.float32))[:, None]
    still = needed > wide * np.abs(fields.scale) * np.float32(1 + SLACK)
    more = np.where(wide > 0, np.minimum(np.ceil(needed / wide), largest), np.abs(fields.scale))
    signs = sign * np.sign(d.astype(np.float32))[:, None]
    scale = np.where(short & still, signs * np.maximum(more, np.abs(fields.scale)), fields.scale)
    return d, scale.astype(np.int16)


def _up(values: Array) -> Array:
    """The next float16 that is no smaller."""
    import numpy as np

    found = values.astype(np.float16)
    higher: Array = np.nextafter(found, np.float16(np.inf))
    return np.where(found.astype(np.float32) < values, higher, found)


def stochastic(kind: Kind, fields: Fields, values: Array, chance: Array) -> Fields:
    """The blocks that stand for `values` (blocks, groups, entries), at random by `chance`, uniform in [0, 1).

    A block whose numbers did not change stays what it is, bit for bit.
    """
    import numpy as np

    before = fields.values()
    wide = reached(kind, fields, values)
    step, below = wide.steps()
    old_step, old_below = fields.steps()
    with np.errstate(all="ignore"):
        kept = (step == old_step) & (below == old_below)
        exact = np.where(kept, (values - before) / step + fields.codes.astype(np.float32), (values + below) / step)
        exact = np.where(step == 0, fields.codes, exact)
    lower = np.floor(exact)
    codes = np.clip(lower + (exact - lower > chance), kind.low, kind.high).astype(np.int16)
    same = (values == before).all(axis=(1, 2))
    return _merged(same, fields, wide._replace(codes=codes))


def _merged(first: Array, one: Fields, other: Fields) -> Fields:
    """The first of some blocks, and the others of the rest."""
    import numpy as np

    def chosen(mine: Array, theirs: Array) -> Array:
        return np.where(first.reshape(-1, *(1,) * (mine.ndim - 1)), mine, theirs)

    dmin = None if one.dmin is None or other.dmin is None else chosen(one.dmin, other.dmin)
    minimum = None if one.minimum is None or other.minimum is None else chosen(one.minimum, other.minimum)
    return Fields(chosen(one.d, other.d), chosen(one.scale, other.scale), dmin, minimum, chosen(one.codes, other.codes))
