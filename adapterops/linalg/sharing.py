"""What several updates of one shape have in common: those that are equal, and directions that all of them use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from adapterops.linalg.qr import orthonormal, triangle
from adapterops.linalg.singular import svd
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array

MOST = 128
"""Directions that are shared at most."""

PROBES = 4
"""Random vectors by which updates are told apart before they are compared."""

GAP = 1.5
"""A fall of singular values by this factor or more may be where what is shared ends."""


def distance(a: LowRank, b: LowRank) -> float:
    """‖ΔW_a - ΔW_b‖_F, of the difference itself and not of two norms. Cost: O((out + in) (r_a + r_b)²)."""
    B = np.concatenate([a.scale * a.B.astype(np.float64), -b.scale * b.B.astype(np.float64)], axis=1)
    R = triangle(np.concatenate([a.A, b.A]).astype(np.float64).T)
    return float(np.linalg.norm(B @ R.T))


def alike(updates: Sequence[LowRank], norms: Sequence[float], within: float) -> list[tuple[int, float]]:
    """For each update the first one that it is the same as, and its distance from that: at most `within` of its norm.
    That one is no other's.

    Cost: O(n² · out) to compare probes, and O((out + in) r²) for each that is the same, or nearly.
    """
    probe = np.random.default_rng(0).standard_normal((updates[0].shape[1], PROBES)) / PROBES**0.5
    seen = np.array([(each.B @ (each.A @ probe)).ravel() * each.scale for each in updates])
    found: list[tuple[int, float]] = []
    firsts: list[int] = []
    for index, (update, norm) in enumerate(zip(updates, norms, strict=True)):
        distances = np.linalg.norm(seen[firsts] - seen[index], axis=1)
        near = [firsts[at] for at in np.argsort(distances, kind="stable") if distances[at] <= 4 * within * norm]
        exact = ((first, distance(update, updates[first])) for first in near)
        same = next((each for each in exact if each[1] <= within * norm), None)
        if same is None:
            firsts.append(index)
        found.append(same or (index, 0.0))
    return found


def bases(
    updates: Sequence[LowRank], norms: Sequence[float], within: float
) -> Iterator[tuple[Array | None, Array | None]]:
    """Orthonormal L (out, k) and R (in, l) that may be worth sharing, None where a side is not shared; the first is
    neither.

    The directions of a side are the leading left singular vectors of [B₁ …], or right ones of [A₁; …], of the updates in
    canonical form, each with norm 1: so many that what is left of all is at most `within`, and so many that the next one
    is far weaker. Which are worth it depends on what codes cost, and is for the caller to find.

    Args:
        updates: in canonical form, as `balanced` has it; none is zero.
    """
    roots = [np.sqrt(np.linalg.norm(each.A, axis=1)) for each in updates]
    scaled = list(zip(updates, norms, roots, strict=True))
    left = np.concatenate([each.B * root**2 / norm for each, norm, root in scaled], axis=1)
    right = np.concatenate([each.A.T * root**2 / norm for each, norm, root in scaled], axis=1)
    sides = [[None, *_leading(side, len(updates), within)] for side in (left, right)]
    yield from product(*sides)


def _leading(columns: Array, total: float, within: float) -> list[Array]:
    """The leading left singular vectors of columns whose squares add up to `total`, in one or two numbers of them."""
    U, s = _singular(columns, MOST)
    left = np.sqrt(np.maximum(total - np.cumsum(s**2), 0))
    enough = np.flatnonzero(left <= within * total**0.5)
    real = s[: int(enough[0]) + 1] if len(enough) else s
    falls = real[:-1] / np.maximum(real[1:], np.finfo(np.float64).tiny)
    counts = {int(enough[0]) + 1} if len(enough) else set()
    if len(falls) and falls.max() >= GAP:
        counts.add(int(falls.argmax()) + 1)
    return [U[:, :count] for count in sorted(counts)]


def _singular(columns: Array, most: int) -> tuple[Array, Array]:
    """Leading left singular vectors and values: all, or `most` of them by a randomized range with two power steps.

    Source: Halko et al. 2011, arXiv:0909.4061.
    """
    Q = columns
    if min(columns.shape) > 2 * most:
        Q = columns @ np.random.default_rng(1).standard_normal((columns.shape[1], most))
        for _ in range(2):
            Q = columns @ (columns.T @ orthonormal(Q)[0])
    Q = orthonormal(Q)[0]
    u, s, _ = svd(Q.T @ columns)
    return Q @ u[:, :most], s[:most]
