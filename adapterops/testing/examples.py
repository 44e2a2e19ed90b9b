"""What laws are tried on: random adapters of a few small modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from adapterops.adapters.adapter import Adapter
from adapterops.provenance.history import Step
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array

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
    """With a history and inputs of its own, as adapters from different files have: random masks are keyed by the one."""
    return replace(adapter.with_grams(inputs(index, SHAPES)), history=Step("memory", {"name": str(index)}))


def inputs(index: int, shapes: Mapping[str, tuple[int, int]]) -> dict[str, Array]:
    """Gram matrices of inputs of every module, of few of them less than it takes in."""
    random = np.random.default_rng(index)
    found = {name: random.standard_normal((width, 3 + 2 * index)) for name, (_, width) in shapes.items()}
    return {name: X @ X.T / X.shape[1] for name, X in found.items()}
