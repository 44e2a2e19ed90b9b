"""What saving an adapter will write, and the memory that it takes: from headers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import check_needs_no_base, check_ordered, name
from adapterops.adapters.copying import verbatim
from adapterops.adapters.magnitudes import with_magnitudes
from adapterops.arrays.dtypes import bits
from adapterops.arrays.parallel import LARGE
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.engine.local import AHEAD
from adapterops.engine.plan import Job, Plan, hashed, missing, statistics, steps
from adapterops.errors import IncompatibleError, InputError, OptionError, UnsupportedError
from adapterops.formats.gguf_written import CODE as UNAPPLIED
from adapterops.formats.registry import DEFAULT as PEFT
from adapterops.formats.registry import Arrangement, WritableFormat, dtypes_of, written
from adapterops.formats.spelling import CODE as SPELLING
from adapterops.methods.registry import METHODS
from adapterops.provenance.history import Step, sources
from adapterops.storage.outputs import named_file
from adapterops.updates.layout import LAUNCHED, TILE, searched

FORMED = 3
"""How often the entries of a module are in memory at most, in the dtype that they are computed in: all of them, once more in the
other order where a weight is stored as (in, out), and tiles."""

DECOMPOSED = 20
"""How often where all singular values are found: in float64, with U, Vᵀ, and what LAPACK works in."""

FUSE = "fuse it into its base: adapterops fuse BASE ADAPTER"


def arrangement(adapter: Adapter, dtype: str | None, format: str | None) -> Arrangement:
    """How an adapter is written; see `save_adapter`.

    Raises:
        OptionError: there is no such format or dtype, or the adapter has no modules.
        UnsupportedError, IncompatibleError: it cannot be written as factors, or not in this format, and something was done
            to it, or it is in another.
    """
    format = format or adapter.config.format
    formats = written()
    if format not in formats:
        raise OptionError(f"there is no format {format!r} to write", hint=f"there are {', '.join(formats)}")
    if dtype is not None and dtype not in (dtypes := dtypes_of(format)):
        raise OptionError(f"--dtype of the format {format} must be one of {', '.join(dtypes)}, got {dtype!r}")
    try:
        return _of_factors(with_magnitudes(adapter), formats[format], dtype)
    except (UnsupportedError, IncompatibleError, OptionError) as error:
        if error.code in (SPELLING, UNAPPLIED):  # a copy would not be loaded either
            raise
        found = verbatim(adapter, format, dtype)
        if found is None:
            raise
        return found


def _of_factors(adapter: Adapter, format: WritableFormat, dtype: str | None) -> Arrangement:
    """How one is written that is LoRA, or can be made LoRA without its base."""
    if not adapter.layout:
        only = " but full tensors, which are neither merged nor cut" if adapter.full else " to save"
        raise OptionError(f"the adapter has no modules{only}", path=name(adapter), hint=FUSE if adapter.full else None)
    check_needs_no_base(adapter, "saved as LoRA")
    check_ordered(adapter)
    _check_settled(adapter)
    if adapter.config.replication and format is not written()[PEFT]:
        raise UnsupportedError(
            "is for replicated layers of its base (layer_replication), which only the config of PEFT can say",
            path=name(adapter),
            hint=FUSE,
        )
    return format.arranged(adapter.layout, adapter.config, adapter.full, dtype)


def _check_settled(adapter: Adapter) -> None:
    """Raise InputError where only a base shows what a tensor is, or whether one is missing."""
    for tensor, other in adapter.config.doubtful.items():
        raise InputError(
            f"may be that tensor of the model, or {other}: nothing shows whether the word after modules_to_save in its name is that of "
            "an adapter or of a layer",
            path=name(adapter),
            tensor=tensor,
            hint="name the model with --base, which shows it; or save the adapter with save_pretrained",
            code="E-KEY",
        )
    for module in adapter.config.missing:
        raise InputError(
            f"modules_to_save names {module!r}, no tensor belongs to that, and it is not known whether the model has such a module",
            path=name(adapter),
            hint="name the model with --base, which shows it; or save the adapter again, if it was trained",
            code="E-KEY",
        )


def in_file(arranged: Arrangement, out: Path, format: str) -> Arrangement:
    """The same in a file of the name of the output, where it is called as a single file is.

    Raises:
        OptionError: the format has another kind of file, or needs a config next to it.
    """
    if not named_file(out):
        return arranged
    others = arranged.documents(dict.fromkeys(arranged.groups, 1))
    kind = Path(arranged.file).suffix
    if not others and out.suffix == kind:
        return replace(arranged, file=out.name)
    needs = f"a folder with {', '.join((arranged.file, *others))}" if others else f"one {kind} file"
    name = out.with_suffix("") if others else out.with_suffix(kind)
    fact = f"ends in {out.suffix}, and an adapter in the format {format} is {needs}"
    raise OptionError(fact, path=out, hint=f"-o {name}, or another format: adapterops convert --help")


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
    workers = how.within(lambda workers: working_memory(adapter, dtype, workers, format, how.device)).threads
    arranged = arrangement(adapter, dtype, format)
    return Plan(
        (Job(arranged.file, {name: spec.bytes for name, spec in arranged.tensors.items()}),),
        working_memory(adapter, dtype, workers, format, how.device),
        missing(adapter.history),
        statistics(adapter.history),
        hashed(adapter.history, dtype, exact, format or adapter.config.format),
    )


def working_memory(
    adapter: Adapter, dtype: str | None, workers: int, format: str | None = None, device: str = DEFAULT.device
) -> int:
    """About how many bytes saving holds at a time: what each worker computes with, and what waits for its turn to be
    written.

    Factors are computed with in float64, entries in float32, with tiles of each update and what they become; on a GPU these are
    there, and larger. Of large merges of entries all workers have one at a time. What is computed from a weight or a Gram matrix
    holds that, too.
    """
    adapter = with_magnitudes(adapter)
    held = max((layout.working or 0 for layout in adapter.layout.values()), default=0)
    kept = max(stored_sizes(adapter, arrangement(adapter, dtype, format)).values(), default=0)
    read = sum(
        max((entry.spec.bytes for entry in file.entries.values()), default=0)
        for s in sources(adapter.history)
        for file in s.tensors
    )
    done = list(steps(adapter.history))
    factors = 4 * (6 if any(map(_in_core, done)) else 2) * read
    own, one, largest = _matrices(adapter, done, device)
    tile = min(TILE if device == DEFAULT.device else LAUNCHED * TILE, largest)
    merged = max((len(step.parameters.get("weights", ())) for step in done), default=0)
    entries = 4 * (own + (3 * max(merged, len(sources(adapter.history))) + 6) * tile)
    return workers * (held + (entries if largest else factors) + AHEAD * kept) + 4 * one


def _matrices(adapter: Adapter, done: Sequence[Step], device: str) -> tuple[int, int, int]:
    """Entries, counted in float32, of the matrices that are formed: of those that each worker has, of the one that all have, and of
    the largest.
    """
    forming = list(filter(_by_entries, done))
    sizes = {module: each.entries * (2 if each.dtype == "F64" else 1) for module, each in adapter.layout.items()}
    if not forming or not sizes:
        return 0, 0, 0
    largest = max(sizes.values())
    if any(map(_by_singular_values, done)):
        return DECOMPOSED * largest, 0, largest
    shared_by_all = device == DEFAULT.device and all(map(_tile_by_tile, forming))
    shared = {
        module: size
        for module, size in sizes.items()
        if shared_by_all and 4 * size > LARGE and searched(adapter.layout[module].shape, adapter.layout[module].rank)
    }
    own = max((size for module, size in sizes.items() if module not in shared), default=0)
    return FORMED * own, max(shared.values(), default=0), largest


def stored_sizes(adapter: Adapter, arranged: Arrangement) -> dict[str, int]:
    """The bytes of A and B of each module, as they are stored; of a dense one at most."""

    def size(module: str, dtypes: tuple[str, str]) -> int:
        layout = adapter.layout.get(module)
        if layout is None:  # copied: it is no factor
            return 0
        of = zip(dtypes, (layout.shape[1], layout.shape[0]), strict=True)
        return int(layout.rank * sum(bits(dtype) * length for dtype, length in of) / 8)

    return {module: size(module, dtypes) for module, dtypes in arranged.of_modules().items()}


def _by_entries(step: Step) -> bool:
    """Whether an operation forms whole matrices."""
    if step.operation != "merge":
        return step.operation == "extract"
    acts = METHODS[step.parameters["method"]].acts
    return acts in ("matrices", "entries") and step.parameters["space"] == "delta"


def _tile_by_tile(step: Step) -> bool:
    """Whether these are computed by all workers together, so that of large ones there is one at a time."""
    return step.operation == "merge" and METHODS[step.parameters["method"]].acts == "entries"


def _by_singular_values(step: Step) -> bool:
    """Whether a cut may need all of them: one to a rank searches for the first alone."""
    return step.operation == "truncate" and bool(step.parameters["exact"] or "rank" not in step.parameters)


def _in_core(step: Step) -> bool:
    """Whether an operation makes a joint core: of all factors there are their canonical form, stacks and bases then."""
    return step.operation == "merge" and step.parameters["space"] in ("core", "knots")
