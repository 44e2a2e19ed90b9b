"""Modules of a merge that are against an adapter in it: a fact about directions, and nothing of tasks."""

from __future__ import annotations

from collections.abc import Sequence

from adapterops.adapters.adapter import Adapter
from adapterops.linalg.geometry import inner
from adapterops.methods.entries import inner_products
from adapterops.updates.protocol import Linear

LEAST = 1e-6
"""What is less of an adapter is rounding."""


def opposed(merged: Linear, adapters: Sequence[Adapter], module: str) -> dict[int, float]:
    """⟨M, ΔWᵢ⟩ / ‖ΔWᵢ‖² of the adapters, by their place, for which it is below 0 in a module: a step along the merge
    there is a step away from them.

    Cost: O((out + in) R r) of factors; else a pass over the entries.
    """
    found = {}
    for place, adapter in enumerate(adapters):
        if module in adapter.layout:
            own, both = _products(merged, adapter.updates[module])
            if own and both / own < -LEAST:
                found[place] = both / own
    return found


def _products(merged: Linear, update: Linear) -> tuple[float, float]:
    """‖ΔW‖² and ⟨M, ΔW⟩."""
    one, other = update.lowrank(), merged.lowrank()
    if one is None or other is None:
        products = inner_products([update, merged])
        return float(products[0, 0]), float(products[0, 1])
    return inner(one, one), inner(one, other)
