"""GPTQ: integers of 2, 3, 4 or 8 bits in groups of columns, as AutoGPTQ and GPTQModel have them. Its grid is kept, and none is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterops.arrays.dtypes import BITS
from adapterops.quant.checks import damaged, foreign
from adapterops.quant.grid import all_parts, changed_columns, column_groups, columns_to_grid, decoded, integers, one_row
from adapterops.quant.header import Claim, Header, shown
from adapterops.quant.registry import Remainder, scheme
from adapterops.quant.scheme import LONG_NAMES, Part, Read
from adapterops.quant.sections import AUTO_ROUND, gptq_section
from adapterops.quant.words import WORD, columns, group_size, packed, streamed, unpacked, whole, words

if TYPE_CHECKING:
    from torch import Tensor

WIDTHS = (2, 3, 4, 8)
LAYOUTS = {"gptq": 1, "gptq_v2": 0}
"""`checkpoint_format` → what was subtracted from the zero points before they were stored."""

AT_ONCE = 1 << 20
"""Entries that are decoded at a time."""


@scheme("gptq", marks=("qweight",), methods=("gptq", *AUTO_ROUND), remains=(Remainder(".g_idx", ".qweight"),))
@dataclass(frozen=True)
class GPTQ:
    """W[i, j] = (code[j, i] - zero[g, i]) · scale[g, i], where g = g_idx[j], or j // group.

    Codes and zeros are streams of bits in words: codes down the columns, zeros along the rows. The first layout stores
    zero - 1, modulo 2^bits; of libraries that read it some do not wrap 2^bits, which no quantizer means, to 0.

    Attributes:
        width: bits of a code.
        group: columns that share a scale, in the order in which they were quantized; the last group may be cut off.
        ordered: whether that is not the order of the columns, or might not be: there is a `g_idx`.
        offset: what was subtracted from zeros.

    Source: Frantar et al. 2022, arXiv:2210.17323.
    """

    width: int
    group: int
    ordered: bool = True
    offset: int = 1
    scale: str = "F16"
    dtype: str = "BF16"

    @classmethod
    def detect(cls, header: Header, tensor: str, role: str) -> Claim | None:
        """By the config: AWQ's tensors have the same names."""
        section, spec = gptq_section(header, tensor), header.part(tensor, role)
        if section.get("quant_method") != "gptq" or spec is None:
            return None
        layout = str(section.get("checkpoint_format") or section.get("format") or "gptq")
        bits, size = section.get("bits"), section.get("group_size", 128)
        if layout not in LAYOUTS or section.get("is_marlin_format") or bits not in WIDTHS or type(bits) is not int:
            marlin = " for Marlin" if section.get("is_marlin_format") else ""
            known = f"{', '.join(map(str, WIDTHS))} bits, {' or '.join(LAYOUTS)}"
            raise foreign(f"GPTQ of another variant ({bits!r} bits, {layout!r}{marlin}; known are {known})", tensor)
        if len(spec.shape) != 2 or 0 in spec.shape or spec.shape[0] * WORD % bits:
            raise damaged(f"is GPTQ, and its qweight is {shown(spec)}, expected I32 [in · {bits} / 32, out]")
        into, out = spec.shape[0] * WORD // bits, spec.shape[1]
        group = group_size(bits, into if size == -1 else size, into, whole=False)
        scales = header.part(tensor, "scales")
        scale = scales.dtype if scales and scales.dtype in LONG_NAMES else "F16"
        ordered = header.part(tensor, "g_idx") is not None
        found = cls(bits, group, ordered, LAYOUTS[layout], scale, header.used_as)
        return Claim(found, (out, into), found.parts((out, into)))

    @property
    def name(self) -> str:
        return "gptq"

    @property
    def bits(self) -> float:
        """
        >>> GPTQ(4, 128).bits
        4.15625
        """
        return self.width + (BITS[self.scale] + self.width) / self.group

    def parts(self, shape: tuple[int, ...]) -> dict[str, Part]:
        """
        >>> GPTQ(3, 128, ordered=False).parts((64, 256))["qzeros"]
        Part(dtype='I32', shape=(2, 6))
        """
        out, into = shape
        groups = -(-into // self.group)
        parts = {
            "qweight": Part("I32", (words(into, self.width), out)),
            "qzeros": Part("I32", (groups, words(out, self.width))),
            "scales": Part(self.scale, (groups, out)),
        }
        return {**parts, "g_idx": Part("I32", (into,))} if self.ordered else parts

    granularity, decode, numbers, on_grid, changed = one_row, decoded, integers, columns_to_grid, changed_columns
    held = all_parts

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        import torch

        part, result = self.parts(shape)["qweight"], torch.empty(end - begin, shape[1], dtype=torch.uint8)
        step = max(1, AT_ONCE // shape[1])
        for first in range(begin, end, step):
            last = min(first + step, end)
            result[first - begin : last - begin] = self.of_columns(columns(part, read, "qweight", first, last))
        return result

    def of_columns(self, stored: Tensor) -> Tensor:
        return unpacked(stored.T.contiguous(), self.width)

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, Tensor]:
        parts = self.parts(shape)
        order = whole(parts["g_idx"], read, "g_idx") if self.ordered else None
        groups = column_groups(order, "g_idx", shape[1], self.group)
        zeros = streamed(parts["qzeros"], read, "qzeros", (begin, end), self.width)
        zeros = ((zeros + self.offset) & (1 << self.width) - 1).T.float()
        return columns(parts["scales"], read, "scales", begin, end).T.float()[:, groups], zeros[:, groups]

    def encoded_parts(self, shape: tuple[int, ...], codes: Tensor, read: Read, begin: int) -> dict[str, Tensor]:
        return {"qweight": packed(codes, self.width).T.contiguous()}
