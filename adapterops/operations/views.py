"""Tensors that updates see as another matrix: kernels of convolutions in one dimension, and biases as columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapterops.checkpoints.checkpoint import Rows
    from adapterops.operations.additions import Addition
    from adapterops.updates.difference import Read
    from adapterops.updates.protocol import Array, Part
    from adapterops.updates.survival import Block, Change


def rows_of_view(rows: Rows, stored: tuple[int, int], seen: tuple[int, int]) -> Read:
    """The rows of a tensor of the shape `stored`, as a matrix of the shape `seen`."""
    times = seen[1] // stored[1]  # rows of the tensor that are one row

    def view(begin: int, end: int) -> Array:
        if times == 0:  # a vector, as a column
            return rows(0, stored[0]).values.reshape(seen)[begin:end]
        return rows(begin * times, end * times).values.reshape(-1, seen[1])

    return view


@dataclass(frozen=True, eq=False)
class Viewed:
    """A tensor of the shape `stored` with what `addition` adds to it as a matrix of the shape `seen`. All rows are computed at
    once; the targets cover whole rows of `seen`.
    """

    base: Rows
    addition: Addition
    seen: tuple[int, int]
    stored: tuple[int, int]

    def __call__(self, begin: int, end: int) -> Block:
        from adapterops.updates.survival import Block

        before = self.base(0, self.stored[0])
        values = before.values.reshape(self.seen)
        block = replace(self.addition, base=lambda begin, end: Block(values[begin:end]))(0, self.seen[0])
        changes = [*before.changes, *(self._stored(change) for change in block.changes)]
        return Block(block.values.reshape(self.stored)[begin:end], changes)

    def _stored(self, change: Change) -> Change:
        """A change by the rows and columns that the tensor itself has."""
        first, stop = (each * self.seen[1] for each in (change.part[0].start, change.part[0].stop))
        width = self.stored[1]
        part: Part = (slice(first // width, stop // width), slice(0, width))
        if self.stored[0] == 1:
            part = slice(0, 1), slice(first, stop)
        shape = part[0].stop - part[0].start, part[1].stop - part[1].start
        return change._replace(
            part=part, W=change.W.reshape(shape), delta=change.delta.reshape(shape), basis=lambda: None
        )
