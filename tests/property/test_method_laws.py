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
from turns import ALL

from adapterops import METHODS, Adapter, LowRank, merge
from adapterops.provenance.history import Step
from adapterops.testing import METHOD_LAWS, Law

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
@pytest.mark.parametrize("law", METHOD_LAWS, ids=lambda law: law.__name__)
@settings(max_examples=80 if ALL else 4)  # of random numbers: what breaks a law breaks it with nearly all of them
@given(seed=st.integers(0, 10**6))
def test_laws(law: Law, method: str, seed: int) -> None:
    law(method, seed)


@pytest.mark.parametrize("method", [name for name, each in METHODS.items() if "core" in each.spaces])
@settings(max_examples=100 if ALL else 8)
@given(st.integers(0, 10**6))
def test_gauge_in_core_space(method: str, seed: int) -> None:
    """The joint core is canonical:
    another factorization of an update changes at most the signs of its rows and columns.
    """
    random = np.random.default_rng(seed)
    first = [low_rank(seed + index, 9, 8, 3) for index in (0, 1)]
    G = np.linalg.qr(random.standard_normal((3, 3)))[0] @ np.diag([4.0, 1.0, 0.5])
    second = [LowRank(update.B @ G, np.linalg.inv(G) @ update.A, update.scale) for update in first]
    found = [
        merge(
            [named(Adapter.of({"m": each}), str(i)) for i, each in enumerate(side)],
            method,
            space="core",
            **options(method, density=0.6),
        )
        for side in (first, second)
    ]
    assert all(
        not each.layout["m"].dense and each.layout["m"].rank == (3 if METHODS[method].rank else 6) for each in found
    )
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
    first, again, other = (
        entries(merge(pair, "dare_linear", seed=each).updates["m"]) for each in (seed, seed, (seed + 1) % 2**63)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("method", ["dare_linear", "della_linear"])
def test_random_masks_are_unbiased(method: str) -> None:
    pair = [named(Adapter.of({"m": low_rank(index, 30, 20, 2)}), str(index)) for index in (0, 1)]
    mean = (
        sum(entries(merge(pair, method, scale="sum", density=0.5, seed=seed).updates["m"]) for seed in range(300)) / 300
    )
    expected = entries(merge(pair, scale="sum").updates["m"])
    assert float((mean - expected).norm() / expected.norm()) < 0.1
