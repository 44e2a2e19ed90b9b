"""FP8: 8-bit floats, times a scale for a block, a row or the whole weight. Its grid is kept, and none is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterops.arrays.dtypes import BITS
from adapterops.errors import UnsupportedError, count
from adapterops.quant.grid import OnGrid, changed
from adapterops.quant.header import CONFIG, Claim, Header
from adapterops.quant.registry import Remainder, scheme
from adapterops.quant.scheme import Encoder, Part, Read, powers_of_two

if TYPE_CHECKING:
    from torch import Tensor

FLOATS = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
SCALES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "U8": "uint8", "F8_E8M0": "uint8"}
ROLES = ("weight_scale_inv", "weight_scale", "scale", "qscale_weight")
EXTRAS = ("input_scale", "input_scale_ub", "activation_scale", "qscale_act")
"""Scales of activations: they go along with a weight as it is, and go when it is dequantized."""


@scheme(
    "fp8",
    marks=("weight",),
    methods=("fp8", "fbgemm_fp8", "modelopt", "compressed-tensors"),
    remains=(
        Remainder(".weight_scale", ".weight in FP8"),
        Remainder(".qscale_weight", ".weight in FP8"),
        Remainder("_scale_inv", " in FP8"),
    ),
)
@dataclass(frozen=True)
class FP8:
    """W[i, j] = float8[i, j] · scale[i // rows, j // columns]; scales in 8 bits are powers of two, 2^(b - 127), or for
    255 NaN.

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

    @classmethod
    def detect(cls, header: Header, tensor: str, role: str) -> Claim | None:
        """By the dtype of the weight, and a tensor of scales, whose shape says what each is for."""
        weight = header.part(tensor, role)
        if weight is None or weight.dtype not in FLOATS or not (roles := header.roles(tensor, ROLES)):
            return None
        shape = weight.shape
        if len(shape) != 2:
            hint = "save the model in 16 bits"
            raise UnsupportedError(f"is in {weight.dtype} and has {len(shape)} dimensions, expected 2", hint=hint)
        if len(roles) != 1:
            raise UnsupportedError(
                f"is in {weight.dtype} with {count(len(roles), 'tensor')} of scales ({', '.join(roles)}), expected one",
                hint="save the model in 16 bits with the library that quantized it",
            )
        scales = header.part(tensor, roles[0])
        block = _block(shape, scales.shape, header.section.get("weight_block_size")) if scales else None
        if scales is None or scales.dtype not in SCALES or block is None:
            scaled = f"{scales.dtype} of shape {list(scales.shape)}" if scales else "nothing"
            raise UnsupportedError(
                f"of shape {list(shape)} has scales in {scaled}, which fit no known layout",
                hint=f"blocks need weight_block_size in the {CONFIG} of config.json",
            )
        found = cls(block, roles[0], weight.dtype, scales.dtype, scales.shape, header.used_as)
        extras = {each: part for each in EXTRAS if (part := header.part(tensor, each))}
        return Claim(found, shape, {**found.parts(shape), **extras})

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

        codes = self.codes(shape, read, begin, end)
        return codes.view(getattr(torch, FLOATS[self.stored])).float().mul_(self.scales(shape, read, begin, end)[0])

    def numbers(self) -> Tensor:
        import torch

        return torch.arange(256, dtype=torch.uint8).view(getattr(torch, FLOATS[self.stored])).float()

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        width = shape[-1]
        return read("weight", begin * width, end * width).view(end - begin, width)

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, int]:
        import torch

        width, (rows, columns) = shape[-1], self.block
        across, first, last = -(-width // columns), begin // rows, -(-end // rows)
        size = BITS[self.scale] // 8 * across
        scales = (
            read(self.role, first * size, last * size)
            .view(getattr(torch, SCALES[self.scale]))
            .view(last - first, across)
        )
        wide = powers_of_two(scales) if scales.dtype == torch.uint8 else scales.float()
        row = torch.arange(begin, end) // rows - first
        return wide.repeat_interleave(columns, dim=1)[:, :width][row], 0

    def coded(self, shape: tuple[int, ...], codes: Tensor, read: Read, begin: int) -> dict[str, Tensor]:
        return {"weight": codes}

    def on_grid(self, shape: tuple[int, ...], read: Read, key: str) -> Encoder:
        return OnGrid(self, shape, read, key)

    def changed(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        return changed(self, shape, read, (begin, begin + len(parts["weight"])), parts)


def _block(shape: tuple[int, ...], scales: tuple[int, ...], size: Any) -> tuple[int, int] | None:
    """Rows and columns that share a scale. The size of blocks is never guessed from their number."""
    if math.prod(scales) == 1:
        return max(1, shape[0]), max(1, shape[1])
    if scales in ((shape[0],), (shape[0], 1)):
        return 1, max(1, shape[1])
    if isinstance(size, list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size):
        rows, columns = size
        return (rows, columns) if scales == (-(-shape[0] // rows), -(-shape[1] // columns)) else None
    return None
