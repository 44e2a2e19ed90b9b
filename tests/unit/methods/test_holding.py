"""What a merge holds of each adapter, against dense matrices in float64."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from strategies import low_rank

from adapterops import Adapter, LowRank, merge
from adapterops.methods.entries import Entries
from adapterops.methods.holding import RULES, Held, Holdings, condition, held, hold, hold_sum
from adapterops.methods.tiles import Cut
from adapterops.operations.merging import LEAST
from adapterops.provenance.history import Step
from adapterops.updates.dense import Dense
from adapterops.updates.merged import Merged, Tiling

A, B, C = (
    Adapter.of({"q": low_rank(seed, 17, 15, 2), **({"v": low_rank(seed + 9, 14, 15, 3)} if seed else {})})
    for seed in range(3)
)


def holdings(adapter: Adapter) -> Holdings:
    assert isinstance(adapter.history, Step)
    found = adapter.history.holdings
    assert found
    return found


def flat(adapter: Adapter, like: Adapter) -> np.ndarray:
    parts = (adapter.updates[m].dense() if m in adapter.layout else np.zeros(like.layout[m].shape) for m in like.layout)
    return np.concatenate([each.ravel() for each in parts]).astype(np.float64)


def projected(adapter: Adapter, merged: Adapter) -> float:
    """‖(M - ΔW) P‖ over the modules of an adapter, P by a pseudoinverse; ΔW and P are zero in those that it lacks."""
    found = 0.0
    for module in adapter.layout:
        own = adapter.updates[module].dense().astype(np.float64)
        P = np.linalg.pinv(own, rcond=1e-6) @ own
        found += np.square((merged.updates[module].dense() - own) @ P).sum()
    return math.sqrt(found)


@pytest.mark.parametrize(("method", "scale"), [("linear", "auto"), ("even", "auto"), ("ties", "mean"), ("tsv", 0.7)])
def test_what_is_held_is_that_of_dense_matrices(method: str, scale: float | str) -> None:
    merged = merge([A, B, C], method, scale=scale)
    found = holdings(merged).all()
    assert found
    M = flat(merged, merged)
    for adapter, each in zip((A, B, C), held(found), strict=True):
        own = flat(adapter, merged)
        kept, size = M @ own / (own @ own), float(np.linalg.norm(own))
        assert each
        assert each.kept == pytest.approx(kept, rel=1e-5)
        assert each.added == pytest.approx(np.linalg.norm(M - kept * own) / size, rel=1e-4)
        assert each.error == pytest.approx(projected(adapter, merged) / size, rel=1e-4)


def test_entries_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a merge whose entries are what takes time."""
    tiles: list[int] = []

    def tile(first: int, out: np.ndarray | None = None) -> np.ndarray:
        tiles.append(first)
        return random.standard_normal((min(2, 17 - first), 15)).astype(np.float32)

    random = np.random.default_rng(0)
    monkeypatch.setattr("adapterops.methods.holding.tile_height", lambda shape: 2)
    found = hold(Merged((17, 15), np.dtype(np.float32), Tiling(2, lambda: tile)), [A.updates["q"], B.updates["q"]])
    assert tiles == list(range(0, 17, 2))
    assert np.isfinite(found.seen).all()


@pytest.mark.parametrize("method", ["linear", "even", "ties"])
def test_at_another_scale_it_is_that_of_the_merge_at_that_scale(method: str) -> None:
    small = [0.01 * each for each in (A, B, C)]  # where `even` is not the sum
    auto, mean = (holdings(merge(small, method, scale=scale)).all() for scale in ("auto", "mean"))
    assert auto
    assert mean
    for one, other in zip(held(auto, 1 / 3), held(mean), strict=True):
        assert one
        assert other
        assert (one.kept, one.added, one.error) == pytest.approx((other.kept, other.added, other.error))


def test_what_is_zero_has_no_share_and_what_has_no_factors_no_error() -> None:
    zero = Adapter.of({"q": 0.0 * low_rank(1, 17, 15, 2)})
    found = holdings(merge([A, zero], "linear")).all()
    assert found
    kept, nothing = held(found)
    assert kept == Held(pytest.approx(1), pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
    assert nothing is None
    full = Dense(np.random.default_rng(0).normal(size=(17, 15)))
    (own,) = held({"q": hold(full, [full])})
    assert own == Held(pytest.approx(1), pytest.approx(0, abs=1e-6), None)


def test_numbers_that_are_none_are_not_measured() -> None:
    wrong = Adapter.of({"q": LowRank(np.full((17, 2), np.nan), np.ones((2, 15)))})
    assert holdings(merge([A, wrong], "linear", scale="sum")).all() is None


def test_as_many_modules_are_measured_before_anything_is_written_as_take_seconds() -> None:
    kinds = ("q", "k", "v", "o", "gate", "up", "down")

    def of(side: int, count: int, method: str, **options: Any) -> Holdings:
        layout = Adapter.of({"q": low_rank(0, 3, 2, 1)}).layout["q"]
        names = [f"{layer}.{kind}" for layer in range(32) for kind in kinds]
        every = {module: replace(layout, shape=(side, side), rank=16) for module in names}
        adapters = [replace(Adapter.of({}), layout=every, config=replace(A.config)) for _ in range(count)]
        adapters[0] = replace(adapters[0], layout={"31.up": every["31.up"]})
        return holdings(merge(adapters, method, **options))

    for side, count, method in ((512, 3, "even"), (10**4, 2, "linear"), (200, 2, "ties")):
        assert len(of(side, count, method).modules) == of(side, count, method).count == 224
    for side, count, method, least in ((4096, 8, "even", 20), (10**4, 2, "ties", 4), (8192, 8, "tsv", 20)):
        found = of(side, count, method)
        assert least <= len(found.modules) < 100
        assert found.count == 224
        assert "31.up" in found.modules  # the only one of an adapter
        assert len({module.partition(".")[2] for module in found.modules}) >= min(len(kinds), least)
        layers = {int(module.partition(".")[0]) for module in found.modules}
        assert min(layers) < 8
        assert max(layers) == 31
    assert (
        5 <= len(of(4096, 8, "linear", scale="sum").modules) < 40
    )  # no more than a little of what it takes to write it
    found = of(8192, 4, "tsv")  # seconds would do for more than the memory that keeps them until they are written
    assert len(found.modules) in (LEAST, LEAST + 1)  # and the only one of an adapter


def test_what_needs_all_modules_for_each_is_not_measured_before_it_is_merged() -> None:
    found = holdings(merge([A, B], "ties", convention="peft"))
    assert found.modules
    found = holdings(merge([A, B], "ties", convention="paper"))
    assert not found.modules
    assert found.all() is None


@pytest.mark.parametrize("method", RULES)
def test_how_far_rules_are_apart_bounds_every_pair(method: str) -> None:
    adapters = [A, B, C]
    found = holdings(merge(adapters, method)).rule_distance()
    made = [flat(each, each) for each in (merge(adapters, rule, scale="auto") for rule in RULES)]
    furthest = max(np.linalg.norm(one - other) for one in made for other in made)
    assert found == pytest.approx(furthest / max(map(np.linalg.norm, made)), rel=1e-5)


def test_of_copies_all_rules_make_the_same() -> None:
    assert holdings(merge([B, 0.9 * B, B])).rule_distance() == pytest.approx(0, abs=1e-6)
    assert holdings(merge([A, B], "linear", scale="sum")).rule_distance() is None


def test_the_condition_of_two_is_that_of_their_cosine() -> None:
    cosine = 0.6
    assert condition(np.array([[4.0, 6 * cosine], [6 * cosine, 9.0]])) == pytest.approx((1 + cosine) / (1 - cosine))


def test_what_is_merged_to_say_what_it_holds_is_kept_until_it_is_written() -> None:
    merged, again = (merge([A, B, C], "tsv", scale="sum") for _ in range(2))
    found = holdings(merged)
    found.all(room=10**6)
    kept = merged.updates["q"]
    assert kept is not merged.updates["q"]
    np.testing.assert_array_equal(kept.dense(), again.updates["q"].dense())
    found.found.clear()
    found.all(room=0)
    assert merged.updates["v"] is not merged.updates["v"]


@pytest.mark.parametrize(("room", "times"), [(10**7, 1), (0, 2)])
def test_thresholds_that_were_found_to_say_it_are_kept_until_entries_are_written(
    room: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def largest(entries: Entries, count: int) -> list[Cut]:
        asked.append(count)
        return found(entries, count)

    found = Entries.largest
    monkeypatch.setattr(Entries, "largest", largest)
    merged, again = (merge([A, B], "ties", scale="sum") for _ in range(2))
    holdings(merged).all(room=room)
    before = len(asked)
    for module in merged.layout:
        np.testing.assert_array_equal(merged.updates[module].dense(), again.updates[module].dense())
    assert len(asked) == before + times * len(merged.layout)


def test_what_is_merged_says_what_it_holds_by_the_way() -> None:
    merged = merge([A, B, C], "tsv")
    for module in merged.layout:
        assert merged.updates[module]
    assert holdings(merged).found.keys() == merged.layout.keys()


@pytest.mark.parametrize("method", ["linear", "even"])
def test_an_adapter_reads_nothing_where_it_is_zero_and_only_what_its_outputs_take(method: str) -> None:
    rng = np.random.default_rng(0)
    narrow = LowRank(np.repeat(rng.normal(size=(17, 1)), 3, axis=1), rng.normal(size=(3, 15)))
    zero = LowRank(np.zeros((17, 2)), rng.normal(size=(2, 15)))
    other = {"q": low_rank(1, 17, 15, 2), "v": low_rank(2, 17, 15, 2)}
    for own in ({"q": narrow, "v": zero}, {"q": low_rank(3, 17, 15, 2), "v": narrow}):
        adapter = Adapter.of(own)
        merged = merge([adapter, Adapter.of(other)], method)
        found = holdings(merged).all()
        assert found
        each = held(found)[0]
        assert each
        size = float(np.linalg.norm(flat(adapter, merged)))
        assert each.error == pytest.approx(projected(adapter, merged) / size, rel=1e-4)


def test_what_is_no_matrix_is_the_mean_at_every_scale() -> None:
    adapters = [
        replace(found, layout={"q": replace(found.layout["q"], matrix=False), "v": found.layout["v"]})
        for found in (B, C)
    ]
    found = holdings(merge(adapters, "tsv", scale="mean")).all()
    assert found
    assert found["q"].factor is None
    assert found["v"].factor == 0.5


def test_no_more_than_a_tile_of_the_factors_is_in_float64() -> None:
    updates = [LowRank(np.ones((20_000, 32), np.float32), np.ones((32, 4000), np.float32)) for _ in range(4)]
    tracemalloc.start()
    hold_sum(updates, [1.0] * 4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000 < 8 * 4 * 32 * 24_000


def test_of_factors_that_cancel_no_square_is_below_zero() -> None:
    """What rounding leaves of a - a: of some it is below 0."""
    for seed in range(60):
        one = low_rank(seed, 17, 15, 3)
        Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0].astype(one.B.dtype)
        none = LowRank(np.concatenate([one.B, -one.B @ Q.T], axis=1), np.concatenate([one.A, Q @ one.A]))
        for found in (hold_sum([none, none], [0.5, 0.7]), hold(none, [none, none])):
            assert found.total >= 0
            assert np.diag(found.gram).min() >= 0
            held({"q": found})
