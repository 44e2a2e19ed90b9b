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
        stored: role → dtype and shape.
        bits_each, group_size, symmetric: of the codes; no group size for one scale a row.
    """

    kind: str
    stored: tuple[tuple[str, Part], ...]
    bits_each: int
    group_size: int | None
    symmetric: bool
    dtype: str = "BF16"

    @property
    def name(self) -> str:
        return self.kind

    @property
    def bits(self) -> float:
        """
        >>> Packed("awq", (), 4, 128, False).bits
        4.25
        """
        scales = 0 if self.group_size is None else (16 + (0 if self.symmetric else 16)) / self.group_size
        return self.bits_each + scales

    def parts(self, shape: tuple[int, ...]) -> Mapping[str, Part]:
        return dict(self.stored)

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
        for role, part in self.stored:
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
        strategy = "channel" if self.group_size is None else "group"
        args: Any = QuantizationArgs(num_bits=self.bits_each, symmetric=self.symmetric, strategy=strategy, group_size=self.group_size)
        found = PackedQuantizationCompressor.decompress(tensors, QuantizationScheme(targets=["Linear"], weights=args))
        weight: Tensor = found["weight"]
        return weight

    def encoder(self, shape: tuple[int, ...]) -> Encoder:
        raise read_only(self.kind)

    def moved(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        raise read_only(self.kind)

    def on_grid(self, shape: tuple[int, ...], read: Read, key: str) -> Encoder:
        return self.encoder(shape)
