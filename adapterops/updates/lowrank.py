"""The update LoRA learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from adapterops.arrays.device import sent, way_of
from adapterops.arrays.finite import all_finite
from adapterops.arrays.floats import numbers, widened
from adapterops.arrays.scratch import Scratch
from adapterops.arrays.transfer import Transfer
from adapterops.errors import IncompatibleError, InputError, ShapeError, UnsupportedError
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.protocol import Array, Part, all_rows, change_by_rows

SMALL = 10**6
"""Multiplications up to which OpenBLAS takes matrices as they are stored,
instead of copying them first and clearing the result.
"""

COLUMNS = 896
"""Columns that are multiplied at a time:
small enough for that, and no power of two, in which rows fall on the same lines of a cache.
"""

LEAST_ROWS = 16
TILE = 1 << 17
"""Numbers of a factor that are in float64 at a time: a megabyte, which a core keeps at hand."""


class AsStored(NamedTuple):
    """Numbers as a file has them, in a dtype, which are not written to: a factor, whose numbers are widened when they are
    asked for.
    """

    stored: Array
    dtype: str

    @property
    def T(self) -> AsStored:
        return AsStored(self.stored.T, self.dtype)


@dataclass(frozen=True, eq=False)
class LowRank:
    """A weight update kept factored: ΔW = scale · B @ A.

    B is (out, r) and A is (r, in); `scale` is alpha/r, or alpha/sqrt(r) under rsLoRA. Rank 0 is the zero. The factors
    are numpy arrays of float32 or float64: whatever else they are given as, torch tensors too, is converted, exactly.

    `error` is a bound on ‖ΔW - exact‖_F, the distance to the update this one stands for: 0 where it is exact, the tail
    of the singular values where it was truncated. Arithmetic carries it along, so nothing that lost energy hides it.

    A factor that is given `AsStored` is widened when its numbers are asked for, and not before; multiples of the update
    have it, too: what is written in the dtype that it was read in need not be converted.

    >>> one = LowRank(np.array([[1.0], [2.0]]), np.array([[3.0, 0.0]]), scale=2.0)
    >>> (one + 0.5 * one).dense()
    array([[ 9.,  0.],
           [18.,  0.]])
    """

    B: Array
    A: Array
    scale: float = 1.0
    error: float = 0.0
    _products: dict[Any, Callable[[slice, Array], Array]] = field(default_factory=dict, init=False, repr=False)
    _stored: dict[str, AsStored] = field(default_factory=dict, init=False, repr=False)
    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for role in ("B", "A"):
            given: Any = self.__dict__[role]
            if isinstance(given, AsStored):
                self._stored[role] = given
                object.__delattr__(self, role)  # until `__getattr__` is asked for it
            else:
                object.__setattr__(self, role, numbers(given)[0])
        B, A = self._sides("B"), self._sides("A")
        if len(B) != 2 or len(A) != 2 or B[1] != A[0]:
            raise ShapeError(f"B {B} and A {A} do not share a rank")

    def __getattr__(self, role: str) -> Any:
        """A factor that is not widened yet."""
        held = self.__dict__.get("_stored", {}).get(role)
        if held is None:
            raise AttributeError(role)
        found = widened(held.stored, held.dtype, Scratch())
        object.__setattr__(self, role, found)
        return found

    def _sides(self, role: str) -> tuple[int, ...]:
        held = self._stored.get(role)
        return tuple((self.__dict__[role] if held is None else held.stored).shape)

    @property
    def shape(self) -> tuple[int, int]:
        return self._sides("B")[0], self._sides("A")[1]

    def stored(self, role: str, dtype: str) -> Array | None:
        """B or A as it is stored in a file in this dtype, without its scale; None where no file has it so."""
        held = self._stored.get(role)
        return held.stored if held and held.dtype == dtype else None

    def as_in_file(self) -> tuple[AsStored, AsStored] | None:
        """B and A as a file has them, where both are."""
        return (self._stored["B"], self._stored["A"]) if len(self._stored) == 2 else None

    @property
    def rank(self) -> int:
        return self._sides("B")[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(self.B, self.A)

    @property
    def near(self) -> LowRank:
        return self

    def lowrank(self) -> LowRank:
        return self

    dense, change = all_rows, change_by_rows

    def rows(self, part: Part, out: Array) -> Array:
        """The entries of ΔW in a part: each call computes them again, where `out` is."""
        rows, columns = part
        if way := way_of(out):
            B, A = self.sent(out.dtype, way)
            return np.matmul(B[rows], A[:, columns], out=out)
        if columns.step in (None, 1) and columns.start in (None, 0) and columns.stop in (None, self.A.shape[1]):
            key = out.dtype
            if key not in self._products:
                self._products[key] = self._product(out.dtype)
            return self._products[key](rows, out)
        with np.errstate(all="ignore"):
            some = replace(self, B=self.B[rows], A=self.A[:, columns])
            np.matmul(some.folded(out.dtype), some.A.astype(out.dtype, copy=False), out=out)
        return out

    def sent(self, dtype: np.dtype[Any], way: Transfer) -> tuple[Any, Any]:
        """scale · B and A in a dtype, where a way leads, for whoever asks for rows there more than once."""
        return sent(self.folded(dtype), way), sent(self.A.astype(dtype, copy=False), way)

    def _product(self, dtype: np.dtype[Any]) -> Callable[[slice, Array], Array]:
        """Some rows of ΔW, as a function of a slice and the memory for them.

        numpy multiplies all pieces of one size in one call, and does not ask for the interpreter's lock in between.
        """
        rank, columns = self.A.shape
        B, A = np.ascontiguousarray(self.folded(dtype)), self.A.astype(dtype, copy=False)
        across = _runs(columns, COLUMNS)
        stacks = [
            np.ascontiguousarray(A[:, run].reshape(rank, count, width).swapaxes(0, 1)) for run, count, width in across
        ]
        most = max(LEAST_ROWS, SMALL // max([1, *(rank * width for _, _, width in across)]))

        def product(rows: slice, out: Array) -> Array:
            mine = B[rows]
            with np.errstate(all="ignore"):  # what is not finite is found when the sums are
                for down, tall, height in _runs(len(mine), most):
                    pieces = mine[down].reshape(tall, 1, height, rank)
                    for (run, count, width), stack in zip(across, stacks, strict=True):
                        np.matmul(pieces, stack, out=out[down, run].reshape(tall, height, count, width).swapaxes(1, 2))
            return out

        return product

    def folded(self, dtype: Any = None) -> Array:
        """scale · B, in `dtype`.

        Raises:
            IncompatibleError: a number is too large for it.
        """
        B = self.B.astype(dtype or self.B.dtype, copy=False)
        if self.scale == 1:
            return B
        with np.errstate(all="ignore"):
            scaled: Array = np.multiply(B, self.scale, dtype=B.dtype)
        if abs(self.scale) > 1 and not all_finite(scaled) and all_finite(B):
            raise IncompatibleError(
                f"{self.scale:g} times B is too large for {B.dtype}",
                hint="is that the alpha, and are those the weights, that were meant?",
                code="E-OVERFLOW",
            )
        return scaled

    @property
    def T(self) -> LowRank:
        """ΔWᵀ, for weights that are stored as (in, out)."""
        return replace(self, B=self.A.T, A=self.B.T)

    def __add__(self, other: Any) -> LowRank:
        """Exact: the rank of a sum is the sum of the ranks."""
        if not isinstance(other, LowRank):
            return NotImplemented
        return joined([self, other])

    __radd__ = __add__

    def __mul__(self, factor: float) -> LowRank:
        """Exact: only `scale` changes."""
        scaled = replace(self, scale=factor * self.scale, error=abs(factor) * self.error)
        scaled._known.update(self._known)
        scaled._stored.update(self._stored)
        return scaled

    __rmul__ = __mul__

    def __neg__(self) -> LowRank:
        return -1.0 * self

    def __sub__(self, other: LowRank) -> LowRank:
        return self + -1.0 * other

    def norm(self) -> float:
        """‖ΔW‖_F, from the r x r Gram matrices in float64. Cost: O((out + in) r²), once for all multiples."""
        if "norm" not in self._known:
            with np.errstate(all="ignore"):
                square = float((gram(len(self.B), self.rank, lambda tile: self.B[tile]) * self.across()).sum())
            self._known["norm"] = math.sqrt(max(square, 0.0))
        return abs(self.scale) * float(self._known["norm"])

    def across(self) -> Array:
        """A Aᵀ, (r, r) in float64; computed once for all multiples."""
        if "across" not in self._known:
            with np.errstate(all="ignore"):
                self._known["across"] = gram(self.shape[1], self.rank, lambda tile: self.A.T[tile])
        found: Array = self._known["across"]
        return found


def joined(updates: Sequence[LowRank]) -> LowRank:
    """The sum of some updates, one at least: B = [s₁B₁ …], A = [A₁; …], which are copied once.

    Raises:
        ShapeError: they are updates of different weights.
    """
    first = updates[0]
    for each in updates:
        if each.shape != first.shape:
            raise ShapeError(f"cannot add updates of shape {first.shape} and {each.shape}")
    if len(updates) == 1:
        return first
    B, A = np.concatenate([each.folded() for each in updates], axis=1), np.concatenate([each.A for each in updates])
    return LowRank(B, A, error=sum(each.error for each in updates))


def gram(height: int, width: int, rows: Callable[[slice], Array]) -> Array:
    """XᵀX in float64, of a matrix X (height, width) of which `rows` has some at a time: no more than a tile of it is in
    float64.
    """
    found = np.zeros((width, width))
    for tile in tiles(height, width):
        some = rows(tile).astype(np.float64, copy=False)
        found += some.T @ some
    return found


def tiles(height: int, width: int) -> list[slice]:
    """Rows of a matrix, a few at a time: about `TILE` numbers.

    >>> tiles(5000, 64)
    [slice(0, 2048, None), slice(2048, 4096, None), slice(4096, 5000, None)]
    """
    step = max(1, TILE // max(1, width))
    return [slice(begin, min(begin + step, height)) for begin in range(0, height, step)]


@lru_cache(1000)
def _runs(length: int, most: int) -> list[tuple[slice, int, int]]:
    """Where, how many and how large pieces of a length are, in runs of one size: one run, if that takes at most twice
    as many.

    >>> _runs(4864, 896), _runs(13, 4)
    ([(slice(0, 4864, None), 8, 608)], [(slice(0, 12, None), 3, 4), (slice(12, 13, None), 1, 1)])
    """
    fewest = -(-length // most)
    size = next((length // count for count in range(fewest, 2 * fewest + 1) if count and length % count == 0), most)
    full = length - length % size
    runs = (slice(0, full), full // size, size), (slice(full, length), 1, length - full)
    return [run for run in runs if run[0].start < run[0].stop]


def zero(shape: tuple[int, int], dtype: Any = np.float32) -> LowRank:
    """The update that changes nothing: rank 0."""
    return LowRank(np.zeros((shape[0], 0), dtype), np.zeros((0, shape[1]), dtype))


def matrix(shapes: Mapping[str, Shape], role: str) -> tuple[int, int]:
    """The shape of an array as a matrix: of a kernel (out, in, height, width) all dimensions but the first are one.

    Raises:
        InputError: it has fewer than two dimensions.
    """
    shape = shapes[role]
    if len(shape) < 2:
        raise InputError(
            f"{role} has the shape {list(shape)}, expected two dimensions",
            hint="save the adapter again",
            code="E-SHAPE",
        )
    return shape[0], math.prod(shape[1:])


def measure(shapes: Mapping[str, Shape], down: str = "lora_A", up: str = "lora_B") -> Measure:
    """That of two factors, A (r, in) and B (out, r); of a convolution A (r, in, height, width) and B (out, r, 1, 1). The
    ones may be left out of either.

    >>> measure({"lora_A": (2, 6), "lora_B": (5, 2, 1, 1)})
    Measure(shape=(5, 6), rank=2, bound=2, kernel=(6, 1, 1))

    Raises:
        InputError: they do not share a rank, or B has a kernel.
        UnsupportedError: they are those of a convolution in groups.
    """
    A, B = matrix(shapes, down), matrix(shapes, up)
    if math.prod(shapes[up][2:]) != 1:
        raise InputError(
            f"{up} has the shape {list(shapes[up])}, expected (out, rank), or that of a kernel of one entry",
            hint="if it has a pair of factors for each expert, save each expert by itself",
            code="E-SHAPE",
        )
    if len(shapes[down]) > 2 and B[1] and A[0] > B[1] and A[0] % B[1] == 0:
        raise UnsupportedError(
            f"{down} has rank {A[0]} and {up} has rank {B[1]}, as PEFT has LoRA of a convolution in {A[0] // B[1]} groups: "
            "its outputs read the inputs of all groups, and those of the base read one each, so that no merge is possible",
            hint="PEFT runs it next to its base; for one that can be merged, train it without this module",
        )
    if A[0] != B[1]:
        grouped = "; those of several projections in one weight (MergedLinear of loralib, LitGPT) look so, and are not handled"
        raise InputError(
            f"{down} has rank {A[0]} and {up} has rank {B[1]}",
            hint=f"both must come from one training{grouped if A[0] in (2 * B[1], 3 * B[1]) else ''}",
            code="E-SHAPE",
        )
    ones = (1,) * (len(shapes[up]) - len(shapes[down]))
    return Measure((B[0], A[1]), A[0], A[0], (*shapes[down][1:], *ones) if len(shapes[down] + ones) > 2 else ())


LORA = {"lora_A": ".weight", "lora_B": ".weight"}

KINDS.add(
    "LoRA",
    Kind(
        "LoRA",
        LORA,
        measure,
        lambda arrays, scale: LowRank(arrays["lora_B"], arrays["lora_A"], scale),
        untrained="lora_B",
    ),
)
