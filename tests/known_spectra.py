"""Adapters of known spectra, for tests of what a comparison says."""

from __future__ import annotations

import numpy as np
from strategies import low_rank

from adapterops import Adapter, LowRank
from adapterops.operations.comparing.comparison import compare
from adapterops.reports.diagnosis import diagnose

SHAPE = (96, 80)
MODULES = [f"model.layers.{layer}.{name}" for layer in range(8) for name in ("q_proj", "up_proj", "down_proj")]


def orthonormal(seed: int, size: int, rank: int) -> np.ndarray:
    return np.linalg.qr(low_rank(seed, size, rank, rank).B)[0]


def adapter(seed: int, values: list[float], gain: dict[str, float] | None = None, start: int | None = None) -> Adapter:
    """With these singular values in every module, times a gain; its row spaces are those of `start`."""
    updates = {}
    for number, module in enumerate(MODULES):
        U, V = (
            orthonormal(100 * seed + number, SHAPE[0], len(values)),
            orthonormal(100 * (start or seed) + number, SHAPE[1], len(values)),
        )
        updates[module] = LowRank(U * np.array(values) * (gain or {}).get(module, 1.0), V.T)
    return Adapter.of(updates)


FLAT = [1.0] * 8
FALLING = [2.0**-k for k in range(8)]
SLOW = [0.75**k for k in range(8)]


def rules(*adapters: Adapter) -> dict[str, str]:
    return {finding.rule: finding.text for finding in diagnose(compare(list(adapters)))}
