"""AWQ: integers of four bits in groups, as AutoAWQ's GEMM kernel has them. Its grid is kept, and none is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from adapterops.arrays.dtypes import BITS
from adapterops.quant.checks import damaged, foreign
from adapterops.quant.grid import all_parts, changed_columns, columns_to_grid, decoded, integers
from adapterops.quant.header import Claim, Header, shown
from adapterops.quant.registry import scheme
from adapterops.quant.scheme import LONG_NAMES, Part, Read
from adapterops.quant.sections import AUTO_ROUND, auto_round_section
from adapterops.quant.words import WORD, columns, group_size, packed, unpacked, words

if TYPE_CHECKING:
    from torch import Tensor

EACH = 4
"""Bits of a code."""

FIELDS = (("bits", "w_bit", EACH), ("group_size", "q_group_size", 128))
"""What the config calls them, what AutoAWQ did before, and what they are by default."""

LAYOUTS = ("version", "format", "checkpoint_format")
"""What AutoAWQ, others and GPTQModel call the field that names the layout."""

PLACES = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where in a word, from the lowest bits on, each of its eight codes is."""


@scheme("awq", marks=("qweight",), methods=("awq", *AUTO_ROUND))
@dataclass(frozen=True)
class AWQ:
    """W[i, j] = (code[j, i] - zero[j // group, i]) · scale[j // group, i]; without zeros they are 8.

    AWQ rescales the inputs of some layers: W is not the weight that was quantized, but that of the rescaled model.

    Source: Lin et al. 2023, arXiv:2306.00978.
    """

    group: int
    symmetric: bool
    scale: str = "F16"
    dtype: str = "BF16"
    width: ClassVar[int] = EACH

    @classmethod
    def detect(cls, header: Header, tensor: str, role: str) -> Claim | None:
        """By the config: GPTQ's tensors have the same names."""
        section, spec = auto_round_section(header, tensor), header.part(tensor, role)
        if section.get("quant_method") != "awq" or spec is None:
            return None
        bits, size = (section.get(name, section.get(older, default)) for name, older, default in FIELDS)
        zeros, layouts = section.get("zero_point", True), [section[name] for name in LAYOUTS if name in section]
        layout = next((each for each in layouts if str(each).lower() != "gemm"), "gemm")
        if bits != EACH or layout != "gemm" or not isinstance(zeros, bool):
            variant = f"{bits} bits, groups of {size}, zero points {zeros}, {layout}"
            raise foreign(f"AWQ of another variant ({variant})", tensor)
        if len(spec.shape) != 2 or 0 in spec.shape:
            raise damaged(f"is AWQ, and its qweight is {shown(spec)}, expected I32 [in, out / 8]")
        into, columns = spec.shape
        scales = header.part(tensor, "scales")
        scale = scales.dtype if scales and scales.dtype in LONG_NAMES else "F16"
        found = cls(group_size(bits, into if size == -1 else size, into), not zeros, scale, header.used_as)
        shape = (columns * WORD // EACH, into)
        return Claim(found, shape, found.parts(shape))

    @property
    def name(self) -> str:
        return "awq"

    @property
    def bits(self) -> float:
        """
        >>> AWQ(128, symmetric=False).bits
        4.15625
        """
        return EACH + (BITS[self.scale] + (0 if self.symmetric else EACH)) / self.group

    def parts(self, shape: tuple[int, ...]) -> dict[str, Part]:
        """
        >>> AWQ(128, symmetric=True).parts((64, 256))
        {'qweight': Part(dtype='I32', shape=(256, 8)), 'scales': Part(dtype='F16', shape=(2, 64))}
        """
        out, into = shape
        groups, columns = into // self.group, words(out, EACH)
        parts = {"qweight": Part("I32", (into, columns)), "scales": Part(self.scale, (groups, out))}
        return parts if self.symmetric else {**parts, "qzeros": Part("I32", (groups, columns))}

    decode, numbers, on_grid, changed = decoded, integers, columns_to_grid, changed_columns
    held = all_parts

    def granularity(self, shape: tuple[int, ...]) -> int:
        """Rows in a word."""
        return len(PLACES)

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        return self._streamed(shape, read, "qweight", begin, end).contiguous()

    def of_columns(self, stored: Tensor) -> Tensor:
        return _ordered(stored).T

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, Tensor | int]:
        scales = self._wide(columns(self.parts(shape)["scales"], read, "scales", begin, end).T.float())
        if self.symmetric:
            return scales, 8
        return scales, self._wide(self._streamed(shape, read, "qzeros", begin, end).float())

    def _wide(self, groups: Tensor) -> Tensor:
        """(out, groups) → (out, in)"""
        return groups.repeat_interleave(self.group, dim=1)

    def _streamed(self, shape: tuple[int, ...], read: Read, role: str, begin: int, end: int) -> Tensor:
        """The codes of rows [begin, end) in a part of words."""
        first = begin // len(PLACES)
        words = columns(self.parts(shape)[role], read, role, first, -(-end // len(PLACES)))
        return self.of_columns(words)[begin - first * len(PLACES) :][: end - begin]

    def encoded_parts(self, shape: tuple[int, ...], codes: Tensor, read: Read, begin: int) -> dict[str, Tensor]:
        columns = codes.T.reshape(shape[1], -1, len(PLACES))
        placed = columns[..., [PLACES.index(place) for place in range(len(PLACES))]]
        return {"qweight": packed(placed.flatten(1), EACH)}


def _ordered(stored: Tensor) -> Tensor:
    """(rows, n) words → (rows, 8 n) codes, in the order of the columns."""
    return unpacked(stored, EACH).view(len(stored), -1, len(PLACES))[..., list(PLACES)].flatten(1)
