"""The difference of two models without an adapter: of what rank it is, and whether a LoRA would hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.verification.decoding import decoder
from adapterops.verification.rounding import Matrix, half_step

PROBES = 96
"""Directions that a difference is looked at in: ranks up to about 64 are found."""

RANK = 64
TILE = 1 << 20
SEED = 20261


@dataclass(frozen=True)
class Spectrum:
    """The difference of one weight.

    Attributes:
        relative: ‖M - W‖ / ‖W‖.
        noise: the part of ‖M - W‖² that rounding of M may be.
        energies: the parts of ‖M - W‖² that its largest singular values hold, at most `RANK` of them.
    """

    tensor: str
    relative: float
    square: float
    noise: float
    energies: Matrix

    def rank(self, part: float) -> int | None:
        """The smallest rank that holds a part of what is not noise; None where it is above those looked at."""
        total = np.cumsum(self.energies)
        enough = np.flatnonzero(total >= part * (1 - self.noise))
        return int(enough[0]) + 1 if len(enough) else None

    def as_json(self) -> dict[str, Any]:
        return {
            "relative": self.relative,
            "noise": self.noise,
            "rank_90": self.rank(0.9),
            "rank_99": self.rank(0.99),
            "energies": [float(each) for each in self.energies[:16]],
        }


def working_memory(shapes: Sequence[tuple[int, ...]], workers: int) -> int:
    """About how many bytes so many workers hold: of each a tile of both models with their difference, in float64, and as
    many columns and rows of the largest matrix as there are probes, with their orthogonal basis.
    """
    tile = max((min(TILE, height * width) for height, width in shapes), default=0)
    sides = max((height + width for height, width in shapes), default=0)
    return workers * (8 * 8 * tile + 4 * 4 * PROBES * sides)


def spectrum(model: Checkpoint, base: Checkpoint, tensor: str) -> Spectrum:
    """The singular values of M - W by a randomized range of `PROBES` directions.

    Cost: both are read twice, a tile at a time; 2 · out · in · `PROBES` multiplications each time, and memory for
    `PROBES` columns and rows.
    Source: Halko, Martinsson & Tropp 2011.
    """
    after, before = decoder(model.stored[tensor]), decoder(base.stored[tensor], rounded=True)
    height, width = model.layout[tensor].matrix
    step, dtype = max(1, TILE // width), model.layout[tensor].dtype
    probes = np.random.default_rng(SEED).standard_normal((width, min(PROBES, width, height))).astype(np.float32)
    tiles = [(begin, min(begin + step, height)) for begin in range(0, height, step)]
    own = square = noise = 0.0
    ranges, scales = [], []
    for begin, end in tiles:
        M, W = after(begin, end), before(begin, end)
        D = M - W
        own += float(np.square(W).sum())
        square += float(np.square(D).sum())
        scales.append(2.0 ** np.frexp(np.abs(D).max(initial=0.0))[1])  # so that no square is too large for float32
        if dtype in ("BF16", "F16"):
            noise += float((np.square(half_step(M, dtype)) * (D != 0)).sum()) / 3
        ranges.append((D / scales[-1]).astype(np.float32) @ probes)
    if not square:
        return Spectrum(tensor, 0.0, 0.0, 0.0, np.zeros(0))
    largest = max(scales)
    Q = np.linalg.qr(
        np.concatenate([part * np.float32(scale / largest) for part, scale in zip(ranges, scales, strict=True)])
    )[0]
    inside = np.zeros((Q.shape[1], width), np.float32)
    for begin, end in tiles:
        inside += Q[begin:end].T @ ((after(begin, end) - before(begin, end)) / largest).astype(np.float32)
    values = np.linalg.eigvalsh((inside @ inside.T).astype(np.float64))[::-1][:RANK] * largest**2
    relative = float((square / own) ** 0.5) if own else np.inf
    return Spectrum(tensor, relative, square, min(1.0, noise / square), np.maximum(values, 0) / square)
