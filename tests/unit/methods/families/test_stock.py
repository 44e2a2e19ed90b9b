"""Model stock against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import low_rank, merged, orthogonal

from adapterops.errors import OptionError


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_formula_on_whole_matrices(seed: int) -> None:
    shared = low_rank(seed, 12, 10, 2)
    updates = [shared + 0.5 * low_rank(seed + 10 * index, 12, 10, 2) for index in (1, 2, 3)]
    parts = np.array([each.dense() for each in updates])
    units = [part / np.linalg.norm(part) for part in parts]
    cosine = np.mean([(units[0] * units[1]).sum(), (units[0] * units[2]).sum(), (units[1] * units[2]).sum()])
    expected = 3 * cosine / (1 + 2 * cosine) * parts.mean(axis=0)
    np.testing.assert_allclose(merged(updates, "model_stock"), expected, atol=1e-11)


def test_equal_updates_are_themselves_and_orthogonal_ones_nothing() -> None:
    one = low_rank(0, 12, 10, 2)
    np.testing.assert_allclose(merged([one, one], "model_stock"), one.dense(), atol=1e-12)
    np.testing.assert_allclose(merged(orthogonal(0), "model_stock"), 0, atol=1e-12)
    np.testing.assert_allclose(merged([one, -0.5 * one], "model_stock"), 0, atol=1e-12)


def test_mergekit_turns_the_mean_round_and_where_that_has_no_end_keeps_the_base() -> None:
    one, other = low_rank(0, 12, 10, 2), low_rank(1, 12, 10, 2)
    updates = [one, other + -0.5 * one]
    parts = np.array([each.dense() for each in updates])
    cosine = (parts[0] * parts[1]).sum() / np.linalg.norm(parts[0]) / np.linalg.norm(parts[1])
    assert cosine < -0.1
    expected = 2 * cosine / (1 + cosine) * parts.mean(axis=0)
    np.testing.assert_allclose(merged(updates, "model_stock", convention="mergekit"), expected, atol=1e-11)
    np.testing.assert_allclose(merged([one, -0.5 * one], "model_stock", convention="mergekit"), 0, atol=1e-12)
    with pytest.raises(OptionError, match="model_stock is not in peft's convention"):
        merged(updates, "model_stock", convention="peft")
