"""Other numbers on a grid that is stored: codes are written, scales stay.

value = (number[code] - zero) · scale, where a table has the numbers by code, and scale and zero are those of the entry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from adapterops.arrays.dtypes import BITS
from adapterops.quant.checks import check_finite, damaged
from adapterops.quant.scheme import Encoder, Read, Scheme, at_once

if TYPE_CHECKING:
    from torch import Tensor


SMALLEST = 1e-38
"""A scale below counts as 0, so that a group of zeros stays one."""


MOST = 2.0
"""How many times as far as its update an entry moves at most, for the sake of others that cannot."""


class CodeScheme(Scheme, Protocol):
    """A scheme whose entries have a code, a scale and a zero point each."""

    def numbers(self) -> Tensor:
        """By code, in float32; NaN or infinite where a code is none to write."""

    def codes(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
        """Of rows [begin, end), as uint8."""

    def scales(self, shape: tuple[int, ...], read: Read, begin: int, end: int) -> tuple[Tensor, Tensor | int]:
        """Scale and zero point of every entry of these rows, or what broadcasts to them; in float32."""

    def encoded_parts(self, shape: tuple[int, ...], codes: Tensor, read: Read, begin: int) -> Mapping[str, Tensor]:
        """The part that holds these codes of whole groups of rows, from `begin` on, by its role."""


class Integers(CodeScheme, Protocol):
    """Codes are integers of `width` bits, and stand for themselves."""

    @property
    def width(self) -> int:
        """Bits of a code."""


def one_row(scheme: Scheme, shape: tuple[int, ...]) -> int:
    """`granularity` of what is stored row by row, or column by column."""
    return 1


def decoded(scheme: CodeScheme, shape: tuple[int, ...], read: Read, begin: int, end: int) -> Tensor:
    """`decode` of integers: (code - zero) · scale in rows [begin, end), in float32.

    Memory: the stored parts, the result, and scales and zeros of every entry.
    """
    scale, zero = scheme.scales(shape, read, begin, end)
    return scheme.codes(shape, read, begin, end).float().sub_(zero).mul_(scale)


def integers(scheme: Integers) -> Tensor:
    """`numbers` of integers: 0, 1, ..., 2^width - 1."""
    import torch

    return torch.arange(1 << scheme.width, dtype=torch.float32)


def to_grid(scheme: CodeScheme, shape: tuple[int, ...], read: Read, key: str) -> Encoder:
    """`on_grid` of what has codes."""
    return OnGrid(scheme, shape, read, key)


class InColumns(CodeScheme, Protocol):
    """A scheme that stores the rows of a weight as columns."""

    def held(self, shape: tuple[int, ...]) -> int:
        """Bytes that an encoder keeps until all rows of a column are there."""

    def of_columns(self, stored: Tensor) -> Tensor:
        """The codes in some columns of the part, a row for each."""


def held_by_columns(scheme: Scheme | None, shape: tuple[int, ...]) -> int | None:
    """Bytes that an encoder keeps where the rows of a weight are columns in its parts; None where they are rows."""
    transposed = hasattr(scheme, "scheme")
    held = getattr(getattr(scheme, "scheme", scheme), "held", None)
    return None if held is None else int(held(shape[::-1] if transposed else shape))


def all_parts(scheme: Scheme, shape: tuple[int, ...]) -> int:
    """`held` of what is written at its end: the bytes of all parts."""
    return sum(BITS[part.dtype] * math.prod(part.shape) // 8 for part in scheme.parts(shape).values())


def columns_to_grid(scheme: InColumns, shape: tuple[int, ...], read: Read, key: str) -> Encoder:
    """`on_grid` of what is stored by columns."""
    return ByColumns(scheme, shape, read, key)


def changed_columns(
    scheme: InColumns, shape: tuple[int, ...], read: Read, begin: int, parts: Mapping[str, Tensor]
) -> Tensor:
    """`changed` of what is stored by columns."""
    (piece,) = parts.values()
    made = scheme.of_columns(piece)
    return made != scheme.codes(shape, read, begin, begin + len(made))


def column_groups(stored: Tensor | None, role: str, into: int, group: int) -> Tensor:
    """The group of each of `into` columns: what is stored in `role`, or `group` columns after the other.

    Raises:
        InputError: a column is of a group that has no scale.
    """
    import torch

    if stored is None:
        return torch.arange(into) // group
    first, last, most = int(stored.min()), int(stored.max()), -(-into // group) - 1
    if first < 0 or last > most:
        raise damaged(f"has columns in the groups {first} to {last} by its {role}, expected 0 to {most}")
    return stored.long()


class OnGrid:
    """To the next lower number on the grid or the next higher, at random, so that the mean is right.

    Where numbers are past the ends of the grid, it is that of the row along its update; see `share`.
    """

    def __init__(self, scheme: CodeScheme, shape: tuple[int, ...], read: Read, key: str) -> None:
        self.scheme, self.shape, self.read, self.key = scheme, shape, read, key

    written = at_once

    def rows(self, values: Tensor, begin: int) -> tuple[Mapping[str, Tensor], Callable[[], Tensor]]:
        import torch

        from adapterops.arrays.random import generator

        values = values.cpu()  # where the random numbers are the same on every machine
        check_finite(values)
        scheme, end = self.scheme, begin + len(values)
        codes, numbers = scheme.codes(self.shape, self.read, begin, end), scheme.numbers()
        scale, zero = scheme.scales(self.shape, self.read, begin, end)
        before = scheme.decode(self.shape, self.read, begin, end)
        grid = grid_of(numbers)
        there = codes.int()
        inverse = torch.where(scale.abs() < SMALLEST, 0, 1 / scale)
        start = at(numbers, there)
        if not start.isfinite().all():  # a code that stands for a number, and is not to be written
            start = torch.where(start.isfinite(), start, before * inverse)
        s = (values - before).mul_(inverse).add_(start)
        lower = below(s, grid.values, at(grid.places, there))
        low, gap = at(grid.values, lower), at(grid.values[1:] - grid.values[:-1], lower)
        share(s, start, low, low + gap, scale)
        draws = torch.rand(s.shape, generator=generator(self.key, begin))
        higher = s.sub_(low) > draws.mul_(gap)
        moved = at(grid.codes, lower.add_(higher))
        same = (values == before) | (at(numbers, moved.int()) == start)  # of two zeros the one there is
        result, found = torch.where(same, codes, moved), torch.where(same, start, at(numbers, moved.int()))
        return scheme.encoded_parts(self.shape, result, self.read, begin), lambda: found.sub_(zero).mul_(scale)

    def rest(self) -> dict[str, Tensor]:
        return {}


class ByColumns(OnGrid):
    """The same, where rows are stored as columns: what is made of each block of rows is known at once, and written when
    all are.
    """

    def __init__(self, scheme: CodeScheme, shape: tuple[int, ...], read: Read, key: str) -> None:
        super().__init__(scheme, shape, read, key)
        self._whole: dict[str, Tensor] = {}
        self._at = 0

    def written(self, pieces: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        ((role, piece),) = pieces.items()
        if role not in self._whole:
            self._whole[role] = piece.new_empty(self.scheme.parts(self.shape)[role].shape)
        whole = self._whole[role]
        whole[:, self._at : self._at + piece.shape[1]] = piece
        self._at += piece.shape[1]
        complete = self._at == whole.shape[1]
        self._at %= whole.shape[1]
        return self._whole if complete else {}


def changed(
    scheme: CodeScheme, shape: tuple[int, ...], read: Read, span: tuple[int, int], part: Mapping[str, Tensor]
) -> Tensor:
    """Which entries of rows [begin, end) have another code than is stored; `part` is what an encoder made of them."""
    import torch

    ((role, data),) = part.items()
    begin, end = span
    data = data.contiguous().view(-1).view(torch.uint8)
    made = scheme.codes(shape, lambda wanted, first, last: data[first:last], 0, end - begin)
    assert role in scheme.parts(shape)
    return made != scheme.codes(shape, read, begin, end)


def share(s: Tensor, start: Tensor, low: Tensor, high: Tensor, scale: Tensor) -> None:
    """What the ends of the grid do not hold of an update is held by the rest of its row; s is changed in place.

    An entry on the last number holds nothing of an update that goes further. With δ the update of a row and h what the
    grid holds of it, every h is made longer by the same factor c = ⟨δ, δ⟩ / ⟨δ, h⟩, at most `MOST`, so that the row as a
    whole keeps ⟨δ, δ⟩. No entry leaves its two neighbours, and a row that is held is left as it is.

    Args:
        start, s: where an entry is and where it is to be, in numbers of the grid.
        low, high: the two numbers next to s.
    """
    held = s.clamp(low, high)
    step = held - start
    delta, lost = (s - start).mul_(scale), (s - held).mul_(scale)
    missing, found = delta.mul(lost).sum(dim=1, keepdim=True), delta.mul_(step).mul_(scale).sum(dim=1, keepdim=True)
    more = (missing / found).nan_to_num_(0).clamp_(0, MOST - 1)
    s.copy_(held.addcmul_(step, more).clamp_(low, high))


def at(table: Tensor, places: Tensor) -> Tensor:
    """The entries of a table at some places, int32."""
    return table.index_select(0, places.reshape(-1)).view(places.shape)


class Grid(NamedTuple):
    """Numbers that differ, ascending; the middles between them; the first code of each; the place of every code."""

    values: Tensor
    middles: Tensor
    codes: Tensor
    places: Tensor


def grid_of(numbers: Tensor) -> Grid:
    """The grid of the finite numbers that codes stand for."""
    import torch

    order = torch.argsort(numbers, stable=True)
    order = order[torch.isfinite(numbers[order])]
    found = numbers[order]
    distinct = torch.cat([torch.ones(1, dtype=torch.bool), found[1:] != found[:-1]])
    values = found[distinct]
    places = torch.bucketize(numbers, values, out_int32=True)
    return Grid(values, (values[:-1] + values[1:]) / 2, order[distinct].to(torch.uint8), places)


def below(s: Tensor, grid: Tensor, places: Tensor) -> Tensor:
    """The place of the last number of the grid, but the last one, that is not above s; the first where all are.

    Most are found within a step of `places`, in a fraction of the time that a search takes.
    """
    import torch

    last = len(grid) - 2
    lower = places.clamp(max=last)
    lower.sub_((s < at(grid, lower)).view(torch.uint8)).clamp_(0, last)
    lower.add_((s >= at(grid[1:], lower)).view(torch.uint8)).clamp_(0, last)
    ends = grid.clone()
    ends[0], ends[-1] = -torch.inf, torch.inf
    far = (s < at(ends, lower)) | (s >= at(ends[1:], lower))
    if far.any():
        lower[far] = torch.bucketize(s[far], grid, right=True, out_int32=True).sub_(1).clamp_(0, last)
    return lower
