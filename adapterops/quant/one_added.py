"""Norms that are stored as 1 + w, as llama.cpp has Gemma's. They are read only, and no scheme that is registered: nothing in
a tensor shows it, and who reads a GGUF model knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterops.quant.scheme import Part, Read

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class OneAdded:
    """w, where 1 + w is stored in float32."""

    dtype: str = "F32"

    @property
    def name(self) -> str:
        return "one-added"

    @property
    def bits(self) -> float:
        return 32

    def parts(self, shape: tuple[int, ...]) -> dict[str, Part]:
        return {"": Part("F32", shape)}

    def granularity(self, shape: tuple[int, ...]) -> int:
        return 1

    def decode(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        import torch

        row = 4 * shape[-1]
        return read("", begin * row, end * row).view(torch.float32).view(end - begin, -1) - 1
