"""LoRA of a convolution with a kernel of its own between the factors (LoCon's Tucker form)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from adapterops.errors import InputError
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array

ROLES = ("lora_A", "lora_mid", "lora_B")


def _measure(shapes: Mapping[str, Shape]) -> Measure:
    """A (r, in, 1, 1), the kernel (r, r, height, width), B (out, r, 1, 1)."""
    A, mid, B = (shapes[role] for role in ROLES)
    rank = A[0]
    plain = all(len(each) >= 2 and math.prod(each[2:]) == 1 for each in (A, B))
    if not plain or len(mid) != 4 or mid[:2] != (rank, rank) or B[1] != rank:
        shown = ", ".join(f"{role} {list(shapes[role])}" for role in ROLES)
        raise InputError(f"its shapes do not fit: {shown}", hint="all must come from one training", code="E-SHAPE")
    kernel = A[1:2] + mid[2:]
    return Measure((B[0], math.prod(kernel)), rank, rank, kernel)


def _build(arrays: Mapping[str, Array], scale: float) -> LowRank:
    """ΔW[i, j, k, l] = scale · Σ_mn B[i, m] mid[m, n, k, l] A[n, j], which is B times a matrix of r rows."""
    A, mid, B = (arrays[role] for role in ROLES)
    rank, into = A.shape
    kernels = mid.reshape(rank, rank, -1)  # m, n, kl
    down = (A.T @ kernels).reshape(rank, into * kernels.shape[2])  # m: (in, n) @ (n, kl)
    return LowRank(B, down, scale)


KINDS.add("Tucker", Kind("LoRA with a kernel (Tucker)", dict.fromkeys(ROLES, ""), _measure, _build, peft_type=None))
