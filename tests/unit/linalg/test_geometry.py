"""Inner products, subspaces and signs against dense matrices in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import low_rank, same_shaped, updates

from adapterops.linalg import geometry
from adapterops.linalg.geometry import conflict, decompose, inner, sampled, shared_energy, signs


@given(same_shaped())
def test_inner_is_that_of_the_matrices(pair):
    a, b = pair
    expected = float((a.dense() * b.dense()).sum())
    assert inner(a, b) == pytest.approx(expected, rel=1e-9, abs=1e-9 * (1 + a.norm() * b.norm()))


@given(updates())
def test_a_decomposition_is_one(update):
    found = decompose(update)
    k = found.U.shape[1]
    for Q in (found.U, found.V):
        np.testing.assert_allclose(Q.T @ Q, np.eye(k), rtol=0, atol=1e-9)
    left = update.dense() - found.U @ (found.values[:k, None] * found.V.T)
    assert float(np.linalg.norm(left)) <= 2 * geometry.NEGLIGIBLE * math.sqrt(update.rank + 1) * (
        float(found.values[:1].sum()) + 1e-300
    )
    np.testing.assert_allclose(
        found.values,
        np.linalg.svd(update.dense(), compute_uv=False)[: len(found.values)],
        rtol=1e-8,
        atol=1e-9 * (1 + update.norm()),
    )


@given(updates(), st.integers(0, 100))
def test_another_basis_of_the_factors_changes_nothing(update, seed):
    if not update.rank:
        return
    G = low_rank(seed, update.rank, update.rank, update.rank).dense() / update.rank + 3 * np.eye(update.rank)
    other = replace(update, B=update.B @ G, A=np.linalg.solve(G, update.A))
    one, two = decompose(update), decompose(other)
    assert shared_energy(one.U, two.U) == pytest.approx(one.U.shape[1], abs=1e-6)
    assert shared_energy(one.V, two.V) == pytest.approx(one.V.shape[1], abs=1e-6)


def test_principal_angles():
    angle = 0.3
    one = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).T
    two = np.array([[1.0, 0.0, 0.0], [0.0, math.cos(angle), math.sin(angle)]]).T
    assert shared_energy(one, two) == pytest.approx(1 + math.cos(angle) ** 2)


@given(same_shaped())
def test_signs_of_all_rows_are_counted_exactly(pair):
    a, b = (update.dense() for update in pair)
    found = conflict([signs([a, b], len(a))[0, 1]])
    counted, opposed = int((a * b != 0).sum()), int((a * b < 0).sum())
    assert found == (None if not counted else (pytest.approx(opposed / counted), 0.0))


def test_the_standard_error_is_right():
    """Over many samples, the rate deviates from the truth by one standard error, on average."""
    a, b = low_rank(1, 400, 30, 3).dense(), low_rank(2, 400, 30, 3).dense()
    truth = float(((a * b) < 0).mean())
    found = []
    for seed in range(300):
        rows = sampled(400, seed)
        found.append(conflict([signs([a[rows], b[rows]], 400)[0, 1]]))
    deviations = [(rate - truth) / error for rate, error in found]
    assert abs(sum(deviations) / 300) < 0.25
    assert 0.85 < math.sqrt(sum(d * d for d in deviations) / 300) < 1.2


def test_the_sample_is_the_same_every_time():
    assert sampled(1000, 5).tolist() == sampled(1000, 5).tolist() != sampled(1000, 6).tolist()
    assert len(set(sampled(1000, 5).tolist())) == geometry.ROWS
    assert sampled(3, 0).tolist() == [0, 1, 2]
