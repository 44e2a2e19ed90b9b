"""Methods that add: exact on low-rank updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapterops.methods.registry import method
from adapterops.updates.sums import total


@method("linear", source="Ilharco et al. 2023, arXiv:2212.04089", acts="updates")
def linear(updates: Sequence[Any], weights: Sequence[float]) -> Any:
    """The weighted sum of the updates: task arithmetic, negation by a negative weight.

    ΔW = Σ wᵢ ΔWᵢ, exact at rank Σ rᵢ. No number is rounded until it is saved.

    Cost: none but copies of the factors; a rank below Σ rᵢ takes the QR of these, O((out + in) R²) with R = Σ rᵢ.
    Differs: PEFT's `linear` sums A's and B's separately, which adds the cross terms Bᵢ Aⱼ; `--space factors` reproduces
        it.
    """
    return total([weight * update for weight, update in zip(weights, updates, strict=True)])


@method("cat", source="PEFT add_weighted_adapter", acts="updates", spaces=("delta",), capped=False)
def cat(updates: Sequence[Any], weights: Sequence[float]) -> Any:
    """The weighted sum of the updates, their factors side by side: B = [w₁B₁ …], A = [A₁; …].

    The same update as `linear`; the rank is Σ rᵢ even where the matrix would need less.

    Cost: copies of the factors.
    """
    return linear(updates, weights)
