"""Let the entries of updates compete, in each and between them, and take the mean of the winners."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from adapterops.methods.registry import method
from adapterops.methods.vocabulary import DENSITY, scaled

if TYPE_CHECKING:
    from adapterops.methods.entries import Entries
    from adapterops.methods.tiles import Tile
    from adapterops.updates.protocol import Array

OUTLIERS = 1e-4
"""Fraction of an update's entries that count as large as the next one."""


@method("pcb", source="Du et al. 2024, arXiv:2410.02396", density=DENSITY)
def pcb(deltas: Entries, weights: Sequence[float], *, density: float = 0.1) -> Callable[[int], Array]:
    """PCB-Merging: of every entry the mean of the updates, by how well each did in a competition that few win.

    With xᵢ the weighted entries of n updates, and the largest of each as 1: entry j of update i has the score
    max(0, exp(n x̂²) x Σₖ xₖ), x̂ = |x| / max |xᵢ|. Of what is above the int(density · n)-th largest score of its update,
    the excess is what it counts in the mean; all other entries count nothing.

    Cost: two passes for each update, two searches for thresholds, and one pass.
    Differs: the paper has tanh(x Σ xₖ), which is that product for updates as small as those of trainings, and otherwise
        makes the result depend on their size; it ranks the entries of all tensors together, and lets some that oppose the
        sum count where the density is high. What outliers are cut to is for their score alone.
    """
    count = len(deltas)
    usual = deltas.largest(deltas.size - int(deltas.size * (1 - OUTLIERS) - 1))
    largest = [abs(weight) * cut.value for weight, cut in zip(weights, usual, strict=True)]

    def scores(values: Sequence[Array]) -> list[Array]:
        parts = scaled(weights, values)
        total = reduce(add, parts)
        found = []
        for part, most in zip(parts, largest, strict=True):
            own = np.minimum(np.abs(part) / (most or 1.0), 1)
            found.append(np.maximum(np.exp(count * own * own) * part * total, 0))
        return found

    def score_of(index: int, values: Sequence[Array]) -> Array:
        return scores(values)[index]

    kept = int(density * deltas.size)
    floors = [deltas.cut(partial(score_of, index), kept).value if density < 1 else 0.0 for index in range(count)]
    tops = np.zeros(count)
    for tile in deltas.tiles():
        tops = np.maximum(tops, [each.max(initial=0.0) for each in scores(tile.values)])
    ranges = [top - floor if top > floor else np.inf for top, floor in zip(tops, floors, strict=True)]

    def merged(tile: Tile) -> Array:
        shares = [
            np.maximum(score - floor, 0) / span
            for score, floor, span in zip(scores(tile.values), floors, ranges, strict=True)
        ]
        total = reduce(add, shares)
        weighed = reduce(add, [share * part for share, part in zip(shares, scaled(weights, tile.values), strict=True)])
        mean: Array = np.divide(weighed, total, out=np.zeros_like(weighed), where=total > 0)
        return mean

    return deltas.map(merged)
