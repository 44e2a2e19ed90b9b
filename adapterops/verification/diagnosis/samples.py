"""What is looked at of one weight: some of its rows, with what they should be made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from adapterops.verification.addends import Addend
from adapterops.verification.deltas import UNIT, Delta
from adapterops.verification.diagnosis.causes import Scaled
from adapterops.verification.numbers import Decoder
from adapterops.verification.rounding import Matrix, half_step, rounded_to

TILE = 1 << 19

Ground = Callable[[str], Decoder | None]
"""Tensor → rows of what it was before anything was added."""


@dataclass(frozen=True)
class Unit:
    """Some rows and columns of a tensor that one module of an adapter changes."""

    module: str
    tensor: str
    rows: range
    columns: slice
    seen: tuple[int, int] | None = None
    """As what matrix these are rows of the tensor, where that is not its own."""

    @property
    def whole(self) -> Addend:
        return Addend(self.module, self.rows, self.columns)

    @property
    def entries(self) -> int:
        return len(self.rows) * int(self.columns.stop - self.columns.start)

    def tiles(self) -> list[Unit]:
        """All of it, in units of at most about `TILE` entries."""
        step = max(1, TILE // max(1, self.columns.stop - self.columns.start))
        return [replace(self, rows=self.rows[begin : begin + step]) for begin in range(0, len(self.rows), step)]


@dataclass(frozen=True)
class Sample:
    """Some rows of a unit.

    Attributes:
        W: what it was before, in float64.
        M: what it is now.
        deltas: ΔW of every adapter there, as it would be at weight 1; zeros where it has none.
        dtype: of M; None where it is in codes, whose steps are not those of a dtype.
        scaled: how each update is scaled; None where the adapter has none there.
        parts: runs of neighbouring rows of the unit that these are, counted from its first.
    """

    W: Matrix
    M: Matrix
    deltas: Sequence[Delta]
    dtype: str | None
    scaled: Sequence[Scaled | None]
    parts: Sequence[slice] = ()

    @property
    def rows(self) -> Matrix:
        """Which rows of the unit these are, counted from its first."""
        return np.concatenate([np.arange(each.start, each.stop) for each in self.parts])

    @cached_property
    def D(self) -> Matrix:
        difference: Matrix = self.M - self.W
        return difference

    @cached_property
    def grid(self) -> str | None:
        """The narrowest dtype that all of M are numbers of: what is stored in 32 bits may have been rounded to 16, and
        what is stored in float16 to bfloat16.
        """
        narrower = {"F64": ("BF16", "F16", "F32"), "F32": ("BF16", "F16"), "F16": ("BF16",)}.get(str(self.dtype), ())
        return next((each for each in narrower if np.array_equal(rounded_to(self.M, each), self.M)), self.dtype)

    @cached_property
    def half(self) -> Matrix:
        """How far M may be from what it was rounded from; of codes what is left of M - W, as one number."""
        if self.grid is not None:
            return half_step(self.M, self.grid)
        return np.full(self.M.shape, np.sqrt(3 * np.square(self.D).mean()) or 1.0)

    @cached_property
    def coarse(self) -> Matrix:
        """Two steps of M or of W, in the dtype that M was rounded to."""
        assert self.dtype is not None
        dtype = "F32" if self.grid == "F64" else str(self.grid)
        return 4 * half_step(np.maximum(np.abs(self.M), np.abs(self.W)), dtype)

    @cached_property
    def sizes(self) -> Sequence[Matrix | None]:
        """Σ|B||A| of every update; None of one without a scale."""
        pairs = zip(self.deltas, self.scaled, strict=True)
        return [delta.slack / UNIT / (scaled.rank + 2) if scaled else None for delta, scaled in pairs]

    @cached_property
    def changed(self) -> Matrix:
        """Which entries are not what they were, rounded to the dtype that they are stored in now."""
        changed: Matrix = self.D != 0
        if self.dtype is not None:
            changed &= ~(np.abs(self.D) <= half_step(self.M, str(self.grid)) + UNIT * np.abs(self.W))
        return changed

    @property
    def unchanged(self) -> bool:
        return not bool(self.changed.any())

    def sum(self, weights: Matrix) -> Matrix:
        """W + Σ weight · ΔW."""
        S = self.W.copy()
        for weight, delta in zip(weights, self.deltas, strict=True):
            S += weight * delta.values
        return S
