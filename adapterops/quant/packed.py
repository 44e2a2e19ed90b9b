"""Integers of a few bits, packed into words: compressed-tensors' and AutoAWQ's, decoded by the compressed-tensors library. Read only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterops.dtypes import BITS
from adapterops.errors import NotFoundError
from adapterops.quant.scheme import LONG_NAMES, Encoder, Part, Read, read_only, torch_dtype

if TYPE_CHECKING:
    from torch import Tensor

TORCH_NAMES = {**LONG_NAMES, "I32": "int32", "I64": "int64"}


@dataclass(frozen=True)
class Packed:
    """W[i, j] = (code[i, j] - zero[i, j // group]) · scale[i, j // group].

    Attributes:
        kind: `compressed-tensors` or `awq`.
        bits_each, group_size, symmetric: of the codes; all of a row is one group where there is one scale a row.
        scale, lengths: the dtypes of the scales and, in compressed-tensors, of the shape.
    """

    kind: str
    bits_each: int
    group_size: int
    symmetric: bool
    scale: str = "F16"
    lengths: str = "I64"
    dtype: str = "BF16"

    @property
    def name(self) -> str:
        return self.kind

    @property
    def bits(self) -> float:
        """
        >>> Packed("awq", 4, 128, False).bits
        4.15625
        """
        return self.bits_each + (BITS[self.scale] + (0 if self.symmetric else self.bits_each)) / self.group_size

    def parts(self, shape: tuple[int, ...]) -> Mapping[str, Part]:
        """
        >>> Packed("awq", 4, 128, True).parts((64, 256))
        {'qweight': Part(dtype='I32', shape=(256, 8)), 'scales': Part(dtype='F16', shape=(2, 64))}
        """
        out, into = shape
        rows, columns, groups = (-(-out * self.bits_each // 32), -(-into * self.bits_each // 32), into // self.group_size)
        if self.kind == "awq":
            parts = {"qweight": Part("I32", (into, rows)), "scales": Part(self.scale, (groups, out))}
            return parts if self.symmetric else {**parts, "qzeros": Part("I32", (groups, rows))}
        parts = {"weight_packed": Part("I32", (out, columns)), "weight_scale": Part(self.scale, (out, groups))}
        parts["weight_shape"] = Part(self.lengths, (2,))
        return parts if self.symmetric else {**parts, "weight_zero_point": Part("I32", (rows, groups))}

    def granularity(self, shape: tuple[int, ...]) -> int:
        """All rows: the library decodes whole weights."""
        return shape[0]

    def decode(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        """Rows [begin, end).

        Raises:
            NotFoundError: compressed-tensors is not installed.
        """
        import torch

        tensors = {}
        for role, part in self.parts(shape).items():
            size = math.prod(part.shape) * BITS[part.dtype] // 8
            tensors[role] = read(role, 0, size).view(getattr(torch, TORCH_NAMES[part.dtype])).view(part.shape)
        weight = self._decoded(tensors)
        return weight[begin:end].to(torch_dtype(self.dtype)).contiguous()

    def _decoded(self, tensors: dict[str, Tensor]) -> Tensor:
        try:
            from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
            from compressed_tensors.entrypoints.convert import AutoAWQConverter
            from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
        except ImportError as error:
            raise NotFoundError(
                f"is {self.kind}, and decoding it needs {error.name}, which is not installed",
                hint="pip install 'adapterops[packed]'",
                code="E-NOT-INSTALLED",
            ) from None
        if self.kind == "awq":
            converter = AutoAWQConverter(self.bits_each, self.group_size, not self.symmetric)
            tensors = {
                role.removeprefix("m."): each
                for role, each in converter.process({f"m.{role}": each for role, each in tensors.items()}).items()
            }
        args: Any = QuantizationArgs(num_bits=self.bits_each, symmetric=self.symmetric, strategy="group", group_size=self.group_size)
        found = PackedQuantizationCompressor.decompress(tensors, QuantizationScheme(targets=["Linear"], weights=args))
        weight: Tensor = found["weight"]
        return weight

    def encoder(self, shape: tuple[int, ...]) -> Encoder:
        raise read_only(self.kind)

    def moved(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        raise read_only(self.kind)

    def on_grid(self, shape: tuple[int, ...], read: Read, key: str) -> Encoder:
        return self.encoder(shape)
