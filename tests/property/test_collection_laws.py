"""What holds of every collection: the error that is stated, and that factors and order change nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from adapterops.arrays.collected import factors, sliced
from adapterops.linalg.coding import Code, code
from adapterops.updates.lowrank import LowRank

SEEDS, ERRORS = st.integers(0, 10**6), st.sampled_from([0.2, 0.03, 0.01, 1e-3, 1e-5])


@st.composite
def related(draw: st.DrawFn) -> list[LowRank]:
    """Updates of one shape: a base that they share, or one side of it, and dimensions of their own."""
    random = np.random.default_rng(draw(SEEDS))
    out, into = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    B, A = random.standard_normal((out, rank := draw(st.integers(1, 5)))), random.standard_normal((rank, into))
    size = draw(st.sampled_from([0.0, 0.01, 0.3, 1.0, 100.0]))

    def update() -> LowRank:
        own = draw(st.integers(0, 3))
        left, right = random.standard_normal((out, own)) * size, random.standard_normal((own, into))
        first = B if draw(st.booleans()) else random.standard_normal(B.shape)
        return LowRank(
            np.concatenate([first, left], axis=1), np.concatenate([A, right]), draw(st.sampled_from([1.0, 0.25]))
        )

    return [update() for _ in range(draw(st.integers(1, 6)))]


def decoded(found: Code) -> list[np.ndarray]:
    pairs = [factors(found.shared, sliced(found.tables, number, found.rows)) for number in found.numbers]
    return [B.astype(np.float64) @ A.astype(np.float64) for B, A in pairs]


def regauged(update: LowRank, seed: int) -> LowRank:
    G = np.linalg.qr(np.random.default_rng(seed).standard_normal((update.rank, update.rank)))[0]
    G = G * np.linspace(0.5, 3.0, update.rank)
    return LowRank(update.B @ G, np.linalg.inv(G) @ update.A, update.scale)


@settings(max_examples=40)
@given(related(), ERRORS)
def test_the_error_is_the_one_that_is_stated_and_within_what_was_asked(updates: list[LowRank], error: float) -> None:
    found = code(updates, error)
    for update, again, norm, apart in zip(updates, decoded(found), found.norms, found.errors, strict=True):
        exact = update.scale * (update.B @ update.A)
        measured = np.linalg.norm(exact - again)
        assert abs(measured - apart) <= 1e-9 * norm + 1e-6 * apart
        assert measured <= error * norm * (1 + 1e-9)


@settings(max_examples=40)
@given(related(), ERRORS, SEEDS)
def test_other_factors_of_the_same_updates_change_nothing(updates: list[LowRank], error: float, seed: int) -> None:
    found, other = code(updates, error), code([regauged(each, seed + at) for at, each in enumerate(updates)], error)
    assert found.numbers == other.numbers
    assert {name: array.shape for name, array in found.arrays.items()} == {
        name: array.shape for name, array in other.arrays.items()
    }
    for norm, one, two in zip(found.norms, decoded(found), decoded(other), strict=True):
        assert np.linalg.norm(one - two) <= 1e-5 * norm


@settings(max_examples=25)
@given(related(), ERRORS, st.randoms(use_true_random=False))
def test_the_order_changes_no_error(updates: list[LowRank], error: float, random: object) -> None:
    order = [*range(len(updates))]
    random.shuffle(order)
    found = code([updates[at] for at in order], error)
    for place, at in enumerate(order):
        norm = np.linalg.norm(updates[at].scale * (updates[at].B @ updates[at].A))
        assert found.errors[place] <= error * norm * (1 + 1e-9)
