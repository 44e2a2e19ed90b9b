"""Weigh every update by its own directions, and draw what no update decides to their mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adapterops.methods.registry import Parameter, method
from adapterops.methods.vocabulary import RIDGE, scaled, weighted_sum

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array

UNEVEN = Parameter("Variance of log ‖ΔWᵢ‖² above which large and small updates count the same.", low=0)
STRONGEST = 0.3
"""Fraction of the directions that are added once more, of uneven updates."""


@method("ace", source="Xu et al. 2026, arXiv:2603.02945", acts="matrices", ridge=RIDGE, uneven=UNEVEN)
def ace(matrices: Sequence[Array], weights: Sequence[float], *, ridge: float = 1.0, uneven: float = 0.3) -> Array:
    """ACE-Merging: what differs least from every update where that update acts, and from the mean elsewhere.

    With Xᵢ = wᵢ ΔWᵢ and Cᵢ = Xᵢᵀ Xᵢ in the place of its inputs' covariance, the least of Σ tr((M - Xᵢ) (Cᵢ + ε) (M - Xᵢ)ᵀ):
    M = (Σ Xᵢ (Cᵢ + ε)) (Σ Cᵢ + n ε)⁻¹, n ε the ridge times the largest eigenvalue of Σ Cᵢ. Where the variance of
    log ‖Xᵢ‖² is above `uneven`, all Cᵢ + ε are divided by ‖Xᵢ‖², and the strongest 30 % of the directions of
    M + Σ Xᵢ (Cᵢ - mean (C + ε)) are added to M, each with the mean of their singular values.

    Cost: one solve and products of R x R matrices, R = Σ rᵢ; of uneven updates one singular value decomposition, too.
    Differs: in the authors' code ε is 0.01, and the limit of 0.3 is for that variance over the square of the mean logarithm,
        so that larger updates give another kind of result. Rows of ΔWᵢ have their mean taken out, in the result, too, so
        that one adapter is not itself; 30 % are of min(out, in) directions, more than a LoRA has. What is called a
        structural prior there, a row added to all rows of Σ Cᵢ, halves what the result does to inputs that are the same
        number throughout, and does nothing else; it is left out.
    """
    from adapterops.linalg.regression import nearest, strength
    from adapterops.linalg.singular import leading

    inputs = [each for each in scaled(weights, matrices) if each.any()]
    if not inputs:
        return weighted_sum(matrices, weights)
    energies = np.array([np.square(each).sum() for each in inputs])
    differ = np.log(energies).var(ddof=1) > uneven if len(inputs) > 1 else False
    shares = 1 / energies if differ else np.ones(len(inputs))
    grams = [share * (each.T @ each) for each, share in zip(inputs, shares, strict=True)]
    mean = weighted_sum(inputs, list(shares / shares.sum()))
    bound = ridge * strength(grams)
    merged = nearest(inputs, grams, mean, bound)
    if not differ:
        return merged
    common = sum(grams, bound * np.eye(len(mean.T))) / len(grams)
    own = sum((each @ (gram - common) for each, gram in zip(inputs, grams, strict=True)), merged)
    main = leading(own)
    count = int(STRONGEST * len(main.values))
    values = np.where(np.arange(len(main.values)) < count, main.values[:count].sum() / max(1, count), 0.0)
    return merged + main.matrix(values)
