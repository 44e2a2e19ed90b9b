"""Means on the sphere: of directions, and of norms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adapterops.errors import IncompatibleError, OptionError
from adapterops.methods.registry import method
from adapterops.methods.vocabulary import CONVENTION, check_shares

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array

PARALLEL = 1e-6
"""Sine of an angle up to which two directions are one, or opposite."""
CHORD = 0.9995
"""Cosine above which mergekit takes the chord."""
CONVERGED = 1e-13
TURNS = 200


def _two(weights: Sequence[float], given: Mapping[str, Any]) -> None:
    if given["convention"] not in (None, "mergekit"):
        raise OptionError(f"slerp is not in {given['convention']}'s convention", hint="leave --convention out")
    if len(weights) > 2:
        raise OptionError(
            f"slerp is between two adapters, and there are {len(weights)}", hint="--karcher is its mean of any number"
        )
    check_shares(weights, given)


@method("slerp", source="Shoemake 1985", acts="products", sized=True, check=_two, convention=CONVENTION)
def slerp(products: Array, weights: Sequence[float], *, convention: str | None = None) -> list[float]:
    """Between two updates, along the arc instead of the chord.

    sin((1 - t) Ω) / sin Ω · ΔW₁ + sin(t Ω) / sin Ω · ΔW₂, with Ω their angle and t = w₂ / (w₁ + w₂). Along the chord where
    they are parallel or opposite, or one of them is zero.

    Cost: an inner product.
    Differs: mergekit's slerp is between two models, whose difference is a small part of them; this one is between updates.
        `--space weights` is between the base and a model that was tuned from it; and with --convention mergekit along the
        chord where their cosine is above 0.9995, as that of most tuned models and their base is.
    """
    if len(weights) == 1:
        return [1.0]
    norms, t = np.sqrt(np.diag(products)), weights[1] / sum(weights)
    cosine = min(1.0, max(-1.0, products[0, 1] / (norms[0] * norms[1]))) if all(norms) else 1.0
    angle, sine = np.arccos(cosine), (1 - cosine**2) ** 0.5
    if sine < PARALLEL or (convention and abs(cosine) > CHORD):
        return [1 - t, t]
    return [float(np.sin((1 - t) * angle) / sine), float(np.sin(t * angle) / sine)]


@method("karcher", source="Karcher 1977", acts="products", sized=True, check=check_shares)
def karcher(products: Array, weights: Sequence[float]) -> list[float]:
    """The mean direction on the sphere, times the mean norm. For two updates of one norm that is slerp.

    The mean direction is where the sum of wᵢ d², d the angle to ΔWᵢ, is least; an update that is zero has none, and its norm
    counts. It is a linear combination of the updates, found from their inner products.

    Cost: n² / 2 inner products.
    Differs: mergekit's karcher takes the mean of models, as `--space weights` does, with the base one of them; and ends after
        ten turns.

    Raises:
        IncompatibleError: the updates cancel, and have no mean direction.
    """
    norms = np.sqrt(np.diag(products))
    shares = np.array(weights) / sum(weights)
    there, coefficients = norms > 0, np.zeros(len(norms))
    if (shares[there] > 0).any():
        share, sizes = shares[there] / shares[there].sum(), norms[there]
        direction = _mean_direction(products[np.ix_(there, there)] / np.outer(sizes, sizes), share)
        coefficients[there] = shares @ norms * direction / sizes
    return [float(each) for each in coefficients]


def _mean_direction(cosines: Array, share: Array) -> Array:
    """The coefficients of the mean of unit vectors with these inner products, by Karcher's iteration."""
    mean = share / _length(share, cosines)
    for _ in range(TURNS):
        cosine = np.clip(cosines @ mean, -1, 1)
        angle = np.arccos(cosine)
        pull = share * np.divide(angle, np.sin(angle), out=np.ones_like(angle), where=np.sin(angle) > PARALLEL)
        tangent = pull - (pull @ cosine) * mean
        step = _norm(tangent, cosines)
        if step < CONVERGED:
            break
        mean = np.cos(step) * mean + np.sin(step) / step * tangent
        mean = mean / _length(mean, cosines)
    return mean


def _length(coefficients: Array, cosines: Array) -> float:
    length = _norm(coefficients, cosines)
    if length < PARALLEL:
        raise IncompatibleError(
            "the updates cancel, and have no mean direction", hint="leave one out, or use --linear", code="E-CANCELLED"
        )
    return length


def _norm(coefficients: Array, cosines: Array) -> float:
    """That of a combination of unit vectors."""
    return math.sqrt(max(0.0, float(coefficients @ cosines @ coefficients)))
