"""Add, with the directions of all updates made orthogonal where these read different inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adapterops.methods.families.even import overlaps
from adapterops.methods.families.tsv import tsv
from adapterops.methods.registry import method
from adapterops.methods.vocabulary import scaled, weighted_sum

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array

SHARED = 0.2
"""The overlap of input spaces above which updates read the same inputs: those of unrelated LoRAs have 0.01 to 0.1, those that
began with one A 0.35 to 0.55.
"""


@method("clear", source="adapterops: docs/merging.md", acts="matrices", borne=0.1, adds=True, disturbs=True)
def clear(matrices: Sequence[Array], weights: Sequence[float]) -> Array:
    """TSV-Merge of updates that read different inputs, and the weighted sum of those that read the same.

    With the norms aᵢ = ‖wᵢ ΔWᵢ‖ and the overlaps oᵢⱼ, cosines of the Gram matrices ΔWᵢᵀ ΔWᵢ, updates read the same inputs where
    Σ aᵢ aⱼ oᵢⱼ / Σ aᵢ aⱼ > 0.2, both over i ≠ j: then directions that are made orthogonal are taken from what all of them do.
    At the scale `auto` the bound is on what the others add to the update that they disturb most, and not on the norm of the
    whole. A module where an update of an adapter has no lower rank than the matrix is the sum.

    Cost: that of `tsv`, and n products of R x R matrices, R = Σ rᵢ.
    """
    shared, total, squares = overlaps(scaled(weights, matrices))
    if shared - squares > SHARED * (total - squares):
        added: Array = weighted_sum(matrices, weights)
        return added
    return tsv(matrices, weights)
