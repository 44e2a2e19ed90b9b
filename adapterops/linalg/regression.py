"""The matrix that differs least from several, each where its own inputs go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adapterops.updates.protocol import Array


def nearest(matrices: Sequence[Array], grams: Sequence[Array], prior: Array, ridge: float) -> Array:
    """The least of Σ tr((M - Xᵢ) Gᵢ (M - Xᵢ)ᵀ) + ridge ‖M - prior‖²: M = (Σ Xᵢ Gᵢ + ridge prior) (Σ Gᵢ + ridge)⁻¹.

    Args:
        matrices: Xᵢ, (out, in) each.
        grams: Gᵢ, (in, in) each, positive semidefinite.
        ridge: above 0.

    >>> nearest([np.eye(2), 3 * np.eye(2)], [np.eye(2), np.eye(2)], np.zeros((2, 2)), 2.0).tolist()
    [[1.0, 0.0], [0.0, 1.0]]

    Cost: a product for each matrix, and one solve of the size of the inputs.
    """
    pulled = sum((each @ gram for each, gram in zip(matrices, grams, strict=True)), ridge * prior)
    found: Array = np.linalg.solve(sum(grams, ridge * np.eye(prior.shape[1])), pulled.T).T
    return found


def strength(grams: Sequence[Array]) -> float:
    """The largest eigenvalue of Σ Gᵢ, which a ridge is relative to: c Gᵢ then give what Gᵢ give.

    >>> strength([np.eye(2), np.diag([1.0, 3.0])])
    4.0
    """
    return float(np.linalg.eigvalsh(sum(grams[1:], grams[0]))[-1])
