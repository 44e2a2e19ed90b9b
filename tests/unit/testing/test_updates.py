"""Updates keep their laws, and what breaks one is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from adapterops.testing import check_update
from adapterops.updates.dense import Dense
from adapterops.updates.kinds import KINDS
from adapterops.updates.lowrank import LowRank


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


@dataclass(frozen=True, eq=False)
class Wrong(Dense):
    def norm(self) -> float:
        return 0.5 * super().norm()


def test_a_wrong_norm_is_found() -> None:
    with pytest.raises(AssertionError, match="norm is that of the entries"):
        check_update(Wrong(np.random.default_rng(0).standard_normal((4, 3))))
