"""Select what varies, weigh by energy, erase the minority's signs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from adapterops.methods.registry import method
from adapterops.methods.vocabulary import DENSITY, disjoint_mean, elect_sign, scaled

if TYPE_CHECKING:
    from adapterops.methods.entries import Entries
    from adapterops.methods.tiles import Tile
    from adapterops.updates.protocol import Array


@method("sce", source="Wan et al. 2024, arXiv:2408.07990", density=DENSITY)
def sce(deltas: Entries, weights: Sequence[float], *, density: float = 0.1) -> Callable[[int], Array]:
    """Select the entries that vary most between the updates, and of each the mean of those with the elected sign.

    The int(density · n) entries of the largest variance are kept, of equal ones the first. Each update's share is the sum of
    its squares there; the sign of the sum is elected (zero: +), and of those that agree the mean by shares is taken.

    Cost: two passes and the search for a threshold.
    Differs: of mergekit's select_topk entries without any variance are no part.
    """
    cut = deltas.cut(lambda values: np.var(scaled(weights, values), axis=0), int(density * deltas.size))

    def selected(tile: Tile) -> list[Array]:
        parts = scaled(weights, tile.values)
        kept = cut.kept(np.var(parts, axis=0), tile.start)
        return [x * kept for x in parts]

    squares = np.zeros(len(deltas))
    for tile in deltas.tiles():
        squares += [np.square(x, dtype=np.float64).sum() for x in selected(tile)]
    shares = list(squares / (squares.sum() or 1.0))

    def merged(tile: Tile) -> Array:
        parts = selected(tile)
        return disjoint_mean(parts, elect_sign(parts, "total", 1.0), shares, shares)

    return deltas.map(merged)
