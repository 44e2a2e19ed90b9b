"""The updates of one module in many adapters, as a collection stores them: what is shared once, and rows of codes for
each.

ΔW = L C Rᵀ + Bᵀ A. L (out, k) and R (in, l) are shared, and so is the mean of the C; of each update there are the
differences of the rows of its C from that, and directions of its own, the rows of B and A. C is (k, l); without L it is
(l, out), transposed, and without R it is (k, in). Every row has as many bits as it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from adapterops.arrays.rows import BITS, CODES, Rows, decode, held

Array = NDArray[Any]

Read: TypeAlias = Callable[[str, int, int], Array]
"""The rows [begin, end) of a stored array, by its name."""


@dataclass(frozen=True, eq=False)
class Shared:
    """What the updates of a module have in common, in float32: L (k, out) and R (l, in) as rows, and the mean of the C."""

    shape: tuple[int, int]
    left: Array | None = None
    right: Array | None = None
    mean: Array | None = None

    @property
    def rows(self) -> int:
        """Rows of a C."""
        side = self.right if self.left is None else self.left
        return 0 if side is None else len(side)

    @property
    def width(self) -> int:
        """Numbers in a row of a C."""
        if self.left is None:
            return self.shape[0]
        return self.shape[1] if self.right is None else len(self.right)

    def factors(self, C: Array) -> tuple[Array, Array]:
        """B (out, r) and A (r, in) of the shared part, of rank min(k, l)."""
        if self.left is None:
            if self.right is None:
                return np.zeros((self.shape[0], 0), C.dtype), np.zeros((0, self.shape[1]), C.dtype)
            return C.T, self.right
        if self.right is None:
            return self.left.T, C
        if len(self.right) <= len(self.left):
            return self.left.T @ C, self.right
        return self.left.T, C @ self.right


@dataclass(frozen=True, eq=False)
class Own:
    """The codes of one update: the bits of each row of its C, 0 where it is the mean's, and by bits the rows of C, B and A."""

    bits: Array
    coefficients: Mapping[int, Rows] = field(default_factory=dict)
    B: Mapping[int, Rows] = field(default_factory=dict)
    A: Mapping[int, Rows] = field(default_factory=dict)


def factors(shared: Shared, own: Own) -> tuple[Array, Array]:
    """B (out, r) and A (r, in) of an update, in float32; r is 1 for one that is zero.

    Cost: O((out + in) r) where one side is shared; of both, O(out · k · l) more.
    """
    C = np.zeros((shared.rows, shared.width), np.float32) if shared.mean is None else shared.mean.copy()
    for bits, rows in own.coefficients.items():
        C[own.bits == bits] += decode(rows, bits, shared.width)
    left, right = shared.factors(C)
    height, width = shared.shape
    B = [left, *(decode(rows, bits, height).T for bits, rows in own.B.items())]
    A = [right, *(decode(rows, bits, width) for bits, rows in own.A.items())]
    if not sum(map(len, A)):
        return np.zeros((height, 1), np.float32), np.zeros((1, width), np.float32)
    return np.concatenate(B, axis=1), np.concatenate(A)


@dataclass(frozen=True, eq=False)
class Tables:
    """Where the rows of each update are: the bits of the rows of its C (n, rows), and how many directions of its own it
    has of each of `BITS` (n, 4).
    """

    bits: Array
    own: Array


def stacked(owns: Sequence[Own], shared: Shared) -> tuple[Tables, dict[str, Array]]:
    """The codes of several updates, one after the other, as arrays by their names."""
    counts = [[len(own.B[bits].codes) if bits in own.B else 0 for bits in BITS] for own in owns]
    tables = Tables(
        np.array([own.bits for own in owns], np.uint8).reshape(len(owns), shared.rows),
        np.array(counts, np.int32).reshape(len(owns), len(BITS)),
    )
    found: dict[str, Array] = {}
    for bits in BITS:
        for role in ROLES:
            rows = [each[bits] for own in owns if bits in (each := getattr(own, role))]
            if rows:
                found[f"{role}.{bits}"] = np.concatenate([each.codes for each in rows])
                found[f"{role}.{bits}.step"] = np.concatenate([each.steps for each in rows])
    return tables, found


ROLES = ("coefficients", "B", "A")


def expected(tables: Tables, shared: Shared) -> dict[str, tuple[type[Any], tuple[int, ...]]]:
    """The arrays that `stacked` makes of such tables: name → dtype and shape."""
    found: dict[str, tuple[type[Any], tuple[int, ...]]] = {}
    for place, bits in enumerate(BITS):
        own = int(tables.own[:, place].sum())
        counts = {"coefficients": int(np.count_nonzero(tables.bits == bits)), "B": own, "A": own}
        widths = {"coefficients": shared.width, "B": shared.shape[0], "A": shared.shape[1]}
        for role in ROLES:
            if counts[role]:
                found[f"{role}.{bits}"] = CODES[bits], (counts[role], held(widths[role], bits))
                found[f"{role}.{bits}.step"] = np.float32, (counts[role],)
    return found


def sliced(tables: Tables, number: int, read: Read) -> Own:
    """The codes of one update out of those of all: the inverse of `stacked`."""

    def rows(role: str, bits: int, before: int, count: int) -> Rows:
        end = before + count
        return Rows(read(f"{role}.{bits}", before, end), read(f"{role}.{bits}.step", before, end))

    mine = tables.bits[number]
    coefficients = {
        bits: rows("coefficients", bits, int(np.count_nonzero(tables.bits[:number] == bits)), count)
        for bits in BITS
        if (count := int(np.count_nonzero(mine == bits)))
    }
    before, counts = tables.own[:number].sum(axis=0), tables.own[number]
    places = [(bits, int(before[at]), int(counts[at])) for at, bits in enumerate(BITS) if counts[at]]
    return Own(
        mine,
        coefficients,
        {bits: rows("B", bits, *at) for bits, *at in places},
        {bits: rows("A", bits, *at) for bits, *at in places},
    )


def size(arrays: Iterable[Array]) -> int:
    """Bytes of several arrays."""
    return sum(array.nbytes for array in arrays)
