"""The numbers that four bits stand for, and exact rounding to them by table.

[-1, 1] is cut into bins so narrow that no bin holds two thresholds. A bin knows the nearest threshold and how many lie
below it, so that one comparison finds the code exactly. That is ten times as fast as a search, and gives the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

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

BINS = 1023
"""Half as many bins as there are: their width, 1/1023, is less than half of the least distance of two thresholds."""


@dataclass(frozen=True, eq=False)
class Lookup:
    """How many thresholds lie below a number, or at it."""

    index: Tensor
    threshold: Tensor

    @classmethod
    def of(cls, thresholds: Tensor) -> Lookup:
        centre = (torch.arange(2 * BINS + 2, dtype=torch.float64) - BINS - 0.5) / BINS
        near = (centre[:, None] - thresholds.double()).abs().argmin(dim=1)
        return cls(near.to(torch.uint8), thresholds[near])

    def below(self, s: Tensor, room: Room) -> Tensor:
        """#{thresholds < s}, as uint8, good until the room is used again. `s` is flat, in [-1, 1] but for rounding."""
        n = s.numel()
        near, bins = room.floats[:n], room.bins[:n]
        bins.copy_(torch.add(room.middle, s, alpha=BINS, out=near))
        torch.index_select(self.threshold.to(s.device), 0, bins, out=near).sub_(s)
        above = room.above[:n].copy_(near.view(torch.int32).bitwise_right_shift_(31))  # -1 where s is above, by its sign
        return torch.index_select(self.index.to(s.device), 0, bins, out=room.counts[:n]).sub_(above)

    def up_to(self, s: Tensor) -> Tensor:
        """#{thresholds <= s}, as uint8."""
        bins = s.mul(BINS).add_(BINS + 1).to(torch.int32)
        side = s.sub(self.threshold.to(s.device).index_select(0, bins)).ge_(0)
        return self.index.to(s.device).index_select(0, bins).add_(side.to(torch.uint8))


class Room:
    """Memory for `n` numbers on their way, used again and again: fresh memory costs more than the arithmetic."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.scaled, self.floats = torch.empty(n, device=device), torch.empty(n, device=device)
        self.bins = torch.empty(n, dtype=torch.int32, device=device)
        self.counts, self.above = (torch.empty(n, dtype=torch.uint8, device=device) for _ in range(2))
        self.middle = torch.tensor(float(BINS + 1), device=device)


@dataclass(frozen=True, eq=False)
class Codebook:
    """Sixteen numbers, in the order of their codes and in their own.

    Attributes:
        values: code → number.
        order: place → code: `values[order]` ascends. Of FP4's two zeros the first has code 0.
        grid, grid_codes: the numbers that differ, ascending, and the first code of each.
        nearest, floor: which place is the nearest, ties to the lower; how many numbers of the grid after the first are not above.
        pairs: byte → the two numbers that it holds, in 8 bytes.
    """

    values: Tensor
    order: Tensor
    grid: Tensor
    grid_codes: Tensor
    nearest: Lookup
    floor: Lookup
    pairs: Tensor

    @classmethod
    def of(cls, values: tuple[float, ...]) -> Codebook:
        table = torch.tensor(values, dtype=torch.float32) / max(values)
        order = torch.tensor(sorted(range(16), key=lambda code: (float(table[code]), code)), dtype=torch.uint8)
        ascending = table[order.long()]
        distinct = torch.cat([torch.tensor([True]), ascending[1:] != ascending[:-1]])
        grid = ascending[distinct]
        byte = torch.arange(256)
        pairs = torch.stack([table[byte >> 4], table[byte & 15]], dim=1).view(torch.float64)[:, 0]
        middles = (ascending[:-1] + ascending[1:]) / 2
        return cls(table, order, grid, order[distinct], Lookup.of(middles), Lookup.of(grid[1:]), pairs)


@cache
def codebook(kind: str) -> Codebook:
    """`nf4` or `fp4`."""
    return Codebook.of({"nf4": NF4, "fp4": FP4}[kind])


@cache
def dynamic_map() -> Tensor:
    """The 256 numbers of the dynamic 8-bit type: the smaller the exponent, the fewer bits for the fraction.

    Source: Dettmers 2015, arXiv:1511.04561.
    """
    numbers = [0.0, 1.0]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1, 2**exponent + 1, dtype=torch.float32)
        middles = 10.0 ** (exponent - 6) * ((edges[:-1] + edges[1:]) / 2)
        numbers += middles.tolist() + (-middles).tolist()
    return torch.tensor(sorted(numbers), dtype=torch.float32)
