"""The numbers that four bits stand for, and exact rounding to them by table.

[-1, 1] is cut into thousands of bins. A bin knows how many thresholds are below it, or that one is near: the few
numbers in such bins are searched for. That is ten times as fast as searching for all, and gives the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from adapterops.arrays.scratch import Scratch

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""Quantiles of a normal distribution, by code. Source: Dettmers et al. 2023, arXiv:2305.14314."""

FP4 = (0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0, 0.0, -0.0625, -8.0, -12.0, -4.0, -6.0, -2.0, -3.0)
"""Sign, two bits of exponent, one of mantissa, by code; in twelfths."""

BINS = 8191
"""Half as many bins as there are: 16 kB of counts, which the first cache holds."""

NEAR = 0.52
"""How far from the middle of a bin, in bins, a threshold has to be compared with its numbers:
half a bin, and rounding.
"""

UNSURE = 128


@dataclass(frozen=True, eq=False)
class Lookup:
    """How many thresholds are below a number; or, with `ties`, below it or at it.

    `counts`: bin → that number, or `UNSURE` where a threshold is in the bin.
    """

    thresholds: Tensor
    counts: Tensor
    ties: bool

    @classmethod
    def of(cls, thresholds: Tensor, ties: bool = False) -> Lookup:
        import torch

        middle = (torch.arange(2 * BINS + 2, dtype=torch.float64) - BINS - 0.5) / BINS
        counts = torch.bucketize(middle, thresholds.double()).to(torch.uint8)
        near = ((middle[:, None] - thresholds.double()).abs() < NEAR / BINS).any(dim=1)
        return cls(thresholds, counts.masked_fill(near, UNSURE), ties)

    def __call__(self, blocks: Tensor, factors: Tensor, memory: Scratch) -> Tensor:
        """For s = blocks · factors, one for each row, in [-1, 1] but for rounding:
        the counts, flat, as uint8, in scratch memory.
        """
        import numpy as np
        import torch

        n, device, factors = blocks.numel(), blocks.device, factors.view(-1, 1)
        scaled = memory("floats", blocks.shape, torch.float32, device)
        if device.type != "cpu":  # where searching for all is fast
            return self._search(torch.mul(blocks, factors, out=scaled)).view(-1)
        to_bins = factors * BINS
        huge = to_bins.isinf().view(-1) if math.isinf(float(to_bins.amax())) else None
        if huge is not None:
            to_bins[huge] = 0
        torch.addcmul(_middle(blocks.shape[1]), blocks, to_bins, out=scaled)
        bins = scaled.view(-1).view(torch.int32).copy_(scaled.view(-1))  # in place: entry by entry, of one size
        found = torch.index_select(self.counts, 0, bins, out=memory("counts", (n,), torch.uint8))
        counts = found.numpy()
        unsure = np.flatnonzero(np.equal(counts, UNSURE, out=memory("unsure", (n,), torch.bool).numpy()))
        s = blocks.numpy().reshape(-1)[unsure] * factors.numpy()[unsure // blocks.shape[1], 0]
        counts[unsure] = np.searchsorted(self.thresholds.numpy(), s, "right" if self.ties else "left")
        if huge is not None:
            found.view(blocks.shape)[huge] = self._search(blocks[huge] * factors[huge])
        return found

    def _search(self, s: Tensor) -> Tensor:
        import torch

        return torch.bucketize(s, placed(self.thresholds, s.device), right=self.ties, out_int32=True).to(torch.uint8)


@cache
def placed(constant: Tensor, device: torch.device) -> Tensor:
    """A constant on a device, copied there once."""
    return constant.to(device)


@cache
def _middle(size: int) -> Tensor:
    """The bin of 0, as often as a block has entries: so the kernel is a vectorized one."""
    import torch

    return torch.full((1, size), float(BINS + 1))


@dataclass(frozen=True, eq=False)
class Codebook:
    """Sixteen numbers, in the order of their codes and in their own.

    Attributes:
        values: code → number.
        order: place → code: `values[order]` ascends. Of FP4's two zeros the first has code 0.
        grid: the numbers that differ, ascending.
        nearest, floor: which place is the nearest, ties to the lower; how many numbers of the grid after the first are
            not above.
        pairs: byte → the two numbers that it holds, in 8 bytes.
    """

    values: Tensor
    order: Tensor
    grid: Tensor
    nearest: Lookup
    floor: Lookup
    pairs: Tensor

    @classmethod
    def of(cls, values: tuple[float, ...]) -> Codebook:
        import torch

        table = torch.tensor(values, dtype=torch.float32) / max(values)
        order = torch.tensor(sorted(range(16), key=lambda code: (float(table[code]), code)), dtype=torch.uint8)
        ascending = table[order.long()]
        distinct = torch.cat([torch.tensor([True]), ascending[1:] != ascending[:-1]])
        grid = ascending[distinct]
        byte = torch.arange(256)
        pairs = torch.stack([table[byte >> 4], table[byte & 15]], dim=1).view(torch.float64)[:, 0]
        middles = (ascending[:-1] + ascending[1:]) / 2
        return cls(table, order, grid, Lookup.of(middles), Lookup.of(grid[1:], ties=True), pairs)


@cache
def codebook(kind: str) -> Codebook:
    """`nf4` or `fp4`."""
    return Codebook.of({"nf4": NF4, "fp4": FP4}[kind])


@cache
def dynamic_map() -> Tensor:
    """The 256 numbers of the dynamic 8-bit type: the smaller the exponent, the fewer bits for the fraction.

    Source: Dettmers 2015, arXiv:1511.04561.
    """
    import torch

    numbers = [0.0, 1.0]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1, 2**exponent + 1, dtype=torch.float32)
        middles = 10.0 ** (exponent - 6) * ((edges[:-1] + edges[1:]) / 2)
        numbers += middles.tolist() + (-middles).tolist()
    return torch.tensor(sorted(numbers), dtype=torch.float32)
