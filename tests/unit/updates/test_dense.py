"""Updates with every entry their own, and tensors of any shape as such."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.testing import check_update
from adapterops.updates.kinds import KINDS

KIND = KINDS["difference"]


@pytest.mark.parametrize(
    ("shape", "matrix"), [((5,), (1, 5)), ((4, 3), (4, 3)), ((1, 6, 5), (6, 5)), ((4, 3, 2, 2), (4, 12))]
)
def test_a_difference_of_a_tensor(shape: tuple[int, ...], matrix: tuple[int, int]) -> None:
    assert KIND.measure({"diff": shape})[:3] == (matrix, min(matrix), min(matrix))
    entries = np.random.default_rng(0).standard_normal(shape)
    update: Any = KIND.build({"diff": entries if len(shape) < 3 else entries.reshape(matrix)}, 1.0)
    np.testing.assert_array_equal(update.dense(), entries.reshape(matrix))
    check_update(update)
