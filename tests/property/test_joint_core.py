"""What has to be equal in the joint core and on whole matrices, whatever the ranks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import low_rank, merged, orthogonal, same_shaped, several

from adapterops.updates.lowrank import LowRank

WEIGHTS = [0.7, -1.0, 0.25]
RANKS = st.tuples(*[st.integers(1, 9)] * 3)
SEEDS = st.integers(0, 10**4)


@settings(max_examples=30)
@given(same_shaped(3))
def test_a_linear_rule_is_the_sum_in_every_space(updates: list[LowRank]) -> None:
    expected = merged(updates, "linear", weights=WEIGHTS)
    size = 1 + max(update.norm() for update in updates)
    for space in ("core", "knots"):
        found = merged(updates, "linear", space=space, weights=WEIGHTS)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * size)


@settings(max_examples=30)
@given(SEEDS, st.lists(st.integers(1, 4), min_size=3, max_size=3))
def test_orthogonal_updates_are_added(seed: int, ranks: list[int]) -> None:
    updates = orthogonal(seed, ranks, (14, 13))
    expected = merged(updates, "linear", weights=WEIGHTS)
    for method, options in (
        ("tsv", {}),
        ("svc", {}),
        ("core_ties", {"density": 1.0}),
        ("knots_ties", {"density": 1.0}),
    ):
        found = merged(updates, method, weights=WEIGHTS if not options else None, **options)
        np.testing.assert_allclose(
            found, expected if not options else merged(updates, "linear"), atol=1e-10, err_msg=method
        )


@settings(max_examples=30)
@given(SEEDS, RANKS, st.permutations(range(4)))
def test_duplicates_do_not_depend_on_their_order(seed: int, ranks: tuple[int, ...], order: list[int]) -> None:
    """Ranks may add up past the matrix, and one update is there twice."""
    updates = several(seed, ranks, (8, 7))
    updates.append(updates[0])
    shuffled = [updates[place] for place in order]
    for method in ("tsv", "iso_c", "svc", "pico", "karcher"):
        found, expected = merged(shuffled, method), merged(updates, method)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * (1 + np.linalg.norm(expected)), err_msg=method)


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 6), st.integers(2, 4))
def test_copies_of_one_update_are_that_update(seed: int, rank: int, count: int) -> None:
    one = low_rank(seed, 10, 9, rank)
    for method, options in (
        ("tsv", {}),
        ("svc", {}),
        ("karcher", {}),
        ("model_stock", {}),
        ("ctm", {"density": 1.0}),
        ("core_ties", {"density": 1.0}),
        ("knots_ties", {"density": 1.0}),
    ):
        found = merged([one] * count, method, **options)
        expected = one.dense()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * (1 + np.linalg.norm(expected)), err_msg=method)
