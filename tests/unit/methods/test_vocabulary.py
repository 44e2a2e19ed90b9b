"""The words that methods are made of, entry by entry."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank

from adapterops import Adapter, merge
from adapterops.errors import OptionError
from adapterops.methods.registry import METHODS
from adapterops.methods.tiles import Cut, Tile
from adapterops.methods.vocabulary import (
    bernoulli,
    check_shares,
    disjoint_sum,
    elect_sign,
    elected,
    total,
    trim,
    weighted_sum,
)


def rows(*values: list[float]) -> list[np.ndarray]:
    return [np.array([each]) for each in values]


def test_trimming_and_adding() -> None:
    tile = Tile(rows([1, -3, 2], [5, 0, -1]), 0, ["a", "b"])
    assert [x.tolist() for x in trim(tile, [Cut(2), Cut(1)])] == [[[0, -3, 2]], [[5, 0, -1]]]
    assert [x.tolist() for x in tile.values] == [[[0, -3, 2]], [[5, 0, -1]]], "in their place"
    assert weighted_sum(tile.values, [2.0, -1.0]).tolist() == [[-5, -6, 5]]


def test_a_mask_keeps_the_mean() -> None:
    tile = Tile([np.ones((400, 500))], 0, ["a"])
    (found,) = bernoulli(tile, 0.25, 3)
    assert {*np.unique(found)} == {0.0, 4.0}
    assert found.mean() == pytest.approx(1, abs=0.02)
    assert bernoulli(tile, 1, 3)[0] is tile.values[0] is found


def test_a_sign_is_elected_by_sum_or_by_number() -> None:
    votes = rows([5, -1, 0], [-1, -1, 0], [-1, 3, 0])
    assert total(votes, "total").tolist() == [[3, 1, 0]]
    assert total(votes, "frequency").tolist() == [[-1, -1, 0]]
    assert elect_sign(votes, "total", 1.0).tolist() == [[True, True, True]]
    assert elect_sign(votes, "frequency", -1.0).tolist() == [[False, False, False]]


def test_what_agrees_is_summed_or_averaged() -> None:
    positive = np.array([[True, False, True]])
    votes = ([4.0, -2.0, -1.0], [2.0, 6.0, -5.0])
    assert disjoint_sum(rows(*votes), positive, [1.0, 1.0]).tolist() == [[6, -2, 0]]
    assert disjoint_sum(rows(*votes), positive, [1.0, 1.0], [1.0, 1.0]).tolist() == [[3, -2, 0]]
    assert disjoint_sum(rows(*votes), positive, [1.0, 0.5], [1.0, 3.0]).tolist() == [[1.25, -2, 0]]


@pytest.mark.parametrize(
    ("convention", "disjoint", "expected"),
    [
        (None, None, [(2 * 4 + 1) / 3, -6.0]),
        (None, "sum", [9.0, -6.0]),
        ("peft", None, [(2 * 4 + 1) / 2, -6.0 / 1]),
        ("mergekit", None, [(2 * 4 + 1) / 3, -6.0 / 1]),
    ],
)
def test_conventions(convention: str | None, disjoint: str | None, expected: list[float]) -> None:
    found = elected(rows([4.0, 1.0], [1.0, -6.0]), [2.0, 1.0], "total", convention, disjoint)
    np.testing.assert_allclose(found, [expected])


def test_shares_are_not_negative() -> None:
    check_shares([0.5, 0], {})
    for weights in ([1.0, -0.1], [0.0, 0.0]):
        with pytest.raises(OptionError, match="shares of a mean"):
            check_shares(weights, {})


@pytest.mark.parametrize("space", ["core", "knots"])
@pytest.mark.parametrize("method", ["ties", "core_ties", "knots_ties", "magnitude_prune", "breadcrumbs", "ctm"])
def test_of_few_entries_one_is_kept(method: str, space: str) -> None:
    """Adapters of rank 1 have 1 or 4 entries in the core, of which a density of 0.2 is none."""
    if space not in METHODS[method].spaces:
        space = METHODS[method].spaces[0]
    first, second = (Adapter.of({"a": low_rank(seed, 6, 3, 1)}) for seed in (1, 2))
    for pair in ([first, first], [first, second]):
        assert merge(pair, method, space=space, density=0.2).updates["a"].dense().any()
