"""Weights by least squares: they are right where most of an update is lost to rounding, and say what they do not know."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.verification.deltas import Delta
from adapterops.verification.diagnosis.causes import Scaled
from adapterops.verification.diagnosis.fitting import fit, joint
from adapterops.verification.diagnosis.samples import Sample
from adapterops.verification.rounding import Matrix, rounded_to

CHANCE = np.random.default_rng(5)


def sample(weights: list[float], deltas: list[Matrix], dtype: str = "BF16", size: float = 1.0) -> Sample:
    W = rounded_to(CHANCE.standard_normal(deltas[0].shape), dtype)
    M = rounded_to(W + sum(weight * delta for weight, delta in zip(weights, deltas, strict=True)), dtype)
    added = [Delta(delta, 1e-7 * np.abs(delta)) for delta in deltas]
    return Sample(W, M, added, dtype, [Scaled(1.0, 4)] * len(deltas))


def update(size: float) -> Matrix:
    found: Matrix = size * CHANCE.standard_normal((96, 4)) @ CHANCE.standard_normal((4, 160))
    return found


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("weight", [1.0, -0.37, 8.0])
@pytest.mark.parametrize("size", [0.05, 0.0005])
def test_one_weight(weight: float, size: float, dtype: str) -> None:
    found = fit(sample([weight], [update(size)], dtype))
    assert found.weights[0] == pytest.approx(weight, rel=0.01)
    assert abs(found.weights[0] - weight) <= 5 * found.errors[0] + 2e-3 * abs(weight)


def test_plain_least_squares_would_be_off() -> None:
    each = sample([1.0], [update(0.0003)])
    plain = float((each.D * each.deltas[0].values).sum() / np.square(each.deltas[0].values).sum())
    assert abs(plain - 1) > 0.05
    assert fit(each).weights[0] == pytest.approx(1, abs=0.03)


def test_several_and_alike() -> None:
    one, two = update(0.01), update(0.02)
    assert fit(sample([0.7, 0.3], [one, two])).weights == pytest.approx([0.7, 0.3], abs=0.005)
    alike = fit(sample([0.5, 0.5], [one, one]))
    assert np.isinf(alike.errors).all()
    assert alike.weights.sum() == pytest.approx(1, abs=0.005)


def test_an_adapter_without_an_update_there() -> None:
    found = fit(sample([1.0, 0.0], [update(0.01), np.zeros((96, 160))]))
    assert found.weights == pytest.approx([1, 0], abs=0.005)


def test_together_they_know_more() -> None:
    fits = [fit(sample([0.4], [update(0.001)])) for _ in range(4)]
    assert joint(fits).errors[0] < min(each.errors[0] for each in fits)
    assert joint(fits).weights[0] == pytest.approx(0.4, abs=0.01)
