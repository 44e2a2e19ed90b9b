"""What the weighted sum holds of each adapter, against dense matrices; and that its factors are those of `merge`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from strategies import adapters, low_rank

from adapterops import Adapter, merge
from adapterops.engine.execution import Execution
from adapterops.operations.comparing.comparison import compare
from adapterops.operations.comparing.outlook import condition, outlooks


def flat(adapter: Adapter, like: Adapter) -> np.ndarray:
    """All entries, zeros for what it lacks."""
    return np.concatenate(
        [
            (adapter.updates[m].dense() if m in adapter.layout else np.zeros(like.layout[m].shape)).ravel()
            for m in like.layout
        ]
    ).astype(np.float64)


@given(adapters(3))
def test_kept_and_added_are_those_of_the_merge(found: list[Adapter]) -> None:
    for each in outlooks(compare(found, how=Execution(1))):
        merged = merge(found, "linear", scale=each.scale)
        M = flat(merged, merged)
        for adapter, held in zip(found, each.held, strict=True):
            own = flat(adapter, merged)
            if held is None:
                assert not own.any()
                continue
            kept = M @ own / (own @ own)
            assert held.kept == pytest.approx(kept, rel=1e-5, abs=1e-6)
            added = np.linalg.norm(M - kept * own) / np.linalg.norm(own)
            assert held.added == pytest.approx(added, rel=1e-4, abs=1e-3)


def test_the_factors_are_those_of_merge() -> None:
    found = [Adapter.of({"q": size * low_rank(seed, 30, 20, 2)}) for seed, size in enumerate((0.01, 0.05, 0.1))]
    auto, *_ = outlooks(compare(found))
    total, merged = (merge(found, "linear", scale=scale).updates["q"].norm() for scale in ("sum", "auto"))
    assert auto.scale == "auto"
    assert auto.factors["q"] == pytest.approx(merged / total, rel=1e-6)


def test_the_condition_says_whether_one_is_made_of_the_others() -> None:
    one, other = (Adapter.of({"q": low_rank(seed, 300, 200, 2)}) for seed in (0, 1))
    assert condition(compare([one, other])) == pytest.approx(1, abs=0.1)
    assert condition(compare([one, -2 * one])) == math.inf
    zero = Adapter.of({"q": 0.0 * low_rank(0, 300, 200, 2)})
    assert condition(compare([one, other, zero])) == pytest.approx(condition(compare([one, other])))
    assert condition(compare([zero, zero])) == 1
