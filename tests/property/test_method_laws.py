"""What every method owes: order, scale, identity, gauge."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import MODULES, adapters, dense, entries, low_rank

from adapterops import METHODS, Adapter, LowRank, merge
from adapterops.history import Step

close = partial(torch.testing.assert_close, atol=1e-9, rtol=1e-9)
every_method = pytest.mark.parametrize("method", METHODS)


def named(adapter: Adapter, name: str) -> Adapter:
    """With a history of its own, as adapters from different files have: masks are keyed by it."""
    return replace(adapter, history=Step("memory", {"name": name}))


def options(method: str, **wanted: float) -> dict[str, float]:
    return {name: value for name, value in wanted.items() if name in METHODS[method].defaults}


def assert_same(found: Adapter, expected: Adapter, factor: float = 1.0) -> None:
    left, right = dense(found), dense(expected)
    for name in MODULES:
        close(left[name], factor * right[name])


@every_method
@settings(max_examples=25)
@given(adapters(3), st.permutations(range(3)))
def test_the_order_of_the_pairs_does_not_matter(method: str, given_adapters: list[Adapter], order: list[int]) -> None:
    pairs = [
        (named(adapter, str(index)), weight) for index, (adapter, weight) in enumerate(zip(given_adapters, (0.7, 1.0, -0.4), strict=True))
    ]
    shuffled = [pairs[index] for index in order]
    merged = [
        merge([a for a, _ in each], method, weights=[w for _, w in each], **options(method, density=0.5, seed=3))
        for each in (pairs, shuffled)
    ]
    assert_same(*merged)


@every_method
@settings(max_examples=25)
@given(adapters(1))
def test_one_adapter_at_density_one_is_itself(method: str, one: list[Adapter]) -> None:
    assert_same(merge(one, method, **options(method, density=1.0, epsilon=0.0)), one[0])


@every_method
@settings(max_examples=25)
@given(adapters(2), st.sampled_from([0.25, 2.0, 8.0]))
def test_scaling_commutes(method: str, pair: list[Adapter], c: float) -> None:
    """f(c x) = c f(x)"""
    pair = [named(adapter, str(index)) for index, adapter in enumerate(pair)]
    merged = merge(pair, method, **options(method, density=0.5))
    assert_same(merge([c * adapter for adapter in pair], method, **options(method, density=0.5)), merged, c)


@every_method
@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_gauge(method: str, seed: int) -> None:
    """(B, A) -> (B G, G^-1 A) is the same update, and changes nothing."""
    random = np.random.default_rng(seed)
    first = [{name: low_rank(seed + index, *shape, 3) for name, shape in MODULES.items()} for index in (0, 1)]

    def another(update: LowRank) -> LowRank:
        G = np.linalg.qr(random.standard_normal((3, 3)))[0] @ np.diag([4.0, 1.0, 0.5])
        return LowRank(update.B @ G, np.linalg.inv(G) @ update.A, update.scale)

    second = [{name: another(update) for name, update in updates.items()} for updates in first]
    merged = [
        merge(
            [named(Adapter.of(each), str(index)) for index, each in enumerate(side)],
            method,
            weights=[1.0, 0.5],
            **options(method, density=0.6),
        )
        for side in (first, second)
    ]
    assert_same(*merged)


@pytest.mark.parametrize("method", [name for name, each in METHODS.items() if "core" in each.spaces])
@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_gauge_in_core_space(method: str, seed: int) -> None:
    """The joint core is canonical: another factorization of an update changes at most the signs of its rows and columns."""
    random = np.random.default_rng(seed)
    first = [low_rank(seed + index, 9, 8, 3) for index in (0, 1)]
    G = np.linalg.qr(random.standard_normal((3, 3)))[0] @ np.diag([4.0, 1.0, 0.5])
    second = [LowRank(update.B @ G, np.linalg.inv(G) @ update.A, update.scale) for update in first]
    found = [
        merge([named(Adapter.of({"m": each}), str(i)) for i, each in enumerate(side)], method, space="core", **options(method, density=0.6))
        for side in (first, second)
    ]
    assert all(not each.layout["m"].dense and each.layout["m"].rank == 6 for each in found)
    close(*(entries(each.updates["m"]) for each in found))


@settings(max_examples=25)
@given(adapters(3))
def test_linear_in_core_space_is_linear_in_delta_space(three: list[Adapter]) -> None:
    weights = [0.7, -1.0, 0.25]
    assert_same(merge(three, "linear", weights=weights, space="core"), merge(three, "linear", weights=weights))


@settings(max_examples=25)
@given(st.integers(0, 2**63 - 1))
def test_a_seed_gives_one_mask(seed: int) -> None:
    pair = [named(Adapter.of({"m": low_rank(index, 30, 20, 2)}), str(index)) for index in (0, 1)]
    first, again, other = (entries(merge(pair, "dare_linear", seed=each).updates["m"]) for each in (seed, seed, (seed + 1) % 2**63))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("method", ["dare_linear", "della_linear"])
def test_random_masks_are_unbiased(method: str) -> None:
    pair = [named(Adapter.of({"m": low_rank(index, 30, 20, 2)}), str(index)) for index in (0, 1)]
    mean = sum(entries(merge(pair, method, density=0.5, seed=seed).updates["m"]) for seed in range(300)) / 300
    expected = entries(merge(pair).updates["m"])
    assert float((mean - expected).norm() / expected.norm()) < 0.1
