"""Inner products of updates, in float64 whatever their size, and what is near to all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np

from adapterops.linalg.qr import check_core
from adapterops.methods.entries import tile_height
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array, Linear

FAR = 400
"""The exponent of a number that is none next to 1: no product of two in float32 is as small."""

LARGER, SMALLER, SQUARED = (600, 950), -600, 1e-200
"""Powers of two that numbers are multiplied by whose squares float64 holds as less than this, or does not hold."""


def inner_products(updates: Sequence[Linear]) -> Array:
    """⟨ΔWᵢ, ΔWⱼ⟩ in float64, tile by tile; times one power of two where they are too small or too large for that."""
    found, zero = products_at(updates, 0)
    if not np.isfinite(found).all():
        return products_at(updates, SMALLER)[0]
    for exponent in LARGER:
        if zero or found.diagonal().max() > SQUARED:
            break
        found, _ = products_at(updates, exponent)
    return found


def products_at(updates: Sequence[Linear], exponent: int) -> tuple[Array, bool]:
    """⟨cΔWᵢ, cΔWⱼ⟩, c = 2^exponent, and whether all entries are zero."""
    (height, width), step = updates[0].shape, tile_height(updates[0].shape)
    found, memory = np.zeros((len(updates), len(updates))), np.empty((len(updates), min(step, height), width))
    zero = True
    for first in range(0, height, step):
        part = slice(first, min(first + step, height)), slice(0, width)
        tiles = memory[:, : part[0].stop - first]
        for update, tile in zip(updates, tiles, strict=True):
            np.copyto(tile, update.rows(part, tile))
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            flat = (np.ldexp(tiles, exponent, out=tiles) if exponent else tiles).reshape(len(updates), -1)
            found += flat @ flat.T
        zero = zero and not flat.any()
    return found, zero


def ordinary(matrices: Sequence[Array]) -> tuple[Sequence[Array], int]:
    """Matrices whose squares and fourth powers float64 holds, and the power of two that they are to be multiplied by: 0
    as a rule. What is less than 2^-FAR of the largest is zero next to it.

    Raises:
        InputError: a number is not finite.
    """
    peaks = [float(np.abs(check_core(each)).max(initial=0.0)) for each in matrices]
    exponent = math.frexp(max(peaks))[1]
    if abs(exponent) > FAR // 4:
        matrices = [np.ldexp(each, -exponent) for each in matrices]
        peaks = [math.ldexp(peak, -exponent) for peak in peaks]
    else:
        exponent = 0
    least = math.ldexp(max(peaks), -FAR)
    return [
        each if peak >= least else np.zeros_like(each) for each, peak in zip(matrices, peaks, strict=True)
    ], exponent


def near(updates: Sequence[Linear], weights: Sequence[float]) -> LowRank | None:
    """Σ wᵢ ΔWᵢ, where that has a low rank: probably not far from any merge of them."""
    known = [
        weight * factors
        for weight, update in zip(weights, updates, strict=True)
        if (factors := update.near) is not None
    ]
    return reduce(add, known) if len(known) == len(updates) else None
