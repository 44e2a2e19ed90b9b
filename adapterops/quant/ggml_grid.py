"""Other numbers in blocks of ggml: codes at random, so that the mean is right, on the grid that is there.

A number up to `BEYOND` of a step past the last code of its group goes to that one, and the rest of its row holds what is
missing; see `grid.share`. Another scale would put every entry of the block between two codes, and its noise is larger than a
small update. For one that is further off the grid is widened to reach all, and no more: d and dmin of the block, in the fine
steps of float16, where a group needs up to `FINE` more, and otherwise its own whole numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapterops.quant.ggml_blocks import BlockType, Fields
from adapterops.quant.grid import share

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array

FINE = 1 / 32
"""How much of itself the scale of a whole block of groups may grow by, for the sake of one of them."""

BEYOND = 0.5
"""How far past the last code a number may be, in steps, before the grid is widened."""

SLACK = 1e-5
"""By how much a number may be past the last code: that is float32."""


def reached(kind: BlockType, fields: Fields, values: Array) -> Fields:
    """The blocks with grids that reach the values (blocks, groups, entries), and the codes that are there."""
    import numpy as np

    low, high = values.min(axis=2), values.max(axis=2)
    with np.errstate(all="ignore"):
        dmin, minimum = _deeper(kind, fields, -low)
        fields = fields._replace(dmin=dmin, minimum=minimum)
        step, below = (each[..., 0] for each in fields.steps())
        if minimum is None:
            ends = np.where(step < 0, -high, low), np.where(step < 0, -low, high)
            needed = np.maximum(ends[0] / np.float32(kind.low), ends[1] / np.float32(kind.high))
        else:
            needed = (high + below) / np.float32(kind.high)
        needed = np.where(np.isfinite(needed), np.maximum(needed, 0), 0)
        d, scale = _wider(kind, fields, needed)
    return fields._replace(d=d, scale=scale)


def _deeper(kind: BlockType, fields: Fields, needed: Array) -> tuple[Array | None, Array | None]:
    """dmin and the minima, so that the lowest code is as low as is needed: at -needed (blocks, groups)."""
    import numpy as np

    if fields.dmin is None or fields.minimum is None:
        return fields.dmin, fields.minimum
    below = fields.steps()[1][..., 0]
    if kind.scales is None:  # of any sign
        short = needed > below + np.float32(SLACK) * np.abs(below)
        return np.where(short[:, 0], up(needed[:, 0]), fields.dmin), fields.minimum
    return _grown(kind.scales.largest, fields.dmin, fields.minimum, np.maximum(needed, 0))


def _wider(kind: BlockType, fields: Fields, needed: Array) -> tuple[Array, Array]:
    """d and the scales, so that steps (blocks, groups) are as large as is needed."""
    import numpy as np

    if kind.scales is None:
        short = needed[:, 0] > np.abs(fields.d.astype(np.float32)) * np.float32(1 + SLACK)
        grown = np.copysign(up(needed[:, 0]), fields.d)
        return np.where(short & np.isfinite(grown), grown, fields.d), fields.scale
    d, scale = _grown(kind.scales.largest, np.abs(fields.d), np.abs(fields.scale), needed)
    return np.copysign(d, fields.d), np.where(fields.scale < 0, -scale, scale)


def _grown(largest: int, unit: Array, counts: Array, needed: Array) -> tuple[Array, Array]:
    """A unit (blocks,) and whole numbers of it, up to `largest`, that come to what is needed (blocks, groups) or more.

    The unit grows for groups that need up to `FINE` more, the numbers of single groups where they need more than that.
    Where neither does, all are chosen again.
    """
    import numpy as np

    wide = unit.astype(np.float32)[:, None]
    there = wide * counts.astype(np.float32)
    short = needed > there * np.float32(1 + SLACK)
    ratio = np.where(short & (there > 0), needed / there, 1)
    ratio = np.where(ratio <= np.float32(1 + FINE), ratio, 1).max(axis=1)
    fine = up(wide[:, 0] * ratio)
    least = needed.max(axis=1) / np.float32(largest)
    raised = least > fine.astype(np.float32)
    found = np.where(raised, up(least), np.where(ratio > 1, fine, unit))
    found = np.where(np.isfinite(found), found, unit)
    wide = found.astype(np.float32)[:, None]
    more = np.where(wide > 0, np.minimum(np.ceil(needed / wide * np.float32(1 - SLACK)), largest), counts)
    still = needed > wide * counts.astype(np.float32) * np.float32(1 + SLACK)
    return found, np.where(raised[:, None] | (short & still), more, counts).astype(np.int16)


def up(values: Array) -> Array:
    """The next float16 that is no smaller."""
    import numpy as np

    found = values.astype(np.float16)
    higher: Array = np.nextafter(found, np.float16(np.inf))
    return np.where(found.astype(np.float32) < values, higher, found)


def stochastic(
    kind: BlockType, fields: Fields, values: Array, chance: Array, rows: int, beyond: float = BEYOND
) -> Fields:
    """The blocks of so many rows that stand for `values` (blocks, groups, entries), at random by `chance`, uniform in [0, 1).

    A block whose numbers did not change stays what it is, bit for bit. The grid is widened for a number that is more than
    `beyond` steps past it.
    """
    import numpy as np

    before, codes = fields.values(), fields.codes.astype(np.float32)
    wide = reached(kind, fields, _in_reach(kind, fields, values, beyond))
    step, below = wide.steps()
    old_step, old_below = fields.steps()
    with np.errstate(all="ignore"):
        start = np.where((step == old_step) & (below == old_below), codes, (before + below) / step)
        exact = np.where(start == codes, (values - before) / step + codes, (values + below) / step)
        start, exact = (np.where(step == 0, codes, each) for each in (start, exact))
    low, high = _around(kind, exact)
    exact = _shared(exact, start, low, high, step, rows)
    found = np.where(exact - low > chance * (high - low), high, low).astype(np.int16)
    same = (values == before).all(axis=(1, 2))
    return _merged(same, fields, wide._replace(codes=found))


def _in_reach(kind: BlockType, fields: Fields, values: Array, beyond: float) -> Array:
    """The values, but at the ends of its grid where a group has none that is further past them than `beyond`."""
    import numpy as np

    step, below = fields.steps()
    table = kind.table or (0, 1)
    room = beyond * (table[1] - table[0]), beyond * (table[-1] - table[-2])
    with np.errstate(all="ignore"):
        exact = (values + below) / step
    far = (exact < kind.low - room[0]) | (exact > kind.high + room[1])
    ends = kind.low * step - below, kind.high * step - below
    return np.where(far.any(axis=2, keepdims=True), values, np.clip(values, np.minimum(*ends), np.maximum(*ends)))


def _around(kind: BlockType, exact: Array) -> tuple[Array, Array]:
    """The next lower number that a code stands for and the next higher one; the last two where it is past an end."""
    import numpy as np

    if not kind.table:
        lower = np.clip(np.floor(exact), kind.low, kind.high - 1)
        return lower, lower + 1
    table = np.array(kind.table, np.float32)
    place = np.clip(np.searchsorted(table, exact, "right") - 1, 0, len(table) - 2)
    return table[place], table[place + 1]


def _shared(exact: Array, start: Array, low: Array, high: Array, step: Array, rows: int) -> Array:
    """`grid.share` of whole rows."""
    import numpy as np
    import torch

    whole = (np.broadcast_to(each, exact.shape).astype(np.float32) for each in (exact, start, low, high, step))
    s, *others = (torch.from_numpy(each).reshape(rows, -1) for each in whole)
    share(s, *others)
    found: Array = s.numpy().reshape(exact.shape)
    return found


def _merged(first: Array, one: Fields, other: Fields) -> Fields:
    """The first of some blocks, and the others of the rest."""
    import numpy as np

    def chosen(mine: Array, theirs: Array) -> Array:
        return np.where(first.reshape(-1, *(1,) * (mine.ndim - 1)), mine, theirs)

    dmin = None if one.dmin is None or other.dmin is None else chosen(one.dmin, other.dmin)
    minimum = None if one.minimum is None or other.minimum is None else chosen(one.minimum, other.minimum)
    return Fields(chosen(one.d, other.d), chosen(one.scale, other.scale), dmin, minimum, chosen(one.codes, other.codes))


def nearest(kind: BlockType, exact: Array) -> Array:
    """The number that a code stands for and that is nearest; of two the lower one of a table, else the even one."""
    import numpy as np

    if not kind.table:
        found: Array = np.clip(np.rint(exact), kind.low, kind.high)
        return found
    table = np.array(kind.table, np.float32)
    return table[np.searchsorted((table[1:] + table[:-1]) / 2, exact)]
