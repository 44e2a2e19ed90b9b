"""Compress the updates into bases of one rank that they share, and merge there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adapterops.methods.families.ties import ties
from adapterops.methods.registry import Parameter, method
from adapterops.methods.vocabulary import DENSITY, MAJORITY

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array

DIMENSIONS = Parameter("Rank of the shared bases, and of the result.", low=1, whole=True)
BETA = Parameter(
    "How much the norm of an update counts for the bases: 0 all count the same, 1 as they are.", low=0, high=1
)
TURNS, CONVERGED = 100, 1e-5
ROUNDING = 1e-6
"""What a singular value is above, relative to the largest, if it is none of rounding to float32."""


def _rank(options: Mapping[str, Any], ranks: Sequence[int]) -> int:
    return options["dimensions"] or max(ranks)


@method(
    "ctm",
    source="2026, arXiv:2606.03723",
    acts="matrices",
    rank=_rank,
    dimensions=DIMENSIONS,
    beta=BETA,
    density=DENSITY,
    majority=MAJORITY,
)
def ctm(
    matrices: Sequence[Array],
    weights: Sequence[float],
    *,
    dimensions: int | None = None,
    beta: float = 0.25,
    density: float = 0.2,
    majority: str = "total",
) -> Array:
    """Compress-then-merge: TIES in bases of low rank that hold as much as they can of all updates.

    TIES acts on Uᵀ ΔWᵢ V; U and V are found by alternating (HOOI), from updates brought nearer to each other's norm by the factor
    β + (1 - β) mean ‖ΔW‖ / ‖ΔWᵢ‖. The result has that rank by construction: nothing is cut afterwards. By default it is the
    largest of the inputs' ranks, and never above that of all side by side: more directions would hold nothing. TIES keeps
    at least one entry: at rank 1 there is one.

    Cost: some tens of eigendecompositions of R x R matrices.
    Differs: the paper alternates until what is held rises by less than 1e-6 of itself, here 1e-5.
    """
    from adapterops.linalg.core import without_noise
    from adapterops.methods.entries import Entries
    from adapterops.updates.dense import Dense

    updates = [(each, weight) for each, weight in zip(matrices, weights, strict=True) if each.any()]
    if not updates:
        return matrices[0]
    norms = [float(np.linalg.norm(each)) for each, _ in updates]
    mean = sum(norms) / len(norms)
    evened = [(beta + (1 - beta) * mean / norm) * each for (each, _), norm in zip(updates, norms, strict=True)]
    rank = dimensions or max(int(np.linalg.matrix_rank(each, rtol=ROUNDING)) for each, _ in updates)
    held = (int(np.linalg.matrix_rank(np.concatenate(evened, axis=axis), rtol=ROUNDING)) for axis in (0, 1))
    U, V = _shared(evened, min(rank, *held))
    small = Entries([Dense(without_noise(U.T @ each @ V)) for each, _ in updates])
    density = max(density, 1 / small.size)
    tile = ties(small, [weight for _, weight in updates], density=density, majority=majority)
    merged = np.concatenate([tile(first) for first in range(0, small.shape[0], small.height)])
    back: Array = U @ merged @ V.T
    return back


def _shared(matrices: Sequence[Array], rank: int) -> tuple[Array, Array]:
    """Orthonormal U and V of `rank` columns that hold nearly the most of Σ ‖Uᵀ Mᵢ V‖²."""
    from adapterops.linalg.singular import svd

    def best(parts: Sequence[Array]) -> tuple[Array, float]:
        stacked = np.concatenate(parts, axis=1)
        energies, vectors = np.linalg.eigh(stacked @ stacked.T)
        return vectors[:, -rank:], float(energies[-rank:].sum())

    V = best([each.T for each in matrices])[0]
    held = 0.0
    for _ in range(TURNS):
        U = best([each @ V for each in matrices])[0]
        V, now = best([each.T @ U for each in matrices])
        if now - held <= CONVERGED * now:
            break
        held = now
    U = svd(np.concatenate([each @ V for each in matrices], axis=1))[0][:, :rank]
    return U, svd(np.concatenate([each.T @ U for each in matrices], axis=1))[0][:, :rank]
