"""Codes of four bits, to nearest in new blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from adapterops.arrays.scratch import Scratch, scratch
from adapterops.quant.bitsandbytes import four_bit
from adapterops.quant.checks import check_finite
from adapterops.quant.scheme import at_once

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.quant.fourbit import FourBit

NESTED_BLOCK = 256
AT_ONCE = 1 << 19
"""Entries that are encoded at a time on a CPU:
enough that Python between two kernels, and waiting for it, does not count.
"""

SMALLEST = 1e-38
"""Blocks are divided by no less, so that a block of zeros stays one."""


class Nearest:
    """absmax again, codes to nearest, ties to the lower number."""

    written = at_once

    def __init__(self, scheme: FourBit, shape: tuple[int, ...]) -> None:
        self.scheme, self.shape = scheme, shape
        self._scratch = Scratch()
        self._kept: dict[int, Tensor] = {}

    def rows(self, values: Tensor, begin: int) -> tuple[Mapping[str, Tensor], Callable[[], Tensor]]:
        import torch

        scheme, flat = self.scheme, values.reshape(-1)
        full = flat.numel() - flat.numel() % scheme.block_size
        at_once = AT_ONCE if flat.device.type == "cpu" else full
        pieces = (
            [self._piece(part.view(-1, scheme.block_size)) for part in torch.split(flat[:full], at_once)]
            if full
            else []
        )
        if full < flat.numel():
            pieces.append(self._last(flat[full:].view(1, -1)))
        if not pieces:
            pieces = [(torch.empty(0, dtype=torch.uint8, device=flat.device), flat.new_empty(0))]
        bytes_, absmax = pieces[0] if len(pieces) == 1 else (torch.cat(each) for each in zip(*pieces, strict=True))
        parts = {"weight": bytes_}
        if scheme.nested:
            self._kept[begin] = absmax
        else:
            parts["weight.absmax"] = absmax
        return parts, lambda: scheme.decoded(bytes_, absmax, self._scratch)[: flat.numel()].view(values.shape)

    def _piece(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """The bytes of whole blocks, and their absmax."""
        if found := four_bit(blocks, self.scheme.kind):
            return found
        absmax = self._absmax(blocks)
        return self._packed(blocks, absmax.clamp(min=SMALLEST).reciprocal_()), absmax

    def _last(self, block: Tensor) -> tuple[Tensor, Tensor]:
        """The same for a block that is short, which bitsandbytes divides."""
        absmax = self._absmax(block).clamp_(min=SMALLEST)
        return self._packed(block / absmax, absmax.new_ones(1)), absmax

    def _absmax(self, blocks: Tensor) -> Tensor:
        import torch

        magnitudes = torch.abs(blocks, out=scratch()("floats", blocks.shape, blocks.dtype, blocks.device))
        absmax = (
            magnitudes.view(torch.int32).amax(dim=1).view(torch.float32)
        )  # same order, NaN above all, half the time
        check_finite(absmax)
        return absmax

    def _packed(self, blocks: Tensor, factors: Tensor) -> Tensor:
        codes = self.scheme.book.nearest(blocks, factors, scratch())
        if self.scheme.kind == "nf4":  # its codes ascend
            return packed(codes, self.scheme.padding)
        from adapterops.quant.tables import placed

        return packed(placed(self.scheme.book.order, codes.device)[codes.long()], self.scheme.padding)

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


def packed(codes: Tensor, padding: int) -> Tensor:
    """Two codes a byte, the first in the high half. The codes are used up."""
    import torch

    if codes.numel() % 2:
        codes = torch.cat([codes, codes.new_full((1,), padding)])
    words = codes.view(
        torch.int16
    )  # first + 256 second; times 16 · 256 + 1, that is 256 (16 first + second) + first, modulo 2¹⁶
    return words.mul_(16 * 256 + 1).bitwise_right_shift_(8).to(torch.uint8)


def times(values: Tensor, factors: Tensor, block_size: int) -> Tensor:
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
