"""Shrink the output directions that many updates crowd into, and add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adapterops.methods.registry import method
from adapterops.methods.vocabulary import scaled, weighted_sum

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array


@method("pico", source="2026, arXiv:2604.16826", acts="matrices")
def pico(matrices: Sequence[Array], weights: Sequence[float]) -> Array:
    """The weighted sum, smaller in directions of the output that hold much of all B's.

    With [B₁ …] = U Σ Vᵀ and sⱼ = σⱼ² / Σ σ²: direction uⱼ is multiplied by 1 / (1 + (n - 1) sⱼ), n updates that are not
    zero. Bᵢ = Uᵢ √Σᵢ, of the SVD of wᵢ ΔWᵢ.

    Cost: n singular value decompositions of R x R matrices, and one eigendecomposition.
    Differs: the paper takes B as it was trained, and its result depends on how an update is factored. Its last step
        gives the merge the norm of its inputs, which no scale here does.
    """
    from adapterops.linalg.singular import svd

    updates = [each for each in scaled(weights, matrices) if each.any()]
    if not updates:
        return weighted_sum(matrices, weights)
    squares = np.zeros((len(updates[0]), len(updates[0])))
    for each in updates:
        u, s, _ = svd(each)
        squares += (u * s) @ u.T
    energies, U = np.linalg.eigh(squares)
    kept = 1 / (1 + (len(updates) - 1) * energies / energies.sum())
    added = weighted_sum(matrices, weights)
    merged: Array = added + (U * (kept - 1)) @ (U.T @ added)
    return merged
