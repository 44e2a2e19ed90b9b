"""How two updates of one weight relate: inner products, angles between their subspaces, signs of their entries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adapterops.linalg.qr import check_core, orthonormal
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array

NEGLIGIBLE = 1e-4
"""A direction whose singular value is less than this fraction of the largest is none:
it would be rounding that is compared.
"""

ROWS = 32
"""Rows of a weight in which signs are compared."""


@dataclass(frozen=True, eq=False)
class Decomposition:
    """ΔW = U diag(values) Vᵀ.
    `values` are all singular values; U (out, k) and V (in, k) hold the k directions that are not negligible.
    """

    U: Array
    values: Array
    V: Array


def decompose(update: LowRank) -> Decomposition:
    """The singular value decomposition of ΔW in float64, from the factors.

    Cost: O((out + in) r² + r³) time, O((out + in) r) memory.
    """
    B, A = check_core(update.B.astype(np.float64)), check_core(update.A.astype(np.float64))
    (Qb, Rb), (Qa, Ra) = orthonormal(B), orthonormal(A.T)
    with np.errstate(all="ignore"):
        core = check_core(update.scale * (Rb @ Ra.T))
    u, values, vt = np.linalg.svd(core, full_matrices=False)
    kept = int((values > NEGLIGIBLE * values[:1].sum()).sum())
    return Decomposition(Qb @ u[:, :kept], values, Qa @ vt[:kept].T)


def inner(a: LowRank, b: LowRank) -> float:
    """⟨ΔW_a, ΔW_b⟩ = tr((B_bᵀ B_a)(A_a A_bᵀ)), in float64.

    >>> one = LowRank([[1.0], [2.0]], [[3.0, 0.0]], scale=2.0)
    >>> inner(one, one), float(np.square(one.dense()).sum())
    (180.0, 180.0)

    Cost: O((out + in) r²).
    """
    left = a.B.T.astype(np.float64) @ b.B.astype(np.float64)
    right = a.A.astype(np.float64) @ b.A.T.astype(np.float64)
    return a.scale * b.scale * float((left * right).sum())


def shared_energy(Q: Array, P: Array) -> float:
    """Σ cos² of the principal angles between the spaces that the orthonormal columns of Q and P span: ‖QᵀP‖_F²."""
    return float(np.square(Q.T @ P).sum())


@dataclass(frozen=True)
class Signs:
    """Entries of two updates that have opposite signs, in some rows of a weight.

    Sums over these `rows` of `height`: `opposed` entries, entries `counted` (where neither is zero), and the second
    moments of the two, from which the error is known.
    """

    height: int
    rows: int
    opposed: float
    counted: float
    moments: tuple[float, float, float]


def signs(parts: Sequence[Array], height: int) -> dict[tuple[int, int], Signs]:
    """`Signs` of every pair of matrices; each holds the same rows of an update, of `height` rows in all."""
    signed = [np.sign(part).astype(np.int8) for part in parts]
    found = {}
    for i, first in enumerate(signed):
        for j in range(i + 1, len(signed)):
            product = first * signed[j]
            opposed, counted = (each.sum(axis=1, dtype=np.float64) for each in (product < 0, product != 0))
            moments = (float(opposed @ opposed), float(opposed @ counted), float(counted @ counted))
            found[i, j] = Signs(height, len(product), float(opposed.sum()), float(counted.sum()), moments)
    return found


def sampled(height: int, seed: int) -> Array:
    """The numbers of `ROWS` rows of `height`, or of all, in their order."""
    return np.sort(np.random.default_rng(seed).permutation(height)[:ROWS])


def conflict(samples: Sequence[Signs]) -> tuple[float, float] | None:
    """The fraction of entries with opposite signs over the weights of all `samples`, and its standard error; None
    without entries.

    The ratio estimate for rows drawn in every weight without replacement: 0 error where all rows were looked at.
    """
    opposed, counted = (
        sum(each.height / each.rows * getattr(each, name) for each in samples) for name in ("opposed", "counted")
    )
    if not counted:
        return None
    rate, variance = opposed / counted, 0.0
    for each in samples:
        if each.rows < each.height:
            oo, oc, cc = each.moments
            mean = (each.opposed - rate * each.counted) / each.rows
            spread = (oo - 2 * rate * oc + rate**2 * cc - each.rows * mean**2) / (each.rows - 1)
            variance += each.height**2 * (1 - each.rows / each.height) / each.rows * max(spread, 0.0)
    return rate, math.sqrt(variance) / counted
