"""The Tucker form against its formula in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from adapterops.errors import InputError
from adapterops.testing import check_update
from adapterops.updates.kinds import KINDS

KIND = KINDS["Tucker"]


@pytest.mark.parametrize("kernel", [(3,), (3, 3), (1, 3, 2)])
def test_entries(kernel: tuple[int, ...]) -> None:
    rng, ones = np.random.default_rng(0), (1,) * len(kernel)
    A, mid, B = (rng.standard_normal(shape) for shape in ((2, 5, *ones), (2, 2, *kernel), (4, 2, *ones)))
    found = KIND.measure({"lora_A": A.shape, "lora_mid": mid.shape, "lora_B": B.shape})
    assert found == ((4, 5 * math.prod(kernel)), 2, 2, (5, *kernel))
    A, B = A.reshape(2, 5), B.reshape(4, 2)
    update: Any = KIND.build({"lora_A": A, "lora_mid": mid.reshape(2, -1), "lora_B": B}, 1.5)
    wanted = 1.5 * np.einsum("mn...,im,nj->ij...", mid, B, A)
    np.testing.assert_allclose(update.dense(), wanted.reshape(4, -1), rtol=1e-12)
    check_update(update)


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 5), (2, 3, 3, 3), (4, 2)),
        ((2, 5), (2, 2), (4, 2)),
        ((3, 5), (2, 2, 3, 3), (4, 2)),
        ((2, 5, 3, 3), (2, 2, 3, 3), (4, 2)),
    ],
)
def test_shapes_that_do_not_fit(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(InputError, match="do not fit"):
        KIND.measure(dict(zip(("lora_A", "lora_mid", "lora_B"), shapes, strict=True)))
