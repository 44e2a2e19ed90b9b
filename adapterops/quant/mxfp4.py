"""MXFP4: 4-bit floats in blocks of 32, times a power of two. The layout is that of gpt-oss' experts. Its grid is kept, and none is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterops.errors import InputError
from adapterops.quant.float4 import decoded_floats, floats, halves, in_bytes
from adapterops.quant.grid import changed, to_grid
from adapterops.quant.header import Claim, Header
from adapterops.quant.registry import Remainder, scheme
from adapterops.quant.scheme import Part, Read, powers_of_two

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 32


@scheme(
    "mxfp4",
    marks=("_blocks",),
    methods=("mxfp4",),
    remains=(Remainder("_blocks", "_scales", "U8"), Remainder("_scales", "_blocks", "U8")),
)
@dataclass(frozen=True)
class MXFP4:
    """One weight for each expert, (experts, in, out) when used, stored as (experts, out, in / 32, 16) bytes.

    There is a scale for each 32.

    The low half of a byte comes first; the value is number[code] · 2^(scale - 127), or for 255 NaN.
    """

    dtype: str = "BF16"

    @classmethod
    def detect(cls, header: Header, tensor: str, role: str) -> Claim | None:
        """By its blocks, where there are scales, too."""
        blocks = header.part(tensor, role)
        if blocks is None or not header.roles(tensor, ("_scales",)):
            return None
        if len(blocks.shape) != 4 or blocks.shape[3] != BLOCK // 2:
            expected = "(experts, rows, blocks, 16)"
            raise InputError(f"has blocks of shape {list(blocks.shape)}, expected {expected}", code="E-QUANT")
        experts, out, count, _ = blocks.shape
        found, shape = cls(header.used_as), (experts, count * BLOCK, out)
        return Claim(found, shape, found.parts(shape))

    @property
    def name(self) -> str:
        return "mxfp4"

    @property
    def bits(self) -> float:
        return 4 + 8 / BLOCK

    def parts(self, shape: tuple[int, ...]) -> dict[str, Part]:
        experts, into, out = shape
        scales = (experts, out, into // BLOCK)
        return {"_blocks": Part("U8", (*scales, BLOCK // 2)), "_scales": Part("U8", scales)}

    def granularity(self, shape: tuple[int, ...]) -> int:
        """The rows of one expert: it is stored transposed."""
        return shape[1]

    def decode(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        import torch

        parts = []
        for first, last in self._experts(shape, begin, end):  # one at a time: they are large
            parts.append(decoded_floats(self, shape, read, first, last))
        first = begin // shape[1] * shape[1]
        rows = torch.cat(parts) if parts else torch.empty(0, shape[2])
        return rows[begin - first : end - first].contiguous()

    def _experts(self, shape: tuple[int, ...], begin: int, end: int) -> list[tuple[int, int]]:
        """The rows of each expert that some of [begin, end) are of."""
        into = shape[1]
        return [(expert * into, expert * into + into) for expert in range(begin // into, -(-end // into))]

    numbers, on_grid = floats, to_grid

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        """Of whole experts."""
        _, into, out = shape
        codes = halves(read("_blocks", begin * out // 2, end * out // 2))
        return codes.view(-1, out, into).transpose(1, 2).reshape(end - begin, out)

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, int]:
        _, into, out = shape
        stored = read("_scales", begin * out // BLOCK, end * out // BLOCK)
        wide = powers_of_two(stored).view(-1, out, into // BLOCK).repeat_interleave(BLOCK, dim=2)
        return wide.transpose(1, 2).reshape(end - begin, out), 0

    def coded(self, shape: tuple[int, ...], codes: Tensor, read: Read, begin: int) -> dict[str, Tensor]:
        _, into, out = shape
        return {"_blocks": in_bytes(codes.view(-1, into, out).transpose(1, 2))}

    def changed(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        return changed(self, shape, read, (begin, begin + 2 * parts["_blocks"].numel() // shape[2]), parts)
