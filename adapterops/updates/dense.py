"""The update that methods on single entries return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adapterops.errors import ShapeError
from adapterops.updates.lowrank import LowRank


@dataclass(frozen=True, eq=False)
class Dense:
    """A weight update with every entry its own: ΔW = weight, (out, in).

    `error` is a bound on ‖ΔW - exact‖_F, as for `LowRank`. `near` is an update whose leading directions are probably close
    to those of ΔW, where one is known: a search for them may start there. It decides how long the search takes, not what is true.
    """

    weight: Tensor
    error: float = 0.0
    near: LowRank | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.weight.shape[0], self.weight.shape[1]

    def dense(self) -> Tensor:
        return self.weight

    def rows(self, dtype: torch.dtype) -> Callable[..., Tensor]:
        """Some rows of ΔW, and of those some columns, as a function of two slices."""
        weight = self.weight.to(dtype)
        return lambda rows, columns=None: weight[rows] if columns is None else weight[rows, columns]

    @property
    def T(self) -> Dense:
        """ΔWᵀ, for weights that are stored as (in, out)."""
        return Dense(self.weight.T, self.error, None if self.near is None else self.near.T)

    def __add__(self, other: Dense | LowRank) -> Dense:
        if self.shape != other.shape:
            raise ShapeError(f"cannot add updates of shape {self.shape} and {other.shape}")
        return Dense(self.weight + other.dense(), error=self.error + other.error)

    __radd__ = __add__

    def __mul__(self, factor: float) -> Dense:
        return Dense(factor * self.weight, error=abs(factor) * self.error, near=self.near)

    __rmul__ = __mul__

    def __neg__(self) -> Dense:
        return -1.0 * self

    def __sub__(self, other: Dense | LowRank) -> Dense:
        return self + -1.0 * other

    def norm(self) -> float:
        """‖ΔW‖_F"""
        return norm(self.weight)


def norm(matrix: Tensor) -> float:
    """‖matrix‖_F: each row in the matrix's dtype, their sum in float64."""
    return float(torch.linalg.vector_norm(torch.linalg.vector_norm(matrix, dim=1).double()))
