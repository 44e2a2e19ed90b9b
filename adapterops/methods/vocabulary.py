"""What methods are composed of. All act on tiles: lists of one array per adapter, (rows, in) each.

What `trim` and `bernoulli` return takes the place of the values of the tile. Entries are dropped by multiplying with what is
kept, 1 or 0: in numpy a tenth of the time that choosing takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from adapterops.arrays.device import own
from adapterops.errors import OptionError
from adapterops.methods.registry import Parameter
from adapterops.methods.tiles import Cut, Tile, passing
from adapterops.updates.protocol import Array

DENSITY = Parameter("Fraction of the entries kept, above 0.", low=0, high=1, neutral=1, above=True)
MAJORITY = Parameter(
    "Elect the sign of the sum (total), or of most entries (frequency).", choices=("total", "frequency")
)
CONVENTION = Parameter(
    "Reproduce the paper's, PEFT's or mergekit's answer where they differ from the default.",
    choices=("paper", "peft", "mergekit"),
)
DISJOINT = Parameter("The mean, or the sum, of the entries that agree with the elected sign.", choices=("mean", "sum"))
RIDGE = Parameter(
    "How much the plain sum or mean counts, whichever is the method's answer where no input decides, relative to the strongest "
    "direction of the inputs.",
    low=1e-6,
)
SEED = Parameter("Seed of the random masks.", low=0, high=2**63 - 1, whole=True)


def kept_of(size: int, density: float) -> int:
    """How many of an update's entries a density keeps: int(density · size), but one at least.

    >>> kept_of(10, 0.25), kept_of(4, 0.2)
    (2, 1)
    """
    return max(1, int(density * size))


def check_shares(weights: Sequence[float], given: Mapping[str, Any]) -> None:
    """Raise OptionError for weights that are no shares of a mean."""
    if min(weights) < 0 or not sum(weights):
        raise OptionError(
            f"the weights are shares of a mean, and must be at least 0, not all of them 0; got {list(weights)}",
            hint="--linear takes negative ones",
        )


def trim(tile: Tile, cuts: Sequence[Cut]) -> list[Array]:
    """Each update's entries of magnitude at least its cut's; the others become zero."""
    return [np.multiply(x, cut.kept(x, tile.start), out=x) for x, cut in zip(tile.values, cuts, strict=True)]


def bernoulli(tile: Tile, density: float, seed: int) -> list[Array]:
    """Each entry with probability `density`, divided by it; the others become zero."""
    if density == 1:
        return tile.values
    kept = [np.multiply(x, tile.uniform(index, seed) < density, out=x) for index, x in enumerate(tile.values)]
    return [np.divide(x, density, out=x) for x in kept]


def weighted_sum(values: Sequence[Array], weights: Sequence[float]) -> Array:
    """Σ wᵢ xᵢ"""
    return reduce(add, scaled(weights, values))


def total(votes: Sequence[Array], majority: str) -> Array:
    """The sum of the votes (total), or of their signs (frequency)."""
    return reduce(add, _votes(votes, majority))


def _votes(votes: Sequence[Array], majority: str) -> Sequence[Array]:
    return votes if majority == "total" else [np.sign(x) for x in votes]


def _summed(values: Sequence[Array]) -> Array:
    """The sum of some arrays, in memory of this thread that is used again."""
    return reduce(lambda one, other: np.add(one, other, out=passing(one)), values)


def elect_sign(votes: Sequence[Array], majority: str, tie: float) -> Array:
    """Whether each entry is elected to be positive: by the sign of `total`, or by that of `tie` where it is 0."""
    outcome = _summed(_votes(votes, majority))
    positive: Array = own("positive", outcome, bool)
    return (np.greater if tie < 0 else np.greater_equal)(outcome, 0, out=positive)


def disjoint_sum(
    votes: Sequence[Array], positive: Array, weights: Sequence[float], divisors: Sequence[float] = ()
) -> Array:
    """Σ wᵢ xᵢ, over the votes xᵢ that have the elected sign; with divisors divided by Σ dᵢ over these: their mean. Zero where
    none has. The votes are overwritten.
    """
    each_agrees = []
    kept: Any = None
    for index, (vote, weight) in enumerate(zip(votes, weights, strict=True)):
        agrees = np.greater(vote, 0, out=own(f"agrees {index}", vote, bool))
        np.equal(agrees, positive, out=agrees)
        np.multiply(vote, agrees, out=vote)
        if divisors:  # a zero is not negative, either
            each_agrees.append(np.not_equal(vote, 0, out=agrees))
        weighted = vote if weight == 1 else np.multiply(vote, weight, out=vote)
        kept = np.add(kept, weighted, out=kept) if index else weighted
    found: Array = kept
    return np.divide(found, _divisor(each_agrees, divisors, found.dtype), out=found) if divisors else found


def _divisor(each_agrees: Sequence[Array], divisors: Sequence[float], dtype: np.dtype[Any]) -> Array:
    """Σ dᵢ over those that agree, and something else than 0 where none does."""
    if len(set(divisors)) == 1 and len(divisors) < 256:  # counted in bytes, a tenth of the time
        count = _summed([agrees.view(np.uint8) for agrees in each_agrees])
        np.add(count, np.equal(count, 0, out=own("none", count, bool)), out=count)  # 1 at least
        counted: Array = passing(count, dtype)
        np.copyto(counted, count)
        return counted if divisors[0] in (0, 1) else np.multiply(counted, divisors[0], out=counted)
    total: Array = reduce(add, [agrees * dtype.type(each) for agrees, each in zip(each_agrees, divisors, strict=True)])
    none = np.abs(total) < 1e-8 if min(divisors) < 0 else total == 0  # negative ones may cancel: mergekit's rule
    np.add(total * ~none, none, out=total)
    return total


def elected(
    sparse: list[Array],
    weights: Sequence[float],
    majority: str,
    convention: str | None,
    disjoint: str | None,
    tie: float = 1.0,
) -> Array:
    """The sign of every entry elected, and the mean or the sum of those that agree with it, by a convention: see `ties`."""
    mean, ones = disjoint != "sum", [1.0] * len(weights)
    if convention in ("paper", "peft"):
        return disjoint_sum(sparse, elect_sign(sparse, majority, tie), weights, ones if mean else ())
    weighted = scaled(weights, sparse)
    divisors = list(weights) if convention == "mergekit" else [abs(weight) for weight in weights]
    return disjoint_sum(weighted, elect_sign(weighted, majority, tie), ones, divisors if mean else ())


def scaled(weights: Sequence[float], values: Sequence[Array]) -> list[Array]:
    """wᵢ xᵢ"""
    return [
        value if weight == 1 else value * value.dtype.type(weight)
        for weight, value in zip(weights, values, strict=True)
    ]
