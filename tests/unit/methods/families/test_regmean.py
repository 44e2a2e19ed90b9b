"""RegMean against its formula on whole matrices, and against the inputs it is for."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank, merged, several

from adapterops import Adapter, merge
from adapterops.adapters.grams import Grams
from adapterops.errors import IncompatibleError, OptionError, UnsupportedError
from adapterops.methods.families.regmean import RIDGE
from adapterops.testing.examples import inputs
from adapterops.updates.dense import Dense


def given(index: int, width: int = 10) -> np.ndarray:
    return inputs(index, {"m": (0, width)})["m"]


def counted(gram: np.ndarray, shrink: float) -> np.ndarray:
    diagonal = np.diag(np.diag(gram))
    return shrink * gram + (1 - shrink) * diagonal + RIDGE * diagonal.trace() / len(gram) * np.eye(len(gram))


@pytest.mark.parametrize("shrink", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("weights", [[1, 1, 1], [0.5, 2.0, 0.0]])
def test_it_is_the_formula(shrink: float, weights: list[float]) -> None:
    updates = several(1)
    counts = [weight * counted(given(index), shrink) for index, weight in enumerate(weights)]
    products = [each.dense() @ count for each, count in zip(updates, counts, strict=True)]
    expected = sum(products) @ np.linalg.inv(sum(counts))
    np.testing.assert_allclose(merged(updates, "regmean", weights=weights, shrink=shrink), expected, atol=1e-9)


def test_it_is_right_on_inputs_that_no_other_task_has() -> None:
    """With inputs of two tasks in two halves of the space, each half of the result is that of one update."""
    updates = several(3, ranks=(4, 4))
    halves = [np.diag(np.repeat(side, 5)).astype(float) for side in ((1, 1e-9), (1e-9, 1))]
    adapters = [Adapter.of({"m": update}).with_grams({"m": half}) for update, half in zip(updates, halves, strict=True)]
    found = merge(adapters, "regmean").updates["m"].dense()
    one, other = (each.dense() for each in updates)
    np.testing.assert_allclose(found[:, :5], one[:, :5], atol=0.02)
    np.testing.assert_allclose(found[:, 5:], other[:, 5:], atol=0.02)


def test_what_never_had_an_input_has_the_mean() -> None:
    updates = several(1, ranks=(2, 2))
    adapters = [Adapter.of({"m": each}).with_grams({"m": np.zeros((10, 10))}) for each in updates]
    expected = sum(each.dense() for each in updates) / 2
    np.testing.assert_allclose(merge(adapters, "regmean").updates["m"].dense(), expected, atol=1e-12)


def test_its_rank_is_the_sum_of_the_ranks() -> None:
    adapters = [Adapter.of({"m": low_rank(s, 12, 10, 2)}).with_grams({"m": given(s)}) for s in range(3)]
    found = merge(adapters, "regmean")
    assert found.layout["m"].rank == 6 == found.updates["m"].lowrank().rank
    assert not found.layout["m"].dense


def test_what_is_missing_is_named() -> None:
    one = Adapter.of({"m": low_rank(0, 12, 10, 2)})
    with pytest.raises(OptionError, match="regmean needs the Gram matrices"):
        merge([one, one], "regmean")
    there = one.with_grams({"m": given(0)})
    with pytest.raises(IncompatibleError, match=r"has no Gram matrix there, and .* adapts it"):
        merge([there, one.with_grams({"other": given(0)})], "regmean")
    two = Adapter.of({"m": low_rank(0, 12, 10, 2), "n": low_rank(1, 12, 10, 2)}).with_grams(
        {"m": given(0), "n": given(0)}
    )
    with pytest.raises(IncompatibleError, match="which lacks the module, counts as zero"):
        merge([two, there], "regmean")
    with pytest.raises(IncompatibleError, match="takes inputs of 10 numbers"):
        merge([there, one.with_grams({"m": given(0, 9)})], "regmean")
    whole = Adapter.of({"m": Dense(np.ones((12, 10)))}).with_grams({"m": given(0)})
    with pytest.raises(UnsupportedError, match="no exact factors of low rank"):
        merge([there, whole], "regmean").updates["m"]
    with pytest.raises(OptionError, match="shares of a mean"):
        merge([there, there], "regmean", weights=[1, -1])


def test_gram_matrices_go_along_with_what_is_done_to_an_adapter() -> None:
    one = Adapter.of({"m": low_rank(0, 12, 10, 2)}).with_grams({"m": given(0)})
    assert isinstance((0.5 * one).grams, Grams)
    assert (one + one).grams is None
