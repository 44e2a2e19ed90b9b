from __future__ import annotations

import numpy as np
import pytest

from adapterops.testing import check_change
from adapterops.updates.lowrank import LowRank
from adapterops.updates.started import Started, first_columns, leading, trailing

rng = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(7, 5), (5, 7)])
def test_what_training_starts_with(shape: tuple[int, int]) -> None:
    W = rng.standard_normal(shape)
    U, s, V = np.linalg.svd(W, full_matrices=False)
    np.testing.assert_allclose(leading(W, 2).dense(), (U[:, :2] * s[:2]) @ V[:2], atol=1e-12)
    np.testing.assert_allclose(trailing(W, 2).dense(), (U[:, -2:] * s[-2:]) @ V[-2:], atol=1e-12)
    Q, R = np.linalg.qr(W)
    np.testing.assert_allclose(first_columns(W, 2).dense(), Q[:, :2] @ R[:2], atol=1e-12)


def test_it_is_taken_out_of_the_weight() -> None:
    trained, W = LowRank(rng.standard_normal((6, 2)), rng.standard_normal((2, 4)), 1.5), rng.standard_normal((6, 4))
    found = Started(trained, first_columns, scaled=True).on(W)
    np.testing.assert_allclose(found.dense(), trained.dense() - 1.5 * first_columns(W, 2).dense())
    check_change(Started(trained, leading), W, "weight")
