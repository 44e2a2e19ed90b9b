"""MXFP4: 4-bit floats in blocks of 32, times a power of two. The layout is that of gpt-oss' experts. Its grid is kept, and none is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterops.errors import InputError
from adapterops.quant.float4 import decoded_floats, floats, halves, in_bytes
from adapterops.quant.grid import CodeScheme, OnGrid
from adapterops.quant.header import Claim, Header
from adapterops.quant.registry import Remainder, scheme
from adapterops.quant.scheme import Encoder, Part, Read, powers_of_two
from adapterops.quant.words import columns

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
        """The rows of a block: an expert is stored transposed."""
        return BLOCK

    decode, numbers = decoded_floats, floats

    def on_grid(self, shape: tuple[int, ...], read: Read, key: str) -> Encoder:
        return ByExpert(self, shape, read, key)

    def held(self, shape: tuple[int, ...]) -> int:
        """The codes of an expert: as they are made, and as they are stored."""
        return 2 * shape[1] * shape[2] // 2

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        stored = halves(self._blocks(shape, read, "_blocks", begin, end))
        return _in_rows(stored.view(-1, shape[2], BLOCK), begin, end)

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, int]:
        powers = powers_of_two(self._blocks(shape, read, "_scales", begin, end))
        return _in_rows(powers.view(-1, shape[2], 1).expand(-1, -1, BLOCK), begin, end), 0

    def _blocks(self, shape: tuple[int, ...], read: Read, role: str, begin: int, end: int) -> Tensor:
        """What a part has of the blocks that rows [begin, end) are in, block after block, as bytes."""
        import torch

        _, into, out = shape
        each, size = into // BLOCK, BLOCK // 2 if role == "_blocks" else 1
        first, last, found = begin // BLOCK, -(-end // BLOCK), []
        for expert in range(first // each, -(-last // each)):
            start, stop = (min(max(block - expert * each, 0), each) for block in (first, last))
            matrix = Part("U8", (out, each * size))
            data = columns(matrix, read, role, start * size, stop * size, expert * out * each * size)
            found.append(data.view(out, stop - start, size).transpose(0, 1))
        return torch.cat(found).view(-1) if found else torch.empty(0, dtype=torch.uint8)

    def encoded_parts(self, shape: tuple[int, ...], codes: Tensor, read: Read, begin: int) -> dict[str, Tensor]:
        """Block after block: `ByExpert` has them in the order of the file."""
        blocks = in_bytes(codes.view(-1, BLOCK, shape[2]).transpose(1, 2))
        return {"_blocks": blocks.view(-1, shape[2], BLOCK // 2)}

    def changed(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        made = parts["_blocks"]
        end = begin + len(made) * BLOCK
        return _in_rows(halves(made.reshape(-1)).view(-1, shape[2], BLOCK), begin, end) != self.codes(
            shape, read, begin, end
        )


class ByExpert(OnGrid):
    """Codes of an expert are written when all of its rows are there."""

    def __init__(self, scheme: CodeScheme, shape: tuple[int, ...], read: Read, key: str) -> None:
        super().__init__(scheme, shape, read, key)
        self._made: list[Tensor] = []

    def written(self, pieces: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        import torch

        _, into, out = self.shape
        self._made.append(pieces["_blocks"])
        there, each = sum(map(len, self._made)), into // BLOCK
        if there < each:
            return {}
        blocks, complete = torch.cat(self._made), there // each * each
        self._made = [blocks[complete:].clone()]
        experts = blocks[:complete].view(-1, each, out, BLOCK // 2).transpose(1, 2)
        return {"_blocks": experts.contiguous()}


def _in_rows(blocks: Tensor, begin: int, end: int) -> Tensor:
    """(blocks, out, BLOCK) → rows [begin, end) of (in, out), from the block on that has the first of them."""
    first = begin % BLOCK
    return blocks.transpose(1, 2).reshape(-1, blocks.shape[1])[first : first + end - begin].contiguous()
