"""A module of an adapter as it is stored: A and B of the planned rank, rounded once, and what that lost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.proof import Exact, Image, bits, image
from adapterops.arrays.dtypes import WIDE
from adapterops.arrays.scratch import Scratch
from adapterops.errors import IncompatibleError, at
from adapterops.formats.registry import Arrangement
from adapterops.storage.writer import rows_of
from adapterops.updates.layout import DIFFERENCE, Layout

if TYPE_CHECKING:
    from adapterops.updates.lowrank import LowRank
    from adapterops.updates.protocol import Array, Linear


class Factors(NamedTuple):
    """A module as it is stored: A and B, rounded once; the norm of what they hold, its error, what rounding moved of it;
    and by what it is known again. `norm` is None where nothing was lost and nobody asked for it.
    """

    module: str
    A: Array
    B: Array
    norm: float | None
    error: float
    rounding: float
    image: Image | Exact


def as_stored(adapter: Adapter, arranged: Arrangement, norms: bool = True) -> Callable[[str], Factors]:
    """The same of modules of which nothing is rewritten."""
    by_module = factored(adapter, arranged, exact=True, norms=norms)

    def factors(module: str) -> Factors:
        with at(tensor=module):
            update = adapter.updates[module].lowrank()
            if update is None:  # such as a bias
                return by_module(module)
            seen = image(update)
            norm = update.norm() if norms or not seen.size else None
            B, A = update.as_in_file() or (None, None)
            stored = (A.stored, B.stored) if A and B else (update.A, update.B)
            return Factors(module, *stored, norm, 0.0, 0.0, seen)

    return factors


def factored(
    adapter: Adapter, arranged: Arrangement, exact: bool, norms: bool = True, packed: bool = False
) -> Callable[[str], Factors]:
    """What computes a module as it is stored; with the `norms` of those of which nothing is lost, too: the product of
    their Gram matrices takes longer than all else that is done to them.

    Args:
        packed: numbers of Q8_0 are its bytes, a quarter of the memory, where the module is stored by itself.

    Raises:
        IncompatibleError: a number does not fit the dtype of the output.
    """
    dtypes = arranged.of_modules()
    single = {modules[0] for modules in arranged.groups.values() if len(modules) == 1}
    laid = _by_columns if arranged.by_columns else rows_of

    def again(module: str) -> Image:
        """That of what was to be written, from what it is computed of."""
        update: LowRank = adapter.updates[module].lowrank()
        return image(update)

    def factors(module: str) -> Factors:
        with at(tensor=module):
            update, layout = adapter.updates[module], adapter.layout[module]
            if module in single and not norms and (stored := _as_read(update, layout, dtypes[module])):
                A, B = map(laid, stored)
                return Factors(module, A, B, None, 0.0, 0.0, Exact(bits(A, B, dtypes[module]), partial(again, module)))
            found = _factors(module, update, layout, dtypes[module], exact, norms)
            A, B = laid(found.A), laid(found.B)
            if packed and module in single:
                A, B = (_packed(each, dtype) for each, dtype in zip((A, B), dtypes[module], strict=True))
            return found._replace(A=A, B=B)

    return factors


def _packed(numbers: Array, dtype: str) -> Array:
    from adapterops.arrays import q8

    return q8.encode(q8.filled(numbers)) if dtype == WIDE else numbers


def _by_columns(matrix: Array) -> Array:
    """The same numbers, with its columns one after the other in memory."""
    return rows_of(matrix.T).T


def _factors(module: str, update: Linear, layout: Layout, dtypes: tuple[str, str], exact: bool, norms: bool) -> Factors:
    from adapterops.linalg.factor import reduced
    from adapterops.updates.kronecker import thin

    whole_rank = layout.kind == DIFFERENCE and layout.rank >= min(layout.shape)
    found = thin(update) if whole_rank else reduced(update, layout.rank, exact)
    whole = update.lowrank() if found.error == 0 else None
    stored = _same(found, dtypes)
    if stored and whole is not None and not norms and (seen := image(whole)).size:
        return Factors(module, *stored, None, 0.0, 0.0, seen)
    norm, distance = found.norm(), 0.0
    if stored is None:
        A, folded = _rounded("A", found.A, dtypes[0]), found.folded()
        stored = A, _rounded("B", folded, dtypes[1], own=folded is not found.B)
        del folded
        distance = _moved(found, stored, dtypes) if norm and isfinite(norm) else 0.0
    seen = image(found if whole is None else whole, distance)
    return Factors(module, *stored, norm, found.error, distance / norm if distance else 0.0, seen)


def _as_read(update: Linear, layout: Layout, dtypes: tuple[str, str]) -> tuple[Array, Array] | None:
    """A and B as they are stored, where that is how they were read, but for a scale that is a power of two; None where they
    are computed, or are zero.
    """
    from adapterops.updates.lowrank import LowRank

    if not isinstance(update, LowRank) or update.as_in_file() is None or update.error or update.rank > layout.rank:
        return None
    stored = _same(update, dtypes)
    return stored if stored and all(each[:1].any() or each.any() for each in stored) else None


def _same(found: LowRank, dtypes: tuple[str, str]) -> tuple[Array, Array] | None:
    """A and B as they are stored, where no number of them changes, and so no entry of the update."""
    from adapterops.arrays.floats import exactly
    from adapterops.linalg.factor import folds_exactly

    if WIDE in dtypes or not folds_exactly(found):
        return None
    if (A := _multiplied(found, "A", dtypes[0], 1.0)) is None and (A := exactly(found.A, dtypes[0])) is None:
        return None
    B = _multiplied(found, "B", dtypes[1], found.scale)
    B = exactly(found.folded(), dtypes[1]) if B is None else B
    return None if B is None else (A, B)


def _multiplied(found: LowRank, role: str, dtype: str, scale: float) -> Array | None:
    """A or B times a power of two, of the bits that were read of a file of the same dtype; None where there are none,
    or where the products are no numbers of it.
    """
    from adapterops.arrays.powers import multiplied

    stored = found.stored(role, dtype)
    if stored is None or dtype in ("F32", "F64"):  # numbers that are stored as they are computed with
        return None
    return multiplied(stored, dtype, scale)


def _moved(found: LowRank, stored: tuple[Array, Array], dtypes: tuple[str, str]) -> float:
    """What rounding moved of an update."""
    from adapterops.arrays.floats import widened
    from adapterops.linalg.factor import moved

    A, B = stored

    def rows(tile: slice) -> Array:
        return widened(B[tile], dtypes[1], Scratch())

    def columns(tile: slice) -> Array:
        return widened(A[:, tile], dtypes[0], Scratch()).T

    return moved(found, rows, columns)


TOO_LARGE = "look at its weight, and at lora_alpha and r in the configs, which scale it"


def _rounded(role: str, factor: Array, dtype: str, own: bool = False) -> Array:
    from adapterops.arrays import q8
    from adapterops.arrays.floats import checked

    try:
        return q8.rounded(factor, own) if dtype == WIDE else checked(factor, dtype, Scratch())
    except IncompatibleError as error:
        raise IncompatibleError(
            f"{role}: {error.message}",
            hint=TOO_LARGE if dtype in ("F32", "F64") else "save it wider: --dtype F32",
            code="E-OVERFLOW",
        ) from None
