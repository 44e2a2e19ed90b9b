"""compressed-tensors' pack-quantized:
integers of 4 or 8 bits in groups, decoded by the compressed-tensors library. Its grid is kept, and none is made.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapterops.arrays.dtypes import BITS
from adapterops.errors import NotFoundError
from adapterops.quant.checks import damaged, foreign
from adapterops.quant.grid import OnGrid, changed
from adapterops.quant.header import Claim, Header, key, shown
from adapterops.quant.registry import Remainder, scheme
from adapterops.quant.scheme import LONG_NAMES, Encoder, Part, Read
from adapterops.quant.words import group_size, packed, unpacked, whole, words

if TYPE_CHECKING:
    from torch import Tensor

LENGTHS = {"I64": "<2q", "I32": "<2i"}
ARGUMENTS = ("num_bits", "type", "symmetric", "strategy", "group_size", "actorder")


@scheme(
    "compressed-tensors",
    marks=("weight_packed",),
    methods=("compressed-tensors",),
    remains=(
        Remainder(".weight_shape", ".weight_packed"),
        Remainder(".weight_zero_point", ".weight_packed with zero points"),
    ),
)
@dataclass(frozen=True)
class Compressed:
    """W[i, j] = (code[i, j] - zero[i, j // group]) · scale[i, j // group].

    Attributes:
        width: bits of a code.
        group: columns that share a scale; all of a row, where there is one scale a row.
        scale, lengths: the dtypes of the scales and of the shape.
    """

    width: int
    group: int
    symmetric: bool
    scale: str = "F16"
    lengths: str = "I64"
    dtype: str = "BF16"

    @classmethod
    def detect(cls, header: Header, tensor: str, role: str) -> Claim | None:
        """By the config: one number of bits for the whole model, in groups or by row. Codes in bytes are NVFP4."""
        packed = header.part(tensor, role)
        if header.section.get("quant_method") != "compressed-tensors" or (packed and packed.dtype == "U8"):
            return None
        arguments = _arguments(header.section, tensor, ordered=bool(header.roles(tensor, ("weight_g_idx",))))
        name, lengths = key(tensor, "weight_shape"), header.part(tensor, "weight_shape")
        if lengths is None or lengths.dtype not in LENGTHS or lengths.shape != (2,):
            raise damaged(f"should be the rows and columns, in {' or '.join(LENGTHS)}; found {shown(lengths)}", name)
        out, into = struct.unpack(LENGTHS[lengths.dtype], header.bytes_of(name))
        if min(out, into) <= 0:
            raise damaged(f"says {[out, into]}, expected rows and columns", name)
        size, scales = arguments["group_size"], header.part(tensor, "weight_scale")
        by_row = arguments["strategy"] == "channel" and size in (None, -1)
        group = group_size(arguments["num_bits"], into if by_row else size, into)
        dtype = scales.dtype if scales and scales.dtype in LONG_NAMES else header.used_as
        found = cls(arguments["num_bits"], group, arguments["symmetric"], dtype, lengths.dtype, header.used_as)
        return Claim(found, (out, into), found.parts((out, into)))

    @property
    def name(self) -> str:
        return "compressed-tensors"

    @property
    def bits(self) -> float:
        return self.width + (BITS[self.scale] + (0 if self.symmetric else self.width)) / self.group

    def parts(self, shape: tuple[int, ...]) -> dict[str, Part]:
        out, into = shape
        groups = into // self.group
        parts = {
            "weight_packed": Part("I32", (out, words(into, self.width))),
            "weight_scale": Part(self.scale, (out, groups)),
            "weight_shape": Part(self.lengths, (2,)),
        }
        return (
            parts if self.symmetric else {**parts, "weight_zero_point": Part("I32", (words(out, self.width), groups))}
        )

    def granularity(self, shape: tuple[int, ...]) -> int:
        """All rows: the library decodes whole weights."""
        return shape[0]

    def decode(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        """Rows [begin, end), in float32.

        Raises:
            NotFoundError: compressed-tensors is not installed.
        """
        try:
            from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
            from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
        except ImportError as error:
            raise NotFoundError(
                f"is compressed-tensors, and decoding it needs {error.name}, which is not installed",
                hint="pip install 'adapterops[packed]'",
                code="E-NOT-INSTALLED",
            ) from None
        tensors = {role: whole(part, read, role) for role, part in self.parts(shape).items()}
        tensors["weight_scale"] = tensors["weight_scale"].float()  # the library computes in their dtype
        args: Any = QuantizationArgs(
            num_bits=self.width, symmetric=self.symmetric, strategy="group", group_size=self.group
        )
        found = PackedQuantizationCompressor.decompress(tensors, QuantizationScheme(targets=["Linear"], weights=args))
        weight: Tensor = found["weight"]
        return weight[begin:end].contiguous()

    def numbers(self) -> Tensor:
        import torch

        return torch.arange(1 << self.width, dtype=torch.float32)

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        stored = whole(self.parts(shape)["weight_packed"], read, "weight_packed")
        return unpacked(stored[begin:end], self.width)[:, : shape[1]]

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, Tensor | int]:
        parts = self.parts(shape)
        scales = whole(parts["weight_scale"], read, "weight_scale").float()[begin:end]
        wide = scales.repeat_interleave(self.group, dim=1)
        if self.symmetric:
            return wide, 1 << self.width - 1
        stored = whole(parts["weight_zero_point"], read, "weight_zero_point")
        zeros = unpacked(stored.T.contiguous(), self.width)[:, : shape[0]].T.float()
        return wide, zeros[begin:end].repeat_interleave(self.group, dim=1)

    def coded(self, shape: tuple[int, ...], codes: Tensor, read: Read, begin: int) -> dict[str, Tensor]:
        return {"weight_packed": packed(codes, self.width)}

    def on_grid(self, shape: tuple[int, ...], read: Read, key: str) -> Encoder:
        return OnGrid(self, shape, read, key)

    def changed(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        return changed(self, shape, read, (0, shape[0]), parts)


def _arguments(section: Mapping[str, Any], tensor: str, *, ordered: bool) -> dict[str, Any]:
    """How the weights of a model are quantized, where all are quantized alike.

    Raises:
        UnsupportedError: they are not, or in a way that is not read.
    """
    groups = section.get("config_groups")
    weights = (
        [each.get("weights") for each in groups.values() if isinstance(each, dict)] if isinstance(groups, dict) else []
    )
    kinds = [{name: each.get(name) for name in ARGUMENTS} for each in weights if isinstance(each, dict)]
    found: dict[str, Any] = kinds[0] if kinds and all(each == kinds[0] for each in kinds) else dict.fromkeys(ARGUMENTS)
    known = found["type"] == "int" and found["num_bits"] in (4, 8) and found["strategy"] in ("group", "channel")
    if not known or not isinstance(found["symmetric"], bool) or found["actorder"] not in (None, "weight") or ordered:
        variant = found if kinds else "no kind of weights"
        raise foreign(f"compressed-tensors in a way ({section.get('format')}, {variant})", tensor)
    return found
