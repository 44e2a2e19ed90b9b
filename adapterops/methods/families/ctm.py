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

DIMENSIONS = Parameter(
    "Rank of the shared bases, and so of the result; --rank cuts what was merged in larger ones.", low=1, whole=True
)
BETA = Parameter(
    "How much the norm of an update counts for the bases: 0 all count the same, 1 as they are.", low=0, high=1
)
TURNS, CONVERGED = 200, 1e-6
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
    largest of the inputs' ranks, and never above that of all side by side: more directions would hold nothing. At
    rank 1 TIES has one entry, which it keeps.

    Cost: n + 6 eigendecompositions and two singular value decompositions of R x R matrices, and some tens of products of
        such with U and V.
    Differs: the paper takes all singular vectors again in every turn; here the first turn does, and later ones are one step of
        orthogonal iteration each, from where the last two turns point. Both end where a turn raises what is held by at most
        1e-6 of itself, here or after 200.
    """
    from adapterops.arrays.device import home
    from adapterops.linalg.core import without_noise
    from adapterops.methods.entries import Entries
    from adapterops.updates.dense import Dense

    updates = [(each, weight) for each, weight in zip(matrices, weights, strict=True) if each.any()]
    if not updates:
        return matrices[0]
    norms = [float(np.linalg.norm(each)) for each, _ in updates]
    mean = sum(norms) / len(norms)
    evened = [(beta + (1 - beta) * mean / norm) * each for (each, _), norm in zip(updates, norms, strict=True)]
    rank = dimensions or max(_count(np.linalg.eigvalsh(each @ each.T)) for each, _ in updates)
    U, V = _shared(evened, rank)
    small = Entries([Dense(without_noise(U.T @ each @ V)) for each, _ in updates])
    tile = ties(small, [weight for _, weight in updates], density=density, majority=majority)
    merged = np.concatenate([home(tile(first)) for first in range(0, small.shape[0], small.height)])
    back: Array = U @ merged @ V.T
    return back


def _count(energies: Array) -> int:
    """How many squares of singular values are above rounding."""
    return int(np.count_nonzero(energies > ROUNDING**2 * energies.max()))


def _shared(matrices: Sequence[Array], rank: int) -> tuple[Array, Array]:
    """Orthonormal U and V that hold nearly the most of Σ ‖Uᵀ Mᵢ V‖²: of `rank` columns, or of as many as hold anything.

    Each in turn becomes the strongest left singular vectors of [M₁ V …], or of [M₁ᵀ U …], and later on takes one step of
    orthogonal iteration towards them. The steps of V that follow go on in the direction of the last two, the further the more
    of them there were, and again after one that holds less (Nesterov's momentum with restarts): a third of the turns.
    """
    from adapterops.linalg.singular import svd

    transposed = [each.T for each in matrices]
    grams = [sum(each @ each.T for each in side) for side in (matrices, transposed)]
    others, V = np.linalg.eigh(grams[1])
    some = min(rank, _count(np.linalg.eigvalsh(grams[0])), _count(others))
    U = _strongest(_across(matrices, V[:, -some:]), some)
    V = _strongest(_across(transposed, U), some)
    ahead, steps, held = V, 0, 0.0
    for _ in range(TURNS):
        U = _step(_across(matrices, ahead), U)
        across = _across(transposed, U)
        before, V = V, _step(across, V)
        now = float(np.square(across.T @ V).sum())
        if held <= now <= held + CONVERGED * now:
            break
        steps = steps + 1 if now > held else 0
        ahead, held = _orthonormal(V + steps / (steps + 3) * (V - before)) if steps else V, now
    U = svd(_across(matrices, V))[0][:, :some]
    return U, svd(_across(transposed, U))[0][:, :some]


def _across(matrices: Sequence[Array], V: Array) -> Array:
    """[M₁ V …]"""
    return np.concatenate([each @ V for each in matrices], axis=1)


def _strongest(stacked: Array, count: int) -> Array:
    """The first left singular vectors."""
    return np.linalg.eigh(stacked @ stacked.T)[1][:, -count:]


def _step(stacked: Array, U: Array) -> Array:
    """U after one step of orthogonal iteration."""
    return _orthonormal(stacked @ (stacked.T @ U))


def _orthonormal(columns: Array) -> Array:
    """Q of the QR with a positive diagonal, which moves no further than the columns do."""
    Q, R = np.linalg.qr(columns)
    return Q * np.where(np.diag(R) < 0, -1.0, 1.0)
