"""DoRA: which shapes of lengths are those of outputs, and which those of inputs."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.errors import InputError
from adapterops.testing import check_change
from adapterops.updates.kinds import kind_of
from adapterops.updates.layout import BY_INPUTS, BY_OUTPUTS

LINEAR = {"lora_A": (2, 5), "lora_B": (6, 2)}
CONV = {"lora_A": (2, 5, 3, 3), "lora_B": (6, 2, 1, 1)}
EMBEDDING = {"lora_embedding_A": (2, 9), "lora_embedding_B": (4, 2)}
LOKR = {"lokr_w1": (2, 5), "lokr_w2": (3, 1, 3, 3)}


@pytest.mark.parametrize(
    ("shapes", "role", "lengths", "reads"),
    [
        (LINEAR, BY_OUTPUTS, (6,), "rows"),
        (LINEAR, BY_OUTPUTS, (6, 1), "rows"),
        (CONV, BY_OUTPUTS, (1, 6, 1, 1), "rows"),
        (CONV, BY_OUTPUTS, (6, 1, 1, 1), "rows"),
        (LINEAR, BY_INPUTS, (1, 5), "columns"),
        (CONV, BY_INPUTS, (1, 5, 1, 1), "columns"),
        (LOKR, BY_INPUTS, (1, 5, 1, 1), "columns"),
        (EMBEDDING, BY_OUTPUTS, (4,), "columns"),
    ],
)
def test_every_length_is_the_one_that_is_stated(shapes, role, lengths, reads) -> None:
    kind, random = kind_of([*shapes, role]), np.random.default_rng(0)
    measured = kind.measure({**shapes, role: lengths})
    arrays = {name: random.standard_normal(shape) for name, shape in {**shapes, role: lengths}.items()}
    stated = arrays[role] = np.abs(arrays[role])
    flat = {name: each.reshape(each.shape[0], -1) if each.ndim > 2 else each for name, each in arrays.items()}
    if "lokr_w2" in shapes:
        flat["lokr_w2"] = arrays["lokr_w2"].reshape(3, 9)
    update, (out, into) = kind.build(flat, 1.5), measured.shape
    W = random.standard_normal((out, into))
    V = W + update.change((slice(0, out), slice(0, into)), W, np.empty((out, into)))
    assert kind.reads == reads
    check_change(update, W, reads)
    axes, shape = ((1,), (out, into)) if reads == "rows" else ((0, 2), (out, stated.size, -1))
    np.testing.assert_allclose(np.linalg.norm(V.reshape(shape), axis=axes), stated.reshape(-1))


@pytest.mark.parametrize(
    ("shapes", "role", "lengths"),
    [
        (LINEAR, BY_OUTPUTS, (5,)),
        (LINEAR, BY_OUTPUTS, (1, 6)),
        (LINEAR, BY_INPUTS, (1, 6)),
        (CONV, BY_INPUTS, (1, 45, 1, 1)),
        (EMBEDDING, BY_OUTPUTS, (9,)),
        (LINEAR, BY_OUTPUTS, ()),
    ],
)
def test_lengths_of_another_number(shapes, role, lengths) -> None:
    with pytest.raises(InputError, match="expected"):
        kind_of([*shapes, role]).measure({**shapes, role: lengths})
