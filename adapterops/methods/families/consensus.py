"""Keep the entries of the sum that several updates want."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from adapterops.errors import OptionError, count
from adapterops.methods.registry import Parameter, method
from adapterops.methods.vocabulary import scaled

if TYPE_CHECKING:
    from adapterops.methods.entries import Entries
    from adapterops.methods.tiles import Tile
    from adapterops.updates.protocol import Array

STRICTNESS = Parameter("How large an entry is, relative to the sum of the others, where its adapter wants it.", low=0)
AGREE = Parameter("How many adapters have to want an entry of the sum.", low=1, whole=True, neutral=1)


def _enough(weights: Sequence[float], given: Mapping[str, Any]) -> None:
    if given["agree"] > len(weights):
        raise OptionError(
            f"agree is {given['agree']}, and of {count(len(weights), 'adapter')} no entry is wanted by so many: nothing would be left",
            hint=f"--agree {len(weights)} keeps what {'it wants' if len(weights) == 1 else 'all of them want'}",
        )


@method(
    "consensus",
    source="Wang et al. 2024, arXiv:2405.07813",
    check=_enough,
    strictness=STRICTNESS,
    agree=AGREE,
)
def consensus(
    deltas: Entries, weights: Sequence[float], *, strictness: float = 0.4, agree: int = 2
) -> Callable[[int], Array]:
    """Consensus TA: the weighted sum, where at least `agree` updates want it; the other entries are zero.

    Update i wants an entry (TALL mask) where |xᵢ| > strictness · |Σ x - xᵢ|, xᵢ being its weighted entry. A module that fewer
    than `agree` adapters have becomes zero.

    Cost: one pass.
    Differs: the paper tunes the strictness of every task on its validation data, from 0.2 to 0.6.
    """

    def merged(tile: Tile) -> Array:
        parts = scaled(weights, tile.values)
        total = reduce(add, parts)
        wanted = reduce(add, [(np.abs(x) > strictness * np.abs(total - x)).astype(np.int16) for x in parts])
        kept: Array = total * (wanted >= agree)
        return kept

    return deltas.map(merged)
