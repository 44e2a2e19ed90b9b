"""What a merge has of adapters that it is against, by their entries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import several

from adapterops import Adapter, Dense
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
    assert found == pytest.approx({place: value for place, value in enumerate(kept) if value < 0}, rel=1e-9)
