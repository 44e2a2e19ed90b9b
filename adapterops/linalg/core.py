"""QR from Gram matrices, and the joint core of several updates:
all that depends on them alone is exact in it, and small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from adapterops.arrays.finite import all_finite
from adapterops.errors import InputError
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array

CONDITION = 1e6
"""Up to which the Gram matrix of a factor is decomposed: its square times the rounding of float64 is far below 1."""

ONCE = 500.0
"""Up to which once is enough for R: its square times the rounding of float64 is 1e-10."""

NOISE = 1e-12
"""What an entry of a core is at least, as a fraction of its norm, if it is not rounding."""


def triangle(matrix: Array) -> Array:
    """R of the QR of a tall matrix, in float64, without its Q, to 1e-10 of its norm or better.

    By Cholesky of the Gram matrix. Where its columns are not nearly independent twice: the second pass, on a matrix
    that is nearly orthonormal, makes it as exact as Householder's QR, in less time. Where they are too close to
    dependent for that, Householder's.

    Source: Yamamoto et al. 2015, CholeskyQR2.
    """
    with np.errstate(all="ignore"):
        first = _cholesky(matrix)
        if first is not None and first[2] < ONCE:
            return first[0]
        second = None if first is None else _cholesky(matrix @ first[1])
    if first is None or second is None:
        return np.asarray(np.linalg.qr(matrix, mode="r"))
    return second[0] @ first[0]


def orthonormal(matrix: Array) -> tuple[Array, Array]:
    """Q and R of a tall matrix, in float64, to rounding: as `triangle`, always twice or Householder's."""
    with np.errstate(all="ignore"):
        first = _cholesky(matrix)
        near = None if first is None else matrix @ first[1]
        second = None if near is None else _cholesky(near)
    if first is None or near is None or second is None:
        Q, R = np.linalg.qr(matrix)
        return Q, R
    return near @ second[1], second[0] @ first[0]


def _cholesky(matrix: Array) -> tuple[Array, Array, float] | None:
    """R by the Gram matrix, its inverse, and its condition;
    None where the columns are too close to dependent for that.
    """
    if matrix.shape[0] <= 2 * matrix.shape[1]:
        return None
    try:
        R = np.linalg.cholesky(matrix.T @ matrix).T
        inverse = np.linalg.inv(R)
    except np.linalg.LinAlgError:
        return None
    condition = float(np.linalg.norm(R) * np.linalg.norm(inverse)) / max(1, len(R))
    return (R, inverse, condition) if condition < CONDITION else None


def check_core(core: Array) -> Array:
    """The core, if it has singular values.

    Raises:
        InputError: it has numbers that are NaN or infinite.
    """
    if not all_finite(core):
        raise InputError("has numbers that are NaN or infinite, or too large for singular values", code="E-NONFINITE")
    return core


@dataclass(frozen=True, eq=False)
class JointCore:
    """ΔWᵢ = left @ matrices[i] @ rightᵀ, exactly; left (out, R) and right (in, R) have orthonormal columns, R = Σ rᵢ or
    less.

    Inner products, norms and singular values of the ΔWᵢ are those of the matrices, and so is every function f with
    f(P X Qᵀ) = P f(X) Qᵀ for orthonormal P and Q.
    """

    left: Array
    right: Array
    matrices: Sequence[Array]

    @classmethod
    def of(cls, updates: Sequence[LowRank]) -> JointCore:
        """The core of updates in canonical form: each is balanced first, so that factors (BG, G⁻¹A) have the core of
        (B, A).

        Cost: O((out + in) R² + R³) time, O((out + in) R) memory, in float64.
        """
        from adapterops.linalg.factor import balanced

        canonical = [balanced(update) for update in updates]
        left, Rb = orthonormal(np.concatenate([update.B for update in canonical], axis=1))
        right, Ra = orthonormal(np.concatenate([update.A for update in canonical]).T)
        ends = np.cumsum([0, *(update.rank for update in canonical)])
        blocks = [slice(begin, end) for begin, end in pairwise(ends)]
        return cls(left, right, [_cleaned(check_core(Rb[:, block] @ Ra[:, block].T)) for block in blocks])

    def back(self, matrix: Array) -> LowRank:
        """left @ matrix @ rightᵀ"""
        return LowRank(self.left @ matrix, self.right.T)


def _cleaned(matrix: Array) -> Array:
    """The matrix, with zeros for entries that are nothing but rounding:
    methods that count votes must not count those.
    """
    return np.where(np.abs(matrix) > NOISE * np.linalg.norm(matrix), matrix, 0.0)
