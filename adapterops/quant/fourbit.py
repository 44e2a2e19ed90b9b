"""NF4 and FP4: sixteen numbers, times the largest magnitude of a block. The layout is bitsandbytes'."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapterops.dtypes import BITS
from adapterops.memory import Scratch, scratch
from adapterops.quant.scheme import LONG_NAMES, Encoder, Part, Read, check_finite, torch_dtype

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.quant.tables import Codebook

BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
NESTED_BLOCK = 256
OFFSET_ROOM = 24
"""Characters kept for the one number of the JSON state that is known last; JSON does not mind spaces."""

AT_ONCE = 1 << 19
"""Entries that are coded at a time on a CPU: enough that Python between two kernels, and waiting for it, does not count."""

SMALLEST = 1e-38
"""Blocks are divided by no less, so that a block of zeros stays one."""


@dataclass(frozen=True)
class FourBit:
    """Blocks of `block_size` entries, flat and across rows: a code of four bits each, and absmax = max |w| of the block.

    The value is codebook[code] · absmax, in float32, rounded once to `dtype`. With `nested` (double quantization) absmax is
    itself stored in 8 bits: nested_map[absmax] · nested_absmax + nested_offset, in blocks of 256.

    The bytes are bitsandbytes' on a CPU, except for those of a nested absmax, which it finds by an inexact table.
    """

    kind: str = "nf4"
    block_size: int = 64
    nested: bool = False
    dtype: str = "BF16"
    storage: str = "U8"
    offset: float = field(default=0.0, compare=False)

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
        return f"weight.quant_state.bitsandbytes__{self.kind}"

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
        content = {"quant_type": self.kind, "blocksize": self.block_size, "dtype": LONG_NAMES[self.dtype], "shape": list(shape)}
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
        first, codes, absmax = self._blocks(shape, read, begin * width, end * width)
        values = self.numbers(codes, absmax, scratch())
        rows = values[begin * width - first : end * width - first].reshape(end - begin, width)
        return scratch()("decoded", rows.shape, torch_dtype(self.dtype), rows.device).copy_(rows)

    def _blocks(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[int, Tensor, Tensor]:
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

    def numbers(self, codes: Tensor, absmax: Tensor, memory: Scratch) -> Tensor:
        """Bytes of whole blocks → what they stand for, flat, in float32, in scratch memory; two to a byte."""
        import torch

        from adapterops.quant.tables import placed

        bytes_ = memory("integers", codes.shape, torch.int32, codes.device).copy_(codes)
        pairs = memory("floats", codes.shape, torch.float64, codes.device)
        torch.index_select(placed(self.book.pairs, codes.device), 0, bytes_, out=pairs)
        return _times(pairs.view(torch.float32), absmax, self.block_size)

    @property
    def book(self) -> Codebook:
        from adapterops.quant.tables import codebook

        return codebook(self.kind)

    def encoder(self, shape: tuple[int, ...]) -> Encoder:
        return _Nearest(self, shape)

    def moved(self, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]) -> Tensor:
        import torch

        codes, width = parts["weight"], shape[-1]
        first = begin * width // 2
        differ = codes ^ read("weight", first, first + len(codes))
        entries = torch.stack([differ > 15, differ & 15 != 0], dim=1).view(-1)  # the first is in the high half
        rows = min(shape[0] if len(shape) < 2 else math.prod(shape[:-1]), begin + len(entries) // max(width, 1)) - begin
        return entries[: rows * width].view(rows, width)

    def on_grid(self, shape: tuple[int, ...], read: Read, key: str) -> Encoder:
        return _OnGrid(self, shape, read, key)


class _Nearest:
    """absmax anew, codes to nearest, ties to the lower number."""

    def __init__(self, scheme: FourBit, shape: tuple[int, ...]) -> None:
        self.scheme, self.shape = scheme, shape
        self._scratch = Scratch()
        self._kept: dict[int, Tensor] = {}

    def rows(self, values: Tensor, begin: int) -> tuple[Mapping[str, Tensor], Callable[[], Tensor]]:
        import torch

        scheme, flat = self.scheme, values.reshape(-1)
        full = flat.numel() - flat.numel() % scheme.block_size
        at_once = AT_ONCE if flat.device.type == "cpu" else full
        pieces = [self._piece(part.view(-1, scheme.block_size)) for part in torch.split(flat[:full], at_once)] if full else []
        if full < flat.numel():
            pieces.append(self._last(flat[full:].view(1, -1)))
        if not pieces:
            pieces = [(torch.empty(0, dtype=torch.uint8, device=flat.device), flat.new_empty(0))]
        packed, absmax = pieces[0] if len(pieces) == 1 else (torch.cat(each) for each in zip(*pieces, strict=True))
        parts = {"weight": packed}
        if scheme.nested:
            self._kept[begin] = absmax
        else:
            parts["weight.absmax"] = absmax
        return parts, lambda: scheme.numbers(packed, absmax, self._scratch)[: flat.numel()].view(values.shape)

    def _piece(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """The bytes of whole blocks, and their absmax."""
        absmax = self._absmax(blocks)
        return self._packed(blocks, absmax.clamp(min=SMALLEST).reciprocal_()), absmax

    def _last(self, block: Tensor) -> tuple[Tensor, Tensor]:
        """The same for a block that is short, which bitsandbytes divides."""
        absmax = self._absmax(block).clamp_(min=SMALLEST)
        return self._packed(block / absmax, absmax.new_ones(1)), absmax

    def _absmax(self, blocks: Tensor) -> Tensor:
        import torch

        magnitudes = torch.abs(blocks, out=scratch()("floats", blocks.shape, blocks.dtype, blocks.device))
        absmax = magnitudes.view(torch.int32).amax(dim=1).view(torch.float32)  # same order, NaN above all, half the time
        check_finite(absmax)
        return absmax

    def _packed(self, blocks: Tensor, factors: Tensor) -> Tensor:
        codes = self.scheme.book.nearest(blocks, factors, scratch())
        if self.scheme.kind == "nf4":  # its codes ascend
            return _packed(codes, 7)
        from adapterops.quant.tables import placed

        return _packed(placed(self.scheme.book.order, codes.device)[codes.long()], 0)

    def rest(self) -> dict[str, Tensor]:
        import torch

        scheme = self.scheme
        parts, offset = {"weight.quant_map": scheme.book.values}, 0.0
        if scheme.nested:
            from adapterops.quant.tables import dynamic_map

            kept = [self._kept[begin].cpu() for begin in sorted(self._kept)]
            absmax = torch.cat(kept) if kept else torch.empty(0)
            offset = float(absmax.mean()) if len(absmax) else 0.0
            offset = offset if math.isfinite(offset) else float(absmax.double().mean())
            parts["weight.absmax"], parts["weight.nested_absmax"] = _nested(absmax - offset, dynamic_map())
            parts["weight.nested_quant_map"] = dynamic_map()
        return {**parts, scheme.state_role: _text(scheme.state(self.shape, offset))}


class _OnGrid:
    """absmax as it is; to the next lower number on the grid or the next higher, by chance."""

    def __init__(self, scheme: FourBit, shape: tuple[int, ...], read: Read, key: str) -> None:
        self.scheme, self.shape, self.read, self.key = scheme, shape, read, key
        self._scratch = Scratch()

    def rows(self, values: Tensor, begin: int) -> tuple[Mapping[str, Tensor], Callable[[], Tensor]]:
        import torch

        from adapterops.quant.random import generator

        scheme, width, book = self.scheme, self.shape[-1], self.scheme.book
        values = values.cpu()  # where the random numbers are the same on every machine
        end = begin + values.shape[0]
        _, packed, absmax = scheme._blocks(self.shape, self.read, begin * width, end * width)
        before = scheme.decode(self.shape, self.read, begin, end).float()
        check_finite(values)
        codes = torch.stack([packed >> 4, packed & 15], dim=1).view(-1)[: values.numel()]
        inverse = torch.where(absmax.abs() < SMALLEST, 0, 1 / absmax)
        step = _times((values - before).reshape(-1), inverse, scheme.block_size)
        s = book.values.index_select(0, codes.int()).add_(step).clamp_(-1, 1)
        lower = book.floor(s.view(1, -1), s.new_ones(1), scratch()).clamp_(max=len(book.grid) - 2).int()
        low, gap = book.grid.index_select(0, lower), (book.grid[1:] - book.grid[:-1]).index_select(0, lower)
        higher = s > gap.mul_(torch.rand(s.shape, generator=generator(self.key, begin))).add_(low)
        changed = book.grid_codes.index_select(0, lower.add_(higher))
        codes = torch.where(step == 0, codes, changed)  # of two zeros the one that is there
        result = _packed(codes, int(packed[-1]) & 15 if len(packed) else 0)
        return {"weight": result}, lambda: scheme.numbers(result, absmax, self._scratch)[: values.numel()].view(values.shape)

    def rest(self) -> dict[str, Tensor]:
        return {}


def _packed(codes: Tensor, padding: int) -> Tensor:
    """Two codes a byte, the first in the high half. The codes are used up."""
    import torch

    if codes.numel() % 2:
        codes = torch.cat([codes, codes.new_full((1,), padding)])
    words = codes.view(torch.int16)  # first + 256 second; times 16 · 256 + 1, that is 256 (16 first + second) + first, modulo 2¹⁶
    return words.mul_(16 * 256 + 1).bitwise_right_shift_(8).to(torch.uint8)


def _times(values: Tensor, factors: Tensor, block_size: int) -> Tensor:
    """Flat values, each block by its factor; in place where it can be."""
    full = values.numel() // block_size * block_size
    values[:full].view(-1, block_size).mul_(factors[: full // block_size].view(-1, 1))
    if full < values.numel():
        values[full:].mul_(factors[full // block_size])
    return values


def _nested(absmax: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """8-bit codes of the nearest of 256 numbers, times the largest magnitude in blocks of 256; and these."""
    import torch

    short = -absmax.numel() % NESTED_BLOCK
    blocks = torch.nn.functional.pad(absmax, (0, short)).view(-1, NESTED_BLOCK)
    largest = blocks.abs().amax(dim=1) if blocks.numel() else absmax
    scaled = blocks / largest.clamp(min=SMALLEST).view(-1, 1)
    codes = torch.bucketize(scaled, (numbers[:-1] + numbers[1:]) / 2).to(torch.uint8)
    return codes.view(-1)[: absmax.numel()], largest


def _text(data: bytes) -> Tensor:
    import torch

    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
