"""Thresholds where the sample misleads; test_entries has them against a stable sort."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapterops.methods import thresholds
from adapterops.methods.thresholds import threshold


def test_a_sample_that_misleads_costs_a_pass_and_no_truth() -> None:
    values = np.linspace(0, 1, 10_001).astype(np.float32)
    for sample in (values[:50], values[-50:], values[5000:5001]):
        assert threshold(lambda: [[lambda: values[::2], lambda: values[1::2]]], sample, len(values), 2000) == (
            values[-2000],
            None,
        )


@pytest.mark.parametrize("off", [0.005, -0.005])
def test_of_what_a_sample_that_is_a_little_off_leads_to_little_is_collected(
    off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose rows are of several sizes: all that is above a bracket, or below it, would be most of a matrix."""
    values = np.linspace(0, 1, 1_000_001).astype(np.float32)
    collected: list[int] = []

    def count(*of: Any) -> tuple[int, thresholds.Numbers]:
        above, inside = found(*of)
        collected.append(len(inside))
        return above, inside

    found = thresholds._count
    monkeypatch.setattr(thresholds, "_count", count)
    sample = (values[::2] + off).clip(0, 1)
    assert threshold(lambda: [[lambda: values]], sample, len(values), 200_000) == (values[-200_000], None)
    assert len(collected) == 2
    assert max(collected) < len(values) / 20
