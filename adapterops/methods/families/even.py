"""Add, and make the singular values more equal, the more the fewer inputs the updates share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adapterops.methods.registry import BORNE, method
from adapterops.methods.vocabulary import scaled

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array


@method("even", source="adapterops: docs/merging.md", acts="matrices", borne=0.045, order=4, adds=True, small=BORNE)
def even(matrices: Sequence[Array], weights: Sequence[float]) -> Array:
    """The weighted sum, with its singular values to the power q = 1 / (number of different input spaces).

    q = Σ aᵢ aⱼ oᵢⱼ / (Σ aᵢ)² of the norms aᵢ = ‖ΔWᵢ‖ and the overlaps oᵢⱼ, cosines of the Gram matrices ΔWᵢᵀ ΔWᵢ: 1 / n
    where n updates of equal norm read from different directions, and then all values of the sum come nearer to each other;
    1 where all read from the same, and then it is the sum. U σ^q Vᵀ is multiplied by what keeps its inner product with
    the sum. A few large singular values disturb the other tasks most, and hold little of each update. A module where an
    update of an adapter has no lower rank than the matrix (a full difference, most of LoKr) is the sum. So is, at the scale
    `auto`, one where the median norm of the updates is above 0.08 sqrt(out), each more than a layer bears of all: they are
    nearly averaged there.

    Cost: one singular value decomposition of an R x R matrix, R = Σ rᵢ, and n products of such matrices.
    """
    from adapterops.linalg.singular import leading

    parts = list(scaled(weights, matrices))
    added: Array = sum(parts[1:], parts[0])
    main = leading(added)
    if not len(main.values):
        return added
    shared, total, _ = overlaps(parts)
    values = (main.values / main.values[0]) ** (shared / total) * main.values[0]
    values *= np.vdot(main.values, main.values) / np.vdot(values, main.values)
    evened: Array = added + main.matrix(values - main.values)
    return evened


def overlaps(matrices: Sequence[Array]) -> tuple[float, float, float]:
    """Σ aᵢ aⱼ oᵢⱼ, Σ aᵢ aⱼ and Σ aᵢ²: the first is between the others."""
    norms = [float(np.linalg.norm(each)) for each in matrices]
    units = [each / norm for each, norm in zip(matrices, norms, strict=True) if norm]
    grams = [unit.T @ unit for unit in units]
    mean = sum(norm * gram / np.linalg.norm(gram) for norm, gram in zip(filter(None, norms), grams, strict=True))
    total = sum(norms) ** 2
    return min(total, float(np.vdot(mean, mean))), total, sum(norm**2 for norm in norms)
