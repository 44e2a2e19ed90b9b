"""What methods are composed of. All act on tiles: lists of one tensor per adapter, (rows, in) each.

What `trim` and `bernoulli` return is new, and belongs to whoever asked for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.methods.tiles import Cut, Tile


def trim(tile: Tile, cuts: Sequence[Cut]) -> list[Tensor]:
    """Each update's entries of magnitude at least its cut's; the others become zero."""
    return [cut.apply(x, tile.start) for x, cut in zip(tile.values, cuts, strict=True)]


def bernoulli(tile: Tile, density: float, seed: int) -> list[Tensor]:
    """Each entry with probability `density`, divided by it; the others become zero."""
    if density == 0:
        return [0.0 * x for x in tile.values]
    if density == 1:
        return [x.clone() for x in tile.values]
    return [x * (tile.uniform(index, seed) < density) / density for index, x in enumerate(tile.values)]


def weighted_sum(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Σ wᵢ xᵢ"""
    return reduce(add, scaled(weights, values))


def total(votes: Sequence[Tensor], majority: str) -> Tensor:
    """The sum of the votes (total), or of their signs (frequency)."""
    return reduce(add, votes if majority == "total" else [x.sign() for x in votes])


def elect_sign(votes: Sequence[Tensor], majority: str, tie: float) -> Tensor:
    """+1 or -1 for each entry: the sign of `total`, or `tie` where that is 0."""
    outcome = total(votes, majority)
    if tie < 0:
        outcome = outcome.where(outcome != 0, tie)
    return outcome.new_ones(outcome.shape).copysign_(outcome)  # -0.0 comes only from votes that are all zero, where the sign is of no use


def disjoint_mean(votes: Sequence[Tensor], sign: Tensor, weights: Sequence[float], divisors: Sequence[float]) -> Tensor:
    """Σ wᵢ xᵢ / Σ dᵢ, over the votes xᵢ that have the elected sign; zero where none has. The votes are overwritten."""
    agreeing = [vote.mul_(sign).relu_() for vote in votes]
    kept = weighted_sum(agreeing, weights) * sign
    divisor = weighted_sum([x.sign_() for x in agreeing], divisors)
    if min(divisors) < 0:  # they may cancel: mergekit's rule
        return kept.div_(divisor.where(divisor.abs() >= 1e-8, 1.0))
    return kept.div_(divisor.clamp_(min=1e-30))


def scaled(weights: Sequence[float], values: Sequence[Tensor]) -> list[Tensor]:
    """wᵢ xᵢ"""
    return [value if weight == 1 else weight * value for weight, value in zip(weights, values, strict=True)]
