"""A module of an adapter, or a part of it, as one tensor of a base has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Share(NamedTuple):
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
