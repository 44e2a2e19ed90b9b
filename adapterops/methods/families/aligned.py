"""TIES in coordinates that the updates share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from adapterops.methods.families.ties import ties
from adapterops.methods.registry import method
from adapterops.methods.vocabulary import DENSITY, MAJORITY

if TYPE_CHECKING:
    from adapterops.methods.entries import Entries
    from adapterops.updates.protocol import Array


@method(
    "core_ties",
    source="Panariello et al. 2025, arXiv:2509.17786",
    spaces=("core",),
    density=DENSITY,
    majority=MAJORITY,
)
def core_ties(
    deltas: Entries, weights: Sequence[float], *, density: float = 0.2, majority: str = "total"
) -> Callable[[int], Array]:
    """Core Space: TIES on the entries of the joint core. The same as `--ties --space core`.

    Cost: the QR of the stacked factors, O((out + in) R²) with R = Σ rᵢ, and TIES on matrices of R x R.
    Differs: the updates are brought into canonical form first. The paper's bases depend on how they are factored.
    """
    return ties(deltas, weights, density=density, majority=majority)


@method(
    "knots_ties",
    source="Stoica et al. 2024, arXiv:2410.19735",
    spaces=("knots",),
    density=DENSITY,
    majority=MAJORITY,
)
def knots_ties(
    deltas: Entries, weights: Sequence[float], *, density: float = 0.2, majority: str = "total"
) -> Callable[[int], Array]:
    """KnOTS: TIES in the singular vectors that the updates share. The same as `--ties --space knots`.

    With U S [V₁ᵀ V₂ᵀ …] the SVD of [ΔW₁ ΔW₂ …]: U · TIES(S V₁ᵀ, S V₂ᵀ, …).

    Cost: the QR of the stacked B's, O(out R²), and one singular value decomposition of an R x R matrix, R = Σ rᵢ; TIES on
        matrices of R x in.
    Differs: the SVD is that of the factors. The paper keeps singular values above 1e-5 whatever the size of the updates;
        here what is no rounding.
    """
    return ties(deltas, weights, density=density, majority=majority)
