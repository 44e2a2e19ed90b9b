"""W ← W + ΔW, rounded once, and what the rounding left of ΔW."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from adapterops.errors import IncompatibleError, InputError
from adapterops.finite import all_finite
from adapterops.memory import Scratch, scratch


@dataclass(frozen=True)
class Survival:
    """What became of an update ΔW on its way into the entries of a weight, W' being what is stored.

    Sums over entries, so that parts add up to a whole: ‖W‖², ‖ΔW‖², ⟨W' - W, ΔW⟩, and how many entries changed, of how many.
    Of entries that are stored in `codes` also ‖W' - (W + ΔW)‖², and ‖W' - W‖² within the rows of the update.
    """

    base: float = 0.0
    delta: float = 0.0
    dot: float = 0.0
    changed: int = 0
    entries: int = 0
    codes: int = 0
    error: float = 0.0
    inside: float = 0.0

    def __add__(self, other: Survival) -> Survival:
        return Survival(
            self.base + other.base,
            self.delta + other.delta,
            self.dot + other.dot,
            self.changed + other.changed,
            self.entries + other.entries,
            self.codes + other.codes,
            self.error + other.error,
            self.inside + other.inside,
        )

    @property
    def gain(self) -> float:
        """⟨W' - W, ΔW⟩ / ‖ΔW‖²: 1 where the update survived on average, 0 where rounding erased it; 1 for no update."""
        return self.dot / self.delta if self.delta else 1.0

    def as_json(self) -> dict[str, Any]:
        """What reports say of it; of a weight in codes a little more."""
        told = {"relative": self.relative if self.base else None, "gain": self.gain, "changed": self.changed, "entries": self.entries}
        return {**told, "noise": self.noise, "cosine": self.cosine} if self.codes else told

    @property
    def noise(self) -> float:
        """‖W' - (W + ΔW)‖ / ‖W‖, of a weight in codes."""
        return math.sqrt(self.error / self.base) if self.base else 0.0

    @property
    def uncertainty(self) -> float:
        """How far chance may move `gain`: one standard deviation, where the error of an entry does not depend on its update."""
        return math.sqrt(self.error / self.delta / self.entries) if self.delta and self.entries else 0.0

    @property
    def cosine(self) -> float:
        """Between W' - W and ΔW, within the rows of the update, of a weight in codes: 1 where nothing else was added to them."""
        return self.dot / math.sqrt(self.inside * self.delta) if self.inside and self.delta else 0.0

    @property
    def relative(self) -> float:
        """‖ΔW‖ / ‖W‖"""
        return math.sqrt(self.delta / self.base) if self.base else math.inf if self.delta else 0.0


class Change(NamedTuple):
    """An update that lies in some rows of a weight.

    `part` are the rows and columns of the block that it covers, `W` is what was there before, in the dtype of `delta`.
    `basis` has orthonormal columns that span the rows of the update, where it is of low rank.
    """

    module: str
    part: tuple[slice, slice]
    W: Tensor
    delta: Tensor
    basis: Callable[[], Tensor] | None = None


class Block(NamedTuple):
    """Some rows of a weight, all dimensions but the last taken for one: not rounded yet, and what was changed in them."""

    values: Tensor
    changes: Sequence[Change] = ()


def store(block: Block, stored: Tensor, coded: bool, moved: Tensor | None = None) -> dict[str, Survival]:
    """What survived of each update of a block, now that `stored` is kept of it. The values of the block are used up.

    Args:
        stored: what is kept, of the same shape; rounded, or for a `coded` weight what its codes stand for.
        moved: which entries have another code than before, where they had one.
    """
    survived = {}
    for module, part, W, delta, basis in block.changes:
        values, kept = within(block.values, part), within(stored, part)
        error = _square(kept - values) if coded else 0.0
        # in place where that is not the result itself: fresh memory costs more than the arithmetic
        alone = values is block.values and len(block.changes) == 1 and stored is not values and values.dtype == W.dtype
        difference = values.copy_(kept).sub_(W) if alone else kept.to(W.dtype) - W
        inside = _square(difference @ basis()) if basis and coded else _square(difference) if coded else 0.0
        changed = _nonzero(difference) if moved is None else int(np.count_nonzero(moved[part].numpy()))
        flat, update, move = W.reshape(-1), delta.reshape(-1), difference.reshape(-1)
        sums = [*(float(torch.dot(a, b)) for a, b in ((flat, flat), (update, update), (move, update))), error, inside]
        if not all(map(math.isfinite, sums)):
            _explain(W, delta, kept)
            wide, update, move = W.double(), delta.double(), difference.double()  # finite, only their squares were not
            sums = [_dot(wide, wide), _dot(update, update), _dot(move, update), error, inside]
        base, size, dot, error, inside = sums
        survived[module] = Survival(base, size, dot, changed, difference.numel(), difference.numel() if coded else 0, error, inside)
    return survived


def within(matrix: Tensor, part: tuple[slice, slice]) -> Tensor:
    """A part of a matrix; the matrix itself, where it is all of it."""
    sizes = tuple(len(range(*cut.indices(size))) for cut, size in zip(part, matrix.shape, strict=True))
    return matrix if sizes == matrix.shape else matrix[part]


def coded(values: Tensor, stored: Tensor) -> Survival:
    """How far the codes of some rows are from what they stand for, where no update lies in them. `stored` is used up."""
    return Survival(base=_square(values), entries=values.numel(), codes=values.numel(), error=_square(stored.sub_(values)))


def narrow(x: Tensor, dtype: torch.dtype, memory: Scratch | None = None) -> Tensor:
    """`x` rounded once, to nearest, ties to even; in scratch memory, if there is any.

    torch casts float64 to 16 bits by way of float32, which rounds twice. Where the first rounding is to odd, the second
    cannot tell (Boldo & Melquiond 2008).
    """
    if x.dtype != torch.float64 or dtype not in (torch.bfloat16, torch.float16):
        return x.to(dtype) if memory is None or x.dtype == dtype else memory("rounded", x.shape, dtype).copy_(x)
    near = x.float()
    back = near.double()
    toward_zero = torch.where(back.abs() > x.abs(), torch.nextafter(near, torch.zeros_like(near)), near)
    odd = (toward_zero.view(torch.int32) | 1).view(torch.float32)
    return torch.where(back == x, near, odd).to(dtype)


def checked(x: Tensor, dtype: torch.dtype, memory: Scratch | None = None) -> Tensor:
    """`narrow`, where every finite number stays finite.

    Raises:
        IncompatibleError: a number is too large for `dtype`.
    """
    result = narrow(x, dtype, memory)
    if result is not x and not all_finite(result):
        _check_range(result, int((x.isfinite() & ~result.isfinite()).sum()), "numbers")
    return result


def rounded(block: Block, dtype: torch.dtype, memory: Scratch | None = None) -> Tensor:
    """The values of a block in `dtype`. What an update made of them is checked by `store`."""
    covered = any(change.delta.shape == block.values.shape for change in block.changes)
    return (narrow if covered else checked)(block.values, dtype, memory)


def _check_range(result: Tensor, count: int, what: str) -> None:
    if count:
        raise IncompatibleError(
            f"{count} {what} are too large for {str(result.dtype).removeprefix('torch.')}",
            hint="store it wider: --dtype float32, or bfloat16",
            code="E-OVERFLOW",
        )


def _nonzero(a: Tensor) -> int:
    mask = scratch()("mask", a.shape, torch.bool).numpy()
    return int(np.count_nonzero(np.not_equal(a.numpy(), 0, out=mask)))


def _square(a: Tensor) -> float:
    return _dot(a, a)


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.reshape(-1), b.reshape(-1)))


def _explain(wide: Tensor, delta: Tensor, result: Tensor) -> None:
    if not all_finite(wide):
        raise InputError(
            "the base has numbers that are NaN or infinite", hint="the checkpoint is damaged; download it again", code="E-NONFINITE"
        )
    if not all_finite(delta):
        raise InputError(
            "the update has numbers that are NaN or infinite", hint="the training diverged; use another checkpoint", code="E-NONFINITE"
        )
    _check_range(result, int((~result.isfinite()).sum()), "sums")
