"""What rounding leaves of an update: W ← W + ΔW, rounded once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from adapterops.arrays.finite import all_finite
from adapterops.arrays.floats import Array, at_random, check_range, checked, narrowed
from adapterops.arrays.scratch import Scratch
from adapterops.errors import InputError

SIGNED = ("dot", "inputs_dot")
"""Which sums of `Survival` are over products of two, and may be negative."""


@dataclass(frozen=True)
class Survival:
    """What became of an update ΔW on its way into the entries of a weight, W' being what is stored.

    Sums over entries, so that parts add up to a whole: ‖W‖², ‖ΔW‖², ⟨W' - W, ΔW⟩, and how many entries changed, of how
    many. Of entries that are stored in `codes` also ‖W' - (W + ΔW)‖², and ‖W' - W‖² within the rows of the update. Of
    some rows, where W is the original of codes, ‖V - W‖² within the rows of the update, V being what the codes stand
    for, and ‖ΔW‖²: `original_error` and `sampled`. Where codes were chosen by the Gram matrix G of their inputs, ⟨W' - W, ΔW⟩ and
    ‖ΔW‖² of what they do to these, tr(X G Yᵀ): `inputs_dot` and `inputs_delta`.
    """

    base: float = 0.0
    delta: float = 0.0
    dot: float = 0.0
    changed: int = 0
    entries: int = 0
    codes: int = 0
    error: float = 0.0
    inside: float = 0.0
    original_error: float = 0.0
    sampled: float = 0.0
    inputs_dot: float = 0.0
    inputs_delta: float = 0.0

    @property
    def negative(self) -> bool:
        """Whether a sum of squares or a number of entries is below 0, as none that was computed is."""
        return any(value < 0 for name, value in vars(self).items() if name not in SIGNED)

    def __add__(self, other: Survival) -> Survival:
        others = vars(other)
        return Survival(**{name: one + others[name] for name, one in vars(self).items()})

    @property
    def for_inputs(self) -> float:
        """The gain of what the weight does to its inputs; where these are not known, of its entries."""
        return self.inputs_dot / self.inputs_delta if self.inputs_delta else self.gain

    @property
    def original(self) -> float:
        """‖(V - W) Q‖ / ‖ΔW‖ of some rows: how far codes are from their original where the adapter reads."""
        return math.sqrt(self.original_error / self.sampled) if self.sampled else 0.0

    @property
    def gain(self) -> float:
        """⟨W' - W, ΔW⟩ / ‖ΔW‖²: 1 where the update survived on average, 0 where rounding erased it; 1 for no update."""
        return self.dot / self.delta if self.delta else 1.0

    def as_json(self) -> dict[str, Any]:
        """What reports say of it; of a weight in codes a little more."""
        reported = {
            "relative": self.relative if self.base else None,
            "gain": self.gain,
            "changed": self.changed,
            "entries": self.entries,
        }
        if self.sampled:
            reported["original"] = self.original
        if self.inputs_delta:
            reported["for_inputs"] = self.for_inputs
        if self.codes:
            reported |= {"uncertainty": self.uncertainty, "noise": self.noise, "cosine": self.cosine}
        return reported

    @property
    def noise(self) -> float:
        """‖W' - (W + ΔW)‖ / ‖W‖, of a weight in codes."""
        return math.sqrt(self.error / self.base) if self.base else 0.0

    @property
    def uncertainty(self) -> float:
        """How far chance may move `gain`:
        one standard deviation, where the error of an entry does not depend on its update.
        """
        return math.sqrt(self.error / self.delta / self.entries) if self.delta and self.entries else 0.0

    @property
    def cosine(self) -> float:
        """Between W' - W and ΔW, within the rows of the update, of a weight in codes:
        1 where nothing else was added to them.
        """
        return self.dot / math.sqrt(self.inside * self.delta) if self.inside and self.delta else 0.0

    @property
    def relative(self) -> float:
        """‖ΔW‖ / ‖W‖"""
        return math.sqrt(self.delta / self.base) if self.base else math.inf if self.delta else 0.0


class Change(NamedTuple):
    """An update of some rows of a weight.

    `part` are the rows and columns of the block that it covers, `W` is what was there before, in the dtype of `delta`.
    `basis` has orthonormal columns that span the rows of the update, where it is of low rank.
    """

    module: str
    part: tuple[slice, slice]
    W: Array
    delta: Array
    basis: Callable[[], Array | None] = lambda: None


class Block(NamedTuple):
    """Some rows of a weight, all dimensions but the last taken for one:
    wide, not rounded yet, and what was changed in them.
    """

    values: Array
    changes: Sequence[Change] = ()

    def change(self, module: str) -> Change:
        """That of a module."""
        return next(change for change in self.changes if change.module == module)


def survival(
    block: Block, kept: Array, dtype: str, quantized: bool = False, changed_codes: Array | None = None
) -> dict[str, Survival]:
    """What survived of each update of a block, now that `kept` is stored of it. The values of the block are used up.

    Args:
        kept: what the stored numbers stand for: after `rounded` the values themselves, of a `quantized` weight others.
        dtype: that the numbers are stored in.
        changed_codes: which entries have another code than before, where they had one.

    Raises:
        InputError: the weight or an update has numbers that are NaN or infinite.
        IncompatibleError: a sum is too large for `dtype`.
    """
    found = {}
    for module, part, W, delta, basis in block.changes:
        values, result = within(block.values, part), within(kept, part)
        with np.errstate(all="ignore"):
            # in place where nobody needs the values: fresh memory costs more than the arithmetic
            only = values is block.values and len(block.changes) == 1 and values.dtype == W.dtype
            error = result - values if quantized else None
            difference = np.subtract(result, W, out=values if only else None)
            changed = _nonzero(difference) if changed_codes is None else int(np.count_nonzero(changed_codes[part]))
            spanned = basis() if quantized else None
            inside = difference if spanned is None else difference @ spanned
            base, size, dot = square(W), square(delta), _dot(difference, delta)
            if not all(map(math.isfinite, (base, size, dot))):
                _explain(W, delta, result, dtype)
                W, delta, difference = (
                    each.astype(np.float64) for each in (W, delta, difference)
                )  # finite, only their squares were not
                base, size, dot = square(W), square(delta), _dot(difference, delta)
        found[module] = Survival(base, size, dot, changed, difference.size)
        if error is not None:
            found[module] += Survival(codes=difference.size, error=square(error), inside=square(inside))
    return found


def by_inputs(block: Block, kept: Array, gram: Array, transposed: bool) -> dict[str, Survival]:
    """What each update of a whole weight, and what is stored of it, do to inputs with a Gram matrix."""
    found = {}
    for module, part, W, delta, _ in block.changes:
        change, wanted = within(kept, part) - W, delta
        if transposed:
            change, wanted = change.T, wanted.T
        seen = wanted @ gram
        found[module] = Survival(inputs_dot=_dot(change, seen), inputs_delta=_dot(wanted, seen))
    return found


def quantized(values: Array, stored: Array) -> Survival:
    """How far the codes of some rows are from what they stand for,
    where there is no update in them. `stored` is used up.
    """
    error = np.subtract(stored, values, out=stored)
    return Survival(base=square(values), entries=values.size, codes=values.size, error=square(error))


def within(matrix: Array, part: tuple[slice, slice]) -> Array:
    """A part of a matrix; the matrix itself, where it is all of it."""
    height, width = matrix.shape
    return matrix if part == (slice(0, height), slice(0, width)) else matrix[part]


def rounded(block: Block, dtype: str, memory: Scratch, draws: Array | None = None) -> Array:
    """The values of a block as they are stored in `dtype`: the nearest, or where they were changed one of the two
    neighbours, by `draws`. If any were changed, they become what the stored ones stand for.

    What an update made of them is checked by `survival`.
    """
    if draws is not None and block.changes:
        return at_random(block.values, dtype, memory, draws)
    if any(change.delta.shape == block.values.shape for change in block.changes):
        return narrowed(block.values, dtype, memory, settle=True, nan=False)
    return checked(block.values, dtype, memory, settle=bool(block.changes))


def _nonzero(a: Array) -> int:
    """Entries that are not +0."""
    return int(np.count_nonzero(a.view({4: np.int32, 8: np.int64}[a.itemsize])))  # a fifth of the time that floats take


def square(a: Array) -> float:
    """‖a‖²"""
    return _dot(a, a)


def _dot(a: Array, b: Array) -> float:
    return float(np.dot(a.reshape(-1), b.reshape(-1)))


def _explain(W: Array, delta: Array, kept: Array, dtype: str) -> None:
    if not all_finite(W):
        raise InputError(
            "the base has numbers that are NaN or infinite",
            hint="download it again, or use another checkpoint",
            code="E-NONFINITE",
        )
    if not all_finite(delta):
        wider = "compute it wider, with --precision float64; or " if delta.dtype == np.float32 else ""
        raise InputError(
            f"the update has numbers that are NaN or infinite in {delta.dtype}",
            hint=f"{wider}use another checkpoint of the training",
            code="E-NONFINITE",
        )
    check_range(np.isfinite(W), np.isfinite(kept), dtype, "sums")
