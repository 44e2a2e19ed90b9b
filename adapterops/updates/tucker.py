"""LoRA of a convolution with a kernel of its own between the factors (LoCon's Tucker form)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from adapterops.errors import InputError
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array

ROLES = ("lora_A", "lora_mid", "lora_B")


def _measure(shapes: Mapping[str, Shape]) -> Measure:
    """A (r, in, 1, 1), the kernel (r, r, height, width), B (out, r, 1, 1); each has as many dimensions as the weight."""
    A, mid, B = (shapes[role] for role in ROLES)
    rank = A[0]
    plain = all(len(each) >= 2 and math.prod(each[2:]) == 1 for each in (A, B))
    if not plain or len(mid) < 3 or mid[:2] != (rank, rank) or B[1] != rank:
        shown = ", ".join(f"{role} {list(shapes[role])}" for role in ROLES)
        raise InputError(f"its shapes do not fit: {shown}", hint="all must come from one training", code="E-SHAPE")
    kernel = A[1:2] + mid[2:]
    return Measure((B[0], math.prod(kernel)), rank, rank, kernel)


def _build(arrays: Mapping[str, Array], scale: float) -> LowRank:
    A, mid, B = (arrays[role] for role in ROLES)
    return product(B, mid, A, scale)


def product(B: Array, mid: Array, A: Array, scale: float = 1.0) -> LowRank:
    """ΔW[i, j, k, l] = scale · Σ_mn B[i, m] mid[m, n, k, l] A[n, j], which is B times a matrix of r rows. A kernel
    may have any number of dimensions. The matrix is in float64, so that nothing is rounded before the update is.

    Args:
        B, mid, A: (out, r), (r, r k l) and (r, in).
    """
    rank, into = A.shape
    kernels = mid.reshape(rank, rank, -1)  # m, n, kl
    down = np.matmul(A.T, kernels, dtype=np.float64).reshape(rank, into * kernels.shape[2])  # m: (in, n) @ (n, kl)
    return LowRank(B, down, scale)


def measure_transposed(shapes: Mapping[str, Shape], up: str, mid: str, down: str) -> Measure:
    """That of LyCORIS' two other kinds, which store B transposed: (r, out), (r, r, height, width) and (r, in)."""
    B, kernels, A = (shapes[role] for role in (up, mid, down))
    rank = A[0]
    if any(len(each) != 2 for each in (A, B)) or len(kernels) < 3 or (B[0], *kernels[:2]) != (rank,) * 3:
        shown = ", ".join(f"{role} {list(shapes[role])}" for role in (up, mid, down))
        raise InputError(f"its shapes do not fit: {shown}", hint="all must come from one training", code="E-SHAPE")
    kernel = A[1:] + kernels[2:]
    return Measure((B[1], math.prod(kernel)), rank, rank, kernel)


KINDS.add("Tucker", Kind("LoRA with a kernel (Tucker)", dict.fromkeys(ROLES, ""), _measure, _build, peft_type=None))
