"""The update LoRA learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from adapterops.errors import ShapeError
from adapterops.finite import all_finite
from adapterops.updates.factors import Factors, too_large


@dataclass(frozen=True, eq=False)
class LowRank:
    """A weight update kept factored: ΔW = scale · B @ A.

    B is (out, r) and A is (r, in); `scale` is alpha/r, or alpha/sqrt(r) under rsLoRA. Rank 0 is the zero.

    `error` is a bound on ‖ΔW - exact‖_F, the distance to the update this one stands for: 0 where it is exact, the tail
    of the singular values where it was truncated. Arithmetic carries it along, so nothing that lost energy hides it.
    """

    B: Tensor
    A: Tensor
    scale: float = 1.0
    error: float = 0.0

    def __post_init__(self) -> None:
        if self.B.ndim != 2 or self.A.ndim != 2 or self.B.shape[1] != self.A.shape[0]:
            raise ShapeError(f"B {tuple(self.B.shape)} and A {tuple(self.A.shape)} do not share a rank")

    @property
    def shape(self) -> tuple[int, int]:
        return self.B.shape[0], self.A.shape[1]

    @property
    def rank(self) -> int:
        return self.B.shape[1]

    def dense(self) -> Tensor:
        """The (out, in) matrix, in the dtype of the factors."""
        return (self.scale * self.B) @ self.A

    def rows(self, dtype: torch.dtype) -> Callable[..., Tensor]:
        """Some rows of ΔW, and of those some columns, as a function of two slices: each call computes them anew, in `dtype`."""
        B, A = self.folded(dtype), self.A.to(dtype).contiguous()
        return lambda rows, columns=None: B[rows] @ (A if columns is None else A[:, columns])

    def folded(self, dtype: torch.dtype) -> Tensor:
        """scale · B, in `dtype`.

        Raises:
            IncompatibleError: a number is too large for it.
        """
        B = self.B.to(dtype)
        scaled = self.scale * B
        if abs(self.scale) > 1 and not all_finite(scaled) and all_finite(B):
            raise too_large(self.scale, str(dtype).removeprefix("torch."))
        return scaled

    def factors(self, dtype: torch.dtype) -> Factors:
        """The same in numpy, in `dtype`."""
        return Factors(self.folded(dtype).numpy(), self.A.to(dtype).numpy())

    @property
    def T(self) -> LowRank:
        """ΔWᵀ, for weights that are stored as (in, out)."""
        return replace(self, B=self.A.T, A=self.B.T)

    def __add__(self, other: LowRank) -> LowRank:
        """Exact: the rank of a sum is the sum of the ranks."""
        if not isinstance(other, LowRank):
            return NotImplemented
        if self.shape != other.shape:
            raise ShapeError(f"cannot add updates of shape {self.shape} and {other.shape}")
        dtype = torch.promote_types(self.B.dtype, other.B.dtype)
        wide = torch.promote_types(dtype, torch.float32)
        B = torch.cat([self.folded(wide), other.folded(wide)], dim=1)
        A = torch.cat([self.A.to(dtype), other.A.to(dtype)])
        return LowRank(B, A.to(wide), error=self.error + other.error)

    def __mul__(self, factor: float) -> LowRank:
        """Exact: only `scale` changes."""
        return replace(self, scale=factor * self.scale, error=abs(factor) * self.error)

    __rmul__ = __mul__

    def __neg__(self) -> LowRank:
        return -1.0 * self

    def __sub__(self, other: LowRank) -> LowRank:
        return self + -other

    def norm(self) -> float:
        """‖ΔW‖_F, from the r x r Gram matrices in float64. Cost: O((out + in) r²)."""
        B, A = self.B.double(), self.A.double()
        square = float(((B.T @ B) * (A @ A.T)).sum())
        return abs(self.scale) * math.sqrt(max(square, 0.0))


def zero(shape: tuple[int, int], dtype: torch.dtype = torch.float32) -> LowRank:
    """The update that changes nothing: rank 0."""
    return LowRank(torch.zeros(shape[0], 0, dtype=dtype), torch.zeros(0, shape[1], dtype=dtype))
