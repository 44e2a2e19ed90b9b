"""The joint core of several updates: all that depends on them alone is exact in it, and small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from adapterops.linalg.factor import balanced
from adapterops.linalg.qr import check_core, orthonormal
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array

NOISE = 1e-12
"""What an entry of a core is at least, as a fraction of its norm, if it is not rounding."""


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
