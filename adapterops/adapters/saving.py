"""How an adapter becomes files that PEFT loads: whole or absent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import Adapter, check_needs_no_base
from adapterops.arrays.dtypes import FLOATS
from adapterops.arrays.scratch import Scratch
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.engine.local import AHEAD
from adapterops.engine.plan import Job, Plan, hashed, missing, statistics, steps
from adapterops.errors import IncompatibleError, OptionError, at
from adapterops.formats.registry import DEFAULT as PEFT
from adapterops.formats.registry import FORMATS, Arrangement
from adapterops.methods.registry import METHODS
from adapterops.provenance.history import Step, sources
from adapterops.provenance.manifest import UNKNOWN, Origin, described, write_bytes, write_json, write_manifest
from adapterops.storage.staging import check_output, staged
from adapterops.storage.writer import write_safetensors
from adapterops.updates.layout import Layout

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array, Linear


@dataclass(frozen=True)
class Kept:
    """What was saved of one module: its rank, ‖ΔW‖_F, and the fraction of ‖ΔW‖_F² that was kept."""

    rank: int
    norm: float
    energy: float


def _arranged(adapter: Adapter, dtype: str | None, format: str) -> Arrangement:
    if format not in FORMATS:
        raise OptionError(f"there is no format {format!r}", hint=f"there are {', '.join(FORMATS)}")
    return FORMATS[format].arranged(adapter.layout, adapter.config, adapter.full, dtype)


def plan_adapter(
    adapter: Adapter, *, dtype: str | None = None, exact: bool = False, format: str = PEFT, how: Execution = DEFAULT
) -> Plan:
    """What `save_adapter` will do.

    Raises:
        OptionError: there is no such dtype.
        ResourceError: `how.memory` is too little.
    """
    _check_dtype(dtype)
    workers = how.within(lambda workers: working_memory(adapter, dtype, workers, format)).threads
    arranged = _arranged(adapter, dtype, format)
    return Plan(
        (Job(arranged.file, {name: spec.bytes for name, spec in arranged.tensors.items()}),),
        working_memory(adapter, dtype, workers, format),
        missing(adapter.history),
        statistics(adapter.history),
        hashed(adapter.history, dtype, exact, format),
    )


def _check_dtype(dtype: str | None) -> None:
    if dtype is not None and dtype not in FLOATS:
        raise OptionError(f"--dtype must be one of {', '.join(FLOATS)}, got {dtype!r}")


def working_memory(adapter: Adapter, dtype: str | None, workers: int, format: str = PEFT) -> int:
    """About how many bytes saving holds at a time: what each worker computes with, and what waits for its turn to be
    written.

    Factors are computed with in float64, entries in float32: those of the sum, of the result, and of what each is made
        from.
    """
    largest = max((layout.entries for layout in adapter.layout.values()), default=0)
    written = max((spec.bytes for spec in _arranged(adapter, dtype, format).tensors.values()), default=0)
    read = sum(
        max((entry.spec.bytes for entry in file.entries.values()), default=0)
        for s in sources(adapter.history)
        for file in s.tensors
    )
    return workers * (
        (4 * 4 * largest if any(map(_by_entries, steps(adapter.history))) else 4 * 2 * read) + AHEAD * 2 * written
    )


def _by_entries(step: Step) -> bool:
    """Whether an operation forms whole matrices."""
    if step.operation != "merge":
        return step.operation == "extract"
    return METHODS[step.parameters["method"]].acts == "entries" and step.parameters["space"] == "delta"


@dataclass(frozen=True)
class Saved:
    """What `save_adapter` did. `dropped`: modules of which nothing was worth keeping."""

    path: Path
    modules: Mapping[str, Kept]
    dropped: tuple[str, ...]
    bytes: int
    energy: float
    """The fraction of Σ‖ΔW‖_F² over all modules that was kept."""


def save_adapter(
    adapter: Adapter,
    out: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    exact: bool = False,
    format: str = PEFT,
    force: bool = False,
    origin: Origin = UNKNOWN,
    how: Execution = DEFAULT,
) -> Saved:
    """Write an adapter as a folder that PEFT, or another program, loads: tensors, config, and the manifest. It is
    complete, or absent.

    A dense update is saved as its best approximation of the rank in the layout; what that loses is in the result. The
    experts of one parameter all get the largest rank among them, with zeros: PEFT has one for all.

    Args:
        dtype: F64, F32, F16 or BF16; by default the widest of the inputs.
        exact: approximate dense updates by a full SVD and not by a randomized one.
        format: a name in `FORMATS`.
        force: replace an output of adapterops that is there.
        origin: what the manifest says of how it was made.

    Raises:
        OutputExistsError, OptionError, ResourceError: as `staged`, `check_output` and `plan_adapter` do.
        IncompatibleError: a number does not fit `dtype`.

    Cost: memory for the largest module per worker, and for the factors of all experts of one parameter.
    """
    out = Path(out)
    if not adapter.layout:
        raise OptionError("the adapter has no modules to save", path=out)
    check_needs_no_base(adapter, "saved as LoRA")
    _check_dtype(dtype)
    inputs = sources(adapter.history)
    check_output(out, [path for source in inputs for path in source.paths], force)
    how = how.within(lambda workers: working_memory(adapter, dtype, workers, format))
    for source in inputs:
        source.fetch()
    arranged = _arranged(adapter, dtype, format)
    group_of = {module: name for name, group in arranged.groups.items() for module in group}
    modules: dict[str, Kept] = {}
    ranks: dict[str, int] = {}
    errors: dict[str, float] = {}

    def factors(module: str) -> tuple[str, Array, Array, float, float]:
        with at(tensor=module):
            return _factors(
                module, adapter.updates[module], adapter.layout[module], arranged.dtypes[group_of[module]], exact
            )

    copied = ((name, stored.file.array(stored.name)) for name, stored in arranged.full.items())
    with local.background() as background, staged(out, force=force) as folder:
        hashes = background.submit(lambda: [source.as_json() for source in inputs])

        def tensors() -> Any:
            found: dict[str, tuple[Array, Array]] = {}
            for module, A, B, norm, error in results:
                errors[module] = error
                modules[module] = Kept(A.shape[0], norm, _energy(norm, error))
                found[module] = A, B
                group = group_of[module]
                if len(found) == len(arranged.groups[group]):
                    joined, rank = arranged.joined(group, found)
                    found = {}
                    if rank:
                        ranks[group] = rank
                        yield from joined.items()

        with closing(local.run(factors, chain(*arranged.groups.values()), how=how)) as results:
            write_safetensors(folder / arranged.file, arranged.tensors, chain(tensors(), copied), {"format": "pt"})
        if not ranks:
            raise OptionError("nothing is left to save: every module has rank 0", path=out, hint="keep more")
        documents = arranged.documents(ranks)
        for document, fields in documents.items():
            write_json(folder / document, fields)
        saved = Saved(
            out,
            modules,
            tuple(module for module, kept in modules.items() if not kept.rank),
            (folder / arranged.file).stat().st_size,
            _energy(sum(k.norm**2 for k in modules.values()) ** 0.5, sum(error**2 for error in errors.values()) ** 0.5),
        )
        read = hashes.result()
        for file, data in origin.files.items():
            write_bytes(folder / file, data)
        outputs = {file: described(folder / file) for file in (arranged.file, *documents, *origin.files)}
        write_manifest(folder, adapter.history, read, origin, _kept(adapter, saved, exact), outputs, torch=False)
    return saved


def _kept(adapter: Adapter, saved: Saved, exact: bool) -> dict[str, Any]:
    """What the manifest says was kept."""
    dense = any(layout.dense for layout in adapter.layout.values())
    return {
        **({"svd": "exact" if exact else "randomized"} if dense else {}),
        "energy_kept": saved.energy,
        "modules": {module: {"rank": each.rank, "energy_kept": each.energy} for module, each in saved.modules.items()},
    }


def _energy(norm: float, error: float) -> float:
    return 1.0 if error == 0 else norm**2 / (norm**2 + error**2)


def _factors(
    module: str, update: Linear, layout: Layout, dtype: str, exact: bool
) -> tuple[str, Array, Array, float, float]:
    """The tensors to write, rounded once, with the norm of what they hold and the error it has."""
    from adapterops.arrays.floats import checked
    from adapterops.linalg.factor import reduced

    found = reduced(update, layout.rank, exact)
    stored = []
    for role, factor in (("A", found.A), ("B", found.folded())):
        try:
            stored.append(checked(factor, dtype, Scratch()))
        except IncompatibleError as error:
            raise IncompatibleError(
                f"{role}: {error.message}", hint="save it wider: --dtype F32", code="E-OVERFLOW"
            ) from None
    return module, stored[0], stored[1], found.norm(), found.error
