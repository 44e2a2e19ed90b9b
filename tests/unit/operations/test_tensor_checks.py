"""Checks of the rows of one module add up."""

from __future__ import annotations

from adapterops.operations.tensor_checks import ModuleCheck
from adapterops.updates.survival import Survival


def test_checks_add_up() -> None:
    """Counts are sums; the worst identity counts; what survived is known where any part of it is."""
    one = ModuleCheck(4, 3, 1, 0, 2, 0.25)
    other = ModuleCheck(2, 1, 0, 1, 1, 0.5, Survival(delta=2.0, dot=1.0))
    assert one + other == ModuleCheck(6, 4, 1, 1, 3, 0.5, Survival(delta=2.0, dot=1.0))
    assert (other + other).as_json()["survival"]["gain"] == 0.5
