from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from adapterops.errors import OptionError
from adapterops.linalg.ranks import by_budget, by_energy


def test_energy_takes_the_smallest_rank_that_suffices() -> None:
    values = np.array([2.0, 1.0, 1.0])
    assert [by_energy(values, energy) for energy in (0.1, 4 / 6, 0.67, 5 / 6, 1.0)] == [1, 1, 2, 2, 3]
    assert by_energy(np.array([1.0, 0.0]), 1.0) == 1


@pytest.mark.parametrize("energy", [0, -1, 1.1, float("nan")])
def test_impossible_energies(energy: float) -> None:
    with pytest.raises(OptionError):
        by_energy(np.ones(2), energy)


@pytest.mark.parametrize("seed", range(60))
def test_the_budget_is_spent_optimally(seed: int) -> None:
    chance = random.Random(seed)
    names = [str(index) for index in range(chance.randint(1, 4))]
    cost = {name: chance.randint(1, 9) for name in names}
    spectra = {
        name: np.array(sorted((chance.random() for _ in range(chance.randint(1, 4))), reverse=True)) for name in names
    }
    budget = chance.randint(0, 50)

    def energy(ranks: dict[str, int]) -> float:
        return sum(float((spectra[name][:rank] ** 2).sum()) for name, rank in ranks.items())

    def spent(ranks: dict[str, int]) -> int:
        return sum(cost[name] * rank for name, rank in ranks.items())

    plans = (
        dict(zip(names, ranks, strict=True))
        for ranks in itertools.product(*(range(len(spectra[name]) + 1) for name in names))
    )
    found = by_budget(spectra, cost, budget)
    assert spent(found) <= budget
    assert energy(found) == pytest.approx(max(energy(plan) for plan in plans if spent(plan) <= budget))


def test_nothing_is_spent_on_what_is_zero() -> None:
    assert by_budget({"a": np.array([1.0, 0.0]), "b": np.zeros(3)}, {"a": 1, "b": 1}, 100) == {"a": 1, "b": 0}


def test_many_equal_values_end_soon() -> None:
    spectra = {str(index): np.ones(64) for index in range(60)}
    cost = {name: 5 + int(name) % 6 for name in spectra}
    ranks = by_budget(spectra, cost, 10_001)
    assert sum(ranks[name] * cost[name] for name in ranks) <= 10_001
    assert sum(ranks.values()) == 640 + 640 + (10_001 - 640 * 5 - 640 * 6) // 7
