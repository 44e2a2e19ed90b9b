"""Other numbers on a grid that is stored: codes are written, scales stay.

value = (number[code] - zero) · scale, where a table has the numbers by code, and scale and zero are those of the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from adapterops.quant.checks import check_finite
from adapterops.quant.scheme import Read, Scheme

if TYPE_CHECKING:
    from torch import Tensor


class Coded(Scheme, Protocol):
    """A scheme whose entries have a code, a scale and a zero point each."""

    def numbers(self) -> Tensor:
        """By code, in float32; NaN or infinite where a code stands for no number of a weight."""

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        """Of rows [begin, end), as uint8."""

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, Tensor | int]:
        """Scale and zero point of every entry of these rows, or what broadcasts to them; in float32."""

    def coded(self, shape: tuple[int, ...], codes: Tensor) -> Mapping[str, Tensor]:
        """The part that holds these codes of whole groups of rows, by its role."""


class OnGrid:
    """To the next lower number on the grid or the next higher, at random, so that the mean is right."""

    def __init__(self, scheme: Coded, shape: tuple[int, ...], read: Read, key: str) -> None:
        self.scheme, self.shape, self.read, self.key = scheme, shape, read, key

    def rows(self, values: Tensor, begin: int) -> tuple[Mapping[str, Tensor], Callable[[], Tensor]]:
        import torch

        from adapterops.quant.random import generator

        values = values.cpu()  # where the random numbers are the same on every machine
        check_finite(values)
        scheme, end = self.scheme, begin + len(values)
        codes, numbers = scheme.codes(self.shape, self.read, begin, end), scheme.numbers()
        scale, zero = scheme.scales(self.shape, self.read, begin, end)
        before = scheme.decode(self.shape, self.read, begin, end)
        grid, where = _ascending(numbers)
        s = (values - before).mul_(torch.where(scale == 0, 0, 1 / scale)).add_(numbers[codes.int()])
        lower = torch.bucketize(s, grid, right=True).sub_(1).clamp_(0, len(grid) - 2)
        gap = (grid[1:] - grid[:-1])[lower]
        higher = s.sub_(grid[lower]) > gap.mul_(torch.rand(s.shape, generator=generator(self.key, begin)))
        moved = where[lower.add_(higher)]
        same = (values == before) | (numbers[moved.int()] == numbers[codes.int()])  # of two zeros the one that is there
        codes = torch.where(same, codes, moved)
        return scheme.coded(self.shape, codes), lambda: (numbers[codes.int()] - zero) * scale

    def rest(self) -> dict[str, Tensor]:
        return {}


def changed(
    scheme: Coded, shape: tuple[int, ...], read: Read, span: tuple[int, int], part: Mapping[str, Tensor]
) -> Tensor:
    """Which entries of rows [begin, end) have another code than is stored; `part` is what an encoder made of them."""
    import torch

    ((role, data),) = part.items()
    begin, end = span
    data = data.contiguous().view(-1).view(torch.uint8)
    made = scheme.codes(shape, lambda wanted, first, last: data[first:last], 0, end - begin)
    assert role in scheme.parts(shape)
    return made != scheme.codes(shape, read, begin, end)


def _ascending(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The finite numbers that differ, ascending, and the first code of each."""
    import torch

    order = torch.argsort(numbers, stable=True)
    order = order[torch.isfinite(numbers[order])]
    found = numbers[order]
    distinct = torch.cat([torch.ones(1, dtype=torch.bool), found[1:] != found[:-1]])
    return found[distinct], order[distinct].to(torch.uint8)
