from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.errors import InputError, UnsupportedError
from adapterops.testing import check_update
from adapterops.updates.kinds import KINDS, kind_of

A, B = "lora_embedding_A", "lora_embedding_B"


def test_the_weight_has_a_row_for_each_word() -> None:
    kind, random = kind_of([A, B]), np.random.default_rng(0)
    assert kind is KINDS["embedding"]
    assert kind.embedding
    a, b = random.standard_normal((3, 10)), random.standard_normal((4, 3))
    assert kind.measure({A: a.shape, B: b.shape}) == ((10, 4), 3, 3, ())
    update: Any = kind.build({A: a, B: b}, 2.0)
    np.testing.assert_allclose(update.dense(), 2 * (b @ a).T)
    check_update(update)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="rank"):
        KINDS["embedding"].measure({A: (3, 10), B: (4, 2)})
    with pytest.raises(UnsupportedError):
        KINDS["embedding"].measure({A: (3, 10, 2, 2), B: (4, 3)})
