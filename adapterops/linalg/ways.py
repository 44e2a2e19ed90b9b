"""Ways to store the updates of a module: what they share, and what each of them then takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from adapterops.arrays.collected import Own, Shared, factors, size
from adapterops.arrays.rows import BITS, LARGEST, SINGLE, Rows, decode, encode, squared_errors
from adapterops.linalg.factor import balanced, spectrum
from adapterops.linalg.sharing import distance
from adapterops.linalg.spending import spend
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array

FINE = 1e-3
"""Below this error what is shared is stored in float32."""

ROUNDS = 8
OPTIONS = (0, *BITS)


def _expected(width: int) -> Array:
    """The squared relative error that is expected of a row of so many numbers in each of `OPTIONS`: the largest of n normal
    numbers is about √(2 ln n) of them.
    """
    peak = 2 * math.log(max(width, 2))
    rounded = [peak / LARGEST[bits] ** 2 / 12 for bits in BITS if bits in LARGEST]
    return np.array([1.0, *rounded, SINGLE**2 / 12])


def nonzero(update: LowRank) -> LowRank:
    """Without dimensions that are zero."""
    real = np.linalg.norm(update.A, axis=1) > 0
    return LowRank(update.B[:, real], update.A[real])


@dataclass(frozen=True, eq=False)
class Way:
    """A way to store updates: what they share, as it is read again, and the codes of its bases."""

    shared: Shared
    sides: dict[str, Rows]

    def C(self, update: LowRank) -> Array:
        """The rows of what is shared of an update, in the bases as they are stored."""
        left, right = self.shared.left, self.shared.right
        if left is None:
            return np.zeros((0, 0)) if right is None else ((update.A @ right.T.astype(np.float64)).T @ update.B.T)
        rows = left.astype(np.float64) @ update.B @ update.A
        return rows if right is None else rows @ right.T.astype(np.float64)

    def rest(self, update: LowRank, C: Array) -> LowRank:
        """What is left of an update."""
        B, A = self.shared.factors(C)
        return LowRank(np.concatenate([update.B, -B], axis=1), np.concatenate([update.A, A])) if len(A) else update

    def fixed(self) -> int:
        """Bytes of what is shared."""
        return size(array for rows in self.sides.values() for array in rows) + 4 * self.shared.rows * self.shared.width

    def expected(self, updates: Sequence[LowRank], norms: Sequence[float], error: float, rank: int | None) -> float:
        """About the bytes of the codes of these updates."""
        rows = [self.C(update) for update in updates]
        mean, (height, width) = _mean(rows), self.shared.shape
        product = _expected(height) + _expected(width)
        product[0] = 1.0
        total = 0.0
        for update, norm, C in zip(updates, norms, rows, strict=True):
            squares = spectrum(self.rest(update, C)) ** 2
            lines = np.square(C - (0 if mean is None else mean)).sum(axis=1)
            errors = np.concatenate([lines[:, None] * _expected(self.shared.width), squares[:, None] * product])
            costs = self._costs(len(lines), len(squares))
            total += float(_spent(errors, costs, (error * norm) ** 2, len(lines), rank)[1])
        return total / 8

    def centred(self, updates: Sequence[LowRank]) -> Way:
        """The same with the mean of the rows that are shared, where these differ less from it than from zero."""
        mean = _mean([self.C(update) for update in updates])
        if mean is None:
            return self
        return replace(self, shared=replace(self.shared, mean=mean.astype(np.float32)))

    def own(self, update: LowRank, within: float, rank: int | None) -> Own:
        """The codes of an update, within an error that is measured."""
        C = self.C(update)
        rows = C if self.shared.mean is None else C - self.shared.mean
        rest = nonzero(balanced(self.rest(update, C)))
        B, A = rest.B.T, rest.A
        lengths = (np.square(each).sum(axis=1)[:, None] for each in (A, B))
        sides = sum(length * squared_errors(each) for length, each in zip(lengths, (B, A), strict=True))
        sides[:, 0] /= 2
        errors, costs = np.concatenate([squared_errors(rows), sides]), self._costs(len(rows), len(B))
        cut = 0.0 if rank is None else float(sides[rank:, 0].sum())
        target, budget = math.hypot(within, math.sqrt(cut)), within**2
        for _ in range(ROUNDS):
            choice = _spent(errors, costs, budget, len(rows), rank)[0]
            bits = np.array(OPTIONS)[choice]
            mine, others = bits[: len(rows)], bits[len(rows) :]
            own = Own(mine, _encoded(rows, mine), _encoded(B, others), _encoded(A, others))
            found = distance(update, LowRank(*factors(self.shared, own)))
            if found <= target or (bits == BITS[-1]).all():
                break
            budget *= 0.8 * (target / found) ** 2
        return own

    def _costs(self, rows: int, own: int) -> Array:
        """Bits of each row of C and each direction of an update, in each of `OPTIONS`; every row has a step in float32."""
        bits = np.array(OPTIONS)
        step = np.where(bits > 0, 32, 0)
        lines, directions = bits * self.shared.width + step, bits * sum(self.shared.shape) + 2 * step
        return np.concatenate([np.tile(lines, (rows, 1)), np.tile(directions, (own, 1))]).astype(float)


def way_of(left: Array | None, right: Array | None, shape: tuple[int, int], error: float) -> Way:
    """A way to store with these bases, which are coded at once: coefficients belong to what is read again."""
    bits = 16 if error >= FINE else 32
    sides = {name: encode(basis.T, bits) for name, basis in (("left", left), ("right", right)) if basis is not None}
    wide = {"left": shape[0], "right": shape[1]}
    return Way(Shared(shape, **{name: decode(rows, bits, wide[name]) for name, rows in sides.items()}), sides)


def _mean(rows: Sequence[Array]) -> Array | None:
    """The mean of matrices, where it is most of them; None elsewhere."""
    if not rows or not rows[0].size:
        return None
    mean: Array = reduce(np.add, rows) / len(rows)
    squares = sum(float(np.square(each).sum()) for each in rows)
    return mean if 2 * len(rows) * float(np.square(mean).sum()) > squares else None


def _spent(errors: Array, costs: Array, budget: float, rows: int, rank: int | None) -> tuple[Array, float]:
    """The option of each row and each direction, and the bits that they take. Directions after the first `rank` are left
    out, and not paid for.
    """
    end = len(errors) if rank is None else min(rows + rank, len(errors))
    choice = np.zeros(len(errors), int)
    choice[:end] = spend(errors[:end], costs[:end], budget)
    return choice, float(np.take_along_axis(costs, choice[:, None], axis=1).sum())


def _encoded(rows: Array, bits: Array) -> dict[int, Rows]:
    return {each: encode(rows[bits == each], each) for each in BITS if (bits == each).any()}
