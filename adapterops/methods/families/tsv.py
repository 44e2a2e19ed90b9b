"""Take the singular vectors of all updates, make them orthogonal, and add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adapterops.methods.registry import method
from adapterops.methods.vocabulary import scaled, weighted_sum

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array


@method("tsv", source="Gargiulo et al. 2025, arXiv:2412.00081", acts="matrices", borne=0.12)
def tsv(matrices: Sequence[Array], weights: Sequence[float]) -> Array:
    """TSV-Merge: the singular vectors of all updates made orthogonal to each other, each with its singular value.

    With wᵢ ΔWᵢ = Uᵢ Σᵢ Vᵢᵀ and U = [U₁ …]: polar(U) Σ polar(V)ᵀ. The weighted sum where the updates are orthogonal.

    Cost: two singular value decompositions of R x R matrices, R = Σ rᵢ.
    Differs: the paper takes min(out, in) / n vectors of each, of which a LoRA has no more than its rank. Directions of less
        than 0.001 of an update's largest are added as they are. The polar factor is truncated: where updates share a
        direction, the paper's depends on their order.
    """
    from adapterops.linalg.singular import leading, orthogonalized, side_by_side

    every = side_by_side([leading(each) for each in scaled(weights, matrices)])
    small = weighted_sum(matrices, weights) - every.matrix(every.values)
    merged: Array = orthogonalized(every).matrix(every.values) + small
    return merged
