"""The Tucker form against its formula in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.errors import InputError
from adapterops.testing import check_update
from adapterops.updates.kinds import KINDS

rng = np.random.default_rng(0)
A, MID, B = rng.standard_normal((2, 5, 1, 1)), rng.standard_normal((2, 2, 3, 3)), rng.standard_normal((4, 2, 1, 1))
KIND = KINDS["Tucker"]


def test_entries() -> None:
    found = KIND.measure({"lora_A": A.shape, "lora_mid": MID.shape, "lora_B": B.shape})
    assert found == ((4, 45), 2, 2, (5, 3, 3))
    update: Any = KIND.build(
        {"lora_A": A.reshape(2, 5), "lora_mid": MID.reshape(2, 18), "lora_B": B.reshape(4, 2)}, 1.5
    )
    wanted = 1.5 * np.einsum("mnkl,im,nj->ijkl", MID, B[:, :, 0, 0], A[:, :, 0, 0])
    np.testing.assert_allclose(update.dense(), wanted.reshape(4, 45), rtol=1e-12)
    check_update(update)


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 5), (2, 3, 3, 3), (4, 2)),
        ((2, 5), (2, 2, 3), (4, 2)),
        ((3, 5), (2, 2, 3, 3), (4, 2)),
        ((2, 5, 3, 3), (2, 2, 3, 3), (4, 2)),
    ],
)
def test_shapes_that_do_not_fit(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(InputError, match="do not fit"):
        KIND.measure(dict(zip(("lora_A", "lora_mid", "lora_B"), shapes, strict=True)))
