"""Drop the smallest and the largest entries, and add."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from adapterops.methods.registry import Parameter, method
from adapterops.methods.vocabulary import DENSITY, kept_of, trim, weighted_sum

if TYPE_CHECKING:
    from adapterops.methods.entries import Entries
    from adapterops.methods.tiles import Cut, Tile
    from adapterops.updates.protocol import Array

GAMMA = Parameter("Fraction of the entries that are dropped for being the largest.", low=0, high=1, neutral=0)


@method("breadcrumbs", source="Davari & Belilovsky 2023, arXiv:2312.06795", density=DENSITY, gamma=GAMMA)
def breadcrumbs(
    deltas: Entries, weights: Sequence[float], *, density: float = 0.5, gamma: float = 0.01
) -> Callable[[int], Array]:
    """Drop the largest entries of each update as outliers, trim it to the largest that are left, add.

    Of n entries by magnitude, equal ones by their place, the first int(gamma · n) are dropped, the next int(density · n), or
    one, kept, and the rest dropped. Where density and gamma are more than 1 together, density counts, and fewer outliers are
    dropped: a density of 1 keeps all.

    Cost: the search for a threshold twice, for either end.
    Differs: the paper gives 1 - density - gamma, what is dropped from below.
    """
    keep = kept_of(deltas.size, density)
    outliers = min(int(gamma * deltas.size), deltas.size - keep)
    above, cuts = deltas.largest(outliers), deltas.largest(outliers + keep)
    return deltas.map(lambda tile: weighted_sum(_between(tile, above, cuts), weights))


def _between(tile: Tile, above: Sequence[Cut], cuts: Sequence[Cut]) -> list[Array]:
    """Each update's entries that are not below its cut, and below that of the outliers; the others become zero."""
    trimmed = trim(tile, cuts)
    return [x * ~cut.kept(each, tile.start) for x, each, cut in zip(trimmed, tile.values, above, strict=True)]
