"""LoRA that was trained on a changed base: what its training began with is taken out of the weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapterops.updates.adaptive import measured_with, with_diagonal
from adapterops.updates.kinds import KINDS, Kind
from adapterops.updates.lowrank import LORA, LowRank, measure
from adapterops.updates.protocol import Array, Part, TransposedUpdate, no_factors

DIAGONAL = "lora_diag"


def leading(W: Array, rank: int) -> LowRank:
    """Its best approximation of a rank: U Uᵀ W, with U the leading left singular vectors, in float64."""
    if W.shape[0] > W.shape[1]:
        return leading(W.T, rank).T
    U = np.linalg.eigh(W @ W.T)[1][:, ::-1][:, :rank]
    return LowRank(U, U.T @ W)


def trailing(W: Array, rank: int) -> LowRank:
    """The part of its smallest singular values."""
    if W.shape[0] > W.shape[1]:
        return trailing(W.T, rank).T
    U = np.linalg.eigh(W @ W.T)[1][:, :rank]
    return LowRank(U, U.T @ W)


def first_columns(W: Array, rank: int) -> LowRank:
    """Q[:, :r] R[:r] of W = Q R: its projection on its first columns."""
    Q = np.linalg.qr(W[:, :rank])[0]
    return LowRank(Q, Q.T @ W)


@dataclass(frozen=True, eq=False)
class Started:
    """W' = W - S(W) + ΔW, where S(W) is what training began with: `start` of a weight and a rank.

    `scaled`: S is multiplied by the scale of ΔW. Given W, it is LoRA of at most twice the rank, exactly.

    Differs: PEFT rounds W - S(W) to the dtype of W; here there is one rounding, of W'.
    """

    trained: LowRank
    start: Callable[[Array, int], LowRank]
    scaled: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        return self.trained.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.trained.dtype

    @property
    def T(self) -> TransposedUpdate:
        return TransposedUpdate(self)

    lowrank = no_factors

    def on(self, W: Array) -> LowRank:
        """The update of W, (out, in). Cost: O(out in min(out, in)), in float64."""
        factor = self.trained.scale if self.scaled else 1.0
        return self.trained + -factor * self.start(W.astype(np.float64), self.trained.rank)

    def change(self, part: Part, W: Array, out: Array) -> Array:
        """The part must be all of the weight."""
        return self.on(W).rows(part, out)


def _kind(name: str, start: Callable[[Array, int], LowRank], scaled: bool = False) -> Kind:
    """Stored as LoRA is: its config alone tells it."""

    def built(arrays: Mapping[str, Array], scale: float) -> Started:
        return Started(LowRank(arrays["lora_B"], arrays["lora_A"], scale), start, scaled)

    return Kind(name, LORA, measure, built, reads="weight")


KINDS.add("PiSSA", _kind("PiSSA", leading))
"""Source: Meng et al. 2024, arXiv:2404.02948."""

KINDS.add("OLoRA", _kind("OLoRA", first_columns, scaled=True))
"""Source: Büyükakyüz 2024, arXiv:2406.01775."""


def _build_kasa(arrays: Mapping[str, Array], scale: float) -> Started:
    return Started(with_diagonal(arrays, scale, DIAGONAL), trailing)


KINDS.add(
    "KaSA",
    Kind("KaSA", {**LORA, DIAGONAL: ""}, measured_with(DIAGONAL), _build_kasa, reads="weight", flag="kasa_config"),
)
"""Source: Wang et al. 2024, arXiv:2412.06071."""
