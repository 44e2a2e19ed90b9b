"""The update that methods on single entries return."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from adapterops.errors import ShapeError


@dataclass(frozen=True, eq=False)
class Dense:
    """A weight update with every entry its own: ΔW = weight, (out, in)."""

    weight: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.weight.shape[0], self.weight.shape[1]

    def dense(self) -> Tensor:
        return self.weight

    def __add__(self, other: Dense) -> Dense:
        if self.shape != other.shape:
            raise ShapeError(f"cannot add updates of shape {self.shape} and {other.shape}")
        return Dense(self.weight + other.weight)

    def __mul__(self, factor: float) -> Dense:
        return Dense(factor * self.weight)

    __rmul__ = __mul__

    def __neg__(self) -> Dense:
        return -1.0 * self

    def norm(self) -> float:
        """‖ΔW‖_F, summed in float64."""
        return float(self.weight.double().norm())
