"""Singular value calibration against its formula on whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank, merged, orthogonal, several


@pytest.mark.parametrize("floor", [0.1, 0.8])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_formula_on_whole_matrices(seed: int, floor: float) -> None:
    updates, weights = several(seed), [0.7, -1.0, 2.0]
    parts = [weight * each.dense() for each, weight in zip(updates, weights, strict=True)]
    u, s, vt = np.linalg.svd(sum(parts), full_matrices=False)
    expected = np.zeros((12, 10))
    for r in range(6):
        row = s[r] * vt[r]
        own = [u[:, r] @ part for part in parts]
        counted = [max(floor, row @ a / (a @ a)) for a in own]
        expected += 3 / sum(counted) * np.outer(u[:, r], row)
    np.testing.assert_allclose(merged(updates, "svc", weights=weights, floor=floor), expected, atol=1e-9)


def test_what_one_update_has_alone_stays_and_duplicates_count_once() -> None:
    updates = orthogonal(2)
    np.testing.assert_allclose(merged(updates, "svc"), merged(updates, "linear"), atol=1e-12)
    one = low_rank(0, 12, 10, 3)
    np.testing.assert_allclose(merged([one, one, one], "svc"), one.dense(), atol=1e-12)
