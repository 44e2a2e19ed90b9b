"""FP8: 8-bit floats, times a scale for a block, a row or the whole weight. Read only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterops.dtypes import BITS
from adapterops.quant.scheme import Encoder, Part, Read, powers_of_two, read_only, torch_dtype

if TYPE_CHECKING:
    from torch import Tensor

FLOATS = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
SCALES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "U8": "uint8", "F8_E8M0": "uint8"}


@dataclass(frozen=True)
class FP8:
    """W[i, j] = float8[i, j] · scale[i // rows, j // columns]; scales in 8 bits are powers of two, 2^(b - 127), or for 255 NaN.

    Attributes:
        block: rows and columns that share a scale; the last block of either may be cut off.
        role: the name of the scales. Names with `inv` multiply, too.
        stored, scale: the dtypes of both.
        scale_shape: of the scales as they are stored.
    """

    block: tuple[int, int]
    role: str
    stored: str
    scale: str
    scale_shape: tuple[int, ...]
    dtype: str = "BF16"

    @property
    def name(self) -> str:
        return "fp8"

    @property
    def bits(self) -> float:
        return 8 + BITS[self.scale] / math.prod(self.block)

    def parts(self, shape: tuple[int, ...]) -> dict[str, Part]:
        return {"weight": Part(self.stored, shape), self.role: Part(self.scale, self.scale_shape)}

    def granularity(self, shape: tuple[int, ...]) -> int:
        return 1

    def decode(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        import torch

        width, (rows, columns) = shape[-1], self.block
        values = read("weight", begin * width, end * width).view(getattr(torch, FLOATS[self.stored])).float().view(-1, width)
        across, first, last = -(-width // columns), begin // rows, -(-end // rows)
        size = BITS[self.scale] // 8 * across
        scales = read(self.role, first * size, last * size).view(getattr(torch, SCALES[self.scale])).view(-1, across)
        wide = powers_of_two(scales) if scales.dtype == torch.uint8 else scales.float()
        row = torch.arange(begin, end) // rows - first
        values.mul_(wide.repeat_interleave(columns, dim=1)[:, :width][row])
        return values.to(torch_dtype(self.dtype))

    def encoder(self, shape: tuple[int, ...]) -> Encoder:
        raise read_only("FP8")

    def moved(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        raise read_only("FP8")

    def on_grid(self, shape: tuple[int, ...], read: Read, key: str) -> Encoder:
        return self.encoder(shape)
