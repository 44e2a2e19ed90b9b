"""NF4 and FP4: sixteen numbers, times the largest magnitude of a block. The layout is bitsandbytes'."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from adapterops.arrays.dtypes import BITS
from adapterops.arrays.scratch import Scratch, scratch
from adapterops.errors import InputError, OptionError, at
from adapterops.quant.bitsandbytes import section
from adapterops.quant.blocks import NESTED_BLOCK, Nearest, packed, times
from adapterops.quant.grid import OnGrid, changed
from adapterops.quant.header import Claim, Header, key
from adapterops.quant.registry import Remainder, scheme
from adapterops.quant.scheme import LONG_NAMES, Encoder, Part, Read, torch_dtype

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.quant.tables import Codebook

BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
OFFSET_ROOM = 24
"""Characters kept for the one number of the JSON state that is known last; JSON does not mind spaces."""

LARGEST = 3.4e38
"""No float32 is larger."""

STATE = "weight.quant_state.bitsandbytes__"
MISSING = f".{STATE}nf4 or __fp4"


@scheme(
    "nf4",
    "fp4",
    marks=(f"{STATE}nf4", f"{STATE}fp4"),
    methods=("bitsandbytes",),
    remains=tuple(
        Remainder(f".weight.{role}", MISSING) for role in ("absmax", "quant_map", "nested_absmax", "nested_quant_map")
    ),
)
@dataclass(frozen=True)
class FourBit:
    """Blocks of `block_size` entries, flat and across rows: a code of four bits each, and absmax = max |w| of the block.

    The value is codebook[code] · absmax, in float32, rounded once to `dtype`. With `nested` (double quantization)
    absmax is itself stored in 8 bits: nested_map[absmax] · nested_absmax + nested_offset, in blocks of 256.

    The bytes are bitsandbytes' on a CPU, except for those of a nested absmax, which it finds by an inexact table.
    """

    kind: str = "nf4"
    block_size: int = 64
    nested: bool = False
    dtype: str = "BF16"
    storage: str = "U8"
    offset: float = field(default=0.0, compare=False)
    last_code: int | None = field(default=None, compare=False)
    """The code in the other half of the last byte, where the entries are odd; else bitsandbytes' own."""

    @property
    def name(self) -> str:
        return self.kind

    @property
    def bits(self) -> float:
        """
        >>> FourBit().bits, FourBit(nested=True).bits
        (4.5, 4.126953125)
        """
        return 4 + (8 / self.block_size + 32 / self.block_size / NESTED_BLOCK if self.nested else 32 / self.block_size)

    @property
    def state_role(self) -> str:
        return STATE + self.kind

    @classmethod
    def make(cls, name: str, dtype: str, *, double_quant: bool = False, block_size: int = 64) -> FourBit:
        if block_size not in BLOCK_SIZES:
            sizes = ", ".join(map(str, BLOCK_SIZES))
            raise OptionError(f"the block size must be one of {sizes}, got {block_size}")
        return cls(name, block_size, double_quant, dtype)

    @classmethod
    def detect(cls, header: Header, tensor: str, role: str) -> Claim:
        """By the JSON state, which says the kind, the size of blocks, the dtype,
        the shape and the offset of nested scales.
        """
        state_name, kind = key(tensor, role), role.removeprefix(STATE)
        with at(tensor=state_name):
            state = header.json_of(state_name)
            storage = header.part(tensor, "weight")
            found, shape = _stated(state, kind, storage.dtype if storage else "U8")
        parts = found.parts(shape)
        parts[role] = Part("U8", header.entries[state_name].shape)  # whoever wrote it chose the length
        if storage and math.prod(storage.shape) == math.prod(parts["weight"].shape):
            parts["weight"] = parts["weight"]._replace(shape=storage.shape)  # older versions wrote a row
        return Claim(found, shape, parts)

    def parts(self, shape: tuple[int, ...]) -> dict[str, Part]:
        entries = math.prod(shape)
        blocks = -(-entries // self.block_size)
        parts = {
            "weight": Part(self.storage, ((entries + 1) // (BITS[self.storage] // 4), 1)),
            "weight.absmax": Part("U8" if self.nested else "F32", (blocks,)),
            "weight.quant_map": Part("F32", (16,)),
        }
        if self.nested:
            parts["weight.nested_absmax"] = Part("F32", (-(-blocks // NESTED_BLOCK),))
            parts["weight.nested_quant_map"] = Part("F32", (256,))
        return {**parts, self.state_role: Part("U8", (len(self.state(shape)),))}

    def state(self, shape: tuple[int, ...], offset: float = 0.0) -> bytes:
        """The JSON that says how the weight is to be read."""
        content = {
            "quant_type": self.kind,
            "blocksize": self.block_size,
            "dtype": LONG_NAMES[self.dtype],
            "shape": list(shape),
        }
        if not self.nested:
            return json.dumps(content).encode()
        content |= {"nested_blocksize": NESTED_BLOCK, "nested_dtype": "float32", "nested_offset": 0}
        start = json.dumps(content)[: -len("0}")]
        return f"{start}{offset!r}}}".ljust(len(start) + OFFSET_ROOM).encode()

    def granularity(self, shape: tuple[int, ...]) -> int:
        """
        >>> FourBit().granularity((8, 96)), FourBit().granularity((8, 128)), FourBit().granularity((8, 3))
        (2, 1, 64)
        """
        return self.block_size // math.gcd(self.block_size, shape[-1]) if shape else 1

    def decode(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        """Rows [begin, end). Cost: one gather of 8 bytes for two entries."""
        width = shape[-1]
        first, codes, absmax = self.blocks(shape, read, begin * width, end * width)
        values = self.decoded(codes, absmax, scratch())
        rows = values[begin * width - first : end * width - first].reshape(end - begin, width)
        return scratch()("decoded", rows.shape, torch_dtype(self.dtype), rows.device).copy_(rows)

    def blocks(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[int, Tensor, Tensor]:
        """The whole blocks around entries [begin, end): where they begin, their bytes, and absmax."""
        entries, size = math.prod(shape), self.block_size
        first, last = begin // size, -(-end // size)
        codes = read("weight", first * size // 2, (min(last * size, entries) + 1) // 2)
        return first * size, codes, self._absmax(read, first, last)

    def _absmax(self, read: Read, begin: int, end: int) -> Tensor:
        import torch

        if not self.nested:
            return read("weight.absmax", 4 * begin, 4 * end).view(torch.float32)
        first, last = begin // NESTED_BLOCK, -(-end // NESTED_BLOCK)
        numbers = read("weight.nested_quant_map", 0, 4 * 256).view(torch.float32)
        scales = read("weight.nested_absmax", 4 * first, 4 * last).view(torch.float32)
        block = torch.arange(begin, end, device=scales.device) // NESTED_BLOCK - first
        return numbers[read("weight.absmax", begin, end).long()] * scales[block] + self.offset

    def decoded(self, codes: Tensor, absmax: Tensor, memory: Scratch) -> Tensor:
        """Bytes of whole blocks → what they stand for, flat, in float32, in scratch memory; two to a byte."""
        import torch

        from adapterops.quant.tables import placed

        bytes_ = memory("integers", codes.shape, torch.int32, codes.device).copy_(codes)
        pairs = memory("floats", codes.shape, torch.float64, codes.device)
        torch.index_select(placed(self.book.pairs, codes.device), 0, bytes_, out=pairs)
        return times(pairs.view(torch.float32), absmax, self.block_size)

    @property
    def padding(self) -> int:
        if self.last_code is not None:
            return self.last_code
        return 7 if self.kind == "nf4" else 0

    @property
    def book(self) -> Codebook:
        from adapterops.quant.tables import codebook

        return codebook(self.kind)

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "block_size": self.block_size,
            "nested": self.nested,
            "dtype": self.dtype,
            "storage": self.storage,
        }

    def describe(self, skip: list[str]) -> dict[str, Any]:
        return section(skip, four=True, kind=self.kind, nested=self.nested, compute=LONG_NAMES[self.dtype])

    def encoder(self, shape: tuple[int, ...]) -> Encoder:
        return Nearest(self, shape)

    def on_grid(self, shape: tuple[int, ...], read: Read, key: str) -> Encoder:
        pairs, odd = divmod(math.prod(shape), 2)
        last_code = int(read("weight", pairs, pairs + 1)[0]) & 15 if odd else None
        return OnGrid(replace(self, last_code=last_code), shape, read, key)

    def numbers(self) -> Tensor:
        return self.book.values

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        import torch

        width = shape[-1]
        first, pairs, _ = self.blocks(shape, read, begin * width, end * width)
        flat = torch.stack([pairs >> 4, pairs & 15], dim=1).view(-1)
        return flat[begin * width - first : end * width - first].view(end - begin, width)

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, int]:
        width, size = shape[-1], self.block_size
        first, last = begin * width // size, -(-end * width // size)
        flat = self._absmax(read, first, last).repeat_interleave(size)
        return flat[begin * width - first * size : end * width - first * size].view(end - begin, width), 0

    def encoded_parts(self, shape: tuple[int, ...], codes: Tensor, read: Read, begin: int) -> dict[str, Tensor]:
        return {"weight": packed(codes.reshape(-1).clone(), self.padding)}

    def changed(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        rows = min(math.prod(shape[:-1]) - begin, 2 * len(parts["weight"]) // max(shape[-1], 1))
        return changed(self, shape, read, (begin, begin + rows), {"weight": parts["weight"]})


def _stated(state: Any, kind: str, storage: str) -> tuple[FourBit, tuple[int, ...]]:
    """The scheme and the shape that a state says."""

    def need(holds: bool, what: str) -> None:
        if not holds:
            raise InputError(
                f"says {what}", hint="the checkpoint is damaged, or of a kind that is not known here", code="E-QUANT"
            )

    need(isinstance(state, dict), "nothing, as it is not an object")
    shape, size, dtype = state.get("shape"), state.get("blocksize"), state.get("dtype")
    dtypes = {long: short for short, long in LONG_NAMES.items()}
    need(state.get("quant_type") == kind, f"quant_type {state.get('quant_type')!r}, and its name says {kind}")
    need(isinstance(size, int) and size in BLOCK_SIZES, f"blocksize {size!r}")
    need(isinstance(dtype, str) and dtype in dtypes, f"dtype {dtype!r}")
    whole = isinstance(shape, list) and len(shape) > 0 and all(type(n) is int and 0 < n < 1 << 40 for n in shape)
    need(whole, f"shape {shape!r}")
    nested = "nested_absmax" in "".join(state) or "nested_blocksize" in state
    offset = state.get("nested_offset") if nested else 0.0
    if nested:
        need(state.get("nested_blocksize") == NESTED_BLOCK, f"nested_blocksize {state.get('nested_blocksize')!r}")
        need(state.get("nested_dtype") == "float32", f"nested_dtype {state.get('nested_dtype')!r}")
        need(type(offset) in (int, float) and abs(offset) < LARGEST, f"nested_offset {offset!r}")
    need(storage in ("U8", "BF16", "F16", "F32"), f"nothing of codes in {storage}")
    return FourBit(kind, size, nested, dtypes[dtype], storage, float(offset)), tuple(shape)
