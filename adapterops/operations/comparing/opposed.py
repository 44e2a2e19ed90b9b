"""Modules of a merge that are against an adapter in it: a fact about directions, and nothing of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from adapterops.adapters.adapter import Adapter
from adapterops.linalg.geometry import inner
from adapterops.methods.products import inner_products
from adapterops.updates.protocol import Linear

Opposed: TypeAlias = Mapping[str, Sequence[float | None]]
"""Module → what `opposed` finds there."""

LEAST = 1e-3
"""How much of an adapter a merge has to be against: what is less is next to orthogonal."""


def opposed(merged: Linear, adapters: Sequence[Adapter], module: str) -> list[float | None]:
    """⟨M, ΔWᵢ⟩ / ‖ΔWᵢ‖² of each adapter for which it is below -`LEAST` in a module, where a step along the merge is a step
    away from it; None of the others.

    Cost: O((out + in) R r) of factors; else a pass over the entries of all.
    """
    updates = {place: adapter.updates[module] for place, adapter in enumerate(adapters) if module in adapter.layout}
    found: list[float | None] = [None] * len(adapters)
    for place, (both, own) in zip(updates, _products(merged, list(updates.values())), strict=True):
        if own > 0 and both / own < -LEAST:
            found[place] = float(both / own)
    return found


def _products(merged: Linear, updates: Sequence[Linear]) -> Iterable[tuple[float, float]]:
    """⟨M, ΔWᵢ⟩ and ‖ΔWᵢ‖² of each."""
    factors = [each for update in (merged, *updates) if (each := update.lowrank()) is not None]
    if len(factors) > len(updates):
        return [(inner(factors[0], each), inner(each, each)) for each in factors[1:]]
    products = inner_products([merged, *updates])
    return zip(products[0, 1:], products.diagonal()[1:], strict=True)
