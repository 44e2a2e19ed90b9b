"""Formulas of updates against the updates themselves."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from adapterops.updates.dense import Dense
from adapterops.updates.gain import Gain
from adapterops.updates.hadamard import Hadamard
from adapterops.updates.kinds import KINDS
from adapterops.updates.kronecker import Kronecker
from adapterops.updates.lowrank import LowRank
from adapterops.updates.magnitude import Magnitude
from adapterops.updates.replacement import Replacement
from adapterops.updates.rotation import Rotation
from adapterops.updates.sums import Sum
from adapterops.updates.unfitted import Unfitted
from adapterops.verification.deltas import FORMULAS, Formula

rng = np.random.default_rng(0)
ONE, TWO = (LowRank(rng.standard_normal((6, 2)), rng.standard_normal((2, 5)), 1.5) for _ in range(2))
W = rng.standard_normal((6, 5))
SKEW = (SQUARE := rng.standard_normal((1, 5, 5))) - SQUARE.swapaxes(1, 2)
UPDATES: dict[str, Any] = {
    "LoRA": ONE,
    "LoHa": Hadamard(ONE, TWO, 0.5),
    "LoKr": Kronecker(Dense(rng.standard_normal((2, 5))), LowRank(rng.standard_normal((3, 2)), TWO.A[:, :1]), 0.5),
    "LoKr of one row": Kronecker(Dense(rng.standard_normal((1, 1))), ONE, 0.5),
    "LoKr of two whole ones": Kronecker(Dense(rng.standard_normal((3, 1))), Dense(rng.standard_normal((2, 5))), 2.0),
    "a sum": Sum([ONE, Hadamard(ONE, TWO)]),
    "a sum of entries": Sum([Dense(rng.standard_normal((6, 5))) for _ in range(2)]),
    "a replacement": Replacement(rng.standard_normal((6, 5))),
    "DoRA": Magnitude(ONE, np.abs(rng.standard_normal(6))),
    "(IA)³": Gain(rng.standard_normal(6), False, (6, 5)),
    "(IA)³ by inputs": Gain(rng.standard_normal(5), True, (6, 5)),
    "OFT": Rotation(SKEW[None], (6, 5)),
    "OFT of a series": Rotation(SKEW[None] / 4, (6, 5), 5),
    "a replaced tensor": Replacement(rng.standard_normal((6, 5))),
    "BOFT": Rotation(np.stack([SKEW, -SKEW]), (6, 5), None, rng.standard_normal(6), [rng.permutation(5)] * 2),
}

WIDE = {
    "lora_A": rng.standard_normal((2, 5)),
    "lora_B": rng.standard_normal((6, 2)),
    "lora_diag": rng.standard_normal(2),
}
VERA = {
    "vera_lambda_b": rng.standard_normal(6),
    "vera_lambda_d": rng.standard_normal(2),
    "vera_A": rng.standard_normal((2, 7)),
    "vera_B": rng.standard_normal((8, 2)),
}
GROUPS = KINDS["QA-LoRA"].stated({"qalora_group_size": 5})
OF_THE_WEIGHT: dict[str, Any] = {
    **{name: KINDS[name].build(WIDE, 1.5) for name in ("PiSSA", "OLoRA", "KaSA")},
    "VeRA": KINDS["VeRA"].build(VERA, 1.0),
    "QA-LoRA": GROUPS.build({**WIDE, "lora_A": WIDE["lora_A"][:, :1]}, 1.5),
    "QA-LoRA of a plain weight": GROUPS.build(WIDE, 1.5),
    "of another package": Unfitted(lambda inputs: LowRank(WIDE["lora_B"], WIDE["lora_A"][:, :inputs]), 6, W.dtype),
}
"""Known with a weight alone."""


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kind", OF_THE_WEIGHT)
def test_of_what_a_weight_settles(kind: str, transposed: bool) -> None:
    update, whole = OF_THE_WEIGHT[kind], (slice(0, 6), slice(0, 5))
    expected = update.change(whole, W, np.empty((6, 5)))
    formula = Formula(update, transposed)
    found = formula.rows(slice(0, 5 if transposed else 6), W.T if transposed else W)
    assert np.allclose(found.values, expected.T if transposed else expected, rtol=1e-9)
    assert (found.slack < 1e-4).all()
    assert formula.entire or not (transposed or kind in ("PiSSA", "OLoRA", "KaSA"))


@pytest.mark.parametrize("kind", UPDATES)
def test_rows_are_those_of_the_update(kind: str) -> None:
    update = UPDATES[kind]
    found = Formula(update, transposed=False).rows(slice(1, 4), W[1:4])
    expected = update.change((slice(1, 4), slice(0, 5)), W[1:4], np.empty((3, 5)))
    assert np.allclose(found.values, expected, rtol=1e-12)
    assert found.slack.shape == found.values.shape
    assert (found.slack < 1e-4).all()


BY_INPUTS = Magnitude(ONE, np.abs(rng.standard_normal(5)), by_inputs=True)


def test_of_dora_of_a_weight_that_is_stored_transposed() -> None:
    formula, whole = Formula(UPDATES["DoRA"], transposed=True), (slice(0, 5), slice(0, 6))
    assert formula.entire
    expected = UPDATES["DoRA"].T.change(whole, W.T, np.empty((5, 6)))
    assert np.allclose(formula.rows(whole[0], W.T).values, expected, rtol=1e-12)


def test_of_a_rotation_of_a_weight_that_is_stored_transposed() -> None:
    formula, whole = Formula(UPDATES["BOFT"], transposed=True), (slice(0, 5), slice(0, 6))
    assert formula.entire
    expected = UPDATES["BOFT"].T.change(whole, W.T, np.empty((5, 6)))
    assert np.allclose(formula.rows(whole[0], W.T).values, expected, rtol=1e-12)


def test_of_dora_with_a_length_for_each_input() -> None:
    formula, whole = Formula(BY_INPUTS, transposed=False), (slice(0, 6), slice(0, 5))
    assert formula.entire
    expected = BY_INPUTS.change(whole, W, np.empty((6, 5)))
    assert np.allclose(formula.rows(whole[0], W).values, expected, rtol=1e-12)
    stored = Formula(BY_INPUTS, transposed=True)
    assert not stored.entire
    assert np.allclose(stored.rows(slice(1, 3), W.T[1:3]).values, expected.T[1:3], rtol=1e-12)


def test_of_dora_of_a_convolution_with_a_length_for_each_input() -> None:
    wide = LowRank(rng.standard_normal((6, 2)), rng.standard_normal((2, 12)))
    update, W = Magnitude(wide, np.ones(3), by_inputs=True, width=4), rng.standard_normal((6, 12))
    expected = update.change((slice(0, 6), slice(0, 12)), W, np.empty((6, 12)))
    assert np.allclose(np.linalg.norm((W + expected).reshape(6, 3, 4), axis=(0, 2)), 1)
    assert np.allclose(Formula(update, transposed=False).rows(slice(0, 6), W).values, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", [name for name, update in UPDATES.items() if isinstance(update, Gain | Replacement)])
def test_of_what_depends_on_a_weight_that_is_stored_transposed(kind: str) -> None:
    update = UPDATES[kind].T
    found = Formula(UPDATES[kind], transposed=True).rows(slice(2, 5), W.T[2:5])
    expected = update.change((slice(2, 5), slice(0, 6)), W.T[2:5], np.empty((3, 6)))
    assert np.allclose(found.values, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", [name for name, update in UPDATES.items() if hasattr(update, "dense")])
def test_of_a_weight_that_is_stored_transposed(kind: str) -> None:
    update = UPDATES[kind]
    found = Formula(update, transposed=True).rows(slice(2, 5), W.T[2:5])
    assert np.allclose(found.values, update.dense().T[2:5], rtol=1e-12)


@dataclass
class Outside:
    """ΔW = W + Σ W, of another package: it has what LoRA has, and what a sum has."""

    B: Any
    A: Any
    terms: Any = ()
    factors: Any = None
    transposed: bool = False

    dtype = np.dtype(np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        return (5, 6) if self.transposed else (6, 5)

    @property
    def T(self) -> Outside:
        return Outside(self.B, self.A, self.terms, self.factors, not self.transposed)

    def change(self, part: Any, W: Any, out: Any) -> Any:
        assert W.shape == self.shape, "it needs all of the weight"
        return (W + W.sum())[part]


@pytest.mark.parametrize("transposed", [False, True])
def test_an_update_of_another_package_is_known_by_its_class_and_not_by_what_it_has(transposed: bool) -> None:
    formula, stored = Formula(Outside("b", "a"), transposed), W.T if transposed else W
    assert formula.entire
    assert np.array_equal(formula.rows(slice(0, len(stored)), stored).values, stored + stored.sum())


def test_every_class_that_has_a_formula_is_there() -> None:
    for name in FORMULAS:
        module, _, cls = name.rpartition(".")
        assert hasattr(import_module(module), cls), name
    assert {
        f"{type(each).__module__}.{type(each).__qualname__}" for each in [*UPDATES.values(), *OF_THE_WEIGHT.values()]
    } == set(FORMULAS)
