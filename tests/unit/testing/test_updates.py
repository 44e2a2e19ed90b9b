"""Updates keep their laws, and what breaks one is found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapterops.testing import check_update
from adapterops.updates.dense import Dense
from adapterops.updates.kinds import KINDS
from adapterops.updates.lowrank import LowRank

UNIT = Path(__file__).parent.parent


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_updates_keep_their_laws(dtype: Any) -> None:
    random = np.random.default_rng(0)
    B, A = random.standard_normal((9, 3)).astype(dtype), random.standard_normal((3, 6)).astype(dtype)
    low_rank, dense = LowRank(B, A, 0.5), Dense(random.standard_normal((9, 6)).astype(dtype))
    for update in (low_rank, dense, low_rank + dense):
        check_update(update)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.reads])
def test_every_kind_that_needs_no_base_is_held_to_the_laws_where_it_is_tested(name: str) -> None:
    module = KINDS[name].build.__module__.rpartition(".")[2]
    assert "    check_update(" in (UNIT / f"updates/test_{module}.py").read_text(encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Wrong(Dense):
    def norm(self) -> float:
        return 0.5 * super().norm()


def test_a_wrong_norm_is_found() -> None:
    with pytest.raises(AssertionError, match="norm is that of the entries"):
        check_update(Wrong(np.random.default_rng(0).standard_normal((4, 3))))
