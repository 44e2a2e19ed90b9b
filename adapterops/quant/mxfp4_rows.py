"""MXFP4 as compressed-tensors has it: 4-bit floats in groups of 32 along a row, times a power of two.

Its grid is kept, and none is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterops.quant.checks import foreign
from adapterops.quant.float4 import decoded_floats, floats, halves, in_bytes
from adapterops.quant.grid import changed, to_grid
from adapterops.quant.header import Claim, Header, shown
from adapterops.quant.mxfp4 import BLOCK
from adapterops.quant.registry import scheme
from adapterops.quant.scheme import Part, Read, powers_of_two
from adapterops.quant.sections import compressed_weights

if TYPE_CHECKING:
    from torch import Tensor

CODES, SCALES = "weight_packed", "weight_scale"
EXTRA = "input_global_scale"
"""A scale of activations: it goes along with a weight as it is, and goes when it is dequantized."""

STATED = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "group", "group_size": BLOCK}


@scheme("mxfp4-pack-quantized", marks=(CODES,), methods=("compressed-tensors",))
@dataclass(frozen=True)
class MXFP4Rows:
    """W[i, j] = number[code[i, j]] · 2^(scale[i, j // 32] - 127), or for a scale of 255 NaN.

    The low half of a byte comes first.
    """

    scale: str = "U8"
    dtype: str = "BF16"

    @classmethod
    def detect(cls, header: Header, tensor: str, role: str) -> Claim | None:
        """By codes in bytes, and no scale of the whole weight, which NVFP4 has."""
        codes, scales = header.part(tensor, role), header.part(tensor, SCALES)
        if codes is None or codes.dtype != "U8" or header.roles(tensor, ("weight_global_scale",)):
            return None
        section = compressed_weights(header, tensor) or {}
        stated = {name: section.get(name) for name in STATED}
        if len(codes.shape) != 2 or stated != STATED or scales is None or scales.dtype not in ("U8", "F8_E8M0"):
            stored = f"codes {shown(codes)}, {SCALES} {shown(scales)}, {stated}"
            raise foreign(f"4-bit floats of compressed-tensors in another way than MXFP4 or NVFP4 ({stored})", tensor)
        found, shape = cls(scales.dtype, header.used_as), (codes.shape[0], 2 * codes.shape[1])
        extra = header.part(tensor, EXTRA)
        return Claim(found, shape, {**found.parts(shape), **({EXTRA: extra} if extra else {})})

    @property
    def name(self) -> str:
        return "mxfp4-pack-quantized"

    @property
    def bits(self) -> float:
        """
        >>> MXFP4Rows().bits
        4.25
        """
        return 4 + 8 / BLOCK

    def parts(self, shape: tuple[int, ...]) -> dict[str, Part]:
        """
        >>> list(MXFP4Rows().parts((64, 96)).values())
        [Part(dtype='U8', shape=(64, 48)), Part(dtype='U8', shape=(64, 3))]
        """
        out, into = shape
        return {CODES: Part("U8", (out, into // 2)), SCALES: Part(self.scale, (out, -(-into // BLOCK)))}

    def granularity(self, shape: tuple[int, ...]) -> int:
        return 1

    decode, numbers, on_grid = decoded_floats, floats, to_grid

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        return halves(read(CODES, begin * shape[1] // 2, end * shape[1] // 2)).view(end - begin, shape[1])

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, int]:
        across = -(-shape[1] // BLOCK)
        scales = powers_of_two(read(SCALES, begin * across, end * across)).view(-1, across)
        return scales.repeat_interleave(BLOCK, dim=1)[:, : shape[1]], 0

    def encoded_parts(self, shape: tuple[int, ...], codes: Tensor, read: Read, begin: int) -> dict[str, Tensor]:
        return {CODES: in_bytes(codes)}

    def changed(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        return changed(self, shape, read, (begin, begin + 2 * parts[CODES].numel() // shape[1]), parts)
