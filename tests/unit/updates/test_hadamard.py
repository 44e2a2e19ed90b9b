from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.errors import InputError
from adapterops.testing import check_update
from adapterops.updates.kinds import KINDS
from adapterops.updates.lowrank import LowRank

LOHA = KINDS["LoHa"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_laws_hold_and_entries_are_those_of_the_formula(dtype: Any) -> None:
    random = np.random.default_rng(0)
    B1, B2 = (random.standard_normal((9, rank)).astype(dtype) for rank in (3, 2))
    A1, A2 = (random.standard_normal((rank, 6)).astype(dtype) for rank in (3, 2))
    update = LOHA.build({"hada_w1_a": B1, "hada_w1_b": A1, "hada_w2_a": B2, "hada_w2_b": A2}, 0.5)
    check_update(update)
    check_update(update + LowRank(B1, A1, 0.5))
    B1, B2, A1, A2 = (each.astype(np.float64) for each in (B1, B2, A1, A2))
    np.testing.assert_allclose(update.dense(), 0.5 * (B1 @ A1) * (B2 @ A2), atol=64 * np.finfo(dtype).eps)
    assert update.lowrank().rank == 6


def test_products_of_two_shapes() -> None:
    shapes = {"hada_w1_a": (9, 3), "hada_w1_b": (3, 6), "hada_w2_a": (9, 3), "hada_w2_b": (3, 5)}
    with pytest.raises(InputError, match=r"its two products have the shapes \[9, 6\] and \[9, 5\]"):
        LOHA.measure(shapes)
