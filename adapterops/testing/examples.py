"""What laws are tried on: random adapters of a few small modules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from adapterops.adapters.adapter import Adapter
from adapterops.provenance.history import Step
from adapterops.updates.lowrank import LowRank

SHAPES = {"layers.0.q": (7, 5), "layers.0.v": (4, 5), "layers.1.q": (7, 5)}
SEEDS = range(10)


def low_rank(random: np.random.Generator, shape: tuple[int, int], rank: int) -> LowRank:
    B, A = random.standard_normal((shape[0], rank)), random.standard_normal((rank, shape[1]))
    return LowRank(B, A, float(random.choice([0.25, 1.0, 3.0])))


def other_factors(random: np.random.Generator, update: LowRank) -> LowRank:
    G = np.linalg.qr(random.standard_normal((3, 3)))[0] @ np.diag([4.0, 1.0, 0.5])
    return LowRank(update.B @ G, np.linalg.inv(G) @ update.A, update.scale)


def adapters(random: np.random.Generator, count: int) -> list[Adapter]:
    """Of ranks 0 to 12, above what the shapes hold; all have the first module, others may be missing."""
    found = []
    for index in range(count):
        names = [name for place, name in enumerate(SHAPES) if place == 0 or random.random() < 0.6]
        found.append(
            named(
                Adapter.of({name: low_rank(random, SHAPES[name], int(random.integers(0, 13))) for name in names}),
                index,
            )
        )
    return found


def named(adapter: Adapter, index: int) -> Adapter:
    """With a history of its own, as adapters from different files have: random masks are keyed by it."""
    return replace(adapter, history=Step("memory", {"name": str(index)}))
