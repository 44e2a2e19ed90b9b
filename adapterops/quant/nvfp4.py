"""NVFP4: 4-bit floats in groups of 16 along a row, with a scale in FP8 each and one for the weight. Its grid is kept, and none is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterops.quant.checks import foreign
from adapterops.quant.float4 import decoded_floats, floats, halves, in_bytes
from adapterops.quant.grid import changed, to_grid
from adapterops.quant.header import Claim, Header, shown
from adapterops.quant.registry import Remainder, scheme
from adapterops.quant.scheme import Part, Read

if TYPE_CHECKING:
    from torch import Tensor

GROUP = 16
CODES = {"weight_scale_2": "weight", "weight_global_scale": "weight_packed"}
"""What the scale of the weight is called → what its codes are: modelopt's names, and those of compressed-tensors."""

INVERSE = "weight_global_scale"
"""The one that divides."""

EXTRAS = ("input_scale", "input_global_scale")
"""Scales of activations: they go along with a weight as it is, and go when it is dequantized."""


@scheme(
    "nvfp4",
    marks=tuple(CODES),
    methods=("modelopt", "modelopt_fp4", "modelopt_mixed", "compressed-tensors"),
    remains=tuple(Remainder(f".{whole}", f".{codes} in NVFP4") for whole, codes in CODES.items()),
)
@dataclass(frozen=True)
class NVFP4:
    """W[i, j] = number[code[i, j]] · (scale[i, j // 16] · s), or scale[i, j // 16] / s where s is a `weight_global_scale`.

    The low half of a byte comes first.

    Attributes:
        whole: the name of s.
        whole_shape: of s as it is stored: [] or [1].
    """

    whole: str
    whole_shape: tuple[int, ...] = ()
    dtype: str = "BF16"

    @classmethod
    def detect(cls, header: Header, tensor: str, role: str) -> Claim | None:
        """By the dtypes of codes and both scales; a config may speak of several schemes."""
        codes, scales, whole = (header.part(tensor, each) for each in (CODES[role], "weight_scale", role))
        if codes is None or whole is None:
            return None
        found = (codes.dtype, scales and scales.dtype, whole.dtype)
        if found != ("U8", "F8_E4M3", "F32") or len(codes.shape) != 2 or whole.shape not in ((), (1,)):
            names = [str(header.section[field]) for field in ("quant_method", "quant_algo") if field in header.section]
            stored = [f"codes {shown(codes)}", f"weight_scale {shown(scales)}", f"{role} {shown(whole)}"]
            known = "U8 [out, in / 2], F8_E4M3 [out, in / 16] and one F32"
            raise foreign(f"NVFP4 of another variant ({', '.join(names + stored)}; known are {known})", tensor)
        scheme, shape = cls(role, whole.shape, header.used_as), (codes.shape[0], 2 * codes.shape[1])
        extras = {each: part for each in EXTRAS if (part := header.part(tensor, each))}
        return Claim(scheme, shape, {**scheme.parts(shape), **extras})

    @property
    def name(self) -> str:
        return "nvfp4"

    @property
    def bits(self) -> float:
        """
        >>> NVFP4("weight_scale_2").bits
        4.5
        """
        return 4 + 8 / GROUP

    def parts(self, shape: tuple[int, ...]) -> dict[str, Part]:
        """
        >>> list(NVFP4("weight_scale_2").parts((64, 96)).values())
        [Part(dtype='U8', shape=(64, 48)), Part(dtype='F8_E4M3', shape=(64, 6)), Part(dtype='F32', shape=())]
        """
        out, into = shape
        return {
            CODES[self.whole]: Part("U8", (out, into // 2)),
            "weight_scale": Part("F8_E4M3", (out, -(-into // GROUP))),
            self.whole: Part("F32", self.whole_shape),
        }

    def granularity(self, shape: tuple[int, ...]) -> int:
        return 1

    decode, numbers, on_grid = decoded_floats, floats, to_grid

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        return halves(read(CODES[self.whole], begin * shape[1] // 2, end * shape[1] // 2)).view(end - begin, shape[1])

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, int]:
        import torch

        across = -(-shape[1] // GROUP)
        scales = read("weight_scale", begin * across, end * across).view(torch.float8_e4m3fn).float()
        whole = read(self.whole, 0, 4).view(torch.float32)
        scales = scales / whole if self.whole == INVERSE else scales * whole
        return scales.view(-1, across).repeat_interleave(GROUP, dim=1)[:, : shape[1]], 0

    def encoded_parts(self, shape: tuple[int, ...], codes: Tensor, read: Read, begin: int) -> dict[str, Tensor]:
        return {CODES[self.whole]: in_bytes(codes)}

    def changed(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        return changed(self, shape, read, (begin, begin + 2 * parts[CODES[self.whole]].numel() // shape[1]), parts)
