"""Every rule about several adapters, on some of which it is true and on some of which it is not."""

from __future__ import annotations

import pytest
from known_spectra import FLAT, SLOW, adapter, rules
from strategies import low_rank

from adapterops import Adapter, LowRank
from adapterops.formats.peft.config import AdapterConfig
from adapterops.operations.comparing.comparison import compare
from adapterops.reports.comparison_rules import beyond_chance


def test_pairs() -> None:
    a, b = adapter(1, SLOW), adapter(2, SLOW)
    assert "are nearly the same update" in rules(a, a)["same"]
    assert "point the same way" in rules(a, a + 0.5 * b)["alike"]
    assert "point opposite ways" in rules(a, -a)["opposed"]
    assert "8.01 times as large" in rules(adapter(1, SLOW), 8.01 * b)["uneven"]
    assert not {"same", "alike", "opposed", "uneven", "shared-subspaces", "shared-start"} & set(rules(a, b))


def test_subspaces() -> None:
    a = adapter(1, SLOW)
    rotated = Adapter.of({m: LowRank(u.B[:, ::-1], u.A) for m, u in a.updates.items()})  # the same spaces, another map
    assert "change the same directions in different ways" in rules(a, rotated)["shared-subspaces"]
    unrelated = rules(a, adapter(2, SLOW))
    assert "are as unrelated as random updates (columns overlap by 8.5%, random ones by " in unrelated["separate"]
    assert (
        "Cut to rank 8, the sum of all keeps 73% of its energy; at least 99% takes rank 16. Try both ranks"
        in rules(adapter(1, FLAT), adapter(2, FLAT))["room"]
    )
    assert (
        "have opposite signs in about half of their entries (50%), as unrelated updates have"
        in unrelated["unrelated-signs"]
    )
    assert "shared-subspaces" not in unrelated
    assert rules(a, rotated)["room"].endswith("the sum of all keeps 100% of its energy, and at least 99% at rank 4.")


def test_of_several_pairs_first_who_they_are_then_what_was_measured() -> None:
    a, b, c = adapter(1, SLOW), adapter(2, SLOW), adapter(3, SLOW)
    assert rules(a, b, c)["separate"].startswith("All 3 pairs are as unrelated as random updates (columns overlap by ")
    assert rules(a, 2.0 * a, b)["same"].endswith(" are nearly the same update (cosine +1.00).")


def test_one_start() -> None:
    found = rules(adapter(1, SLOW), adapter(2, SLOW, start=1))
    assert "began with the same A" in found["shared-start"]


def test_different_bases_and_modules() -> None:
    a = Adapter.of({"layers.0.q": low_rank(1, 6, 5, 2)}, AdapterConfig(base_model="x/one"))
    b = Adapter.of({"layers.0.k": low_rank(1, 6, 5, 2)}, AdapterConfig(base_model="x/two"))
    found = rules(a, b)
    assert "x/one, x/two" in found["bases"]
    assert "have no module in common" in found["disjoint"]


def test_overlaps_are_measured_from_those_of_random_subspaces() -> None:
    (pair,) = compare([adapter(1, SLOW), adapter(2, SLOW)]).pairs
    assert pair.chance == pytest.approx((8 / 96, 8 / 80))
    assert all(abs(value) < 0.05 for value in beyond_chance(pair))
    (pair,) = compare([adapter(1, SLOW), adapter(1, FLAT)]).pairs
    assert beyond_chance(pair) == pytest.approx([1.0, 1.0])
    (pair,) = compare([adapter(1, [0.0] * 8), adapter(2, SLOW)]).pairs
    assert beyond_chance(pair) == []
