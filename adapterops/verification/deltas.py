"""Updates by their formulas, in float64, from what their files hold: not by the code that adds them.

`FORMULAS` has one for each class of `updates` that files are read as. What is not there has no formula but its own: an
update of full rank, which a method made entry by entry, and the kinds of other packages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from adapterops.verification.rounding import Matrix, rounded_to

UNIT = 2.0**-24
"""Half a step of float32 at 1: what each of its operations may be off by."""


class Delta(NamedTuple):
    """Entries of ΔW, and how far they may be off where they are computed in float32."""

    values: Matrix
    slack: Matrix


class Formula:
    """The rows of an update of one weight, or of its transpose.

    Args:
        left_in: what PiSSA, OLoRA and KaSA leave of the weight before they train is found in float32, and rounded to this dtype, as
            PEFT does; by default it is found in float64, and not rounded.
    """

    def __init__(self, update: Any, transposed: bool, left_in: str | None = None) -> None:
        self._update, self._transposed, self._left_in = update, transposed, left_in
        self._by_columns: dict[int, Matrix] = {}

    @property
    def entire(self) -> bool:
        """Whether rows of ΔW cannot be known without the others: the length of a column is theirs, and what looks at the
        weight by no formula of this room may look at all of it.
        """
        name = _name(self._update)
        if name == DORA:
            return bool(self._update.by_inputs != self._transposed)
        if name in (OFT, UNFITTED):
            return self._transposed
        return name == STARTED or (name not in FORMULAS and not hasattr(self._update, "dense"))

    def rows(self, own: slice, W: Matrix) -> Delta:
        """Rows `own` of ΔW, where W is the weight there, in whole rows of the tensor; all of them where `entire`."""
        return self._of(self._update, own, W)

    def _of(self, update: Any, own: slice, W: Matrix) -> Delta:
        return FORMULAS.get(_name(update), Formula._entries)(self, update, own, W)

    def _lora(self, update: Any, own: slice, W: Matrix) -> Delta:
        return self._product(update.scale, update.B, update.A, own)

    def _product(self, scale: float, B: Matrix, A: Matrix, own: slice) -> Delta:
        left, right = (A.T, B.T) if self._transposed else (B, A)
        B, A = scale * left[own].astype(np.float64), right.astype(np.float64)
        return Delta(B @ A, UNIT * (len(A) + 2) * (np.abs(B) @ np.abs(A)))

    def _unfitted(self, update: Any, own: slice, W: Matrix) -> Delta:
        """VeRA and QA-LoRA, on as many inputs as the weight has."""
        held, inputs = update.held, W.shape[0 if self._transposed else 1]
        if update.kind == "VeRA":
            b, d, A, B = (held[f"vera_{name}"].astype(np.float64) for name in ("lambda_b", "lambda_d", "A", "B"))
            return self._product(1.0, np.diag(b) @ B[: len(b)], np.diag(d) @ A[:, :inputs], own)
        if update.kind == "QA-LoRA":
            A, B, scale, group = held["lora_A"], held["lora_B"], held["scale"], held["group"]
            if inputs != A.shape[1]:  # A sees the sums of groups of inputs
                scale, A = scale * A.shape[1] / group, A[:, np.arange(inputs) // group]
            return self._product(scale, B, A, own)
        return self._of(update.on(inputs), own, W)

    def _started(self, update: Any, own: slice, W: Matrix) -> Delta:
        """PiSSA, OLoRA and KaSA: LoRA, and W without what it began with; of all of W."""
        if update.start.__name__ not in STARTS:
            return self._entries(update, own, W)
        V, trained = W.T if self._transposed else W, update.trained
        added = self._of(trained, own, W)
        began, slack = STARTS[update.start.__name__](V, trained.rank, self._left_in is not None)
        began = (update.trained.scale if update.scaled else 1.0) * (began.T if self._transposed else began)[own]
        slack += UNIT * (trained.rank + 4) * np.abs(V).max() * max(V.shape) ** 0.5
        if self._left_in is None:
            return Delta(added.values - began, added.slack + slack)
        rest = W[own] - began
        low, high = (rounded_to(end, self._left_in) for end in (rest - slack, rest + slack))
        return Delta(added.values + (low + high) / 2 - W[own], added.slack + (high - low) / 2)

    def _sum(self, update: Any, own: slice, W: Matrix) -> Delta:
        parts = [self._of(term, own, W) for term in update.terms]
        values, slack = (np.sum(each, axis=0) for each in zip(*parts, strict=True))
        return Delta(values, 2 * slack)

    def _loha(self, update: Any, own: slice, W: Matrix) -> Delta:
        one, two = self._of(update.first, own, W), self._of(update.second, own, W)
        slack = np.abs(one.values) * two.slack + np.abs(two.values) * one.slack
        return Delta(update.scale * one.values * two.values, 4 * abs(update.scale) * slack)

    def _ia3(self, update: Any, own: slice, W: Matrix) -> Delta:
        across = update.by_inputs != self._transposed
        gain = update.factors.astype(np.float64)[slice(None) if across else own]
        values = W * ((gain[None, :] if across else gain[:, None]) - 1)
        return Delta(values, 4 * UNIT * (np.abs(values) + np.abs(W)))

    def _replaced(self, update: Any, own: slice, W: Matrix) -> Delta:
        V = (update.weight.T if self._transposed else update.weight)[own].astype(np.float64)
        return Delta(V - W, 2 * UNIT * (np.abs(V) + np.abs(W)))

    def _dora(self, update: Any, own: slice, W: Matrix) -> Delta:
        added = self._of(update.direction, own, W)
        V = W + added.values
        ratio = self._lengthened(update, own, V)
        size = UNIT * (max(W.shape) ** 0.5 + 8) * np.abs(ratio * V) + UNIT * np.abs(W)
        return Delta(ratio * V - W, size + 2 * np.abs(ratio) * (added.slack + UNIT * np.abs(V)))

    def _lengthened(self, update: Any, own: slice, V: Matrix) -> Matrix:
        """What the entries of V are multiplied by, so that its outputs, or its inputs, have their lengths."""
        stated, across = update.magnitude.astype(np.float64), update.by_inputs != self._transposed
        squares = np.square(V).sum(axis=0 if across else 1)
        lengths = np.sqrt(squares.reshape(-1, update.width).sum(axis=1))
        ratio: Matrix = np.repeat((stated if across else stated[own]) / lengths, update.width)
        return ratio[None, :] if across else ratio[:, None]

    def _rotated(self, update: Any, own: slice, W: Matrix) -> Delta:
        """W R₁ᵀ R₂ᵀ ... - W, each R as one matrix, and its outputs times their lengths."""
        V = W.T if self._transposed else W
        found, size = V, len(update.skew) * update.skew.shape[-1] + 8
        for index, skew in enumerate(update.skew.astype(np.float64)):
            width, inputs = skew.shape[-1], V.shape[1]
            R = np.zeros((inputs, inputs))
            for block in range(inputs // width):
                rows = np.arange(block * width, (block + 1) * width)
                rows = update.orders[index][rows] if len(update.orders) else rows
                R[np.ix_(rows, rows)] = _cayley(skew[block % len(skew)], update.terms)
            found = found @ R.T
        if update.lengths is not None:
            lengths = update.lengths.astype(np.float64)
            found = found * (lengths if self._transposed else lengths[own])[:, None]
        lengths = np.linalg.norm(V, axis=1, keepdims=True) + np.abs(found) + np.abs(V)
        slack = UNIT * size * np.broadcast_to(lengths, V.shape)
        return Delta((found - V).T, slack.T) if self._transposed else Delta(found - V, slack)

    def _lokr(self, update: Any, own: slice, W: Matrix) -> Delta:
        """Rows of scale · W₁ ⊗ W₂: for each row of W₁ the rows of W₂ that are wanted of its products."""
        side = int(self._transposed)
        high = update.inner.shape[side]
        tall = range(own.start // high, -(-own.stop // high))
        one = self._of(update.outer, slice(tall.start, tall.stop), W)
        two = self._of(update.inner, slice(0, high), W)

        def product(left: Matrix, right: Matrix) -> Matrix:
            rows = [
                np.kron(row, right[max(own.start - i * high, 0) : own.stop - i * high])
                for i, row in zip(tall, left, strict=True)
            ]
            products: Matrix = update.scale * np.concatenate(rows)
            return products

        slack = product(np.abs(one.values), two.slack) + product(one.slack, np.abs(two.values))
        return Delta(product(one.values, two.values), 4 * np.abs(slack))

    def _entries(self, update: Any, own: slice, W: Matrix) -> Delta:
        values = self._computed(update, own, W).astype(np.float64)
        return Delta(values, 4 * UNIT * np.abs(values))

    def _computed(self, update: Any, own: slice, W: Matrix) -> Matrix:
        if self._transposed and hasattr(update, "dense"):
            if id(update) not in self._by_columns:
                self._by_columns[id(update)] = update.dense().T
            return self._by_columns[id(update)][own]
        update = update.T if self._transposed else update
        shape = (own.stop - own.start, update.shape[1])
        found: Matrix = update.change((own, slice(0, shape[1])), W.astype(update.dtype), np.empty(shape, update.dtype))
        return found


def _name(update: Any) -> str:
    """Module and name of its class."""
    return f"{type(update).__module__}.{type(update).__qualname__}"


def of_factors(update: Any) -> bool:
    """Whether it is scale · B A, of these factors."""
    return _name(update) == LORA


def is_dora(update: Any) -> bool:
    """Whether it is a direction, and the lengths of its outputs or inputs."""
    return _name(update) == DORA


def _cayley(Q: Matrix, terms: int | None) -> Matrix:
    """(I - Q)(I + Q)⁻¹, or the beginning of its series with half of the last term."""
    one = np.eye(len(Q))
    if terms is None:
        found: Matrix = (one - Q) @ np.linalg.inv(one + Q)
        return found
    halves = [1.0] + [2.0] * (terms - 2) + [1.0 if terms > 2 else 2.0] * (terms > 1)
    series: Matrix = np.sum([factor * np.linalg.matrix_power(Q, power) for power, factor in enumerate(halves)], axis=0)
    return series


def _singular(W: Matrix, rank: int, single: bool, last: bool) -> tuple[Matrix, float]:
    """The part of W of its largest singular values, or of its smallest, and how far it may be off: in float64 by squares of W; in
    float32 by what turns the directions on both sides of the cut into each other, of which half was measured at most.
    """
    U, S, V = np.linalg.svd(W, full_matrices=False)
    cut = len(S) - rank if last else rank
    of, inner = slice(cut, None) if last else slice(cut), 0 < cut < len(S)
    gap = (S[cut - 1] ** 2 - S[cut] ** 2) / S[0] ** 2 if inner else 1.0
    slack = 64 * 2.0**-52 * S[0] / max(gap, 2.0**-52)
    if single:
        near = S[cut - 1] / max(S[cut - 1] - S[cut], UNIT * S[0]) if inner else 0.0
        slack += 2 * UNIT * S[0] * (1 + near)
    return (U[:, of] * S[of]) @ V[of], float(slack)


def _first(W: Matrix, rank: int, single: bool) -> tuple[Matrix, float]:
    """The part of W in the space of its first columns, and how far it may be off: in float32 by a QR decomposition of them."""
    space = W[:, :rank]
    unit = UNIT * max(W.shape) ** 0.5 if single else 2.0**-46
    return space @ np.linalg.pinv(space) @ W, float(np.linalg.cond(space) * unit * np.abs(W).max())


STARTS: Mapping[str, Callable[[Matrix, int, bool], tuple[Matrix, float]]] = {
    "leading": lambda W, rank, single: _singular(W, rank, single, last=False),
    "trailing": lambda W, rank, single: _singular(W, rank, single, last=True),
    "first_columns": _first,
}
"""What training began with, by the name of the function that takes it out of W."""

STARTED, UNFITTED = "adapterops.updates.started.Started", "adapterops.updates.unfitted.Unfitted"
LORA, DORA, OFT = (
    *("adapterops.updates.lowrank.LowRank", "adapterops.updates.magnitude.Magnitude"),
    "adapterops.updates.rotation.Rotation",
)

FORMULAS: Mapping[str, Callable[[Formula, Any, slice, Matrix], Delta]] = {
    LORA: Formula._lora,
    "adapterops.updates.sums.Sum": Formula._sum,
    "adapterops.updates.hadamard.Hadamard": Formula._loha,
    "adapterops.updates.kronecker.Kronecker": Formula._lokr,
    "adapterops.updates.gain.Gain": Formula._ia3,
    "adapterops.updates.replacement.Replacement": Formula._replaced,
    UNFITTED: Formula._unfitted,
    STARTED: Formula._started,
    DORA: Formula._dora,
    OFT: Formula._rotated,
}
"""By the class, which is named, not imported: nothing of `updates` is used here. Looks alone would take an update of
another package for one of these.
"""
