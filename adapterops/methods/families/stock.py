"""The mean of trainings of one task, nearer to the base the less they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from adapterops.errors import OptionError
from adapterops.methods.registry import method
from adapterops.methods.vocabulary import CONVENTION

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array


NONE = 1e-6
"""Least 1 + (n - 1) c, and product of norms, that mergekit divides by."""


def _ours(_: Sequence[float], given: Mapping[str, Any]) -> None:
    if given["convention"] not in (None, "mergekit"):
        raise OptionError(
            f"model_stock is not in {given['convention']}'s convention", hint="leave --convention out, or name mergekit"
        )


@method(
    "model_stock",
    source="Jang et al. 2024, arXiv:2403.19522",
    acts="products",
    sized=True,
    check=_ours,
    convention=CONVENTION,
)
def model_stock(products: Array, weights: Sequence[float], *, convention: str | None = None) -> list[float]:
    """The mean of the updates, times n c / (1 + (n - 1) c), c the mean cosine between two of them.

    For trainings of one task. Those of different tasks are nearly orthogonal, and little of them is left: for eight with a
    mean cosine of 0.02 a seventh of their mean.

    Cost: n² / 2 inner products.
    Differs: a mean cosine below 0 counts as 0, where mergekit turns the mean round, as --convention mergekit does.
    """
    count = len(weights)
    if count == 1:
        return list(weights)
    shares = np.array(weights)
    products = products * np.outer(shares, shares)
    norms = np.sqrt(np.diag(products))
    norms[norms == 0] = 1.0
    least = NONE if convention else 0.0
    cosines = [products[i, j] / max(norms[i] * norms[j], least) for i, j in combinations(range(count), 2)]
    cosine = float(sum(cosines)) / len(cosines)
    if convention is None:
        cosine = max(0.0, cosine)
    spread = 1 + (count - 1) * cosine
    return [float(cosine / spread * share) if abs(spread) >= NONE else 0.0 for share in shares]
