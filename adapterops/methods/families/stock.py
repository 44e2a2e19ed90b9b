"""The mean of trainings of one task, nearer to the base the less they agree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from adapterops.methods.registry import method

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array


@method("model_stock", source="Jang et al. 2024, arXiv:2403.19522", acts="products", sized=True)
def model_stock(products: Array, weights: Sequence[float]) -> list[float]:
    """The mean of the updates, times n c / (1 + (n - 1) c), c the mean cosine between two of them.

    For trainings of one task. Those of different tasks are nearly orthogonal, and little of them is left: for eight with a
    mean cosine of 0.02 a seventh of their mean.

    Cost: n² / 2 inner products.
    Differs: a mean cosine below 0 counts as 0, where mergekit turns the mean round.
    """
    count = len(weights)
    if count == 1:
        return list(weights)
    shares = np.array(weights)
    products = products * np.outer(shares, shares)
    norms = np.sqrt(np.diag(products))
    norms[norms == 0] = 1.0
    cosines = [products[i, j] / norms[i] / norms[j] for i, j in combinations(range(count), 2)]
    cosine = max(0.0, float(sum(cosines)) / len(cosines))
    return [float(cosine / (1 + (count - 1) * cosine) * share) for share in shares]
