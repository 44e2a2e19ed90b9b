"""Formulas of updates against the updates themselves."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.updates.dense import Dense
from adapterops.updates.hadamard import Hadamard
from adapterops.updates.kronecker import Kronecker
from adapterops.updates.lowrank import LowRank
from adapterops.updates.magnitude import Magnitude
from adapterops.updates.sums import Sum
from adapterops.verification.deltas import Formula

rng = np.random.default_rng(0)
ONE, TWO = (LowRank(rng.standard_normal((6, 2)), rng.standard_normal((2, 5)), 1.5) for _ in range(2))
W = rng.standard_normal((6, 5))
UPDATES = {
    "LoRA": ONE,
    "LoHa": Hadamard(ONE, TWO, 0.5),
    "LoKr": Kronecker(Dense(rng.standard_normal((2, 5))), LowRank(rng.standard_normal((3, 2)), TWO.A[:, :1]), 0.5),
    "LoKr of one row": Kronecker(Dense(rng.standard_normal((1, 1))), ONE, 0.5),
    "LoKr of two whole ones": Kronecker(Dense(rng.standard_normal((3, 1))), Dense(rng.standard_normal((2, 5))), 2.0),
    "a sum": Sum([ONE, Hadamard(ONE, TWO)]),
    "a sum of entries": Sum([Dense(rng.standard_normal((6, 5))) for _ in range(2)]),
    "DoRA": Magnitude(ONE, np.abs(rng.standard_normal(6))),
}


@pytest.mark.parametrize("kind", UPDATES)
def test_rows_are_those_of_the_update(kind: str) -> None:
    update = UPDATES[kind]
    found = Formula(update, transposed=False).rows(slice(1, 4), W[1:4])
    expected = update.change((slice(1, 4), slice(0, 5)), W[1:4], np.empty((3, 5)))
    assert np.allclose(found.values, expected, rtol=1e-12)
    assert found.slack.shape == found.values.shape
    assert (found.slack < 1e-4).all()


def test_of_dora_of_a_weight_that_is_stored_transposed() -> None:
    formula, whole = Formula(UPDATES["DoRA"], transposed=True), (slice(0, 5), slice(0, 6))
    assert formula.entire
    expected = UPDATES["DoRA"].T.change(whole, W.T, np.empty((5, 6)))
    assert np.allclose(formula.rows(whole[0], W.T).values, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", [name for name in UPDATES if name != "DoRA"])
def test_of_a_weight_that_is_stored_transposed(kind: str) -> None:
    update = UPDATES[kind]
    assert not isinstance(update, Magnitude)
    found = Formula(update, transposed=True).rows(slice(2, 5), W.T[2:5])
    assert np.allclose(found.values, update.dense().T[2:5], rtol=1e-12)
