"""Random masks that keep the mean, before the sum and before TIES' election."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.errors import OptionError
from adapterops.methods import METHODS
from adapterops.methods.entries import Entries
from adapterops.methods.families.dare import dare_linear, dare_ties
from adapterops.updates.dense import Dense

PARTS = [np.random.default_rng(seed).standard_normal((40, 30)) for seed in (0, 1)]


def entries() -> Entries:
    return Entries([Dense(each) for each in PARTS], ["a", "b"])


def test_the_mean_over_seeds_is_the_weighted_sum() -> None:
    found = np.mean([dare_linear(entries(), [1.0, -2.0], density=0.5, seed=seed)(0) for seed in range(400)], axis=0)
    assert abs(found - (PARTS[0] - 2 * PARTS[1])).mean() < 0.1


def test_one_alone_is_its_masked_entries_in_both() -> None:
    one = Entries([Dense(PARTS[0])], ["a"])
    both = [method(one, [1.0], density=0.5, seed=3)(0) for method in (dare_linear, dare_ties)]
    assert np.array_equal(*both)
    kept = both[0] != 0
    np.testing.assert_allclose(both[0][kept], 2 * PARTS[0][kept])
    assert 0.4 < kept.mean() < 0.6


def test_without_a_mask_the_election_is_that_of_ties() -> None:
    found = dare_ties(entries(), [1.0, 1.0], density=1.0)(0)
    total = PARTS[0] + PARTS[1]
    agree = [np.where(np.sign(x) == np.where(total >= 0, 1, -1), x, np.nan) for x in PARTS]
    np.testing.assert_allclose(found, np.nanmean(agree, axis=0))


def test_the_papers_convention_is_about_trimming() -> None:
    check = METHODS["dare_ties"].check
    assert check
    with pytest.raises(OptionError, match="TIES' trimming"):
        check([1.0], {"convention": "paper"})
