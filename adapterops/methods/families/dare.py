"""Drop entries at random, rescale the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapterops.errors import OptionError
from adapterops.methods.registry import method
from adapterops.methods.vocabulary import (
    CONVENTION,
    DENSITY,
    DISJOINT,
    MAJORITY,
    SEED,
    bernoulli,
    elected,
    weighted_sum,
)

if TYPE_CHECKING:
    from adapterops.methods.entries import Entries
    from adapterops.updates.protocol import Array


def _not_the_papers(weights: Sequence[float], parameters: Mapping[str, Any]) -> None:
    if parameters["convention"] == "paper":
        raise OptionError(
            "the paper's convention is about TIES' trimming, which dare_ties does not do", hint="leave --convention out"
        )


@method(
    "dare_ties",
    source="Yu et al. 2024, arXiv:2311.03099",
    check=_not_the_papers,
    density=DENSITY,
    majority=MAJORITY,
    convention=CONVENTION,
    disjoint=DISJOINT,
    seed=SEED,
)
def dare_ties(
    deltas: Entries,
    weights: Sequence[float],
    *,
    density: float = 0.5,
    majority: str = "total",
    convention: str | None = None,
    disjoint: str | None = None,
    seed: int = 0,
) -> Callable[[int], Array]:
    """Drop entries at random, rescale by 1/density, elect one sign per entry, average what agrees with it.

    The mask of an update depends on the seed, the module and the adapter alone. The election and the mean are those of
    TIES.

    Cost: one pass over the entries, with a random number for each entry of each update.
    """
    return deltas.map(lambda tile: elected(bernoulli(tile, density, seed), weights, majority, convention, disjoint))


@method("dare_linear", source="Yu et al. 2024, arXiv:2311.03099", density=DENSITY, seed=SEED)
def dare_linear(
    deltas: Entries, weights: Sequence[float], *, density: float = 0.5, seed: int = 0
) -> Callable[[int], Array]:
    """Drop entries at random, rescale by 1/density, add.

    Unbiased: the expectation is the weighted sum. The mask of an update depends on the seed, the module and the adapter
        alone.

    Cost: as `dare_ties`.
    """
    return deltas.map(lambda tile: weighted_sum(bernoulli(tile, density, seed), weights))
