"""compressed-tensors' pack-quantized:
integers of 2 to 8 bits in groups, or with one scale for a row or all. Its grid is kept, and none is made.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterops.arrays.dtypes import BITS
from adapterops.quant.checks import damaged, foreign
from adapterops.quant.grid import changed, column_groups, decoded, integers, one_row, to_grid
from adapterops.quant.header import Claim, Header, key, shown
from adapterops.quant.registry import Remainder, scheme
from adapterops.quant.scheme import LONG_NAMES, Part, Read
from adapterops.quant.sections import compressed_weights
from adapterops.quant.words import WORD, group_size, packed, rows, unpacked, whole, words

if TYPE_CHECKING:
    from torch import Tensor

WIDTHS = range(2, 9)
LENGTHS = {"I64": "<2q", "I32": "<2i"}
ARGUMENTS = ("num_bits", "type", "symmetric", "strategy", "group_size", "actorder")
ORDER = "weight_g_idx"
"""The group of each column, where columns were quantized in another order."""

IN_ORDER = (None, False, "weight", "static")
"""Orders that leave no trace in the file: the groups are those of the columns as they are."""

OTHERS = ("marlin-24",)
"""Formats in which words hold codes in another order."""

PLAIN, PACKED = "I8", "I32"
"""Zero points as older versions of the library stored them, from -2^(bits - 1) on, and as it packs them, from 0 on."""


@scheme(
    "compressed-tensors",
    marks=("weight_packed",),
    methods=("compressed-tensors",),
    remains=(
        Remainder(".weight_shape", ".weight_packed"),
        Remainder(".weight_zero_point", ".weight_packed with zero points"),
    ),
)
@dataclass(frozen=True)
class CompressedTensors:
    """W[i, j] = (code[i, j] - zero[i, g]) · scale[i, g], where g = j // group, or the one that is stored for column j.

    Attributes:
        width: bits of a code.
        group: columns that share a scale; all of a row, where there is one scale a row.
        scale, lengths, zero: the dtypes of the scales, of the shape and of the zero points.
        ordered: whether the group of each column is stored.
        one: whether there is one scale for all of the weight.
    """

    width: int
    group: int
    symmetric: bool
    scale: str = "F16"
    lengths: str = "I64"
    dtype: str = "BF16"
    zero: str = PACKED
    ordered: bool = False
    one: bool = False

    @classmethod
    def detect(cls, header: Header, tensor: str, role: str) -> Claim | None:
        """By what the config says of the module: integers in groups or by row. Codes in bytes are floats."""
        packed = header.part(tensor, role)
        if header.section.get("quant_method") != "compressed-tensors" or (packed and packed.dtype == "U8"):
            return None
        arguments = _arguments(header, tensor)
        groups = header.section.get("config_groups")  # with mixed precision each has its own format
        sections = [header.section, *(groups.values() if isinstance(groups, dict) else ())]
        layouts = [each.get("format") for each in sections if isinstance(each, dict)]
        if layout := next((each for each in layouts if each in OTHERS), None):
            raise foreign(f"compressed-tensors in the format {layout}", tensor)
        name, lengths = key(tensor, "weight_shape"), header.part(tensor, "weight_shape")
        if lengths is None or lengths.dtype not in LENGTHS or lengths.shape != (2,):
            raise damaged(f"should be the rows and columns, in {' or '.join(LENGTHS)}; found {shown(lengths)}", name)
        out, into = struct.unpack(LENGTHS[lengths.dtype], header.bytes_of(name))
        if min(out, into) <= 0:
            raise damaged(f"says {[out, into]}, expected rows and columns", name)
        size, scales = arguments["group_size"], header.part(tensor, "weight_scale")
        by_row = arguments["strategy"] in ("channel", "tensor") and size in (None, -1)
        group = group_size(arguments["num_bits"], into if by_row else size, into)
        dtype = scales.dtype if scales and scales.dtype in LONG_NAMES else header.used_as
        zero, order = (header.part(tensor, each) for each in ("weight_zero_point", ORDER))
        found = cls(
            arguments["num_bits"], group, arguments["symmetric"], dtype, lengths.dtype, header.used_as,
            PLAIN if zero and zero.dtype == PLAIN else PACKED, order is not None, arguments["strategy"] == "tensor",
        )  # fmt: skip
        return Claim(found, (out, into), found.parts((out, into)))

    @property
    def name(self) -> str:
        return "compressed-tensors"

    @property
    def bits(self) -> float:
        return self.width + (BITS[self.scale] + (0 if self.symmetric else self.width)) / self.group

    def parts(self, shape: tuple[int, ...]) -> dict[str, Part]:
        out, into = shape
        count = into // self.group
        parts = {
            "weight_packed": Part("I32", (out, words(into, self.width))),
            "weight_scale": Part(self.scale, (1,) if self.one else (out, count)),
            "weight_shape": Part(self.lengths, (2,)),
        }
        if self.ordered:
            parts[ORDER] = Part("I32", (into,))
        if not self.symmetric:
            rows = out if self.zero == PLAIN else words(out, self.width)
            parts["weight_zero_point"] = Part(self.zero, (rows, count))
        return parts

    granularity, decode, numbers, on_grid = one_row, decoded, integers, to_grid

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        stored = rows(self.parts(shape)["weight_packed"], read, "weight_packed", begin, end)
        return unpacked(stored, self.width)[:, : shape[1]]

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, Tensor | int]:
        parts = self.parts(shape)
        column = self._groups(shape, read)
        if self.one:
            scale = whole(parts["weight_scale"], read, "weight_scale").float().expand(end - begin, 1)
        else:
            scale = rows(parts["weight_scale"], read, "weight_scale", begin, end).float()
        wide = scale[:, column]
        if self.symmetric:
            return wide, 1 << self.width - 1
        return wide, self._zeros(parts["weight_zero_point"], read, begin, end)[:, column]

    def _zeros(self, part: Part, read: Read, begin: int, end: int) -> Tensor:
        """Of rows [begin, end), a column for each group."""
        if self.zero == PLAIN:
            return rows(part, read, "weight_zero_point", begin, end).float() + (1 << self.width - 1)
        first, last = begin // WORD * self.width, min(-(-end // WORD) * self.width, part.shape[0])
        words = rows(part, read, "weight_zero_point", first, last)  # which begin with a code
        start = begin % WORD
        return unpacked(words.T.contiguous(), self.width)[:, start : start + end - begin].T.float()

    def changed(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        return changed(self, shape, read, (begin, begin + len(parts["weight_packed"])), parts)

    def _groups(self, shape: tuple[int, ...], read: Read) -> Tensor:
        """The group of each column. A -1 among those stored says that the columns are in order, as the library has it."""
        stored = whole(self.parts(shape)[ORDER], read, ORDER) if self.ordered else None
        in_order = stored is None or bool((stored == -1).any())
        return column_groups(None if in_order else stored, ORDER, shape[1], self.group)

    def encoded_parts(self, shape: tuple[int, ...], codes: Tensor, read: Read, begin: int) -> dict[str, Tensor]:
        return {"weight_packed": packed(codes, self.width)}


def _arguments(header: Header, tensor: str) -> dict[str, Any]:
    """How the weights of a module are quantized.

    Raises:
        UnsupportedError: in a way that is not read, or the config does not say.
    """
    weights, ordered = compressed_weights(header, tensor), bool(header.roles(tensor, (ORDER,)))
    found: dict[str, Any] = {name: (weights or {}).get(name) for name in ARGUMENTS}
    known = found["type"] == "int" and found["num_bits"] in WIDTHS
    known = known and (
        found["strategy"] in ("group", "channel") or (found["strategy"], found["symmetric"]) == ("tensor", True)
    )
    by_column = found["actorder"] in ("group", "dynamic", True)
    known = known and (ordered if by_column else found["actorder"] in IN_ORDER)
    if not known or not isinstance(found["symmetric"], bool):
        variant = found if weights else "no kind of weights for this module"
        raise foreign(f"compressed-tensors of another variant ({header.section.get('format')}, {variant})", tensor)
    return found
