"""How far two versions of a base are apart, where an adapter reads."""

import numpy as np
import pytest

from adapterops.updates.distance import Distance, distances
from adapterops.updates.survival import Block, Change


def test_parts_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(0)
    W, V, delta = (rng.standard_normal((6, 5)) for _ in range(3))
    Q = np.linalg.qr(rng.standard_normal((5, 2)))[0]
    every = (slice(0, 6), slice(0, 5))
    (whole,) = distances(Block(W + delta, [Change("m", every, W, delta, lambda: Q)]), V).values()
    assert whole.of_weights == pytest.approx(np.linalg.norm(V - W) / np.linalg.norm(W))
    assert whole.of_update == pytest.approx(np.linalg.norm((V - W) @ Q) / np.linalg.norm(delta))
    part = (slice(0, 3), slice(0, 5))
    blocks = [
        Block(W[:3] + delta[:3], [Change("m", part, W[:3], delta[:3], lambda: Q)]),
        Block(W[3:] + delta[3:], [Change("m", part, W[3:], delta[3:], lambda: Q)]),
    ]
    halves = [distances(block, V[place])["m"] for block, place in zip(blocks, (slice(3), slice(3, 6)), strict=True)]
    assert sum(halves, Distance()).of_update == pytest.approx(whole.of_update)


def test_where_an_update_has_no_factors_all_directions_count() -> None:
    W, V, delta = np.ones((2, 2)), np.zeros((2, 2)), np.full((2, 2), 0.5)
    (found,) = distances(Block(W + delta, [Change("m", (slice(0, 2), slice(0, 2)), W, delta)]), V).values()
    assert (found.of_weights, found.of_update) == (1, 2)
    assert Distance().as_json() == {"of_weights": 0.0, "of_update": 0.0}
