"""Rotations by their formulas; PEFT judges them in tests/interop/test_other_kinds.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from adapterops.errors import AdapterOpsError, IncompatibleError, UnsupportedError
from adapterops.testing import check_change
from adapterops.updates.kinds import KINDS
from adapterops.updates.rotation import oft

EVERY = (slice(0, 6), slice(0, 8))
W = np.random.default_rng(1).standard_normal((6, 8))


def test_one_angle_turns_each_pair_of_inputs() -> None:
    """Of blocks of two, Q = ((0, q), (-q, 0)) turns by the angle of which q is half the tangent."""
    angles = np.array([0.1, -0.7, 1.2, 2.0])
    kind = oft()
    assert kind.measure({"oft_R": (4, 1)})[0] == (0, 8)
    update: Any = kind.build({"oft_R": np.tan(angles / 2)[:, None]}, 1.0)
    R = np.zeros((8, 8))
    for block, angle in enumerate(angles):
        at = slice(2 * block, 2 * block + 2)
        R[at, at] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    np.testing.assert_allclose(W + update.change(EVERY, W, np.empty_like(W)), W @ R.T, atol=1e-12)
    check_change(update, W, kind.reads)


@pytest.mark.parametrize("terms", [1, 2, 4, 5, 9])
def test_a_series(terms: int) -> None:
    stored = 0.1 * np.random.default_rng(0).standard_normal((2, 6))
    Q = np.zeros((2, 4, 4))
    Q[:, *np.triu_indices(4, 1)] = stored
    Q = Q - Q.swapaxes(1, 2)
    factors = [1.0, *[2.0] * (terms - 1)]
    factors[-1] = 1.0 if terms != 2 else 2.0
    R = sum(factor * np.linalg.matrix_power(Q, power) for power, factor in enumerate(factors))
    update: Any = oft(terms=terms).build({"oft_R": stored}, 1.0)
    np.testing.assert_allclose(update.rotations[0], R, atol=1e-14)
    if terms == 9:
        exact: Any = oft().build({"oft_R": -stored}, 1.0)  # (I + Q)(I - Q)⁻¹
        np.testing.assert_allclose(update.rotations[0], exact.rotations[0], atol=1e-4)


def test_blocks_that_are_too_long_are_cut() -> None:
    stored = np.array([[3.0], [1e-3]])
    update: Any = oft(most=0.1).build({"oft_R": stored}, 1.0)
    limit = 0.1 / math.sqrt(2)
    np.testing.assert_allclose(np.linalg.norm(update.skew[0], axis=(1, 2)), [limit, math.sqrt(2) * 1e-3])


def test_butterflies_of_one_factor_have_no_order() -> None:
    kind, rng = KINDS["BOFT"], np.random.default_rng(2)
    stored, lengths = rng.standard_normal((1, 2, 4, 4)), rng.standard_normal((6, 1))
    assert kind.measure({"boft_R": stored.shape, "boft_s": lengths.shape})[0] == (6, 8)
    update: Any = kind.build({"boft_R": stored, "boft_s": lengths}, 1.0)
    R, one = np.zeros((8, 8)), np.eye(4)
    for block in range(2):
        Q = (stored[0, block] - stored[0, block].T) / 2
        R[4 * block : 4 * block + 4, 4 * block : 4 * block + 4] = (one - Q) @ np.linalg.inv(one + Q)
    np.testing.assert_allclose(W + update.change(EVERY, W, np.empty_like(W)), lengths * (W @ R.T), atol=1e-12)
    assert 1 * update is update
    with pytest.raises(UnsupportedError, match="cannot be scaled"):
        2 * update


@pytest.mark.parametrize(
    ("kind", "shapes", "said"),
    [
        (oft(), {"oft_R": (4, 5)}, "expected blocks by"),
        (oft(), {"oft_R": (4,)}, "expected blocks by"),
        (oft(shared=True), {"oft_R": (4, 6)}, "expected blocks by"),
        (KINDS["BOFT"], {"boft_R": (1, 2, 4, 4), "boft_s": (1, 6)}, "a convolution"),
        (KINDS["BOFT"], {"boft_R": (1, 2, 4, 3), "boft_s": (6, 1)}, "expected"),
        (KINDS["BOFT"], {"boft_R": (3, 2, 4, 4), "boft_s": (6, 1)}, "expected"),
    ],
)
def test_shapes_that_do_not_fit(kind: Any, shapes: dict[str, tuple[int, ...]], said: str) -> None:
    with pytest.raises(AdapterOpsError, match=said):
        kind.measure(shapes)


def test_a_weight_of_other_blocks() -> None:
    update: Any = oft(shared=True).build({"oft_R": np.ones((1, 3))}, 1.0)
    with pytest.raises(IncompatibleError, match="blocks of 3 inputs, and the weight of the base has 8"):
        update.change(EVERY, W, np.empty_like(W))
