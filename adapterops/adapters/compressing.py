"""Many adapters as one collection: what they share is stored once, and the error of each is measured."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.compressed import Compressed, CompressedModules
from adapterops.adapters.compressible import check_compressible
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import OptionError, at
from adapterops.linalg.coding import Code, code
from adapterops.provenance.history import Step, sources
from adapterops.provenance.manifest import UNKNOWN, Origin, described, write_manifest
from adapterops.provenance.reader import read_manifest
from adapterops.storage.outputs import check_output
from adapterops.storage.place import COLLECTION
from adapterops.storage.spool import Spool
from adapterops.storage.staging import staged
from adapterops.storage.writer import read_back

ERROR = 0.01
"""The relative error that an update gets where no other is asked for."""

LEAST = 1e-6
"""The least that can be asked for: factors are read again in float32."""

SPOOL = ".spool"
COPIES = 6
"""How often the factors of a module are in memory at most, in float64: as they are read, in canonical form, side by side
for their bases, and as codes.
"""


def compress(
    adapters: Mapping[str, Adapter],
    out: str | os.PathLike[str] | None,
    *,
    error: float = ERROR,
    rank: int | None = None,
    force: bool = False,
    origin: Origin = UNKNOWN,
    how: Execution = DEFAULT,
) -> Compressed:
    """Write adapters of one base as a collection, a folder that is complete or absent. `open_adapter("OUT#NAME")` is one
    of them again.

    Every update of every module is within `error` of its norm, by a measurement on what is stored. Modules are read, compressed
    and written one at a time. With a `rank`, an update keeps at most so many dimensions besides those that are shared, and
    the error is what that makes it.

    Args:
        out: None to measure what would be written, and write nothing.

    Raises:
        OptionError: no adapter, a name that cannot be one, an error or a rank that is not possible.
        IncompatibleError, UnsupportedError: they are not all LoRA of Linear layers of one base; which one is not is named.
        OutputExistsError, ResourceError: as `check_output` and `staged` do.

    Cost: as `code`, for each module.
    """
    if not LEAST <= error < 1:
        raise OptionError(f"the error must be at least {LEAST:g} and below 1, got {error:g}")
    if rank is not None and rank < 1:
        raise OptionError(f"the rank must be at least 1, got {rank}")
    check_compressible(adapters)
    how = how.within(partial(_memory, adapters))
    found = CompressedModules(adapters, error, rank is not None)
    if out is None:
        with closing(_codes(adapters, error, rank, how)) as codes:
            for each in codes:
                found.add(*each)
        return found.compressed(None)
    out, history = Path(out), tuple(adapter.history for adapter in adapters.values())
    step = Step("compress", {"error": error, "rank": rank}, history)
    check_output(out, [path for source in sources(step) for path in source.paths], force)
    with staged(out, force=force, sync=how.sync) as folder:
        file = folder / COLLECTION
        with closing(Spool(folder / SPOOL)) as spool, closing(_codes(adapters, error, rank, how)) as codes:
            for each in codes:
                for key, (dtype, array) in found.add(*each).items():
                    spool.add(key, dtype, array)
            spool.into(file, found.metadata(), how.sync)
        with read_back():
            found.check(folder)
        result = found.compressed(out)
        read = [source.as_json() for source in sources(step)]
        for source in sources(step):
            source.check_unchanged()
        kept = {"errors": dict(result.errors), "worst": result.as_json()["worst"]}
        write_manifest(folder, step, read, origin, kept, {COLLECTION: described(file)}, torch=False, sync=how.sync)
        with read_back():
            read_manifest(folder)
    return result


def _codes(
    adapters: Mapping[str, Adapter], error: float, rank: int | None, how: Execution
) -> Generator[tuple[str, Sequence[str], Code], None, None]:
    """Each module, the adapters that have it, and its code."""
    modules = sorted({module for adapter in adapters.values() for module in adapter.layout})

    def to_codes(module: str) -> tuple[str, Sequence[str], Code]:
        members = [each for each, adapter in adapters.items() if module in adapter.layout]
        with at(tensor=module):
            updates = [adapters[member].updates[module].lowrank() for member in members]
            return module, members, code(updates, error, rank)

    return local.run(to_codes, modules, size=_parameters(adapters).__getitem__, how=how)


def _memory(adapters: Mapping[str, Adapter], workers: int) -> int:
    """About the bytes that so many workers take: each has all factors of a module, several times."""
    return workers * COPIES * 8 * max(_parameters(adapters).values(), default=0)


def _parameters(adapters: Mapping[str, Adapter]) -> dict[str, int]:
    """How many numbers the factors of each module have, in all adapters."""
    totals: dict[str, int] = {}
    for adapter in adapters.values():
        for module, layout in adapter.layout.items():
            totals[module] = totals.get(module, 0) + layout.parameters
    return totals
