"""Every rule about several adapters, on some of which it is true and on some of which it is not."""

from __future__ import annotations

import pytest
from known_spectra import FLAT, SLOW, adapter, rules
from strategies import low_rank

from adapterops import Adapter, LowRank
from adapterops.formats.peft.config import AdapterConfig
from adapterops.operations.comparison import compare
from adapterops.reports.comparison_rules import beyond_chance


def test_pairs() -> None:
    a, b = adapter(1, SLOW), adapter(2, SLOW)
    assert "are the same update" in rules(a, a)["same"]
    assert "pull the same way" in rules(a, a + 0.5 * b)["alike"]
    assert "undo each other" in rules(a, -a)["opposed"]
    assert "8.01 times as large" in rules(adapter(1, SLOW), 8.01 * b)["uneven"]
    assert not {"same", "alike", "opposed", "uneven", "colliding", "shared-start"} & set(rules(a, b))


def test_subspaces() -> None:
    a = adapter(1, SLOW)
    rotated = Adapter.of({m: LowRank(u.B[:, ::-1], u.A) for m, u in a.updates.items()})  # the same spaces, another map
    colliding = rules(a, rotated)
    assert "The subspaces of (memory) (1) and (memory) (2)" in colliding["colliding"]
    assert "collide" in colliding["colliding"]
    assert "One merged rank-8 adapter cannot hold both" in colliding["colliding"]
    unrelated = rules(a, adapter(2, SLOW))
    assert "are separate" in unrelated["separate"]
    assert (
        "One merged rank-8 adapter cannot hold the sum of all: it keeps 73%"
        in rules(adapter(1, FLAT), adapter(2, FLAT))["no-room"]
    )
    assert "agree no more often than by chance" in unrelated["coin-flip"]
    assert not {"colliding"} & set(unrelated)
    assert "holds" in rules(a, rotated)["room"]


def test_one_start() -> None:
    found = rules(adapter(1, SLOW), adapter(2, SLOW, start=1))
    assert "started from one random A" in found["shared-start"]
    assert "says nothing about their tasks" in found["shared-start"]


def test_different_bases_and_modules() -> None:
    a = Adapter.of({"layers.0.q": low_rank(1, 6, 5, 2)}, AdapterConfig(base_model="x/one"))
    b = Adapter.of({"layers.0.k": low_rank(1, 6, 5, 2)}, AdapterConfig(base_model="x/two"))
    found = rules(a, b)
    assert "x/one, x/two" in found["bases"]
    assert "share no module" in found["disjoint"]


def test_overlaps_are_measured_from_those_of_random_subspaces() -> None:
    (pair,) = compare([adapter(1, SLOW), adapter(2, SLOW)]).pairs
    assert pair.chance == pytest.approx((8 / 96, 8 / 80))
    assert all(abs(value) < 0.05 for value in beyond_chance(pair))
    (pair,) = compare([adapter(1, SLOW), adapter(1, FLAT)]).pairs
    assert beyond_chance(pair) == pytest.approx([1.0, 1.0])
    (pair,) = compare([adapter(1, [0.0] * 8), adapter(2, SLOW)]).pairs
    assert beyond_chance(pair) == []
