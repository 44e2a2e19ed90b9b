"""What is counted of an adapted weight, and summed over its parts."""

from __future__ import annotations

from adapterops.operations.tensor_checks import ModuleCheck
from adapterops.updates.survival import Survival


def test_counts_add_up_and_the_worst_probe_is_kept() -> None:
    both = ModuleCheck(4, 3, 1, 0, 2, 0.5) + ModuleCheck(6, 4, 0, 2, 1, 0.25)
    assert both == ModuleCheck(10, 7, 1, 2, 3, 0.5)
    assert both.as_json() == {"entries": 10, "exact": 7, "near": 1, "wrong": 2, "changed": 3, "identity": 0.5}


def test_what_survived_adds_up() -> None:
    """Counts are sums; the worst identity counts; what survived is known where any part of it is."""
    one = ModuleCheck(4, 3, 1, 0, 2, 0.25)
    other = ModuleCheck(2, 1, 0, 1, 1, 0.5, Survival(delta=2.0, dot=1.0))
    assert one + other == ModuleCheck(6, 4, 1, 1, 3, 0.5, Survival(delta=2.0, dot=1.0))
    assert (other + other).as_json()["survival"]["gain"] == 0.5
