"""What a merge has of adapters that it is against, by their entries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import several

from adapterops import Adapter, Dense, LowRank
from adapterops.operations.comparing.opposed import opposed


@pytest.mark.parametrize("full", [False, True])
@given(st.integers(0, 999))
def test_it_is_the_inner_product_where_that_is_negative(full: bool, seed: int) -> None:
    *updates, merged = several(seed, (2, 3, 1, 4))
    updates[2] = 0.0 * updates[2]
    given_ = [Dense(each.dense()) if full else each for each in updates]
    adapters = [*(Adapter.of({"m": each}) for each in given_), Adapter.of({"other": merged})]
    found = opposed(merged, adapters, "m")
    kept = [np.vdot(merged.dense(), each.dense()) / np.square(each.dense()).sum() for each in updates[:2]]
    assert found == [*(pytest.approx(each, rel=1e-9) if each < -1e-3 else None for each in kept), None, None]


def test_what_is_next_to_orthogonal_is_not_against() -> None:
    one, other = np.eye(2)[:, :1], np.array([[-2e-4], [1.0]])
    merged = LowRank(one, np.ones((1, 3)))
    adapters = [
        Adapter.of({"m": LowRank(factor * each, np.ones((1, 3)))})
        for each, factor in ((other, 1), (other - 0.01 * one, 2))
    ]
    first, second = opposed(merged, adapters, "m")
    assert first is None
    assert second == pytest.approx(-0.0051, rel=1e-3)


def test_entries_of_a_merge_are_computed_once_for_all_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, passes = Dense.rows, []

    def counted(self: Dense, *given_: object) -> object:
        passes.append(self)
        return rows(self, *given_)

    monkeypatch.setattr(Dense, "rows", counted)
    merged = Dense(-np.ones((4, 3)))
    assert opposed(merged, [Adapter.of({"m": Dense(np.eye(4, 3))})] * 3, "m") == [-1.0] * 3
    assert sum(each is merged for each in passes) == 1
