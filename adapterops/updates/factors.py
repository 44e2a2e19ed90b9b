"""The update LoRA learns in numpy, as fusing needs it: torch takes longer to import than a small model takes to fuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from adapterops.errors import IncompatibleError
from adapterops.finite import all_finite
from adapterops.floats import Array

SMALL = 10**6
"""Multiplications up to which OpenBLAS takes matrices as they lie, instead of copying them first and clearing the result."""

COLUMNS = 896
"""Columns that are multiplied at a time: small enough for that, and no power of two, in which rows fall on the same lines of a cache."""

LEAST_ROWS = 16


@dataclass(frozen=True, eq=False)
class Factors:
    """ΔW = scale · B @ A, in float32 or float64; B is (out, r) and A is (r, in).

    >>> one = Factors(np.array([[1.0], [2.0]]), np.array([[3.0, 0.0]]), scale=2.0)
    >>> (one + 0.5 * one).rows()(slice(0, 2), np.empty((2, 2)))
    array([[ 9.,  0.],
           [18.,  0.]])
    """

    B: Array
    A: Array
    scale: float = 1.0

    def rows(self) -> Callable[[slice, Array], Array]:
        """Some rows of ΔW, as a function of a slice and the memory for them: each call computes them anew.

        numpy multiplies all pieces of one size in one call, and does not ask for the interpreter's lock in between.
        """
        rank, columns = self.A.shape
        B = np.ascontiguousarray(self.folded())
        across = _runs(columns, COLUMNS)
        stacks = [np.ascontiguousarray(self.A[:, run].reshape(rank, count, width).swapaxes(0, 1)) for run, count, width in across]
        most = max(LEAST_ROWS, SMALL // max([1, *(rank * width for _, _, width in across)]))

        def product(rows: slice, out: Array) -> Array:
            mine = B[rows]
            with np.errstate(all="ignore"):  # what is not finite is found when the sums are
                for down, tall, height in _runs(len(mine), most):
                    pieces = mine[down].reshape(tall, 1, height, rank)
                    for (run, count, width), stack in zip(across, stacks, strict=True):
                        np.matmul(pieces, stack, out=out[down, run].reshape(tall, height, count, width).swapaxes(1, 2))
            return out

        return product

    def folded(self) -> Array:
        """scale · B

        Raises:
            IncompatibleError: a number is too large.
        """
        with np.errstate(all="ignore"):
            scaled: Array = self.scale * self.B
        if abs(self.scale) > 1 and not all_finite(scaled) and all_finite(self.B):
            raise too_large(self.scale, str(scaled.dtype))
        return scaled

    @property
    def T(self) -> Factors:
        """ΔWᵀ, for weights that are stored as (in, out)."""
        return replace(self, B=self.A.T, A=self.B.T)

    def __add__(self, other: Factors) -> Factors:
        """The rank of a sum is the sum of the ranks."""
        return Factors(np.concatenate([self.folded(), other.folded()], axis=1), np.concatenate([self.A, other.A]))

    def __mul__(self, factor: float) -> Factors:
        """Only `scale` changes."""
        return replace(self, scale=factor * self.scale)

    __rmul__ = __mul__


def _runs(length: int, most: int) -> list[tuple[slice, int, int]]:
    """Where, how many and how large pieces of a length are, in runs of one size: one run, if that takes at most twice as many.

    >>> _runs(4864, 896), _runs(13, 4)
    ([(slice(0, 4864, None), 8, 608)], [(slice(0, 12, None), 3, 4), (slice(12, 13, None), 1, 1)])
    """
    fewest = -(-length // most)
    size = next((length // count for count in range(fewest, 2 * fewest + 1) if count and length % count == 0), most)
    whole = length - length % size
    runs = (slice(0, whole), whole // size, size), (slice(whole, length), 1, length - whole)
    return [run for run in runs if run[0].start < run[0].stop]


def too_large(scale: float, dtype: str) -> IncompatibleError:
    return IncompatibleError(
        f"{scale:g} times B is too large for {dtype}",
        hint="is that the alpha, and are those the weights, that were meant?",
        code="E-OVERFLOW",
    )
