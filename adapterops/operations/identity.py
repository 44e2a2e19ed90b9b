"""What rounding explains: how far a stored sum may be from W0 + ΔW, and W'x from W0 x + B(Ax)."""

from __future__ import annotations

from typing import Any

import numpy as np

from adapterops.arrays.floats import at_random
from adapterops.arrays.scratch import Scratch
from adapterops.methods.entries import uncertainty
from adapterops.operations.additions import Piece
from adapterops.updates.dense import Dense
from adapterops.updates.merged import elsewhere
from adapterops.updates.protocol import Array, Part
from adapterops.updates.survival import Change
from adapterops.verification.rounding import BITS, SMALLEST, half_step

PROBES = 2
"""Vectors on which the merge identity is tried."""

TRIES = 32
"""Of two entries that are nearly equal, each is the larger one in at least one of so many tries, all but certainly."""


def near_sum(stored: Array, dtype: str, change: Change, piece: Piece, own: Part, draws: Array | None) -> Array:
    """Where `stored` is as good a rounding of W0 + ΔW as float32 can tell: the sum in float64 is within half a step of
    it, or the same draws make it of a sum as near.

    Args:
        stored: numbers of `dtype`, widened.
        change: W0, and ΔW as it was computed there, for updates that have no factors.
    """
    wide, factors = change.W.astype(np.float64), piece.update.lowrank()
    if factors is None:
        exact = change.delta.astype(np.float64)
        size, terms = np.abs(exact), 2
    else:
        B, A = factors.scale * factors.B[own[0]].astype(np.float64), factors.A.astype(np.float64)
        exact, size, terms = B @ A, np.abs(B) @ np.abs(A), factors.rank + 2
    uncertain = terms * 2.0**-24 * (np.abs(wide) + size)
    if draws is not None:
        sums = [wide + exact - uncertain, wide + exact + uncertain]
        for each in sums:
            at_random(each, dtype, Scratch(), draws)
        between: Array = (sums[0] <= stored) & (stored <= sums[1])
        return between
    near: Array = np.abs(stored.astype(np.float64) - (wide + exact)) <= half_step(stored, dtype) + uncertain
    return near


class Elsewhere:
    """What another processor may find of an update, if entries are merged in it. Of one that is transposed in memory, any rows are
    of all tiles: what is decided otherwise of it is found once for each try, and kept.
    """

    def __init__(self, update: Any) -> None:
        self._update = update
        self._decided: dict[int, tuple[Array, Array, Array]] = {}

    def near(self, stored: Array, dtype: str, W0: Array, own: Part, asked: Array) -> Array:
        """Which of the entries that are asked for are a rounding of W0 + ΔW as another processor may find ΔW: none are where
        nothing is merged.

        Cost: of each try the tiles that have such rows, until all are explained.
        """
        found = np.zeros(stored.shape, bool)
        for seed in range(TRIES):
            rows = np.flatnonzero((asked & ~found).any(axis=1))
            if not len(rows):
                break
            some = slice(rows[0], rows[-1] + 1)
            other = self._rows((slice(own[0].start + some.start, own[0].start + some.stop), own[1]), seed)
            if other is None:
                break
            wide, there = W0[some].astype(np.float64), stored[some]
            uncertain = 2.0**-23 * np.abs(wide) + 4 * uncertainty(other)
            off = np.abs(there.astype(np.float64) - (wide + other.astype(np.float64)))
            found[some] |= asked[some] & (off <= half_step(there, dtype) + uncertain)
        return found

    def _rows(self, part: Part, seed: int) -> Array | None:
        """Whole rows of ΔW in one try."""
        update = self._update
        if not (isinstance(update, Dense) and update.transpose_of is not None):
            return elsewhere(update, part, seed)
        if seed not in self._decided:
            whole = elsewhere(update, (slice(0, update.shape[0]), part[1]), seed)
            assert whole is not None  # it is the transpose of what is merged
            rows, columns = np.nonzero(np.abs(whole - update.weight) > 2 * uncertainty(update.weight))
            self._decided[seed] = rows, columns, whole[rows, columns]
        rows, columns, values = self._decided[seed]
        inside = (part[0].start <= rows) & (rows < part[0].stop)
        found = update.weight[part].copy()
        found[rows[inside] - part[0].start, columns[inside]] = values[inside]
        return found


class Probe:
    """Random vectors, and what the update of a module makes of them."""

    def __init__(self, piece: Piece) -> None:
        self.piece, self.factors = piece, piece.update.lowrank()
        random = np.random.default_rng(int.from_bytes(piece.target.module.encode()[-7:], "little"))
        self.x = random.standard_normal((piece.target.shape[1], PROBES), dtype=np.float32)
        self.size = np.linalg.norm(self.x, axis=0)
        if self.factors is not None:
            A = self.factors.A.astype(np.float32, copy=False)
            self.inner, self.inner_size = A @ self.x, np.linalg.norm(A, axis=1)

    def ratio(self, stored: Array, dtype: str, W0: Array, delta: Array, own: Part) -> float:
        """The largest |W'x - (W0 x + B(Ax))| of these rows, as a fraction of what rounding allows: |w·x| is at most ‖w‖‖x‖."""
        fused, wide = stored.astype(np.float32), W0.astype(np.float32, copy=False)
        if self.factors is None:
            dense = delta.astype(np.float32, copy=False)
            change, change_size, rank = dense @ self.x, np.linalg.norm(dense, axis=1), 0
        else:
            B = (self.factors.scale * self.factors.B[own[0]]).astype(np.float32)
            change, change_size, rank = B @ self.inner, np.abs(B) @ self.inner_size, self.factors.rank
        fused_size = np.linalg.norm(fused, axis=1)
        with np.errstate(all="ignore"):
            error = np.abs(np.subtract(fused, wide, out=fused) @ self.x - change)
            width, terms = self.x.shape[0], self.x.shape[0] + rank + 4
            epsilon, tiny = 2.0 ** -BITS[dtype], 2.0 ** SMALLEST[dtype]
            bound = epsilon / 2 * fused_size + tiny * epsilon * width**0.5  # one rounding of every entry
            bound = bound + terms * 2.0**-24 * (
                fused_size + np.linalg.norm(wide, axis=1) + change_size
            )  # and this check's own
            return float((error / np.maximum(bound[:, None] * self.size, np.finfo(np.float32).tiny)).max())
