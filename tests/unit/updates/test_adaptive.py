from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.errors import InputError
from adapterops.testing import check_update
from adapterops.updates.kinds import kind_of

ROLES = ["lora_A", "lora_B", "lora_E"]


def test_the_diagonal_is_between_the_factors() -> None:
    random, kind = np.random.default_rng(0), kind_of(ROLES)
    A, B, E = random.standard_normal((3, 5)), random.standard_normal((4, 3)), random.standard_normal((3, 1))
    assert kind.measure({"lora_A": A.shape, "lora_B": B.shape, "lora_E": E.shape})[:2] == ((4, 5), 3)
    update: Any = kind.build({"lora_A": A, "lora_B": B, "lora_E": E}, 2.0)
    np.testing.assert_allclose(update.dense(), 2 * B @ np.diag(E[:, 0]) @ A)
    check_update(update)


def test_nothing_may_be_left() -> None:
    assert kind_of(ROLES).measure({"lora_A": (0, 5), "lora_B": (4, 0), "lora_E": (0, 1)})[:2] == ((4, 5), 0)
    with pytest.raises(InputError, match="lora_E has the shape"):
        kind_of(ROLES).measure({"lora_A": (3, 5), "lora_B": (4, 3), "lora_E": (2, 1)})
