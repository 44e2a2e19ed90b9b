"""How many dimensions to keep."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from adapterops.errors import OptionError
from adapterops.updates.protocol import Array

SEARCH_LIMIT = 100_000
"""Combinations of cost classes that `by_budget` looks at; it needs a few hundred on the adapters that people train."""


def check_energy(energy: float) -> None:
    """Raise OptionError unless `energy` is a fraction to keep."""
    if not 0 < energy <= 1:
        hint = f"{energy:g} % is {energy / 100:g}" if 2 <= energy <= 100 else "0.99 keeps 99 %"
        raise OptionError(f"the energy to keep must be above 0 and at most 1, got {energy:g}", hint=hint)


def by_energy(spectrum: Array, energy: float) -> int:
    """The smallest rank that keeps the fraction `energy` of ‖ΔW‖_F² = Σσ². A zero update needs none.

    >>> by_energy(np.array([4.0, 3.0]), 0.64), by_energy(np.zeros(3), 0.9)
    (1, 0)
    """
    check_energy(energy)
    square = np.square(spectrum, dtype=np.float64)
    total = float(square.sum())
    if total == 0:
        return 0
    kept = np.cumsum(square)
    enough = kept >= energy * total * (1 - 4e-16 * len(square))  # rounding of the sum must not cost a dimension
    return int(enough.argmax()) + 1 if enough.any() else len(square)


def by_budget(spectra: Mapping[str, Array], cost: Mapping[str, int], budget: int) -> dict[str, int]:
    """Ranks that keep the most energy Σσ² over all modules, with Σ rank · cost ≤ budget.

    Dimensions are bought in the order of energy per cost; where the cost divides nothing evenly, an exact search of the
    few plans that could do better follows. It starts from the bound of the continuous problem: a plan that gives up
    more than the gap between that bound and the best plan known cannot win.

    Args:
        spectra: the singular values of each module, largest first.
        cost: what one dimension of each module costs, in the unit of the budget.

    Returns:
        A rank for each module, 0 for those that are not worth their cost.
    """
    if budget < 0:
        raise OptionError(f"the budget must not be negative, got {budget}")
    classes = _classes(spectra, cost)
    counts = _search(classes, budget)
    ranks = dict.fromkeys(spectra, 0)
    for group, count in zip(classes, counts, strict=True):
        for name in group.owners[:count]:
            ranks[name] += 1
    return ranks


@dataclass(frozen=True)
class _Class:
    """All dimensions of one cost, the most energetic first: an optimal plan takes a first part of them."""

    cost: int
    owners: list[str]
    energy: list[float]
    """energy[k]: that of the first k."""

    def most(self, budget: float) -> int:
        return min(int(budget // self.cost), len(self.owners))


def _classes(spectra: Mapping[str, Array], cost: Mapping[str, int]) -> list[_Class]:
    pools: dict[int, list[tuple[float, str]]] = {}
    for name, spectrum in spectra.items():
        null = float(spectrum[:1].sum()) * 1e-15 * len(spectrum)
        pools.setdefault(cost[name], []).extend((s * s, name) for s in spectrum.tolist() if s > null)
    classes = []
    for each, pool in sorted(pools.items(), reverse=True):
        pool.sort(key=lambda item: -item[0])  # stable: the order of the modules decides between equals
        energy = [0.0]
        for gain, _ in pool:
            energy.append(energy[-1] + gain)
        classes.append(_Class(each, [name for _, name in pool], energy))
    return classes


def _search(classes: list[_Class], budget: int) -> list[int]:
    """How many of each class to take. Branch and bound over the classes, nearest the continuous optimum first."""
    price = _price(classes, budget)

    def profit(group: _Class, count: int) -> float:
        return group.energy[count] - price * group.cost * count

    def worthwhile(group: _Class) -> int:
        gains = range(len(group.owners))
        return bisect_right(gains, False, key=lambda k: group.energy[k + 1] - group.energy[k] < price * group.cost)

    start = [worthwhile(group) for group in classes]
    bound = sum(profit(group, count) for group, count in zip(classes, start, strict=True)) + price * budget
    best: tuple[float, list[int]] = (-1.0, [0] * len(classes))
    visits = 0

    def visit(index: int, chosen: list[int], left: int, energy: float, loss: float) -> None:
        nonlocal best, visits
        visits += 1
        if index == len(classes):
            if energy > best[0]:
                best = (energy, chosen)
            return
        group = classes[index]
        most = group.most(left)
        first = min(start[index], most)
        for step in (range(first, -1, -1), range(first + 1, most + 1)):
            for count in step:
                given_up = loss + profit(group, start[index]) - profit(group, count)
                if bound - given_up <= best[0] or visits > SEARCH_LIMIT + len(classes):
                    break
                visit(index + 1, [*chosen, count], left - count * group.cost, energy + group.energy[count], given_up)

    visit(0, [], budget, 0.0, 0.0)
    return best[1]


def _price(classes: list[_Class], budget: int) -> float:
    """Energy per cost of the dimension at which the budget is used up, 0 if it suffices for all."""
    offers = sorted(
        (
            ((after - before) / group.cost, group.cost)
            for group in classes
            for before, after in zip(group.energy, group.energy[1:], strict=False)
        ),
        reverse=True,
    )
    for price, cost in offers:
        budget -= cost
        if budget < 0:
            return price
    return 0.0
