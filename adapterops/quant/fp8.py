"""FP8, and integers in bytes: one byte an entry, times a scale for a block, a row or the whole weight.

Their grids are kept, and none is made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from adapterops.arrays.dtypes import BITS
from adapterops.errors import UnsupportedError, count
from adapterops.quant import comfy
from adapterops.quant.checks import foreign
from adapterops.quant.grid import changed, to_grid
from adapterops.quant.header import CONFIG, Claim, Header
from adapterops.quant.registry import Remainder, scheme
from adapterops.quant.scheme import Part, Read, powers_of_two
from adapterops.quant.sections import block_size, compressed_weights

if TYPE_CHECKING:
    from torch import Tensor

FLOATS = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
INTEGERS = "I8"
BYTES = {**FLOATS, INTEGERS: "int8"}
ZEROS = "weight_zero_point"
SCALES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "U8": "uint8", "F8_E8M0": "uint8"}
ROLES = ("weight_scale_inv", "weight_scale", "scale", "qscale_weight", "scale_weight")
SCALED = tuple(role for role in ROLES if role != "scale")
"""Of these, what no norm is called."""

EXTRAS = (
    "input_scale",
    "input_zero_point",
    "input_scale_ub",
    "activation_scale",
    "qscale_act",
    "scale_input",
    comfy.ROLE,
)
"""Scales of activations, and what ComfyUI says of the weight: they go along with it as it is, and go when it is dequantized."""


@scheme(
    "fp8",
    "int-quantized",
    marks=("weight",),
    methods=("fp8", "mxfp8", "fbgemm_fp8", "modelopt", "modelopt_mixed", "compressed-tensors"),
    remains=(
        Remainder(".weight_scale", ".weight in FP8"),
        Remainder(".qscale_weight", ".weight in FP8"),
        Remainder(".scale_weight", ".weight in FP8"),
        Remainder("_scale_inv", " in FP8"),
    ),
)
@dataclass(frozen=True)
class FP8:
    """W[i, j] = (byte[i, j] - zero) · scale[i // rows, j // columns]; scales in 8 bits are powers of two, 2^(b - 127), or
    for 255 NaN. A byte is a float or an integer, and the zero point, 0 where none is stored, is that of the same block.

    Integers are those of compressed-tensors' int-quantized and naive-quantized, from -2^(width - 1) to 2^(width - 1) - 1.

    Attributes:
        block: rows and columns that share a scale; the last block of either may be cut off.
        role: the name of the scales; empty where the bytes are the numbers themselves. Names with `inv` multiply, too.
        stored, scale: the dtypes of both.
        scale_shape: of the scales, and of zero points, as they are stored.
        zero: the dtype of the zero points, or nothing.
        width: bits of an integer.
    """

    block: tuple[int, int]
    role: str
    stored: str
    scale: str
    scale_shape: tuple[int, ...]
    dtype: str = "BF16"
    zero: str = ""
    width: int = 8

    @classmethod
    def detect(cls, header: Header, tensor: str, role: str) -> Claim | None:
        """By the dtype of the weight, and a tensor of scales, whose shape says what each is for."""
        weight = header.part(tensor, role)
        if weight is None or weight.dtype not in BYTES:
            return None
        if not (roles := header.roles(tensor, ROLES)):
            return cls._unscaled(header, weight) if weight.dtype in FLOATS and is_unscaled(header) else None
        integers = None if weight.dtype in FLOATS else _integers(header, tensor)
        if weight.dtype not in FLOATS and integers is None:
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
        block = _block(shape, scales.shape, block_size(header, tensor)) if scales else None
        if scales is None or scales.dtype not in SCALES or block is None:
            scaled = f"{scales.dtype} of shape {list(scales.shape)}" if scales else "nothing"
            raise UnsupportedError(
                f"of shape {list(shape)} has scales in {scaled}, which fit no known layout",
                hint=f"blocks need their size in the {CONFIG} of config.json: weight_block_size, or block_structure of its group",
            )
        zeros = header.part(tensor, ZEROS)
        zero = zeros.dtype if zeros and zeros.dtype in BYTES else ""
        if integers and not integers.symmetric and not zero:  # which then are missing, and not 0
            zero = INTEGERS
        width = integers.width if integers else 8
        found = cls(block, roles[0], weight.dtype, scales.dtype, scales.shape, header.used_as, zero, width)
        extras = {each: part for each in EXTRAS if (part := header.part(tensor, each))}
        return Claim(found, shape, {**found.parts(shape), **extras})

    @classmethod
    def _unscaled(cls, header: Header, weight: Part) -> Claim:
        """A weight of any dimensions whose bytes are its numbers: one block, of a kernel with its inputs as one dimension."""
        rows = weight.shape[:1] if len(weight.shape) > 3 else weight.shape[:-1]
        block = max(1, math.prod(rows)), max(1, math.prod(weight.shape[len(rows) :]))
        found = cls(block, "", weight.dtype, "", (), header.used_as)
        return Claim(found, weight.shape, found.parts(weight.shape))

    @property
    def name(self) -> str:
        return "int-quantized" if self.stored == INTEGERS else "fp8"

    @property
    def bits(self) -> float:
        return 8 + (BITS[self.scale] / math.prod(self.block) if self.role else 0)

    def parts(self, shape: tuple[int, ...]) -> dict[str, Part]:
        parts = {"weight": Part(self.stored, shape)}
        parts |= {self.role: Part(self.scale, self.scale_shape)} if self.role else {}
        return {**parts, ZEROS: Part(self.zero, self.scale_shape)} if self.zero else parts

    def granularity(self, shape: tuple[int, ...]) -> int:
        return 1

    def decode(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        import torch

        codes = self.codes(shape, read, begin, end)
        scale, zero = self.scales(shape, read, begin, end)
        return codes.view(getattr(torch, BYTES[self.stored])).float().sub_(zero).mul_(scale)

    def numbers(self) -> Tensor:
        import torch

        numbers = torch.arange(256, dtype=torch.uint8).view(getattr(torch, BYTES[self.stored])).float()
        if self.stored in FLOATS:
            return numbers
        half = 1 << self.width - 1
        return torch.where((numbers >= -half) & (numbers < half), numbers, torch.nan)

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        width = shape[-1] if self.role else self.block[1]
        return read("weight", begin * width, end * width).view(end - begin, width)

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, Tensor | int]:
        if not self.role:
            import torch

            return torch.ones(end - begin, self.block[1]), 0
        stored = self._wide(self.role, SCALES[self.scale], BITS[self.scale] // 8, shape, read, begin, end)
        return stored, self._wide(ZEROS, BYTES[self.zero], 1, shape, read, begin, end) if self.zero else 0

    def _wide(
        self, role: str, dtype: str, size: int, shape: tuple[int, ...], read: Read, begin: int, end: int
    ) -> Tensor:
        """What a part with one entry for each block holds for every entry of rows [begin, end)."""
        import torch

        width, (rows, columns) = shape[-1], self.block
        across, first, last = -(-width // columns), begin // rows, -(-end // rows)
        stored = read(role, first * size * across, last * size * across).view(getattr(torch, dtype))
        row = torch.arange(begin, end) // rows - first
        values = powers_of_two(stored) if dtype == "uint8" else stored.float()
        return values.view(last - first, across).repeat_interleave(columns, dim=1)[:, :width][row]

    def encoded_parts(self, shape: tuple[int, ...], codes: Tensor, read: Read, begin: int) -> dict[str, Tensor]:
        return {"weight": codes}

    on_grid = to_grid

    def changed(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        return changed(self, shape, read, (begin, begin + len(parts["weight"])), parts)


def is_unscaled(header: Header) -> bool:
    """Whether no weight of a checkpoint has scales, and it is none of transformers, which always has them: then a float in 8
    bits is the number itself, as ComfyUI and diffusers store models in FP8.
    """
    scaled = any(end.endswith(SCALED) for end in header.ends)
    return not header.section and "model_type" not in header.config and not scaled


class IntegerBits(NamedTuple):
    """Bits of the integers of a weight, and whether it has no zero points."""

    width: int
    symmetric: bool


def _integers(header: Header, tensor: str) -> IntegerBits | None:
    """The integers of a weight in bytes, by compressed-tensors' config; None for another one.

    Raises:
        UnsupportedError: it is one of compressed-tensors, and the config does not say of what kind.
    """
    if header.section.get("quant_method") != "compressed-tensors":
        return None
    weights = compressed_weights(header, tensor) or {}
    bits = weights.get("num_bits")
    if weights.get("type") != "int" or type(bits) is not int or not 2 <= bits <= 8:
        raise foreign(
            f"compressed-tensors in bytes, for which the config has {bits!r} bits of {weights.get('type')!r}", tensor
        )
    return IntegerBits(bits, weights.get("symmetric") is not False)


def _block(shape: tuple[int, ...], scales: tuple[int, ...], size: Any) -> tuple[int, int] | None:
    """Rows and columns that share a scale. The size of blocks is never guessed from their number."""
    if math.prod(scales) == 1:
        return max(1, shape[0]), max(1, shape[1])
    if scales in ((shape[0],), (shape[0], 1)):
        return 1, max(1, shape[1])
    if len(scales) == 4 and scales[1::2] == (1, 1):  # modelopt has each block as a matrix
        scales = scales[::2]
    if isinstance(size, list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size):
        rows, columns = size
        return (rows, columns) if scales == (-(-shape[0] // rows), -(-shape[1] // columns)) else None
    return None
