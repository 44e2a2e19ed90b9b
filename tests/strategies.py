"""Random updates and adapters, in float64 where a law is exact up to rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from adapterops import Adapter, LowRank, merge
from adapterops.testing.examples import inputs
from adapterops.updates.protocol import Array, Linear

SCALARS = st.sampled_from([-2.0, -0.5, 0.0, 0.3, 1.0, 3.0])


def entries(update: Linear) -> torch.Tensor:
    """ΔW as a tensor."""
    return torch.from_numpy(update.dense())


def low_rank(
    seed: int, out: int, into: int, rank: int, scale: float = 1.0, dtype: torch.dtype = torch.float64
) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    B = torch.randn(out, rank, generator=generator, dtype=torch.float64)
    A = torch.randn(rank, into, generator=generator, dtype=torch.float64)
    return LowRank(B.to(dtype), A.to(dtype), scale)


def merged(updates: list[LowRank], method: str, **options: Any) -> Array:
    """The entries of what a method makes of one module, its own size kept."""
    shapes = {"m": updates[0].shape}
    adapters = [with_inputs(Adapter.of({"m": update}), index, shapes) for index, update in enumerate(updates)]
    return merge(adapters, method, **{"scale": "sum", **options}).updates["m"].dense()


def several(seed: int, ranks: Sequence[int] = (2, 3, 1), shape: tuple[int, int] = (12, 10)) -> list[LowRank]:
    return [low_rank(1000 * seed + index, *shape, rank) for index, rank in enumerate(ranks)]


def orthogonal(seed: int, ranks: Sequence[int] = (2, 3, 1), shape: tuple[int, int] = (12, 10)) -> list[LowRank]:
    """Updates whose rows and columns have no direction in common, and no singular value either."""
    random, total = np.random.default_rng(seed), sum(ranks)
    U, V = (np.linalg.qr(random.standard_normal((size, total)))[0] for size in shape)
    values = random.permutation(np.linspace(1, 2, total))
    ends = np.cumsum([0, *ranks])
    return [LowRank(U[:, a:b] * values[a:b], V[:, a:b].T) for a, b in pairwise(ends)]


@st.composite
def updates(draw: st.DrawFn, shape: tuple[int, int] | None = None) -> LowRank:
    out, into = shape or (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    return low_rank(
        draw(st.integers(0, 10**6)), out, into, draw(st.integers(0, 12)), draw(st.sampled_from([0.25, 1.0, 3.0]))
    )


@st.composite
def same_shaped(draw: st.DrawFn, count: int = 2) -> list[LowRank]:
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    return [draw(updates(shape)) for _ in range(count)]


MODULES = {"layers.0.q": (7, 5), "layers.0.v": (4, 5), "layers.1.q": (7, 5)}


@st.composite
def adapters(draw: st.DrawFn, count: int = 2) -> list[Adapter]:
    """Adapters with ranks of their own; every one has `layers.0.q`, the other modules may be missing."""
    found = []
    for index in range(count):
        names = ["layers.0.q", *draw(st.lists(st.sampled_from(list(MODULES)), unique=True))]
        found.append(
            with_inputs(Adapter.of({name: draw(updates(MODULES[name])) for name in set(names)}), index, MODULES)
        )
    return found


def with_inputs(adapter: Adapter, index: int, shapes: Mapping[str, tuple[int, int]]) -> Adapter:
    """The adapter with Gram matrices of inputs of its own, for every module of these shapes."""
    return adapter.with_grams(inputs(index, shapes))


def dense(adapter: Adapter) -> dict[str, torch.Tensor]:
    """All modules as matrices in float64; those that are missing are zero."""
    return {
        name: entries(adapter.updates[name]).double()
        if name in adapter.layout
        else torch.zeros(shape, dtype=torch.float64)
        for name, shape in MODULES.items()
    }
