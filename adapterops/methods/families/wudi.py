"""Weigh every update by its own directions, so that merging disturbs each least where it acts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adapterops.methods.registry import method
from adapterops.methods.vocabulary import RIDGE, scaled, weighted_sum

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array


@method("wudi", source="Cheng et al. 2025, arXiv:2503.08099", acts="matrices", ridge=RIDGE)
def wudi(matrices: Sequence[Array], weights: Sequence[float], *, ridge: float = 0.1) -> Array:
    """WUDI: what differs least from every update where that update acts, and from the sum elsewhere.

    With Xᵢ = wᵢ ΔWᵢ and Cᵢ = Xᵢᵀ Xᵢ / ‖Xᵢ‖² in the place of its inputs' Gram matrix, the least of Σ tr((M - Xᵢ) Cᵢ (M - Xᵢ)ᵀ)
    + ε ‖M - Σ Xᵢ‖²: M = (Σ Xᵢ Cᵢ + ε Σ Xᵢ) (Σ Cᵢ + ε)⁻¹, ε the ridge times the largest eigenvalue of Σ Cᵢ.

    Cost: one solve and products of R x R matrices, R = Σ rᵢ.
    Differs: the paper takes 300 steps of Adam from the sum, and stops early; the ridge to the sum is in the place of that.
    """
    from adapterops.linalg.regression import nearest, strength

    inputs = [each for each in scaled(weights, matrices) if each.any()]
    added = weighted_sum(matrices, weights)
    if not inputs:
        return added
    units = [each / np.linalg.norm(each) for each in inputs]
    grams = [unit.T @ unit for unit in units]
    return nearest(inputs, grams, added, ridge * strength(grams))
