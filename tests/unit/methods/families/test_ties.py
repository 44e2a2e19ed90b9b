"""TIES against its formula: trim, elect, average what agrees."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.errors import OptionError
from adapterops.methods import METHODS
from adapterops.methods.entries import Entries
from adapterops.methods.families.ties import ties
from adapterops.updates.dense import Dense

PARTS = [np.random.default_rng(seed).standard_normal((30, 20)) for seed in range(3)]


def trimmed(x: np.ndarray, keep: int) -> np.ndarray:
    kept, result = np.argsort(-np.abs(x.reshape(-1)), kind="stable")[:keep], np.zeros(x.size)
    result[kept] = x.reshape(-1)[kept]
    return result.reshape(x.shape)


def agreeing(votes: list[np.ndarray], positive: np.ndarray) -> np.ndarray:
    return np.array([np.where((vote > 0) == positive, vote, 0) * (vote != 0) for vote in votes])


@pytest.mark.parametrize("convention", [None, "peft", "mergekit"])
def test_the_formula(convention: str | None) -> None:
    weights, keep = [0.5, 1.0, 2.0], int(0.3 * 600)
    sparse = [trimmed(x, keep) for x in PARTS]
    weighted = [w * x for w, x in zip(weights, sparse, strict=True)]
    votes = sparse if convention == "peft" else weighted
    kept = agreeing(votes, sum(votes) >= 0)
    divisors = np.ones(3) if convention == "peft" else np.array(weights)
    divisor = np.tensordot(divisors, (kept != 0).astype(float), 1)
    upper = np.tensordot(np.array(weights) if convention == "peft" else np.ones(3), kept, 1)
    expected = np.divide(upper, divisor, out=np.zeros_like(upper), where=divisor > 0)
    found = ties(Entries([Dense(x) for x in PARTS]), weights, density=0.3, convention=convention)(0)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("convention", "kept"), [(None, 1), ("peft", 0), ("mergekit", 1)])
def test_of_a_small_tensor_one_entry_is_kept_and_by_peft_none(convention: str | None, kept: int) -> None:
    found = ties(Entries([Dense(PARTS[0][:1])]), [1.0], density=0.04, convention=convention)(0)
    np.testing.assert_array_equal(found, trimmed(PARTS[0][:1], kept))


def test_the_papers_has_one_weight() -> None:
    check = METHODS["ties"].check
    assert check is not None
    check([2.0, 2.0], {"convention": "paper"})
    check([1.0, 2.0], {"convention": None})
    with pytest.raises(OptionError, match="one weight for all adapters"):
        check([1.0, 2.0], {"convention": "paper"})
