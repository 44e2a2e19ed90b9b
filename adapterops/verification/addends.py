"""What one tensor should be: what it starts as, and the updates that are added to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from adapterops.storage.spans import rows_of
from adapterops.storage.tensors import Stored


@dataclass(frozen=True)
class Addend:
    """tensor[rows, columns] += ΔW[first:], or ΔWᵀ; the tensor as a matrix, all dimensions but the last taken for one, or
    all of it as one of the shape `seen`.
    """

    source: str
    rows: range
    columns: slice
    first: int = 0
    transposed: bool = False
    seen: tuple[int, int] | None = None

    def within(self, begin: int, end: int) -> tuple[slice, slice] | None:
        """Which of the rows [begin, end) of the tensor it covers, and which rows of ΔW these are."""
        start, stop, step = self.rows.start, self.rows.stop, self.rows.step
        skipped = max(0, -(-(begin - start) // step))
        left = max(0, -(-(min(end, stop) - start) // step))
        if skipped >= left:
            return None
        at = start + skipped * step - begin
        return slice(at, min(end, stop) - begin, step), slice(self.first + skipped, self.first + left)


@dataclass
class Wanted:
    """What one tensor should be: a tensor of the base, or a full one of the adapter, and what is added to it."""

    start: str | None
    full: str | None = None
    places: list[Addend] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    """Full tensors that have to be the same as `full`."""
    rows: str | None = None
    """The tensor of the adapter whose rows take the place of some of its own, before anything is added."""
    part: tuple[int, tuple[int, ...]] | None = None
    """The row of `full` that it begins with, and its shape, where that has the rows of other tensors, too."""
    words: int | None = None
    """How many words it has, where it is never trained: new ones are zero."""

    def trained(self, stored: Stored) -> Stored:
        """What takes the place of the tensor, of the full tensor of the adapter."""
        return rows_of(stored, *self.part) if self.part else stored
