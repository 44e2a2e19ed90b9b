from __future__ import annotations

import numpy as np
import pytest

from adapterops.updates import protocol
from adapterops.updates.dense import Dense
from adapterops.updates.difference import Difference
from adapterops.updates.protocol import Array

RANDOM = np.random.default_rng(0)


def pair(shape: tuple[int, int]) -> tuple[Array, Array]:
    after, before = (RANDOM.standard_normal(shape, dtype=np.float32) for _ in range(2))
    return after, before


def difference(after: Array, before: Array, group: int = 1) -> Difference:
    """Of two matrices whose rows can be read from multiples of `group` on."""

    def reader(matrix: Array) -> object:
        def read(begin: int, end: int) -> Array:
            assert begin % group == 0
            assert end % group == 0 or end == len(matrix)
            return matrix[begin:end].copy()

        return read

    return Difference(after.shape, after.dtype, reader(after), reader(before), group)


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("shape", [(50, 700), (13, 5), (1, 9), (900, 3)])
def test_any_part_is_that_of_the_dense_difference(shape: tuple[int, int], group: int) -> None:
    after, before = pair(shape)
    update = difference(after, before, group)
    for part in [
        (slice(0, shape[0]), slice(0, shape[1])),
        (slice(0, shape[0], 7), slice(0, shape[1], 3)),
        (slice(shape[0] // 3, shape[0]), slice(1, 2)),
    ]:
        wanted = (after - before)[part]
        assert np.array_equal(update.rows(part, np.empty(wanted.shape, np.float32)), wanted)


def test_it_scales_adds_and_turns_as_a_dense_update() -> None:
    after, before = pair((6, 4))
    update, delta = difference(after, before), after - before
    assert np.array_equal((-0.5 * update).dense(), -0.5 * delta)
    assert np.array_equal((update + Dense(delta)).dense(), 2 * delta)
    assert np.array_equal(update.T.dense(), delta.T)
    assert update.lowrank() is None
    assert update.near is None
    assert update.error == 0


def test_its_norm_is_that_of_the_dense_difference_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "TILE", 100)
    after, before = pair((57, 31))
    assert difference(after, before).norm() == protocol.norm(after - before)
