"""Thresholds where the sample misleads; test_entries has them against a stable sort."""

from __future__ import annotations

import numpy as np

from adapterops.methods.thresholds import threshold


def test_a_sample_that_misleads_costs_a_pass_and_no_truth() -> None:
    values = np.linspace(0, 1, 10_001).astype(np.float32)
    for sample in (values[:50], values[-50:], values[5000:5001]):
        assert threshold(lambda: [values[::2], values[1::2]], sample, len(values), 2000) == (
            values[-2000],
            None,
        )
