from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.errors import InputError
from adapterops.testing import check_change
from adapterops.updates.kinds import KINDS

SHAPES = {"vera_lambda_b": (4,), "vera_lambda_d": (2,), "vera_A": (2, 9), "vera_B": (6, 2)}


def test_the_width_is_not_known() -> None:
    random = np.random.default_rng(0)
    arrays = {role: random.standard_normal(shape) for role, shape in SHAPES.items()}
    assert KINDS["VeRA"].measure(SHAPES)[:3] == ((4, 0), 2, 2)
    update: Any = KINDS["VeRA"].build(arrays, 1.0)
    b, d, A, B = arrays.values()
    np.testing.assert_allclose(update.on(7).dense(), np.diag(b) @ B[:4] @ np.diag(d) @ A[:, :7])
    check_change(update, np.zeros((4, 7)), KINDS["VeRA"].reads)


@pytest.mark.parametrize("role", SHAPES)
def test_shapes_that_do_not_fit(role: str) -> None:
    with pytest.raises(InputError, match="do not fit"):
        KINDS["VeRA"].measure({**SHAPES, role: (7,)})
