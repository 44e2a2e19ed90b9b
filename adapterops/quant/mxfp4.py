"""MXFP4: 4-bit floats in blocks of 32, times a power of two. The layout is that of gpt-oss' experts. Read only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterops.errors import InputError
from adapterops.quant.header import Claim, Header
from adapterops.quant.registry import Remainder, scheme
from adapterops.quant.scheme import Part, Read, powers_of_two

if TYPE_CHECKING:
    from torch import Tensor

NUMBERS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
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

        _, into, out = shape
        first, last = begin // into, -(-end // into)
        size = math.prod((out, into // BLOCK))
        numbers = torch.tensor(NUMBERS)
        experts = []
        for expert in range(first, last):  # one at a time: they are large
            codes = read("_blocks", expert * size * BLOCK // 2, (expert + 1) * size * BLOCK // 2)
            scales = read("_scales", expert * size, (expert + 1) * size)
            values = numbers[torch.stack([codes & 15, codes >> 4], dim=1).view(-1).int()].view(size, BLOCK)
            values.mul_(powers_of_two(scales).view(-1, 1))
            experts.append(values.view(out, into).T)
        rows = torch.cat(experts) if experts else torch.empty(0, out)
        return rows[begin - first * into : end - first * into].contiguous()
