"""A module of an adapter as it is stored: A and B of the planned rank, rounded once, and what that lost."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.proof import Image, image
from adapterops.arrays.dtypes import WIDE
from adapterops.arrays.scratch import Scratch
from adapterops.errors import IncompatibleError, at
from adapterops.formats.registry import Arrangement
from adapterops.updates.layout import DIFFERENCE, Layout

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array, Linear


class Factors(NamedTuple):
    """A module as it is stored: A and B, rounded once; the norm of what they hold, its error, what rounding moved of it;
    and by what it is known again.
    """

    module: str
    A: Array
    B: Array
    norm: float
    error: float
    rounding: float
    image: Image


def as_stored(adapter: Adapter, arranged: Arrangement) -> Callable[[str], Factors]:
    """The same of modules of which nothing is written anew."""
    anew = factored(adapter, arranged, exact=True)

    def factors(module: str) -> Factors:
        with at(tensor=module):
            update = adapter.updates[module].lowrank()
            if update is None:  # such as a bias
                return anew(module)
            return Factors(module, update.A, update.B, update.norm(), 0.0, 0.0, image(update))

    return factors


def factored(adapter: Adapter, arranged: Arrangement, exact: bool) -> Callable[[str], Factors]:
    """What computes a module as it is stored.

    Raises:
        IncompatibleError: a number does not fit the dtype of the output.
    """
    dtypes = arranged.of_modules()

    def factors(module: str) -> Factors:
        with at(tensor=module):
            return _factors(module, adapter.updates[module], adapter.layout[module], dtypes[module], exact)

    return factors


def _factors(module: str, update: Linear, layout: Layout, dtypes: tuple[str, str], exact: bool) -> Factors:
    from adapterops.arrays.floats import widened
    from adapterops.linalg.factor import moved, reduced
    from adapterops.updates.kronecker import thin

    whole_rank = layout.kind == DIFFERENCE and layout.rank >= min(layout.shape)
    found = thin(update) if whole_rank else reduced(update, layout.rank, exact)
    stored = _rounded("A", found.A, dtypes[0]), _rounded("B", found.folded(), dtypes[1])
    norm, distance = found.norm(), 0.0
    if norm and isfinite(norm):
        A, B = (widened(each, dtype, Scratch()) for each, dtype in zip(stored, dtypes, strict=True))
        distance = moved(found, B, A)
    whole = update.lowrank() if found.error == 0 else None
    seen = image(found if whole is None else whole, distance)
    return Factors(module, stored[0], stored[1], norm, found.error, distance / norm if distance else 0.0, seen)


TOO_LARGE = "look at its weight, and at lora_alpha and r in the configs, which scale it"


def _rounded(role: str, factor: Array, dtype: str) -> Array:
    from adapterops.arrays import q8
    from adapterops.arrays.floats import checked

    try:
        return q8.rounded(factor) if dtype == WIDE else checked(factor, dtype, Scratch())
    except IncompatibleError as error:
        raise IncompatibleError(
            f"{role}: {error.message}",
            hint=TOO_LARGE if dtype in ("F32", "F64") else "save it wider: --dtype F32",
            code="E-OVERFLOW",
        ) from None
