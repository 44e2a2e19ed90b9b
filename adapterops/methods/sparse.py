"""Methods that act on single entries: they drop some, and merge what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterops.errors import OptionError
from adapterops.methods.registry import method
from adapterops.methods.vocabulary import bernoulli, disjoint_mean, elect_sign, scaled, trim, weighted_sum

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.methods.entries import Entries


def _one_weight(weights: Sequence[float], parameters: Mapping[str, Any]) -> None:
    if parameters["convention"] == "paper" and len(set(weights)) > 1:
        raise OptionError("the paper's TIES has one weight for all adapters", hint="give equal weights, or leave --convention out")


def _not_the_papers(weights: Sequence[float], parameters: Mapping[str, Any]) -> None:
    if parameters["convention"] == "paper":
        raise OptionError("the paper's convention is about TIES' trimming, which dare_ties does not do", hint="leave --convention out")


@method("ties", source="Yadav et al. 2023, arXiv:2306.01708", check=_one_weight)
def ties(
    deltas: Entries, weights: Sequence[float], *, density: float = 0.2, majority: str = "total", convention: str | None = None
) -> Tensor:
    """Trim each update to its largest entries, elect one sign per entry, average what agrees with it.

    Each update keeps exactly int(density · n) entries per tensor, of equal magnitudes the first. They are weighted, the sign
    of their sum is elected (zero: +), and the mean of those that agree has the divisor Σ|wᵢ|.

    Differs, by `convention`:
        paper: the cut is one threshold for the whole model, with everything equal to it; the weights must be equal and scale
            the result; a sum of zero takes the sign that most of the model has; the divisor is the number that agree.
        peft: the election comes before the weights; the divisor is the number that agree.
        mergekit: the divisor is the signed Σ wᵢ.
    """
    if convention == "paper":
        cuts, tie = deltas.model.cuts(density), deltas.model.majority(density, majority)
    else:
        cuts, tie = deltas.cuts(density), 1.0

    return deltas.map(lambda tile: _merge(trim(tile, cuts), weights, majority, convention, tie))


@method("dare_ties", source="Yu et al. 2024, arXiv:2311.03099", check=_not_the_papers)
def dare_ties(
    deltas: Entries,
    weights: Sequence[float],
    *,
    density: float = 0.5,
    majority: str = "total",
    convention: str | None = None,
    seed: int = 0,
) -> Tensor:
    """Drop entries at random, rescale by 1/density, elect one sign per entry, average what agrees with it.

    The mask of an update depends on the seed, the module and the adapter alone. The election and the mean are those of TIES.
    """
    return deltas.map(lambda tile: _merge(bernoulli(tile, density, seed), weights, majority, convention, 1.0))


@method("dare_linear", source="Yu et al. 2024, arXiv:2311.03099")
def dare_linear(deltas: Entries, weights: Sequence[float], *, density: float = 0.5, seed: int = 0) -> Tensor:
    """Drop entries at random, rescale by 1/density, add.

    Unbiased: the expectation is the weighted sum. The mask of an update depends on the seed, the module and the adapter alone.
    """
    return deltas.map(lambda tile: weighted_sum(bernoulli(tile, density, seed), weights))


@method("magnitude_prune", source="PEFT add_weighted_adapter")
def magnitude_prune(deltas: Entries, weights: Sequence[float], *, density: float = 0.5) -> Tensor:
    """Trim each update to its largest entries, add."""
    cuts = deltas.cuts(density)
    return deltas.map(lambda tile: weighted_sum(trim(tile, cuts), weights))


def _merge(sparse: list[Tensor], weights: Sequence[float], majority: str, convention: str | None, tie: float) -> Tensor:
    if convention in ("paper", "peft"):
        return disjoint_mean(sparse, elect_sign(sparse, majority, tie), weights, [1.0] * len(weights))
    weighted = scaled(weights, sparse)
    divisors = list(weights) if convention == "mergekit" else [abs(weight) for weight in weights]
    return disjoint_mean(weighted, elect_sign(weighted, majority, tie), [1.0] * len(weights), divisors)
