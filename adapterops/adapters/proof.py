"""Whether a file that was written holds the updates that it was written from: before it gets its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from adapterops.arrays.scratch import LINE
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import AdapterOpsError
from adapterops.formats.diffusion.flat import Flat, flat, in_model
from adapterops.formats.diffusion.written import of_clip
from adapterops.formats.models.naming import canonical
from adapterops.linalg.factor import reduced
from adapterops.storage.checksums import digest
from adapterops.storage.writer import rows_of
from adapterops.updates.lowrank import LowRank

if TYPE_CHECKING:
    from adapterops.adapters.adapter import Adapter
    from adapterops.updates.protocol import Array

SLACK = 1e-12
"""What two products in float64 may differ by, of the size of their factors: wrong names and scales are far above it."""


ENTRIES, COLUMNS = 1 << 17, 1 << 10
"""How many numbers of a factor are in float64 at a time, of at most so many of its columns."""

SHAPES = 16
"""For how many shapes the random numbers are kept: a model has a few, and drawing them takes as long as the products."""

PROJECTIONS, FAR = 4, 16.0
"""Numbers that are kept of ΔW x, and how many times its expected length D x may be long: never met by chance."""


class Image(NamedTuple):
    """What an update is known by: random projections of v = ΔW x for a random x.

    Attributes:
        values: Y v / √k for a random Y of k rows, whose expected length is ‖v‖.
        size, total: ‖v‖ and Σ v / √out, which do not depend on the order of the rows.
        within: how far from these a file may be, by what rounding moved.
    """

    values: Array
    size: float
    total: float
    within: float

    def distance(self, other: Image, ordered: bool) -> float:
        """How far another one is: about ‖v - v'‖; where rows are in different orders at least that of their lengths."""
        import numpy as np

        if ordered:
            return float(np.linalg.norm(self.values - other.values))
        return max(abs(self.size - other.size), abs(self.total - other.total))


class Exact(NamedTuple):
    """An update whose factors are stored without a change: by their bits, which no other factors have, and by its image, where
    the file turns out to have it in another form.
    """

    bits: Bits
    image: Callable[[], Image]


class Bits(NamedTuple):
    """What tells the bits of A and of B as they are stored: their hashes, of their rows or else of their columns, one after the
    other, whichever is how they are in memory; next to the scale, the dtypes and the shape.
    """

    scale: float
    dtypes: tuple[str, str]
    shape: tuple[int, int]
    by_columns: tuple[bool, bool]
    hashes: tuple[str, str]


def bits(
    A: Array, B: Array, dtypes: tuple[str, str], scale: float = 1.0, by_columns: tuple[bool, bool] | None = None
) -> Bits:
    """Of factors as they are stored."""
    own = (not A.flags.c_contiguous, not B.flags.c_contiguous)
    first, second = own if by_columns is None else by_columns
    hashes = fingerprint(A.T if first else A), fingerprint(B.T if second else B)
    return Bits(scale, dtypes, (len(B), A.shape[1]), (first, second), hashes)


def _held(update: Any, by_columns: tuple[bool, bool]) -> Bits | None:
    """The same of an update that was read, where it has its factors as the file has them."""
    if not isinstance(update, LowRank) or not (held := update.as_in_file()):
        return None
    B, A = held
    return bits(A.stored, B.stored, (A.dtype, B.dtype), update.scale, by_columns)


def fingerprint(stored: Array) -> str:
    """BLAKE3 of numbers as they are stored, row by row: what no other numbers have."""
    import numpy as np

    return digest(np.ascontiguousarray(rows_of(stored)).reshape(-1).view(np.uint8).data)


def image(update: LowRank, distance: float = 0.0) -> Image:
    """The image of an update. x and Y are the same for all matrices of a shape; updates that differ have different
    images, but with probability 0.

    Args:
        distance: ‖ΔW - ΔW'‖_F, by what rounding may have moved the update of the file.

    Cost: O((out + in) r).
    """
    import numpy as np

    with np.errstate(all="ignore"):
        factors = abs(update.scale) * float(np.linalg.norm(update.B)) * float(np.linalg.norm(update.A))
        within = FAR * distance + SLACK * factors * float(np.linalg.norm(_probes(update.shape)[0]))
        return seen(update)._replace(within=within)


def seen(update: LowRank) -> Image:
    """The image of an update, to be compared with that of another, which says how far from it this one may be."""
    import numpy as np

    x, Y = _probes(update.shape)
    with np.errstate(all="ignore"):
        v = update.scale * _times(update.B, _times(update.A, x))
        return Image(Y @ v, float(np.linalg.norm(v)), float(v.sum() / np.sqrt(update.shape[0])), 0.0)


@lru_cache(SHAPES)
def _probes(shape: tuple[int, int]) -> tuple[Array, Array]:
    """x and Y for matrices of a shape (out, in)."""
    from adapterops.arrays.random import scattered

    x, Y = scattered(0, shape[1]), scattered(shape[1], PROJECTIONS * shape[0])
    return x, Y.reshape(PROJECTIONS, shape[0]) / PROJECTIONS**0.5


def _times(matrix: Array, x: Array) -> Array:
    """matrix · x in float64, of a block at a time; in the same order however it is in memory.

    A block that is stored by columns is copied first, to where its columns are apart by more than they are long: where
    they begin at multiples of a page, a row falls on a few lines of the cache.
    """
    import numpy as np

    height, width = matrix.shape
    found, by_columns = np.zeros(height), matrix.T.flags.c_contiguous and not matrix.flags.c_contiguous
    for column in range(0, width, COLUMNS):
        some = x[column : column + COLUMNS]
        step = ENTRIES // len(some)
        block = np.empty((min(step, height), len(some)))
        aside = np.empty((len(some), min(step, height) + LINE), matrix.dtype) if by_columns else None
        for row in range(0, height, step):
            part = matrix[row : row + step, column : column + COLUMNS]
            if aside is not None:
                copied = aside[:, : len(part)].T
                np.copyto(copied, part)
                part = copied
            np.copyto(block[: len(part)], part)
            found[row : row + step] += block[: len(part)] @ some
    return found


def prove(written: Adapter, images: Mapping[str, Image | Exact], how: Execution = DEFAULT) -> float:
    """About the largest ‖ΔW x - ΔW' x‖ / ‖ΔW x‖ over all modules, ΔW' being what is read from the file.

    Args:
        images: those of the modules that were to be written, by their names; the file may have underscores for dots,
            or another prefix.

    Raises:
        AdapterOpsError: a module is missing or new, or another update. That is a bug of ours.
    """
    names = _names(written, images)

    def moved(module: str) -> float:
        return _moved(written, names[module], images[module], module)

    with closing(local.run(moved, images, how=how)) as distances:
        return max(distances, default=0.0)


def norms(written: Adapter, images: Mapping[str, Image | Exact], modules: Iterable[str]) -> dict[str, float]:
    """‖ΔW‖_F of some of the modules that were to be written, as they are read from the file."""
    names = _names(written, images)
    return {module: _read(written, names[module]).norm() for module in modules}


def _read(written: Adapter, name: str) -> LowRank:
    update: Any = written.updates[name]
    return update.lowrank() or reduced(update, written.layout[name].rank, exact=True)


def _moved(written: Adapter, name: str, expected: Image | Exact, module: str) -> float:
    """‖ΔW x - ΔW' x‖ / ‖ΔW x‖ of one module, which the file calls `name`; 0 of numbers that are not finite."""
    if isinstance(expected, Exact):
        if _held(written.updates[name], expected.bits.by_columns) == expected.bits:
            return 0.0
        expected = expected.image()
    ordered, found = name not in written.interleaved, _read(written, name)
    moved = expected.distance(seen(found), ordered)
    if moved > expected.within and written.config.reversed:  # extracted in the sides that PEFT takes it for
        moved = min(moved, expected.distance(seen(LowRank(found.A.T, found.B.T, found.scale)), ordered))
    if not isfinite(expected.within):  # such numbers were asked for
        return 0.0
    if moved > expected.within:
        raise _other(f"was written as another update: ΔW x differs by {moved:.2g} of {expected.size:.2g}", module)
    return moved / expected.size if expected.size else 0.0


def _names(written: Adapter, images: Mapping[str, Image | Exact]) -> dict[str, str]:
    """What the file calls each module."""
    if images.keys() == written.layout.keys():
        return {module: module for module in images}
    known = {flat(module): module for module in written.layout}
    by_key: dict[str, list[str]] = {}
    for name, module in known.items():
        by_key.setdefault(name.key, []).append(module)
    plain = {canonical(module): module for module in written.layout}
    # the third: kohya's name of a module that is called like a part of a pipeline; the last: MLX-LM's order of prefixes
    found = {
        module: _one(flat(module), known, by_key)
        or known.get(flat(of_clip(module)))
        or _one(Flat(in_model(module)), known, by_key)
        or plain.get(canonical(module))
        for module in images
    }
    for module, named in found.items():
        if named is None:
            raise _other("was to be written and is not in the file", module)
    for module in sorted(written.layout.keys() - set(found.values())):  # experts of a parameter that the adapter lacks
        if seen(written.updates[module].lowrank()).values.any():
            raise _other("is in the file and was not to be written", module)
    return {module: str(name) for module, name in found.items()}


def _one(name: Flat, known: Mapping[Flat, str], by_key: Mapping[str, list[str]]) -> str | None:
    """The module of a name, in its part of a pipeline; where the file says another, the only one of that name, or the only
    one whose name is the end of it, without a prefix of the model.
    """
    if name in known:
        return known[name]
    ends = (key for key in by_key if name.key.endswith(f"_{key}"))
    same = by_key.get(name.key) or [module for key in ends for module in by_key[key]]
    return same[0] if len(same) == 1 else None


def _other(fact: str, module: str) -> AdapterOpsError:
    hint = "this is a bug in adapterops: nothing was written, and another run would fail in the same way"
    return AdapterOpsError(fact, tensor=module, hint=hint, code="E-WRITTEN")
