"""W ← W + ΔW, rounded once, and what the rounding left of ΔW."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adapterops.errors import IncompatibleError, InputError


@dataclass(frozen=True)
class Survival:
    """What became of an update ΔW on its way into the entries of a weight, W' being what is stored.

    Sums over entries, so that parts add up to a whole: ‖W‖², ‖ΔW‖², ⟨W' - W, ΔW⟩, and how many entries changed, of how many.
    """

    base: float = 0.0
    delta: float = 0.0
    dot: float = 0.0
    changed: int = 0
    entries: int = 0

    def __add__(self, other: Survival) -> Survival:
        return Survival(
            self.base + other.base,
            self.delta + other.delta,
            self.dot + other.dot,
            self.changed + other.changed,
            self.entries + other.entries,
        )

    @property
    def gain(self) -> float:
        """⟨W' - W, ΔW⟩ / ‖ΔW‖²: 1 where the update survived on average, 0 where rounding erased it; 1 for no update."""
        return self.dot / self.delta if self.delta else 1.0

    @property
    def relative(self) -> float:
        """‖ΔW‖ / ‖W‖"""
        return math.sqrt(self.delta / self.base) if self.base else math.inf if self.delta else 0.0


def add(W: Tensor, delta: Tensor, dtype: torch.dtype) -> tuple[Tensor, Survival]:
    """W + ΔW in the dtype of ΔW, rounded once to `dtype`, and what survived of ΔW.

    Args:
        W: as stored; any float dtype.
        delta: of the same shape, in float32 or float64.

    Raises:
        InputError: W has a NaN or an infinite number.
        IncompatibleError: a sum is too large for `dtype`.
    """
    wide = W.to(delta.dtype)
    total = wide + delta
    result = narrow(total, dtype)
    # in place where that is not the result itself: fresh memory costs more than the arithmetic
    moved = result - wide if result is total else total.copy_(result).sub_(wide)
    survival = Survival(_dot(wide, wide), _dot(delta, delta), _dot(moved, delta), int(np.count_nonzero(moved.numpy() != 0)), moved.numel())
    if not math.isfinite(survival.base + survival.delta + survival.dot):
        _explain(wide, delta, result)
        wide, delta, moved = wide.double(), delta.double(), moved.double()  # finite, only their squares were not
        survival = Survival(_dot(wide, wide), _dot(delta, delta), _dot(moved, delta), survival.changed, survival.entries)
    return result, survival


def narrow(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x` rounded once, to nearest, ties to even.

    torch casts float64 to 16 bits by way of float32, which rounds twice. Where the first rounding is to odd, the second
    cannot tell (Boldo & Melquiond 2008).
    """
    if x.dtype != torch.float64 or dtype not in (torch.bfloat16, torch.float16):
        return x.to(dtype)
    near = x.float()
    back = near.double()
    toward_zero = torch.where(back.abs() > x.abs(), torch.nextafter(near, torch.zeros_like(near)), near)
    odd = (toward_zero.view(torch.int32) | 1).view(torch.float32)
    return torch.where(back == x, near, odd).to(dtype)


def checked(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`narrow`, where every finite number stays finite.

    Raises:
        IncompatibleError: a number is too large for `dtype`.
    """
    result = narrow(x, dtype)
    if result is not x and not bool(result.isfinite().all()):
        _check_range(result, int((x.isfinite() & ~result.isfinite()).sum()), "numbers")
    return result


def _check_range(result: Tensor, count: int, what: str) -> None:
    if count:
        raise IncompatibleError(
            f"{count} {what} are too large for {str(result.dtype).removeprefix('torch.')}",
            hint="store it wider: --dtype float32, or bfloat16",
            code="E-OVERFLOW",
        )


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.reshape(-1), b.reshape(-1)))


def _explain(wide: Tensor, delta: Tensor, result: Tensor) -> None:
    if not bool(wide.isfinite().all()):
        raise InputError(
            "the base has numbers that are NaN or infinite", hint="the checkpoint is damaged; download it again", code="E-NONFINITE"
        )
    if not bool(delta.isfinite().all()):
        raise InputError(
            "the update has numbers that are NaN or infinite", hint="the training diverged; use another checkpoint", code="E-NONFINITE"
        )
    _check_range(result, int((~result.isfinite()).sum()), "sums")
