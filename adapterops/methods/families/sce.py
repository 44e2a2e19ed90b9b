"""Select what varies, weigh by energy, erase the minority's signs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adapterops.errors import OptionError
from adapterops.methods.registry import method
from adapterops.methods.vocabulary import CONVENTION, DENSITY, disjoint_sum, elect_sign, kept_of, scaled

if TYPE_CHECKING:
    from adapterops.methods.entries import Entries
    from adapterops.methods.tiles import Tile
    from adapterops.updates.protocol import Array


FLAT = 1e-6
"""Mean square of all entries together up to which mergekit gives every update the same share."""


def _not_theirs(weights: Sequence[float], given: Mapping[str, Any]) -> None:
    if given["convention"] not in (None, "mergekit"):
        raise OptionError(f"sce is not in {given['convention']}'s convention", hint="leave --convention out")


@method(
    "sce",
    source="Wan et al. 2024, arXiv:2408.07990",
    check=_not_theirs,
    density=DENSITY,
    convention=CONVENTION,
)
def sce(
    deltas: Entries, weights: Sequence[float], *, density: float = 0.1, convention: str | None = None
) -> Callable[[int], Array]:
    """Select the entries that vary most between the updates, and of each the mean of those with the elected sign.

    The int(density · n) entries of the largest variance are kept, of equal ones the first. Each update's share is the sum of
    its squares there; the sign of the sum is elected (zero: +), and of those that agree the mean by shares is taken.

    Cost: two passes and the search for a threshold.
    Differs, by `convention`:
        mergekit: its select_topk is a fraction of the entries that vary; the shares are equal where the mean squares are less
            than 1e-6 together, as those of most trainings are.
    """

    def variance(values: Sequence[Array]) -> Array:
        varies: Array = np.var(np.stack(scaled(weights, values)), axis=0)
        return varies

    size = deltas.size
    if convention and density < 1:
        size = sum(int(np.count_nonzero(variance(tile.values))) for tile in deltas.tiles())
    cut = deltas.cut(variance, int(density * size) if convention else kept_of(size, density))

    def selected(tile: Tile) -> list[Array]:
        parts = scaled(weights, tile.values)
        kept = cut.kept(np.var(np.stack(parts), axis=0), tile.start)
        return [x * kept for x in parts]

    squares = np.zeros(len(deltas))
    for tile in deltas.tiles():
        squares += [np.square(x, dtype=np.float64).sum() for x in selected(tile)]
    shares = list(squares / (squares.sum() or 1.0))
    if convention and squares.sum() / deltas.size < FLAT:
        shares = [1 / len(deltas)] * len(deltas)

    def merged(tile: Tile) -> Array:
        parts = selected(tile)
        return disjoint_sum(parts, elect_sign(parts, "total", 1.0), shares, shares)

    return deltas.map(merged)
