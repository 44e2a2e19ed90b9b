"""The joint core of several updates: all that depends on them alone is exact in it, and small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from adapterops.linalg.factor import balanced
from adapterops.linalg.qr import check_core, halves
from adapterops.linalg.singular import svd
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array

NOISE = 1e-12
"""What an entry of a core is at least, as a fraction of its norm, if it is not rounding."""


@dataclass(frozen=True, eq=False)
class JointCore:
    """ΔWᵢ = left @ matrices[i] @ rightᵀ, exactly; left (out, R) and right (in, R') have orthonormal columns, R and R'
    at most Σ rᵢ.

    left are the left singular vectors of [B₁ …], right the right ones of [A₁; …], of the updates in canonical form: the
    core of factors (BG, G⁻¹A) is that of (B, A), and that of a permuted list the same matrices, permuted, up to the
    signs of rows and columns, and where singular values are equal.

    Inner products, norms and singular values of the ΔWᵢ are those of the matrices, and so is every function f with
    f(P X Qᵀ) = P f(X) Qᵀ for orthonormal P and Q.
    """

    left: Array
    right: Array
    matrices: Sequence[Array]

    @classmethod
    def of(cls, updates: Sequence[LowRank]) -> JointCore:
        """The core of updates of one shape.

        Cost: O((out + in) R² + R³) time, O((out + in) R) memory, in float64.
        """
        canonical = [balanced(update) for update in updates]
        left, Rb = principal(np.concatenate([update.B for update in canonical], axis=1))
        right, Ra = principal(np.concatenate([update.A for update in canonical]).T)
        ends = np.cumsum([0, *(update.rank for update in canonical)])
        blocks = [slice(begin, end) for begin, end in pairwise(ends)]
        matrices = [without_noise(check_core(Rb[:, block] @ Ra[:, block].T)) for block in blocks]
        return cls(left, right, matrices)

    def back(self, matrix: Array) -> LowRank:
        """left @ matrix @ rightᵀ, at the rank of the narrower side: of adapters with one A that of A."""
        if self.left.shape[1] < self.right.shape[1]:
            return LowRank(self.left, matrix @ self.right.T)
        return LowRank(self.left @ matrix, self.right.T)


def principal(matrix: Array) -> tuple[Array, Array]:
    """The left singular vectors of a matrix that are no rounding, and the matrix in them."""
    near, last, R = halves(matrix)
    u, s, vt = svd(check_core(R))
    kept = _real(s, max(matrix.shape))
    small = u[:, :kept] if last is None else last @ u[:, :kept]
    return near @ small, s[:kept, None] * vt[:kept]


def _real(values: Array, size: int) -> int:
    """How many singular values of a matrix are no rounding."""
    return int(np.count_nonzero(values > values[:1].sum() * size * np.finfo(np.float64).eps))


def without_noise(matrix: Array) -> Array:
    """The matrix, with zeros for entries that are nothing but rounding: methods that count votes must not count those."""
    return np.where(np.abs(matrix) > NOISE * np.linalg.norm(matrix), matrix, 0.0)
