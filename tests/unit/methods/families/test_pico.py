"""Pico against its formula on whole factors."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank, merged, several


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_formula_with_balanced_factors(seed: int) -> None:
    updates, weights = several(seed), [0.7, -1.0, 2.0]
    Bs, parts = [], []
    for each, weight in zip(updates, weights, strict=True):
        u, s, vt = np.linalg.svd(weight * each.dense(), full_matrices=False)
        Bs.append(u[:, : each.rank] * np.sqrt(s[: each.rank]))
        parts.append(np.sqrt(s[: each.rank])[:, None] * vt[: each.rank])
    U, values, _ = np.linalg.svd(np.concatenate(Bs, axis=1), full_matrices=False)
    alpha = 1 / (1 + 2 * values**2 / (values**2).sum())
    shrink = np.eye(12) + (U * (alpha - 1)) @ U.T
    expected = sum(shrink @ B @ A for B, A in zip(Bs, parts, strict=True))
    np.testing.assert_allclose(merged(updates, "pico", weights=weights), expected, atol=1e-10)


def test_one_of_two_that_is_zero_does_not_crowd() -> None:
    one = low_rank(0, 12, 10, 3)
    np.testing.assert_allclose(merged([one, 0.0 * one], "pico"), one.dense(), atol=1e-12)
    assert not merged([0.0 * one, 0.0 * one], "pico").any()
