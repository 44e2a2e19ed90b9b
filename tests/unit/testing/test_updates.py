"""Updates keep their laws, and what breaks one is found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from adapterops.testing import check_change, check_update
from adapterops.updates.dense import Dense
from adapterops.updates.gain import Gain
from adapterops.updates.kinds import KINDS
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array, Part

UNIT = Path(__file__).parent.parent


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_updates_keep_their_laws(dtype: Any) -> None:
    random = np.random.default_rng(0)
    B, A = random.standard_normal((9, 3)).astype(dtype), random.standard_normal((3, 6)).astype(dtype)
    low_rank, dense = LowRank(B, A, 0.5), Dense(random.standard_normal((9, 6)).astype(dtype))
    for update in (low_rank, dense, low_rank + dense):
        check_update(update)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_held_to_the_laws_where_it_is_tested(name: str) -> None:
    module = KINDS[name].build.__module__.rpartition(".")[2]
    law = "check_change" if KINDS[name].reads else "check_update"
    assert f"    {law}(" in (UNIT / f"updates/test_{module}.py").read_text(encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Wrong(Dense):
    def norm(self) -> float:
        return 0.5 * super().norm()


def test_a_wrong_norm_is_found() -> None:
    with pytest.raises(AssertionError, match="norm is that of the entries"):
        check_update(Wrong(np.random.default_rng(0).standard_normal((4, 3))))


@dataclass(frozen=True, eq=False)
class Turned(Gain):
    @property
    def T(self) -> Gain:
        return self


@dataclass(frozen=True, eq=False)
class Scaled(Gain):
    """It looks at more of the weight than the part."""

    def change(self, part: Part, W: Array, out: Array) -> Array:
        return super().change(part, W, out) * W.sum()


@dataclass(frozen=True, eq=False)
class Unshaped:
    shape: ClassVar[tuple[int, int]] = (3, 0)


def test_a_shape_that_cannot_be_replaced_is_found() -> None:
    with pytest.raises(AssertionError, match=r"Unshaped has the shape \(3, 0\), and no field `shape`"):
        check_change(Unshaped(), np.ones((3, 3)), "entries")


@pytest.mark.parametrize(("kind", "law"), [(Turned, "T is that"), (Scaled, "a part agrees")])
def test_what_breaks_a_law_of_what_depends_on_its_weight_is_found(kind: type[Gain], law: str) -> None:
    factors, W = np.array([2.0, 3.0, 0.5]), np.random.default_rng(0).standard_normal((3, 3))
    check_change(Gain(factors, by_inputs=False, shape=(3, 0)), W, "entries")
    with pytest.raises(AssertionError, match=law):
        check_change(kind(factors, by_inputs=False, shape=(3, 0)), W, "entries")
