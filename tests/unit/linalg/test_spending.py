"""Bits, spent where they keep most."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adapterops.linalg.spending import spend

COSTS = np.array([0.0, 4.0, 8.0, 16.0])


def total(table: np.ndarray, choice: np.ndarray) -> float:
    return float(table[np.arange(len(table)), choice].sum())


@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(1e-6, 2.0))
def test_nothing_with_these_errors_costs_less(seed: int, count: int, budget: float) -> None:
    sizes = 10.0 ** -np.random.default_rng(seed).uniform(0, 4, count)
    errors = sizes[:, None] * np.array([1.0, 0.02, 1e-4, 1e-9])
    costs = np.tile(COSTS, (count, 1))
    choice = spend(errors, costs, budget)
    assert total(errors, choice) <= budget
    for other in product(range(len(COSTS)), repeat=count):
        if total(errors, np.array(other)) <= total(errors, choice) * (1 - 1e-9):
            assert total(costs, np.array(other)) >= total(costs, choice) - 1e-9


def test_where_no_choice_is_enough_the_errors_are_the_least() -> None:
    errors, costs = np.array([[1.0, 0.5], [3.0, 0.2]]), np.array([[0.0, 8.0]] * 2)
    assert spend(errors, costs, 0.1).tolist() == [1, 1]
    assert spend(errors, costs, 0.0).tolist() == [1, 1]
    assert spend(np.zeros((0, 2)), np.zeros((0, 2)), 1.0).tolist() == []
