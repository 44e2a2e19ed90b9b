"""LLM.int8: a byte an entry, times the largest magnitude of the row. The layout is bitsandbytes'."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adapterops.errors import InputError, OptionError, UnsupportedError
from adapterops.quant.bitsandbytes import section
from adapterops.quant.checks import check_finite
from adapterops.quant.grid import changed, to_grid
from adapterops.quant.header import Claim, Header, key
from adapterops.quant.registry import Remainder, scheme
from adapterops.quant.scheme import Encoder, Part, Read, at_once

if TYPE_CHECKING:
    from torch import Tensor

STEP = 7.874015718698502e-3
"""1/127, as bitsandbytes rounds it."""


@scheme("int8", marks=("SCB",), methods=("bitsandbytes",), remains=(Remainder(".weight_format", ".SCB"),))
@dataclass(frozen=True)
class Int8:
    """W[i, j] = code[i, j] · SCB[i] / 127, where SCB is max |W[i]|; W is rounded to float16 before it is encoded.

    Source: Dettmers et al. 2022, arXiv:2208.07339.
    """

    dtype: str = field(default="BF16", compare=False)  # of which nothing is stored
    marked: bool = True
    """Whether there is a `weight_format`, which older files do not have."""

    @classmethod
    def make(cls, name: str, dtype: str, *, double_quant: bool = False, block_size: int | None = None) -> Int8:
        if double_quant or block_size is not None:
            raise OptionError("int8 has one scale for each row: it has no double quantization and no block size")
        return cls(dtype)

    @classmethod
    def detect(cls, header: Header, tensor: str, role: str) -> Claim:
        """By its scales."""
        weight = header.part(tensor, "weight")
        if weight is None or len(weight.shape) != 2:
            raise InputError(f"has scales, and no weight of two dimensions: {weight}", code="E-QUANT")
        marked = header.part(tensor, "weight_format") is not None
        if marked and header.bytes_of(key(tensor, "weight_format")) != b"\0":
            hint = "save it again with a recent bitsandbytes"
            raise UnsupportedError("is stored in another layout than row by row", hint=hint)
        found = cls(header.used_as, marked)
        return Claim(found, weight.shape, found.parts(weight.shape))

    @property
    def name(self) -> str:
        return "int8"

    @property
    def bits(self) -> float:
        return 8.0

    def parts(self, shape: tuple[int, ...]) -> dict[str, Part]:
        parts = {"weight": Part("I8", shape), "SCB": Part("F32", (math.prod(shape[:-1]),))}
        return {**parts, "weight_format": Part("U8", ())} if self.marked else parts

    def granularity(self, shape: tuple[int, ...]) -> int:
        return 1

    def decode(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        codes, scales = self._rows(shape, read, begin, end)
        return _values(codes, scales)

    def _rows(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, Tensor]:
        import torch

        codes = read("weight", begin * shape[-1], end * shape[-1]).view(torch.int8).view(end - begin, shape[-1])
        return codes, read("SCB", 4 * begin, 4 * end).view(torch.float32)

    @property
    def parameters(self) -> dict[str, Any]:
        return {"dtype": self.dtype}

    def describe(self, skip: list[str]) -> dict[str, Any]:
        return section(skip, four=False)

    def encoder(self, shape: tuple[int, ...]) -> Encoder:
        return _Nearest(self)

    def numbers(self) -> Tensor:
        import torch

        numbers = torch.arange(256, dtype=torch.uint8).view(torch.int8).float()
        return torch.where(numbers < -127, torch.nan, numbers)  # which bitsandbytes does not write

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        import torch

        return self._rows(shape, read, begin, end)[0].view(torch.uint8)

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, int]:
        return self._rows(shape, read, begin, end)[1].view(-1, 1) * STEP, 0

    def encoded_parts(self, shape: tuple[int, ...], codes: Tensor, read: Read, begin: int) -> dict[str, Tensor]:
        import torch

        return {"weight": codes.view(torch.int8)}

    def changed(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        codes = parts["weight"]
        return changed(self, shape, read, (begin, begin + len(codes)), {"weight": codes})

    on_grid = to_grid


def _values(codes: Tensor, scales: Tensor) -> Tensor:
    return codes.float().mul_(scales.view(-1, 1) * STEP)


class _Nearest:
    written = at_once

    def __init__(self, scheme: Int8) -> None:
        self.scheme = scheme

    def rows(self, values: Tensor, begin: int) -> tuple[Mapping[str, Tensor], Callable[[], Tensor]]:
        import torch

        half = values.to(torch.float16)
        scales = half.abs().amax(dim=1).float() if half.numel() else half.new_zeros(len(half), dtype=torch.float32)
        check_finite(scales, "NaN, infinite or, for int8, above 65504")
        factors = torch.where(scales == 0, 0, 127.0 / scales)
        codes = (half.float() * factors.view(-1, 1)).round_().to(torch.int8)
        return {"weight": codes, "SCB": scales}, lambda: _values(codes, scales)

    def rest(self) -> dict[str, Tensor]:
        import torch

        return {"weight_format": torch.zeros((), dtype=torch.uint8)} if self.scheme.marked else {}
