from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.errors import UnsupportedError
from adapterops.testing import check_change
from adapterops.updates.kinds import KINDS


@pytest.mark.parametrize(
    ("stated", "shape"), [((6, 5), (6, 5)), ((4,), (1, 4)), ((2, 3, 3, 3), (2, 27)), ((1, 6, 4), (6, 4))]
)
def test_the_weight_is_what_is_stated(stated: tuple[int, ...], shape: tuple[int, int]) -> None:
    kind, V = KINDS["replacement"], np.random.default_rng(0).standard_normal(stated)
    assert kind.measure({"set_weight": stated})[0] == shape
    update: Any = kind.build({"set_weight": V}, 1.0)
    W, every = np.ones(shape), (slice(0, shape[0]), slice(0, shape[1]))
    np.testing.assert_allclose(W + update.change(every, W, np.empty(shape)), V.reshape(shape))
    check_change(update, W, kind.reads)
    np.testing.assert_array_equal(update.instead(every), V.reshape(shape))
    np.testing.assert_array_equal(update.T.instead(every[::-1]), V.reshape(shape).T)


def test_it_cannot_be_scaled() -> None:
    update: Any = KINDS["replacement"].build({"set_weight": np.ones((2, 2))}, 1.0)
    assert 1 * update is update
    with pytest.raises(UnsupportedError, match="cannot be scaled"):
        update * 2
