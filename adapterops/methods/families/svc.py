"""Add, and correct directions that several updates share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adapterops.methods.registry import Parameter, method
from adapterops.methods.vocabulary import scaled, weighted_sum

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array

FLOOR = Parameter("The least that a shared direction may count, where an update opposes it.", low=1e-6, high=1)
PRESENT = 1e-6
"""What an update has in a direction, relative to the sum, if it has anything there."""


@method("svc", source="2026, arXiv:2602.05536", acts="matrices", floor=FLOOR)
def svc(matrices: Sequence[Array], weights: Sequence[float], *, floor: float = 0.1) -> Array:
    """SVC: the weighted sum, each singular value divided by how often its direction was counted.

    Of the sum M = U Σ Vᵀ, row r of Uᵀ M is the sum of the rows aᵢ = uᵣᵀ wᵢ ΔWᵢ. Seen from one update it is too large by
    sᵢ = ⟨uᵣᵀ M, aᵢ⟩ / ‖aᵢ‖²; σᵣ is multiplied by n / Σ max(sᵢ, floor) over the n updates with something there.

    Cost: one singular value decomposition of an R x R matrix, and products of such.
    Differs: the paper counts all updates in every direction, those with nothing there at the floor, and so enlarges what
        only one of them has; here that stays as it is.
    """
    from adapterops.linalg.singular import leading

    added = weighted_sum(matrices, weights)
    main = leading(added)
    rows = [main.U.T @ each for each in scaled(weights, matrices)]
    sizes = np.array([np.square(row).sum(axis=1) for row in rows])
    products = np.array([main.values * (row * main.V.T).sum(axis=1) for row in rows])
    present = sizes > np.square(PRESENT * main.values)
    counted = np.maximum(products / np.where(present, sizes, 1), floor) * present
    return added + main.matrix(main.values * (present.sum(axis=0) / counted.sum(axis=0) - 1))
