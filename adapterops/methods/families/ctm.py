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
TURNS, CONVERGED = 200, 1e-6
EXACT = 6
"""Turns that take all singular vectors anew: which of several maxima is found is decided in the first few."""

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

    Cost: n + 2 singular value decompositions and some ten eigendecompositions of R x R matrices, and some tens of products
        of such with U and V.
    Differs: the paper takes all singular vectors anew in every turn, here the first six do, and later ones are one step of
        orthogonal iteration each. Both end where a turn raises what is held by at most 1e-6 of itself, here or after 200.
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
    U, V = _shared(evened, rank)
    small = Entries([Dense(without_noise(U.T @ each @ V)) for each, _ in updates])
    density = max(density, 1 / small.size)
    tile = ties(small, [weight for _, weight in updates], density=density, majority=majority)
    merged = np.concatenate([tile(first) for first in range(0, small.shape[0], small.height)])
    back: Array = U @ merged @ V.T
    return back


def _shared(matrices: Sequence[Array], rank: int) -> tuple[Array, Array]:
    """Orthonormal U and V that hold nearly the most of Σ ‖Uᵀ Mᵢ V‖²: of `rank` columns, or of as many as hold anything.

    Each in turn becomes the strongest left singular vectors of [M₁ V …], or of [M₁ᵀ U …], and later on takes one step of
    orthogonal iteration towards them; neither lowers what is held.
    """
    from adapterops.linalg.singular import svd

    turned = [each.T for each in matrices]
    grams = [sum(each @ each.T for each in side) for side in (matrices, turned)]
    some = min(rank, *(int(np.linalg.matrix_rank(gram, rtol=ROUNDING**2, hermitian=True)) for gram in grams))
    V = np.linalg.eigh(grams[1])[1][:, -some:]
    U, held = _strongest(_across(matrices, V), V)[0], 0.0
    for turn in range(TURNS):
        nearer = _strongest if turn < EXACT else _step
        V, now = nearer(_across(turned, U), V)
        if now - held <= CONVERGED * now:
            break
        held = now
        U = nearer(_across(matrices, V), U)[0]
    U = svd(_across(matrices, V))[0][:, :some]
    return U, svd(_across(turned, U))[0][:, :some]


def _across(matrices: Sequence[Array], V: Array) -> Array:
    """[M₁ V …]"""
    return np.concatenate([each @ V for each in matrices], axis=1)


def _strongest(stacked: Array, U: Array) -> tuple[Array, float]:
    """As many left singular vectors as U has columns, and the energy that they hold."""
    energies, vectors = np.linalg.eigh(stacked @ stacked.T)
    return vectors[:, -U.shape[1] :], float(energies[-U.shape[1] :].sum())


def _step(stacked: Array, U: Array) -> tuple[Array, float]:
    """U after one step of orthogonal iteration, and the energy that it holds."""
    better = np.linalg.qr(stacked @ (stacked.T @ U))[0]
    return better, float(np.square(stacked.T @ better).sum())
