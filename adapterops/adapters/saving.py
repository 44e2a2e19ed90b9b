"""How an adapter becomes files that PEFT loads: whole or absent."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from math import isfinite, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import Adapter, check_needs_no_base, check_ordered
from adapterops.adapters.copying import unchanged
from adapterops.adapters.factors import Factors, as_stored, factored
from adapterops.adapters.opening import open_adapter
from adapterops.adapters.proof import Image, prove
from adapterops.arrays.dtypes import FLOATS
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.engine.local import AHEAD
from adapterops.engine.plan import Job, Plan, hashed, missing, statistics, steps
from adapterops.errors import OptionError
from adapterops.formats.registry import FORMATS, Arrangement
from adapterops.methods.registry import METHODS
from adapterops.provenance.history import Step, sources
from adapterops.provenance.manifest import (
    UNKNOWN,
    Origin,
    described,
    write_bytes,
    write_file,
    write_json,
    write_manifest,
)
from adapterops.provenance.reader import read_manifest
from adapterops.storage.gguf_writer import write_gguf
from adapterops.storage.staging import check_output, staged
from adapterops.storage.writer import read_back, write_safetensors

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array


FUSE = "fuse it into its base by itself: adapterops fuse BASE ADAPTER"


@dataclass(frozen=True)
class Kept:
    """What was saved of one module: its rank, ‖ΔW‖_F, the fraction of ‖ΔW‖_F² that was kept, and ‖ΔW - B A‖_F / ‖ΔW‖_F
    of that, B and A being the numbers that are stored.
    """

    rank: int
    norm: float
    energy: float
    rounding: float = 0.0


def arrangement(adapter: Adapter, dtype: str | None, format: str | None) -> Arrangement:
    """How an adapter is written; see `save_adapter`."""
    format = format or adapter.config.format
    if format not in FORMATS:
        raise OptionError(f"there is no format {format!r}", hint=f"there are {', '.join(FORMATS)}")
    return FORMATS[format].arranged(adapter.layout, adapter.config, adapter.full, dtype)


def plan_adapter(
    adapter: Adapter,
    *,
    dtype: str | None = None,
    exact: bool = False,
    format: str | None = None,
    how: Execution = DEFAULT,
) -> Plan:
    """What `save_adapter` will do.

    Raises:
        OptionError: there is no such dtype.
        ResourceError: `how.memory` is too little.
    """
    _check_dtype(dtype)
    workers = how.within(lambda workers: working_memory(adapter, dtype, workers, format)).threads
    arranged = arrangement(adapter, dtype, format)
    return Plan(
        (Job(arranged.file, {name: spec.bytes for name, spec in arranged.tensors.items()}),),
        working_memory(adapter, dtype, workers, format),
        missing(adapter.history),
        statistics(adapter.history),
        hashed(adapter.history, dtype, exact, format or adapter.config.format),
    )


def _check_dtype(dtype: str | None) -> None:
    if dtype is not None and dtype not in FLOATS:
        raise OptionError(f"--dtype must be one of {', '.join(FLOATS)}, got {dtype!r}")


def working_memory(adapter: Adapter, dtype: str | None, workers: int, format: str | None = None) -> int:
    """About how many bytes saving holds at a time: what each worker computes with, and what waits for its turn to be
    written.

    Factors are computed with in float64, entries in float32: those of the sum, of the result, and of what each is made
        from.
    """
    largest = max((layout.entries for layout in adapter.layout.values()), default=0)
    written = max((spec.bytes for spec in arrangement(adapter, dtype, format).tensors.values()), default=0)
    read = sum(
        max((entry.spec.bytes for entry in file.entries.values()), default=0)
        for s in sources(adapter.history)
        for file in s.tensors
    )
    done = list(steps(adapter.history))
    factors = 4 * (6 if any(map(_in_core, done)) else 2) * read
    return workers * ((4 * 4 * largest if any(map(_by_entries, done)) else factors) + AHEAD * 2 * written)


def _by_entries(step: Step) -> bool:
    """Whether an operation forms whole matrices."""
    if step.operation != "merge":
        return step.operation == "extract"
    return METHODS[step.parameters["method"]].acts != "updates" and step.parameters["space"] == "delta"


def _in_core(step: Step) -> bool:
    """Whether an operation makes a joint core: of all factors there are their canonical form, stacks and bases then."""
    return step.operation == "merge" and step.parameters["space"] in ("core", "knots")


@dataclass(frozen=True)
class Saved:
    """What `save_adapter` did. `dropped`: modules of which nothing was worth keeping."""

    path: Path
    modules: Mapping[str, Kept]
    dropped: tuple[str, ...]
    bytes: int
    energy: float
    """The fraction of Σ‖ΔW‖_F² over all modules that was kept."""
    proven: float = 0.0
    """About the largest ‖ΔW x - ΔW' x‖ / ‖ΔW x‖ of a module, ΔW' being what was read from the file again."""
    copied: bool = False
    """Whether its files are those that it was read from, byte for byte."""

    @property
    def rounding(self) -> float:
        """What rounding B and A moved of that, over all modules: the root of Σ‖ΔW - B A‖_F² / Σ‖ΔW‖_F². Modules with
        numbers that are not finite have no such norms, and do not count.
        """
        finite = [each for each in self.modules.values() if isfinite(each.norm)]
        size = sum(each.norm**2 for each in finite)
        return sqrt(sum((each.rounding * each.norm) ** 2 for each in finite) / size) if size else 0.0


def save_adapter(
    adapter: Adapter,
    out: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    exact: bool = False,
    format: str | None = None,
    force: bool = False,
    origin: Origin = UNKNOWN,
    how: Execution = DEFAULT,
) -> Saved:
    """Write an adapter as a folder that PEFT, or another program, loads: tensors, config, and the manifest. It is
    complete, or absent.

    An adapter to which nothing was done is copied, where its format would have the same tensors: with its scales, and
    all that its header and config say.

    A dense update is saved as its best approximation of the rank in the layout; what that loses is in the result. The
    experts of one parameter all get the largest rank among them, with zeros: PEFT has one for all.

    Args:
        dtype: F64, F32, F16 or BF16; by default the widest of the inputs.
        exact: approximate dense updates by a full SVD and not by a randomized one.
        format: a name in `FORMATS`; by default that of the inputs, and PEFT's for MLX-LM's.
        force: replace an output of adapterops that is there.
        origin: what the manifest says of how it was made.

    Raises:
        OutputExistsError, OptionError, ResourceError: as `staged`, `check_output` and `plan_adapter` do.
        IncompatibleError: a number does not fit `dtype`.

    Cost: memory for the largest module per worker, and for the factors of all experts of one parameter.
    """
    out = Path(out)
    check_saveable(adapter, dtype, out)
    inputs = sources(adapter.history)
    check_output(out, [path for source in inputs for path in source.paths], force)
    how = how.within(lambda workers: working_memory(adapter, dtype, workers, format))
    for source in inputs:
        source.fetch()
    arranged = arrangement(adapter, dtype, format)
    with local.background() as background, staged(out, force=force) as folder:
        hashes = background.submit(lambda: [source.as_json() for source in inputs])
        modules, copies = (
            chain(*arranged.groups.values()),
            unchanged(adapter, arranged, format or adapter.config.format, dtype),
        )
        compute = as_stored(adapter, arranged) if copies else factored(adapter, arranged, exact)
        with closing(local.run(compute, modules, how=how)) as results:
            return complete_adapter(
                adapter, arranged, results, hashes.result, folder, out, exact=exact, origin=origin, copies=copies
            )


def check_saveable(adapter: Adapter, dtype: str | None, out: Path) -> None:
    """Raise what `save_adapter` would of an adapter, before anything is computed."""
    if not adapter.layout:
        only = " but full tensors, which are neither merged nor cut" if adapter.full else " to save"
        raise OptionError(f"the adapter has no modules{only}", path=out, hint=FUSE if adapter.full else None)
    check_needs_no_base(adapter, "saved as LoRA")
    check_ordered(adapter)
    _check_dtype(dtype)


def complete_adapter(
    adapter: Adapter,
    arranged: Arrangement,
    results: Iterable[Factors],
    inputs: Callable[[], Sequence[Mapping[str, Any]]],
    folder: Path,
    out: Path,
    *,
    exact: bool,
    origin: Origin,
    copies: Mapping[str, Path] | None = None,
) -> Saved:
    """The files of an adapter, in a folder that will be `out` when it is complete: tensors, documents, and the manifest.

    Args:
        results: the modules of the arrangement's groups, in their order.
        inputs: what the manifest says of each input, asked for when all is computed.
        copies: the file that each file of the output is a copy of, where nothing is written anew.
    """
    found = _Found(arranged)
    copied = ((name, stored.file.array(stored.name)) for name, stored in arranged.full.items())
    tensors = chain(found.tensors(results), copied)
    if copies:
        deque(tensors, 0)
    else:
        _write(folder / arranged.file, arranged, tensors, found.ranks)
    if not found.ranks:
        raise OptionError("nothing is left to save: every module has rank 0", path=out, hint="keep more")
    documents = {} if copies else arranged.documents(found.ranks)
    for document, fields in documents.items():
        write_json(folder / document, fields)
    for file, path in (copies or {}).items():
        write_file(folder / file, path)
    with read_back():
        again = open_adapter(folder, allow_nonfinite=True)
    saved = found.saved(out, (folder / arranged.file).stat().st_size)
    saved = replace(saved, proven=prove(again, found.images), copied=copies is not None)
    read = inputs()
    for source in sources(adapter.history):
        source.check_unchanged()
    for file, data in origin.files.items():
        write_bytes(folder / file, data)
    outputs = {file: described(folder / file) for file in (*(copies or {arranged.file}), *documents, *origin.files)}
    write_manifest(folder, adapter.history, read, origin, _kept(adapter, saved, exact), outputs, torch=False)
    with read_back():
        read_manifest(folder)
    return saved


def _write(path: Path, arranged: Arrangement, tensors: Iterable[tuple[str, Array]], ranks: Mapping[str, int]) -> None:
    """`ranks`: of the groups, known when their tensors are."""
    if arranged.fields is None:
        metadata = partial(arranged.metadata, ranks) if arranged.metadata else {"format": "pt"}
        write_safetensors(path, arranged.tensors, tensors, metadata, arranged.room)
    else:
        write_gguf(path, arranged.tensors, tensors, arranged.fields)


class _Found:
    """What has become of each module so far, and of the groups that are stored in one."""

    def __init__(self, arranged: Arrangement) -> None:
        self._arranged = arranged
        self._group = {module: name for name, group in arranged.groups.items() for module in group}
        self._modules: dict[str, Kept] = {}
        self._errors: dict[str, float] = {}
        self.ranks: dict[str, int] = {}
        self.images: dict[str, Image] = {}

    def tensors(self, results: Iterable[Factors]) -> Iterator[tuple[str, Array]]:
        """The tensors of each group, by name, once all its modules are there; none for one of rank 0."""
        waiting: dict[str, tuple[Array, Array]] = {}
        for each in results:
            self._errors[each.module] = each.error
            self._modules[each.module] = Kept(each.A.shape[0], each.norm, _energy(each.norm, each.error), each.rounding)
            waiting[each.module] = each.A, each.B
            if each.A.shape[0]:
                self.images[each.module] = each.image
            group = self._group[each.module]
            if len(waiting) == len(self._arranged.groups[group]):
                joined, rank = self._arranged.joined(group, waiting)
                waiting = {}
                if rank:
                    self.ranks[group] = rank
                    yield from joined.items()

    def saved(self, out: Path, size: int) -> Saved:
        norm = sum(kept.norm**2 for kept in self._modules.values()) ** 0.5
        error = sum(error**2 for error in self._errors.values()) ** 0.5
        dropped = tuple(module for module, kept in self._modules.items() if not kept.rank)
        return Saved(out, self._modules, dropped, size, _energy(norm, error))


def _kept(adapter: Adapter, saved: Saved, exact: bool) -> dict[str, Any]:
    """What the manifest says was kept."""
    dense = any(layout.dense for layout in adapter.layout.values())
    return {
        **({"svd": "exact" if exact else "randomized"} if dense else {}),
        "energy_kept": saved.energy,
        "rounding": saved.rounding,
        "modules": {
            module: {"rank": each.rank, "energy_kept": each.energy, "rounding": each.rounding}
            for module, each in saved.modules.items()
        },
    }


def _energy(norm: float, error: float) -> float:
    return 1.0 if error == 0 else norm**2 / (norm**2 + error**2)
