"""The mean in which every adapter counts as much as its inputs go the way it looks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from adapterops.methods.registry import Parameter, method
from adapterops.methods.vocabulary import check_shares

if TYPE_CHECKING:
    from adapterops.updates.lowrank import LowRank
    from adapterops.updates.protocol import Array

SHRINK = Parameter("Factor of what is off the diagonal of every Gram matrix.", low=0, high=1)
RIDGE = 1e-3
"""What is added to the diagonal of a Gram matrix, relative to its mean: inputs that never occur have none."""


@method(
    "regmean", source="Jin et al. 2023, arXiv:2212.09849", acts="inputs", sized=True, check=check_shares, shrink=SHRINK
)
def regmean(
    updates: Sequence[LowRank], weights: Sequence[float], grams: Iterable[Array], *, shrink: float = 0.9
) -> LowRank:
    """RegMean: the update whose outputs differ least from those of every adapter on its own inputs.

    The least of Σ wᵢ E‖(M - ΔWᵢ) xᵢ‖²: M = (Σ wᵢ ΔWᵢ Gᵢ) (Σ wᵢ Gᵢ)⁻¹, Gᵢ the mean of xᵢ xᵢᵀ over the tokens of adapter i,
    its entries off the diagonal times `shrink`, 0.001 of its mean diagonal added to that. With ΔWᵢ = Bᵢ Aᵢ the factors are
    [B₁ …] and [w₁ A₁ G₁; …] (Σ wᵢ Gᵢ)⁻¹, of rank Σ rᵢ; no matrix as large as the weight is formed.

    Cost: one solve with a matrix of the size of the inputs, n³ operations and 28 n² bytes for n inputs of a module.
    Differs: the paper sums up over equally many tokens of each task, and has no ridge.
    """
    from adapterops.updates.lowrank import LowRank

    total: Array = np.zeros((updates[0].shape[1],) * 2)
    rows: list[Array] = []
    for update, weight, gram in zip(updates, weights, grams, strict=True):
        diagonal = np.diagonal(gram).astype(np.float64)
        own = (1 - shrink) * diagonal + (RIDGE * diagonal.mean() or 1.0)
        A: Array = weight * update.scale * np.asarray(update.A, np.float64)
        rows.append(shrink * (A @ gram) + A * own)
        total += weight * shrink * np.asarray(gram, np.float64)
        np.einsum("ii->i", total)[:] += weight * own
    solved = np.linalg.solve(total, np.concatenate(rows).T).T
    return LowRank(np.concatenate([np.asarray(update.B, np.float64) for update in updates], axis=1), solved)
