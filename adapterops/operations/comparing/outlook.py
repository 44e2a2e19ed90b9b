"""What the weighted sum of compared adapters holds of each of them, by inner products: facts, and nothing of tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adapterops.methods.holding import Held
from adapterops.methods.holding import condition as spread
from adapterops.methods.registry import BORNE
from adapterops.methods.scaling import AUTO, MEAN, SUM, automatic, fixed
from adapterops.operations.comparing.comparison import Comparison
from adapterops.updates.protocol import Array


@dataclass(frozen=True)
class Outlook:
    """`linear` at the scale of one name.

    Attributes:
        factors: module → what the sum is multiplied by.
        held: one for each adapter; None where it is zero.
    """

    scale: str
    factors: Mapping[str, float]
    held: Sequence[Held | None]


def outlooks(comparison: Comparison) -> list[Outlook]:
    """The merge at each scale that has a name: exact, from the inner products of all pairs.

    Cost: O(n²) a module, n adapters.
    """
    grams = {module: gram(comparison, module) for module in comparison.sum_layout}
    return [_outlook(comparison, grams, scale) for scale in (AUTO, SUM, MEAN)]


def gram(comparison: Comparison, module: str) -> Array:
    """⟨ΔWᵢ, ΔWⱼ⟩ of all adapters in a module, (n, n)."""
    found = np.zeros((len(comparison.profiles),) * 2)
    for index, profile in enumerate(comparison.profiles):
        if module in profile.spectra:
            found[index, index] = profile.spectra[module].norm ** 2
    for pair in comparison.pairs:
        if module in pair.modules:
            found[pair.first, pair.second] = found[pair.second, pair.first] = pair.modules[module].dot
    return found


def condition(comparison: Comparison) -> float:
    """Largest over least eigenvalue of the cosines between adapters: 1 where all are orthogonal, infinite where one is a
    combination of the others. Those that are zero do not count.
    """
    whole = sum((gram(comparison, module) for module in comparison.sum_layout), np.zeros(()))
    return spread(whole)


def _outlook(comparison: Comparison, grams: Mapping[str, Array], scale: str) -> Outlook:
    count = len(comparison.profiles)
    factors = {}
    for module, found in grams.items():
        present = [index for index, profile in enumerate(comparison.profiles) if module in profile.layout]
        factor = fixed(scale, count)
        if factor is None:
            norms = [math.sqrt(found[index, index]) for index in present]
            rows = comparison.sum_layout[module].shape[0]
            norm = math.sqrt(max(0.0, found.sum()))
            factor = automatic(norm, norms, norm, BORNE * rows**0.5)
        factors[module] = factor
    products = sum((factors[module] * found.sum(axis=1) for module, found in grams.items()), np.zeros(count))
    total = sum(factors[module] ** 2 * max(0.0, float(found.sum())) for module, found in grams.items())
    held = [
        _held(float(product), total, profile.norm)
        for product, profile in zip(products, comparison.profiles, strict=True)
    ]
    return Outlook(scale, factors, held)


def _held(product: float, total: float, norm: float) -> Held | None:
    """By ⟨M, ΔWᵢ⟩, ‖M‖² and ‖ΔWᵢ‖."""
    if not norm:
        return None
    return Held(product / norm**2, math.sqrt(max(0.0, total - (product / norm) ** 2)) / norm)
