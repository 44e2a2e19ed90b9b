from __future__ import annotations

import math
from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
from strategies import entries, low_rank

from adapterops.errors import ShapeError
from adapterops.updates.dense import Dense
from adapterops.updates.lowrank import LowRank
from adapterops.updates.sums import Sum, total


def update() -> LowRank:
    return low_rank(3, 5, 4, 2, dtype=torch.float32)


def test_updates_of_different_kinds_are_added_entry_by_entry() -> None:
    dense = Dense(torch.ones(5, 4), error=1.0)
    for mixed in (dense + update(), update() + dense, update() + dense + update() + -1.0 * update()):
        assert isinstance(mixed, Sum)
        assert mixed.lowrank() is None
        torch.testing.assert_close(entries(mixed), 1 + entries(update()), rtol=1e-5, atol=1e-5)
        assert mixed.error == 1.0
    torch.testing.assert_close(entries(dense + -1.0 * update()), 1 - entries(update()))
    torch.testing.assert_close(entries((-2.0 * (dense + update())).T), -2 * (1 + entries(update())).T)
    assert dense.norm() == pytest.approx(math.sqrt(20))
    assert (dense + dense).norm() == pytest.approx(2 * math.sqrt(20))


def test_a_part_of_a_sum_is_the_sum_of_the_parts() -> None:
    total, part = Dense(torch.ones(5, 4)) + update(), (slice(1, 3), slice(0, 4))
    assert np.array_equal(total.rows(part, np.empty((2, 4), np.float32)), total.dense()[part])


def test_a_sum_of_factors_has_factors() -> None:
    total = Sum([update(), 0.5 * update()])
    assert total.lowrank().rank == 4
    torch.testing.assert_close(entries(total.lowrank()), 1.5 * entries(update()))


def test_factors_of_a_sum_are_copied_once_and_are_those_of_pairwise_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    updates = [
        LowRank(random.standard_normal((5, rank), np.float32), random.standard_normal((rank, 4), np.float32), 0.3, rank)
        for rank in (1, 2, 3)
    ]
    pairwise, whole = reduce(add, updates), total(updates)
    for role in ("A", "B"):
        assert getattr(whole, role).tobytes() == getattr(pairwise, role).tobytes()
    assert (whole.scale, whole.error) == (pairwise.scale, pairwise.error)
    assert total(updates[:1]) is updates[0]
    with pytest.raises(ShapeError):
        total([updates[0], updates[1].T])
    monkeypatch.setattr(LowRank, "__add__", lambda *_: pytest.fail("two at a time"))
    assert total(updates).rank == 6
