"""What the updates of a module take, in one way to store them."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.arrays.collected import factors, size, stacked
from adapterops.linalg.factor import balanced
from adapterops.linalg.sharing import distance
from adapterops.linalg.ways import nonzero, way_of
from adapterops.updates.lowrank import LowRank

OUT, IN = 40, 30
RANDOM = np.random.default_rng(0)


def update(rank: int) -> LowRank:
    return nonzero(balanced(LowRank(RANDOM.standard_normal((OUT, rank)), RANDOM.standard_normal((rank, IN)))))


def basis(height: int, count: int) -> np.ndarray:
    return np.linalg.qr(RANDOM.standard_normal((height, count)))[0]


WAYS = {"neither": (0, 0), "outputs": (5, 0), "inputs": (0, 4), "both": (5, 4)}


@pytest.mark.parametrize("counts", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("error", [0.1, 0.01, 1e-4, 1e-6])
def test_an_update_is_within_its_error_in_every_way(counts: tuple[int, int], error: float) -> None:
    L, R = (basis(height, count) if count else None for height, count in zip((OUT, IN), counts, strict=True))
    way, one = way_of(L, R, (OUT, IN), error), update(6)
    own = way.own(one, error * one.norm(), None)
    assert distance(one, LowRank(*factors(way.shared, own))) <= error * one.norm()


def test_the_bytes_are_about_what_is_expected() -> None:
    updates = [update(6) for _ in range(4)]
    way = way_of(None, basis(IN, 4), (OUT, IN), 0.01)
    expected = way.expected(updates, [each.norm() for each in updates], 0.01, None)
    owns = [way.own(each, 0.01 * each.norm(), None) for each in updates]
    assert expected == pytest.approx(size(stacked(owns, way.shared)[1].values()), rel=0.25)


def test_the_mean_is_taken_out_where_updates_are_near_it() -> None:
    base, way = update(3), way_of(basis(OUT, 5), basis(IN, 5), (OUT, IN), 0.01)
    near = [balanced(base + 0.01 * update(3)) for _ in range(4)]
    assert way.centred(near).shared.mean is not None
    assert way.centred([base, balanced(-1.0 * base)]).shared.mean is None
    assert way_of(None, None, (OUT, IN), 0.01).centred(near).shared.mean is None


def test_a_rank_is_of_what_is_left() -> None:
    one, way = update(6), way_of(None, None, (OUT, IN), 0.01)
    own = way.own(one, 0.01 * one.norm(), 2)
    assert sum(len(rows.codes) for rows in own.B.values()) == 2
    tail = np.linalg.svd(one.dense(), compute_uv=False)[2:]
    found = distance(one, LowRank(*factors(way.shared, own)))
    assert np.linalg.norm(tail) <= found <= np.hypot(np.linalg.norm(tail), 0.01 * one.norm())
