"""Blocks of ggml taken apart and put together: codes, and the scales and minima of the groups in a block.

    value = (d · scale) · code - dmin · minimum

with a float16 d, and dmin where there are minima, for the block, and whole numbers scale and minimum for each group. Of a
type without groups these are 1. Where a type has a table, its number for a code is meant. Source: ggml-quants.c of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from adapterops.arrays.floats import Array


class Plane(NamedTuple):
    """Some bits of each code: the field they are in, how many, and how many bytes hold the same bits of neighbours."""

    field: str
    bits: int
    stride: int


class Scales(NamedTuple):
    """How the whole numbers of the groups are stored: the largest scale and minimum, the way there and back, and whether
    there are minima.
    """

    largest: int
    split: Callable[[Array], tuple[Array, Array | None]]
    join: Callable[[Array, Array | None], Array]
    minima: bool = False


@dataclass(frozen=True)
class BlockType:
    """A type.

    Attributes:
        fields: of a block: name → dtype and length.
        planes: the bits of a code, from the lowest on.
        zero: what is subtracted from these bits.
        groups: in a block.
        scales: of the groups; None where there is one group.
        minimum: the field that has the lowest value of a block itself, where it has one: -dmin.
        table: what is multiplied by the scale, by code, ascending; without one the code less `zero`.
    """

    fields: tuple[tuple[str, str, int], ...]
    planes: tuple[Plane, ...]
    zero: int = 0
    groups: int = 1
    scales: Scales | None = None
    minimum: str | None = None
    table: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        return sum(plane.bits for plane in self.planes)

    @property
    def low(self) -> int:
        return self.table[0] if self.table else -self.zero

    @property
    def high(self) -> int:
        return self.table[-1] if self.table else (1 << self.width) - 1 - self.zero


class Fields(NamedTuple):
    """What blocks are made of: d and dmin (blocks,), float16; scale and minimum (blocks, groups), integers; and the codes
    (blocks, groups, entries), int16, or what a table has for them. Without minima dmin and minimum are None.
    """

    d: Array
    scale: Array
    dmin: Array | None
    minimum: Array | None
    codes: Array

    def steps(self) -> tuple[Array, Array]:
        """The step of every group and what is subtracted, (blocks, groups, 1), in float32 as ggml computes them."""
        import numpy as np

        step = self.d.astype(np.float32)[:, None] * self.scale.astype(np.float32)
        if self.dmin is None or self.minimum is None:
            return step[..., None], np.zeros_like(step)[..., None]
        below = self.dmin.astype(np.float32)[:, None] * self.minimum.astype(np.float32)
        return step[..., None], below[..., None]

    def values(self) -> Array:
        """(blocks, groups, entries), in float32."""
        import numpy as np

        step, below = self.steps()
        return step * self.codes.astype(np.float32) - below


def split(kind: BlockType, data: Array) -> Fields:
    """The blocks in an array of bytes."""
    import numpy as np

    blocks = data.reshape(-1).view(_dtype(kind))
    codes: Array = np.zeros((len(blocks), 1), np.uint8)
    shift = 0
    for plane in kind.planes:
        codes = codes | spread(blocks[plane.field], plane.bits, plane.stride) << np.uint8(shift)
        shift += plane.bits
    if kind.width == 8:  # signed bytes
        codes = codes ^ np.uint8(kind.zero)
    numbers = np.array(kind.table, np.int16)[codes] if kind.table else codes.astype(np.int16) - np.int16(kind.zero)
    codes = numbers.reshape(len(blocks), kind.groups, -1)
    ones = np.ones((len(blocks), 1), np.int16)
    if kind.scales is None:
        return Fields(
            blocks["d"],
            ones,
            -blocks[kind.minimum] if kind.minimum else None,
            ones if kind.minimum else None,
            codes,
        )
    scale, minimum = kind.scales.split(blocks["scales"])
    return Fields(blocks["d"], scale, None if minimum is None else blocks["dmin"], minimum, codes)


def join(kind: BlockType, fields: Fields) -> Array:
    """The bytes of blocks: (blocks, bytes)."""
    import numpy as np

    blocks = np.zeros(len(fields.d), _dtype(kind))
    blocks["d"] = fields.d
    numbers = fields.codes.reshape(len(blocks), -1)
    places = np.searchsorted(kind.table, numbers) if kind.table else numbers + np.int16(kind.zero)
    codes = places.astype(np.uint8)
    if kind.width == 8:
        codes ^= np.uint8(kind.zero)
    for plane in kind.planes:
        blocks[plane.field] = gathered(codes & np.uint8((1 << plane.bits) - 1), plane.bits, plane.stride)
        codes = codes >> np.uint8(plane.bits % 8)
    if kind.scales is not None:
        blocks["scales"] = kind.scales.join(fields.scale, fields.minimum)
        if fields.dmin is not None:
            blocks["dmin"] = fields.dmin
    elif kind.minimum and fields.dmin is not None:
        blocks[kind.minimum] = -fields.dmin
    return blocks.view(np.uint8).reshape(len(blocks), -1)


def _dtype(kind: BlockType) -> np.dtype[np.void]:
    import numpy as np

    return np.dtype([(name, dtype, length) if length else (name, dtype) for name, dtype, length in kind.fields])


def spread(data: Array, bits: int, stride: int) -> Array:
    """The codes in rows of bytes: of `stride` bytes first all lowest bits, then all next ones.

    >>> import numpy as np
    >>> spread(np.array([[0x21, 0x43]], np.uint8), 4, 2).tolist()
    [[1, 3, 2, 4]]
    """
    import numpy as np

    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    found: Array = data.reshape(len(data), -1, 1, stride) >> shifts & np.uint8((1 << bits) - 1)
    return found.reshape(len(data), -1)


def gathered(codes: Array, bits: int, stride: int) -> Array:
    """Rows of codes as bytes: what `spread` reads."""
    import numpy as np

    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    wide = codes.reshape(len(codes), -1, 8 // bits, stride) << shifts
    found: Array = np.bitwise_or.reduce(wide, axis=2)
    return found.reshape(len(codes), -1)


def _halves(stored: Array) -> tuple[Array, Array | None]:
    """Q2_K: a byte for a group."""
    return (stored & 15).astype("int16"), (stored >> 4).astype("int16")


def _joined_halves(scale: Array, minimum: Array | None) -> Array:
    assert minimum is not None
    found: Array = scale | minimum << 4
    return found.astype("uint8")


def _sixes(stored: Array) -> tuple[Array, Array | None]:
    """Q4_K, Q5_K: eight scales and eight minima of 6 bits in 12 bytes."""
    import numpy as np

    first, second, third = (stored[:, begin : begin + 4].astype(np.int16) for begin in (0, 4, 8))
    scale = np.concatenate([first & 63, third & 15 | first >> 2 & 48], axis=1)
    return scale, np.concatenate([second & 63, third >> 4 | second >> 2 & 48], axis=1)


def _joined_sixes(scale: Array, minimum: Array | None) -> Array:
    import numpy as np

    assert minimum is not None
    parts = [each[:, :4] | each[:, 4:] >> 4 << 6 for each in (scale, minimum)]
    parts.append(scale[:, 4:] & 15 | (minimum[:, 4:] & 15) << 4)
    return np.concatenate(parts, axis=1).astype(np.uint8)


def _offset_sixes(stored: Array) -> tuple[Array, Array | None]:
    """Q3_K: sixteen scales of 6 bits, less 32, in 12 bytes."""
    import numpy as np

    low, high = spread(stored[:, :8], 4, 8), spread(np.ascontiguousarray(stored[:, 8:]), 2, 4)
    return (low | high << np.uint8(4)).astype(np.int16) - np.int16(32), None


def _joined_offset_sixes(scale: Array, minimum: Array | None) -> Array:
    import numpy as np

    whole = (scale + np.int16(32)).astype(np.uint8)
    return np.concatenate([gathered(whole & np.uint8(15), 4, 8), gathered(whole >> np.uint8(4), 2, 4)], axis=1)


def _bytes(stored: Array) -> tuple[Array, Array | None]:
    """Q6_K: a signed byte for a group."""
    return stored.astype("int16"), None


def _joined_bytes(scale: Array, minimum: Array | None) -> Array:
    return scale.astype("int8")


def _upper_first(stored: Array) -> tuple[Array, Array | None]:
    """IQ4_XS: eight scales of 6 bits, less 32, the upper bits of all first."""
    import numpy as np

    high, low = spread(np.ascontiguousarray(stored[:, :2]), 2, 1), spread(np.ascontiguousarray(stored[:, 2:]), 4, 1)
    return (low | high << np.uint8(4)).astype(np.int16) - np.int16(32), None


def _joined_upper_first(scale: Array, minimum: Array | None) -> Array:
    import numpy as np

    whole = (scale + np.int16(32)).astype(np.uint8)
    return np.concatenate([gathered(whole >> np.uint8(4), 2, 1), gathered(whole & np.uint8(15), 4, 1)], axis=1)


HALVES = Scales(15, _halves, _joined_halves, minima=True)
SIXES = Scales(63, _sixes, _joined_sixes, minima=True)
OFFSET_SIXES = Scales(31, _offset_sixes, _joined_offset_sixes)
BYTES = Scales(127, _bytes, _joined_bytes)
UPPER_FIRST = Scales(31, _upper_first, _joined_upper_first)
TABLE = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

D, DMIN = ("d", "<f2", 0), ("dmin", "<f2", 0)
KINDS: Mapping[str, BlockType] = {
    "Q4_0": BlockType((D, ("qs", "u1", 16)), (Plane("qs", 4, 16),), zero=8),
    "Q4_1": BlockType((D, ("m", "<f2", 0), ("qs", "u1", 16)), (Plane("qs", 4, 16),), minimum="m"),
    "Q5_0": BlockType((D, ("qh", "u1", 4), ("qs", "u1", 16)), (Plane("qs", 4, 16), Plane("qh", 1, 1)), zero=16),
    "Q5_1": BlockType(
        (D, ("m", "<f2", 0), ("qh", "u1", 4), ("qs", "u1", 16)), (Plane("qs", 4, 16), Plane("qh", 1, 1)), minimum="m"
    ),
    "Q8_0": BlockType((D, ("qs", "u1", 32)), (Plane("qs", 8, 1),), zero=128),
    "Q2_K": BlockType(
        (("scales", "u1", 16), ("qs", "u1", 64), D, DMIN), (Plane("qs", 2, 32),), groups=16, scales=HALVES
    ),
    "Q3_K": BlockType(
        (("hmask", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), D),
        (Plane("qs", 2, 32), Plane("hmask", 1, 32)),
        zero=4,
        groups=16,
        scales=OFFSET_SIXES,
    ),
    "Q4_K": BlockType(
        (D, DMIN, ("scales", "u1", 12), ("qs", "u1", 128)), (Plane("qs", 4, 32),), groups=8, scales=SIXES
    ),
    "Q5_K": BlockType(
        (D, DMIN, ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128)),
        (Plane("qs", 4, 32), Plane("qh", 1, 32)),
        groups=8,
        scales=SIXES,
    ),
    "IQ4_NL": BlockType((D, ("qs", "u1", 16)), (Plane("qs", 4, 16),), table=TABLE),
    "IQ4_XS": BlockType(
        (D, ("scales", "u1", 6), ("qs", "u1", 128)), (Plane("qs", 4, 16),), groups=8, scales=UPPER_FIRST, table=TABLE
    ),
    "Q6_K": BlockType(
        (("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), D),
        (Plane("ql", 4, 64), Plane("qh", 2, 32)),
        zero=32,
        groups=16,
        scales=BYTES,
    ),
}
