from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adapterops.errors import UnsupportedError
from adapterops.testing import check_change
from adapterops.updates.kinds import KINDS


@pytest.mark.parametrize(("stated", "shape"), [((6, 1), (6, 0)), ((1, 5), (0, 5))])
def test_outputs_or_inputs_are_multiplied(stated: tuple[int, int], shape: tuple[int, int]) -> None:
    kind, factors = KINDS["(IA)³"], np.random.default_rng(0).standard_normal(stated)
    assert kind.measure({"ia3_l": stated})[0] == shape
    built: Any = kind.build({"ia3_l": factors}, 1.0)
    update, W, every = replace(built, shape=(6, 5)), np.ones((6, 5)), (slice(0, 6), slice(0, 5))
    np.testing.assert_allclose(W + update.change(every, W, np.empty((6, 5))), W * factors)
    check_change(built, np.random.default_rng(1).standard_normal((6, 5)), kind.reads)
    with pytest.raises(UnsupportedError, match="cannot be scaled"):
        update * 2


def test_of_a_bias() -> None:
    kind, factors = KINDS["(IA)³ of a bias"], np.arange(3.0)[:, None]
    assert kind.measure({"ia3_l": (3, 1)})[0] == (1, 3)
    update: Any = kind.build({"ia3_l": factors}, 1.0)
    np.testing.assert_allclose(
        update.change((slice(0, 1), slice(0, 3)), np.ones((1, 3)), np.empty((1, 3))), [[-1, 0, 1]]
    )


def test_of_a_convolution() -> None:
    with pytest.raises(UnsupportedError, match="linear"):
        KINDS["(IA)³"].measure({"ia3_l": (1, 5, 1, 1)})
