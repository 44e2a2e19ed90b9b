"""Trim, elect a sign, average what agrees with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterops.errors import OptionError
from adapterops.methods.registry import method
from adapterops.methods.vocabulary import CONVENTION, DENSITY, DISJOINT, MAJORITY, elected, kept_of, trim

if TYPE_CHECKING:
    from adapterops.methods.entries import Entries
    from adapterops.updates.protocol import Array


def _one_weight(weights: Sequence[float], parameters: Mapping[str, Any]) -> None:
    if parameters["convention"] == "paper" and len(set(weights)) > 1:
        raise OptionError(
            "the paper's TIES has one weight for all adapters", hint="give equal weights, or leave --convention out"
        )


@method(
    "ties",
    source="Yadav et al. 2023, arXiv:2306.01708",
    check=_one_weight,
    whole_model=lambda given: given["convention"] == "paper",
    density=DENSITY,
    majority=MAJORITY,
    convention=CONVENTION,
    disjoint=DISJOINT,
)
def ties(
    deltas: Entries,
    weights: Sequence[float],
    *,
    density: float = 0.2,
    majority: str = "total",
    convention: str | None = None,
    disjoint: str | None = None,
) -> Callable[[int], Array]:
    """Trim each update to its largest entries, elect one sign per entry, average what agrees with it.

    Each update keeps exactly int(density · n) entries per tensor, one at least, of equal magnitudes the first. They are
    weighted, the sign of their sum is elected (zero: +), and the mean of those that agree has the divisor Σ|wᵢ|; or their sum
    is taken.

    Cost: one pass over the entries to find each update's threshold, and one to merge; no update is held whole.
    Differs, by `convention`:
        paper: the cut is one threshold for the whole model, with everything equal to it; the weights must be equal and
            scale the result; a sum of zero takes the sign that most of the model has; the divisor is the number that
            agree.
        peft: the election comes before the weights; the divisor is the number that agree; of a tensor with fewer than
            1 / density entries none is kept.
        mergekit: the divisor is the signed Σ wᵢ.
    """
    if convention == "paper":
        cuts, tie = deltas.model.cuts(density), deltas.model.majority(density, majority)
    else:
        kept = int(density * deltas.size) if convention == "peft" else kept_of(deltas.size, density)
        cuts, tie = deltas.largest(kept), 1.0

    return deltas.map(lambda tile: elected(trim(tile, cuts), weights, majority, convention, disjoint, tie))
