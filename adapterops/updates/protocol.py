"""What an adapter does to one weight.

An update is a function of the weight W, computed part by part: `change` returns W' - W. Most do not look at W. These
are `Linear`: they have entries of their own, and can be added and scaled. Which of them a class is shows in its
methods, and `Layout.needs_base` says it before anything is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from adapterops.arrays.device import empty
from adapterops.arrays.parallel import in_parallel
from adapterops.arrays.transfer import Transfer
from adapterops.errors import UnsupportedError
from adapterops.updates.layout import TILE

if TYPE_CHECKING:
    from adapterops.updates.lowrank import LowRank

Array = NDArray[Any]
Same = TypeVar("Same", bound="Update")

Part: TypeAlias = tuple[slice, slice]
"""Some rows and some columns of a matrix, evenly spaced: a step may be more than 1."""


class Update(Protocol):
    """What an adapter does to one weight of a shape (out, in), in float32 or float64."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its own numbers, float32 or float64."""

    @property
    def T(self) -> Update:
        """The same for a weight that is stored as (in, out)."""

    def change(self, part: Part, W: Array, out: Array) -> Array:
        """W' - W in a part, in `out` or in memory of its own, computed in the dtype of `out`. W is the weight in that part,
        and read only by what needs it.
        """

    def lowrank(self) -> LowRank | None:
        """Exact factors, where it has some."""


class Linear(Update, Protocol):
    """An update that does not depend on W.
    `error` is a bound on ‖ΔW - exact‖_F, the distance to the one it stands for.
    """

    @property
    def error(self) -> float: ...
    @property
    def near(self) -> LowRank | None:
        """An update whose leading directions are probably close to those of this one:
        where a search for them may start.
        """

    @property
    def T(self) -> Linear: ...
    def rows(self, part: Part, out: Array) -> Array:
        """The entries of ΔW in a part, in `out` or in memory of its own, computed in the dtype of `out`."""

    def dense(self) -> Array:
        """ΔW, (out, in)."""

    def norm(self) -> float:
        """‖ΔW‖_F"""

    def __add__(self, other: Any) -> Linear: ...
    def __radd__(self, other: Any) -> Linear: ...
    def __mul__(self, factor: float) -> Linear: ...
    def __rmul__(self, factor: float) -> Linear: ...


def all_rows(update: Linear, dtype: np.dtype[Any] | None = None, way: Transfer | None = None) -> Array:
    """`dense` of what has rows: the (out, in) matrix, in a dtype, or in that of the update; where a way leads, of what can be
    computed there.
    """
    out: Array = empty(update.shape, update.dtype if dtype is None else dtype, way)
    return update.rows((slice(0, update.shape[0]), slice(0, update.shape[1])), out)


def change_by_rows(update: Linear, part: Part, W: Array, out: Array) -> Array:
    """`change` of what has rows: its entries, whatever W is."""
    return update.rows(part, out)


def no_factors(update: Update) -> None:
    """`lowrank` of what has no exact factors, or none without its weight."""


def unscaled(what: str) -> Callable[[Same, float], Same]:
    """Multiplication of what depends on its weight: by 1 alone. `what`: for the message."""

    def times(update: Same, factor: float) -> Same:
        if factor != 1:
            raise UnsupportedError(f"is {what}, which cannot be scaled", hint="fuse it into its base by itself")
        return update

    return times


@dataclass(frozen=True, eq=False)
class TransposedUpdate:
    """An update of a weight that is stored as (in, out): its columns are rows of the other, and the other way round."""

    T: Any

    @property
    def shape(self) -> tuple[int, int]:
        out, into = self.T.shape
        return into, out

    @property
    def dtype(self) -> np.dtype[Any]:
        found: np.dtype[Any] = self.T.dtype
        return found

    lowrank = no_factors

    def change(self, part: Part, W: Array, out: Array) -> Array:
        """What must be whole is that of the weight itself, and so is the cost."""
        transposed: Array = self.T.change(part[::-1], W.T, out.T)
        return transposed.T

    def __mul__(self, factor: float) -> TransposedUpdate:
        return TransposedUpdate(factor * self.T)

    __rmul__ = __mul__


def norm(matrix: Array) -> float:
    """‖matrix‖_F: each row in the matrix's dtype, their sum in float64."""
    step = max(1, 8 * TILE // max(1, matrix.shape[1]))
    found = in_parallel(lambda first: squares(matrix[first : first + step]), range(0, len(matrix), step))
    return _root(np.concatenate(found)) if found else 0.0


def norm_by_rows(update: Linear) -> float:
    """`norm` of what has rows: bit for bit that of its matrix, and in memory for a tile."""
    shape = update.shape
    height, width = max(1, TILE // max(1, shape[1])), slice(0, shape[1])
    parts = [slice(first, min(first + height, shape[0])) for first in range(0, shape[0], height)]
    out = np.empty((min(height, shape[0]), shape[1]), update.dtype)
    found = [squares(update.rows((part, width), out[: part.stop - part.start])) for part in parts]
    return _root(np.concatenate(found)) if found else 0.0


def squares(matrix: Array) -> Array:
    """The square of the norm of each row."""
    with np.errstate(all="ignore"):
        products: Array = np.matmul(matrix[:, None, :], matrix[:, :, None])
    return products


def _root(products: Array) -> float:
    with np.errstate(all="ignore"):
        return float(np.sqrt(products.sum(dtype=np.float64)))
