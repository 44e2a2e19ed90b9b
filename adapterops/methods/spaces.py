"""Where a method acts: updates into coordinates, and what a method makes of those back into an update.

A space divides the updates of a module into blocks: lists of one `Linear` for each update, with its weight. A method
turns every block into one, and the space puts these together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.methods.registry import Method
from adapterops.updates.layout import Layout
from adapterops.updates.protocol import Linear

if TYPE_CHECKING:
    from adapterops.linalg.core import JointCore
    from adapterops.updates.lowrank import LowRank

Back = Callable[[Sequence[Linear]], Linear]


class Coordinates(NamedTuple):
    """One update for each adapter, its weight, and what its name says of it: "" for the entries of ΔW."""

    updates: Sequence[Linear]
    weights: Sequence[float]
    role: str = ""


@dataclass(frozen=True)
class Space:
    """A named choice of coordinates.

    Attributes:
        open: the blocks of some updates and their weights, and the way back.
        layout: of the result, by the layouts of the updates and that of their sum.
        fixed: parameters that have one value here, where a method has them.
        weights: what a method gets for the weights that were given.
        by_factors: whether the updates must have factors of low rank.
    """

    name: str
    help: str
    open: Callable[[Sequence[Linear], Sequence[float]], tuple[list[Coordinates], Back]]
    layout: Callable[[Method, Sequence[Layout], Layout], Layout]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    weights: Callable[[Sequence[float]], list[float]] = list
    by_factors: bool = False


def _capped(total: Layout) -> Layout:
    return replace(total, rank=min(total.rank, *total.shape))


def _delta(updates: Sequence[Linear], weights: Sequence[float]) -> tuple[list[Coordinates], Back]:
    return [Coordinates(updates, weights)], lambda results: results[0]


def _delta_layout(method: Method, layouts: Sequence[Layout], total: Layout) -> Layout:
    total = _capped(total) if method.capped else total
    return replace(total, dense=True) if method.acts in ("matrices", "entries") else total


def _weights(updates: Sequence[Linear], weights: Sequence[float]) -> tuple[list[Coordinates], Back]:
    """W and all W + ΔWᵢ, W with what the weights of the others leave of 1."""
    from adapterops.updates.difference import Difference

    base = next((update.start for update in updates if isinstance(update, Difference)), None)
    if base is None:
        raise UnsupportedError(
            "is an adapter, and --space weights is for whole models",
            hint="use --space delta; or name models, with fuse BASE --tuned MODEL",
        )
    models: list[Linear] = [base, *(base + update for update in updates)]
    return [Coordinates(models, _with_base(weights))], lambda results: results[0] + -1.0 * base


def _with_base(weights: Sequence[float]) -> list[float]:
    """The base has what the others leave of 1."""
    return [1 - sum(weights), *weights]


def _core(updates: Sequence[Linear], weights: Sequence[float]) -> tuple[list[Coordinates], Back]:
    from adapterops.updates.dense import Dense

    joint = _joint(updates)
    return [Coordinates([Dense(matrix) for matrix in joint.matrices], weights)], lambda results: joint.back(
        results[0].dense()
    )


def _knots(updates: Sequence[Linear], weights: Sequence[float]) -> tuple[list[Coordinates], Back]:
    """With U S [V₁ …]ᵀ the SVD of [ΔW₁ …]: S Vᵢᵀ = Uᵀ ΔWᵢ for each update, and U back.

    In canonical form Bᵢ = Pᵢ √Σᵢ and Aᵢ = √Σᵢ Qᵢᵀ, so that U and S are those of [P₁ Σ₁ …], and S Vᵢᵀ = (Uᵀ Pᵢ Σᵢ) Qᵢᵀ has the
    rank of the update.
    """
    from adapterops.linalg.core import principal, without_noise
    from adapterops.linalg.factor import balanced
    from adapterops.updates.lowrank import LowRank

    canonical = [balanced(update) for update in factored(updates)]
    roots = [np.linalg.norm(update.A, axis=1) for update in canonical]
    columns = [update.B * root for update, root in zip(canonical, roots, strict=True)]
    U, inside = principal(np.concatenate(columns, axis=1))
    parts = np.split(inside, np.cumsum([len(root) for root in roots])[:-1], axis=1)
    dtype = np.result_type(np.float32, *(update.dtype for update in updates))  # of entries in any space
    aligned = [
        LowRank(without_noise(part).astype(dtype), (update.A / np.where(root > 0, root, 1.0)[:, None]).astype(dtype))
        for part, update, root in zip(parts, canonical, roots, strict=True)
    ]
    return [Coordinates(aligned, weights)], lambda results: LowRank(U, results[0].dense())


def _joint(updates: Sequence[Linear]) -> JointCore:
    from adapterops.linalg.core import JointCore

    return JointCore.of(factored(updates))


def factored(updates: Sequence[Linear]) -> list[LowRank]:
    """The factors of every update.

    Raises:
        UnsupportedError: one has none.
    """
    factors = [factors for update in updates if (factors := update.lowrank()) is not None]
    if len(factors) < len(updates):
        raise UnsupportedError(
            "has no factors of low rank, and what is asked for is computed from these",
            hint="use a method that acts in --space delta, or adapterops truncate first, which computes some",
        )
    return factors


def _core_layout(method: Method, layouts: Sequence[Layout], total: Layout) -> Layout:
    return replace(_capped(total), dense=False)


def _factors(updates: Sequence[Linear], weights: Sequence[float]) -> tuple[list[Coordinates], Back]:
    """The A's and the B's, with the square roots of the weights that PEFT gives them."""
    from adapterops.updates.dense import Dense
    from adapterops.updates.lowrank import LowRank

    pairs = factored(updates)
    scales = [weight * pair.scale for weight, pair in zip(weights, pairs, strict=True)]
    roots = [abs(scale) ** 0.5 for scale in scales]
    signed = [math.copysign(root, scale) for root, scale in zip(roots, scales, strict=True)]
    blocks = [
        Coordinates([Dense(pair.B) for pair in pairs], roots, "/B"),
        Coordinates([Dense(pair.A) for pair in pairs], signed, "/A"),
    ]
    return blocks, lambda results: LowRank(results[0].dense(), results[1].dense())


def _factors_layout(method: Method, layouts: Sequence[Layout], total: Layout) -> Layout:
    ranks = {layout.rank for layout in layouts}
    if len(ranks) > 1 or total.dense:
        raise IncompatibleError(
            f"the ranks are {sorted(ranks)}, and factors can only be combined where they are equal",
            hint="use --space delta, which combines any ranks",
        )
    return replace(total, rank=ranks.pop())


SPACES = {
    space.name: space
    for space in (
        Space("delta", "the entries of ΔW = BA", _delta, _delta_layout),
        Space(
            "core",
            "the joint core of the updates, which no choice of their factors changes",
            _core,
            _core_layout,
            by_factors=True,
        ),
        Space(
            "knots",
            "the singular vectors that the updates share, KnOTS' alignment",
            _knots,
            _core_layout,
            by_factors=True,
        ),
        Space(
            "weights",
            "the base and the models that were tuned from it",
            _weights,
            _delta_layout,
            weights=_with_base,
        ),
        Space(
            "factors",
            "A's and B's separately, as PEFT does",
            _factors,
            _factors_layout,
            {"convention": "peft"},
            by_factors=True,
        ),
    )
}
