"""What happens to the tensors of a base, as a table of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from adapterops.operations.targets.classifiers import Classifier
from adapterops.updates.protocol import Part


class RowShare(NamedTuple):
    """An update, or those of its rows, from `first` on, that a base stores as several tensors.

    `module` and `shape` are what the base has; where `transposed`, the rows are those of the update's transpose.
    `within` are the tensors that may hold it, from their row `row` on, where these are not found by its name.
    `either`: it is an expert of a parameter, of which versions of PEFT differ in which side is which.
    `kernel`: of the update of a convolution the dimensions after the first, where they are known.
    """

    source: str
    module: str
    shape: tuple[int, int]
    first: int = 0
    transposed: bool = False
    within: Sequence[str] = ()
    row: int = 0
    either: bool = False
    kernel: tuple[int, ...] = ()


@dataclass(frozen=True)
class Target:
    """Where an update, or some of its rows, is added to a tensor.

    tensor[row:, column:] += ΔW[first:], in a rectangle of `shape`.

    Attributes:
        tensor: seen as a matrix; see `Spec.matrix`.
        source: the adapter's module whose update it is.
        module: what that is called: the source, or a part of it.
        shape: rows and columns of the tensor.
        first: the row of the update that the rectangle begins with.
        transposed: the update is transposed first, so that rows of it are rows of the tensor.
        seen: the matrix that the tensor is for this update, where that is another: the kernel (out, in, width) of a
            convolution in one dimension is (out, in · width), and a bias with parts a column.
    """

    tensor: str
    source: str
    module: str
    shape: tuple[int, int]
    row: int = 0
    column: int = 0
    first: int = 0
    transposed: bool = False
    seen: tuple[int, int] | None = None

    def within(self, begin: int, end: int) -> Part | None:
        """What it covers of the tensor's rows [begin, end), as rows and columns of these."""
        first, stop = max(begin, self.row), min(end, self.row + self.shape[0])
        if first >= stop:
            return None
        return slice(first - begin, stop - begin), slice(self.column, self.column + self.shape[1])

    def own(self, begin: int, part: Part) -> Part:
        """Such a part as rows and columns of the update, transposed where it has to be."""
        offset = begin - self.row + self.first
        return slice(offset + part[0].start, offset + part[0].stop), slice(0, self.shape[1])


@dataclass(frozen=True)
class Edit:
    """What happens to one tensor.

    Attributes:
        start: the tensor of the base that it starts as: itself, for a new output embedding the input embedding, for the
            head of a new classifier none.
        full: the full tensor of the adapter that takes its place, if one does.
        first: the row of `full` that it begins with, where that has the rows of other tensors, too.
        targets: the updates that are added then.
        copies: full tensors that have to be the same as `full`.
        rows: the rows of the adapter that take the place of some of its own, before updates are added.
        words: how many entries it has then, where it is a bias of all words: new ones are zero.
    """

    start: str | None
    full: str | None = None
    targets: tuple[Target, ...] = ()
    first: int | None = None
    copies: tuple[str, ...] = ()
    rows: str | None = None
    words: int | None = None


@dataclass(frozen=True)
class Targets:
    """What an adapter does to a base: an edit for each tensor that changes or is new.

    `untied`: input and output embedding are then tensors of their own, which config.json has to say. `words` is the size
    of the vocabulary before and after, where that changes. `classifier`: what the base becomes, if it does.
    """

    edits: Mapping[str, Edit]
    untied: bool = False
    words: tuple[int, int] | None = None
    classifier: Classifier | None = None
