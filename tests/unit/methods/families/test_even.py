"""`even` against its formula on whole matrices, and where it is the sum."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank, merged, several

from adapterops import LowRank
from adapterops.methods.families.even import overlaps

WEIGHTS = [0.7, -1.0, 2.0]


def by_formula(parts: list[np.ndarray]) -> np.ndarray:
    norms = np.array([np.linalg.norm(each) for each in parts])
    grams = [each.T @ each for each in parts]
    overlap = [[np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a in grams] for b in grams]
    power = norms @ np.array(overlap) @ norms / norms.sum() ** 2
    u, s, vt = np.linalg.svd(sum(parts), full_matrices=False)
    u, s, vt = u[:, :6], s[:6], vt[:6]
    return (s**2).sum() / (s ** (1 + power)).sum() * (u * s**power) @ vt


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_formula_and_keeps_what_the_sum_keeps(seed: int) -> None:
    updates = several(seed)
    parts = [weight * each.dense() for each, weight in zip(updates, WEIGHTS, strict=True)]
    found = merged(updates, "even", weights=WEIGHTS)
    np.testing.assert_allclose(found, by_formula(parts), atol=1e-9)
    assert np.vdot(found, sum(parts)) == pytest.approx(np.vdot(sum(parts), sum(parts)))


def test_overlaps_are_between_those_of_orthogonal_updates_and_of_one() -> None:
    parts = [each.dense() for each in several(1)]
    norms = np.array([np.linalg.norm(each) for each in parts])
    shared, total, alone = overlaps(parts)
    assert (total, alone) == pytest.approx((norms.sum() ** 2, (norms**2).sum()))
    assert alone < shared < total
    assert overlaps(parts[:1]) == pytest.approx((alone := norms[0] ** 2, alone, alone))
    assert overlaps([np.zeros((3, 2))]) == (0, 0, 0)


def test_updates_that_read_the_same_inputs_are_added() -> None:
    one = low_rank(0, 12, 10, 3)
    np.testing.assert_allclose(merged([one, one], "even"), 2 * one.dense(), atol=1e-10)
    turned = LowRank(np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0] @ one.B, one.A)
    np.testing.assert_allclose(merged([one, turned], "even"), one.dense() + turned.dense(), atol=1e-10)


def test_updates_of_different_inputs_come_nearer_to_each_other() -> None:
    strong, weak = (LowRank(size * np.eye(6)[:, [at]], np.eye(5)[[at]]) for at, size in ((0, 8.0), (1, 2.0)))
    values = np.linalg.svd(merged([strong, weak], "even"), compute_uv=False)
    assert 1 < values[0] / values[1] < 4


def test_an_update_of_nearly_nothing_changes_nothing() -> None:
    one, other = low_rank(0, 12, 10, 3), 1e-6 * low_rank(1, 12, 10, 3)
    np.testing.assert_allclose(merged([one, other], "even"), one.dense(), rtol=1e-4, atol=1e-4)
