"""Trim, and add."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from adapterops.methods.registry import method
from adapterops.methods.vocabulary import DENSITY, kept_of, trim, weighted_sum

if TYPE_CHECKING:
    from adapterops.methods.entries import Entries
    from adapterops.updates.protocol import Array


@method("magnitude_prune", source="PEFT add_weighted_adapter", density=DENSITY)
def magnitude_prune(deltas: Entries, weights: Sequence[float], *, density: float = 0.5) -> Callable[[int], Array]:
    """Trim each update to its largest entries, add.

    Each update keeps exactly int(density · n) entries per tensor, one at least, of equal magnitudes the first.

    Cost: one pass over the entries to find each update's threshold, and one to merge.
    """
    cuts = deltas.largest(kept_of(deltas.size, density))
    return deltas.map(lambda tile: weighted_sum(trim(tile, cuts), weights))
