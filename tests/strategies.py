"""Random updates and adapters, in float64 where a law is exact up to rounding."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from adapterops import Adapter, LowRank
from adapterops.updates.protocol import Linear

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
    for _ in range(count):
        names = ["layers.0.q", *draw(st.lists(st.sampled_from(list(MODULES)), unique=True))]
        found.append(Adapter.of({name: draw(updates(MODULES[name])) for name in set(names)}))
    return found


def dense(adapter: Adapter) -> dict[str, torch.Tensor]:
    """All modules as matrices in float64; those that are missing are zero."""
    return {
        name: entries(adapter.updates[name]).double()
        if name in adapter.layout
        else torch.zeros(shape, dtype=torch.float64)
        for name, shape in MODULES.items()
    }
