"""Add, and make the singular values equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adapterops.methods.registry import Parameter, method
from adapterops.methods.vocabulary import scaled, weighted_sum

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array

FLATNESS = Parameter(
    "How far singular values are drawn to their mean: 0 not at all, 1 all are equal.", low=0, high=1, neutral=0
)
COMMON = Parameter("Fraction of the directions taken from the sum, the others from single adapters.", low=0, high=1)


@method("iso_c", source="Marczak et al. 2025, arXiv:2502.04959", acts="matrices", borne=0.12, flatness=FLATNESS)
def iso_c(matrices: Sequence[Array], weights: Sequence[float], *, flatness: float = 1.0) -> Array:
    """Iso-C: the weighted sum, with its singular values replaced by their mean.

    Cost: one singular value decomposition of an R x R matrix, R = Σ rᵢ.
    Differs: the paper's mean is over min(out, in) values, most of which are zero for LoRA: then random directions would
        have most of the norm. Here it is over those above 0.001 of the largest; the others are left as they are.
    """
    from adapterops.linalg.singular import leading

    added = weighted_sum(matrices, weights)
    main = leading(added)
    return added + main.matrix(_flattened(main.values, flatness) - main.values)


@method(
    "iso_cts",
    source="Marczak et al. 2025, arXiv:2502.04959",
    acts="matrices",
    borne=0.12,
    common=COMMON,
    flatness=FLATNESS,
)
def iso_cts(
    matrices: Sequence[Array], weights: Sequence[float], *, common: float = 0.8, flatness: float = 1.0
) -> Array:
    """Iso-CTS: as Iso-C, with the weakest directions of the sum replaced by the strongest of single updates.

    Of r directions of the sum int(common r) are to be kept; the rest is shared out, s of them to each of n updates, rounded
    to the nearest s. These are orthogonal on the left to the r - n s that are kept; all are made orthogonal to each other.

    Cost: 3 + n singular value decompositions of R x R matrices.
    Differs: as Iso-C.
    """
    from adapterops.linalg.singular import Directions, leading, orthogonalized, side_by_side

    updates = [each for each in scaled(weights, matrices) if each.any()]
    added = weighted_sum(matrices, weights)
    main = leading(added)
    rank, count = len(main.values), max(1, len(updates))
    own = min(round((rank - int(common * rank + 1e-9)) / count), rank // count)  # 0.29 · 100 is 28.99...
    kept = rank - own * count
    shared = Directions(main.U[:, :kept], main.values[:kept], main.V[:, :kept])
    parts = [shared]
    for each in updates:
        rest = leading(each - shared.U @ (shared.U.T @ each), largest=leading(each).values[0])
        parts.append(Directions(rest.U[:, :own], rest.values[:own], rest.V[:, :own]))
    every = side_by_side(parts)
    small = added - main.matrix(main.values)
    merged: Array = orthogonalized(every).matrix(_flattened(every.values, flatness)) + small
    return merged


def _flattened(values: Array, flatness: float) -> Array:
    flat: Array = values + flatness * (values.mean() - values) if len(values) else values
    return flat
