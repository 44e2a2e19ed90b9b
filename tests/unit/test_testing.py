"""The laws hold for what is registered, and fail for what breaks them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.methods import METHODS, method
from adapterops.quant.registry import make, written
from adapterops.testing import check_method, check_scheme, check_update
from adapterops.updates.dense import Dense
from adapterops.updates.kinds import KINDS
from adapterops.updates.lowrank import LowRank


@pytest.mark.parametrize("name", written())
def test_every_written_scheme_keeps_its_laws(name: str) -> None:
    check_scheme(make(name, "F32"), range(3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_updates_keep_their_laws(dtype: Any) -> None:
    random = np.random.default_rng(0)
    B, A = random.standard_normal((9, 3)).astype(dtype), random.standard_normal((3, 6)).astype(dtype)
    low_rank, dense = LowRank(B, A, 0.5), Dense(random.standard_normal((9, 6)).astype(dtype))
    sides = {"hada_w1_a": B, "hada_w1_b": A, "hada_w2_a": B[::-1], "hada_w2_b": A[:, ::-1]}
    loha = KINDS["LoHa"].build(sides, 0.5)
    for update in (low_rank, dense, low_rank + dense, loha, loha + low_rank):
        check_update(update)


def test_every_kind_that_needs_no_base_is_held_to_the_laws_above() -> None:
    assert {name for name, kind in KINDS.items() if not kind.needs_base} == {"LoRA", "LoHa"}


def test_a_method_that_depends_on_the_order_is_found() -> None:
    @method("first", source="an example", acts="updates", spaces=("delta",))
    def first(updates: Any, weights: Any) -> Any:
        return 1.0 * updates[0]

    try:
        with pytest.raises(AssertionError, match="first: order_does_not_matter does not hold at seed"):
            check_method("first")
    finally:
        METHODS.remove("first")
