"""A request, done: its inputs opened and checked, its result computed lazily, planned, and saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from adapterops.adapters.adapter import Adapter, check_named, check_needs_no_base
from adapterops.adapters.planning import plan_adapter, working_memory
from adapterops.adapters.saved import Saved
from adapterops.adapters.saving import save_adapter
from adapterops.checkpoints.checkpoint import CALIBRATED, STOCHASTIC, Checkpoint
from adapterops.checkpoints.gguf import is_file
from adapterops.checkpoints.layouts import cast, sharded
from adapterops.checkpoints.rounding import check_rounding
from adapterops.checkpoints.saving import SavedCheckpoint, plan_checkpoint, save_checkpoint
from adapterops.engine.execution import DEFAULT, Execution, check_device
from adapterops.engine.plan import Plan
from adapterops.errors import OptionError
from adapterops.expressions.calculator import compute
from adapterops.operations import truncation
from adapterops.operations.extraction import difference
from adapterops.operations.fusion import fuse, unfuse, without_copies
from adapterops.operations.in_files import named_in_files
from adapterops.operations.normalization import normalize
from adapterops.operations.quantization import dequantize, quantize, rounding, viewed
from adapterops.operations.stacking import Slice, stack
from adapterops.operations.targets.based import fitted, on_base
from adapterops.operations.targets.components import in_components
from adapterops.operations.uniting import named_alike, united
from adapterops.provenance.history import Source, Step, sources
from adapterops.provenance.manifest import Origin
from adapterops.requests.places import HERE, Opened, anonymous, open_inputs, seen_from
from adapterops.requests.request import (
    DEQUANTIZE,
    DEQUANTIZED,
    EXTRACT,
    FUSE,
    IN_FILES,
    MERGE,
    QUANTIZE,
    STACK,
    UNFUSE,
    Request,
    layers_of,
)
from adapterops.storage.outputs import RECIPE, check_output

Written: TypeAlias = Saved | SavedCheckpoint
Truncate: TypeAlias = Callable[..., Adapter]
RECIPE_COMMAND = ("adapterops", "run", RECIPE)
"""What the manifest of an output notes as its command that holds the recipe it was made by."""


IN_GGUF = 0
"""The seed of what is rounded in a GGUF model where none is given: on its grids nothing else keeps an update."""


@dataclass(frozen=True)
class Made:
    """What a request makes, lazily. `folder` is what its paths are relative to."""

    request: Request
    folder: Path
    opened: Opened
    result: Adapter | Checkpoint

    @property
    def inputs(self) -> list[Source]:
        """All that is read."""
        return sources(self.result.history)

    def seen_from(self, out: Path) -> Request:
        """The request with paths as they are from `out`."""
        return seen_from(out, self.request, self.folder, self.opened)


def make(
    request: Request,
    out: Path | None,
    *,
    folder: Path = HERE,
    force: bool = False,
    verify: bool = False,
    planning: bool = False,
    streamed: bool = False,
    how: Execution = DEFAULT,
) -> Made:
    """What a request makes. Nothing is computed yet, unless there is a budget, or a difference to look for.

    Args:
        out: the folder that it is to be written to; None where nothing is to stay here.
        folder: what the paths in the request are relative to.
        force: an output of adapterops that is there may be replaced.
        verify: compare all inputs that come from the Hub with its hashes first.
        planning: read headers only. The result has its layout, and where that depends on numbers, the largest that it
            can have.
        streamed: tensors of models on the Hub are read as they pass, and not kept.

    Raises:
        OptionError, IncompatibleError: the request does not fit its inputs.
        OutputExistsError, NotFoundError, InputError: as `check_output` and `open_inputs` do.
    """
    check_device(how.device)
    opened = open_inputs(request, folder, verify=verify, streamed=streamed)
    if out is not None:
        check_output(out, opened.paths, force)
    return Made(request, folder, opened, result(request, opened, planning=planning, how=how))


Files: TypeAlias = Callable[[Made, Path], Mapping[str, bytes]]
"""What else there is to be in an output."""


def plan(made: Made, how: Execution = DEFAULT) -> Plan:
    """What saving it will do, from headers only.

    Raises:
        ResourceError: there is no room for the downloads, or too little memory.
    """
    merges = made.request.kind == MERGE
    for source in made.opened.adapter_sources if merges else made.opened.sources:
        source.check_room()
    if isinstance(made.result, Checkpoint):
        return plan_checkpoint(made.result, how)
    output = made.request.output
    return plan_adapter(made.result, dtype=output.dtype, exact=output.exact, format=output.format, how=how)


def save(
    made: Made,
    out: Path,
    *,
    force: bool = False,
    resume: bool = False,
    command: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
    how: Execution = DEFAULT,
) -> Written:
    """Write what was made, with the request in its manifest, and other `files`, which are asked for at the end.

    Raises:
        As `save_adapter` and `save_checkpoint` do.
    """
    request = made.request
    place = out.parent if isinstance(made.result, Checkpoint) and is_file(made.result, out) else out
    origin = Origin(command, anonymous(made.seen_from(place), place).as_json(), files or {})
    if isinstance(made.result, Checkpoint):
        return save_checkpoint(
            made.result, out, resume=resume, force=force, accept_loss=request.accept_loss, origin=origin, how=how
        )
    output, form = request.output, request.output.format
    return save_adapter(
        made.result, out, dtype=output.dtype, exact=output.exact, format=form, force=force, origin=origin, how=how
    )


def result(
    request: Request, opened: Opened, *, planning: bool = False, how: Execution = DEFAULT
) -> Adapter | Checkpoint:
    """The adapter or the model that a request asks for; see `make`."""
    truncate: Truncate = partial(bounded if planning else measured, how=how)
    output, models = request.output, opened.models
    if request.kind == MERGE:
        made = adapter(request, named(request, opened), truncate)
        return named_in_files(made, models["base"]) if output.names == IN_FILES else made
    if request.kind == EXTRACT:
        assert request.extract
        change = difference(models["tuned"], models["base"], rest=request.extract.rest, planning=planning, how=how)
        return _formed(truncate(change, **output.cut, exact=output.exact), request)
    if request.kind == QUANTIZE:
        model = quantized(request, models["base"])
    elif request.kind == STACK:
        model = stack([Slice(models[layers_of(each.model)], each.first, each.end) for each in request.stack])
    elif request.kind == DEQUANTIZE:
        model = dequantize(models["base"], output.dtype)
    else:
        model = _fused(request, opened, truncate)
    check_rounding(model)
    model = cast(model, output.dtype) if output.dtype else model
    return sharded(model, output.max_shard_size) if output.max_shard_size else model


def _fused(request: Request, opened: Opened, truncate: Truncate) -> Checkpoint:
    base = based(request, opened.models)
    change = adapter(request, adapters_for(request, opened.adapters, base), truncate)
    add = unfuse if request.kind == UNFUSE else fuse
    model = add(base, change, dtype=request.output.dtype, precision=request.precision)
    return quantized(request, model) if request.quantize and not model.schemes else model


def named(request: Request, opened: Opened) -> Mapping[str, Adapter]:
    """The adapters of which one is made: by the names of the base, where there is one.

    Raises:
        IncompatibleError: without a base, modules may be one under two names.
    """
    if "base" in opened.models:
        together = named_alike(list(opened.adapters.values()), opened.models["base"])
        return dict(zip(opened.adapters, together, strict=True))
    check_named(list(opened.adapters.values()))
    return opened.adapters


def adapters_for(request: Request, adapters: Mapping[str, Adapter], base: Checkpoint) -> Mapping[str, Adapter]:
    """The adapters that are fused with a base: by the components of a pipeline, without the tensors that are copies of its
    own, and where they call modules in different ways, by its names. Task vectors have its names.
    """
    if any(each.task_vector for each in adapters.values()):
        return adapters
    adapters = {name: in_components(each, base, request.inputs[name].component) for name, each in adapters.items()}
    if request.kind == FUSE:
        adapters = {name: without_copies(each, base) for name, each in adapters.items()}
    settle = on_base if request.kind == FUSE else fitted
    adapters = {name: settle(each, base) for name, each in adapters.items()}
    if request.kind == UNFUSE:
        for each in adapters.values():
            check_needs_no_base(each, "taken out of a model again")
    if len(adapters) == 1:
        return adapters
    return dict(zip(adapters, united(list(adapters.values()), base), strict=True))


def adapter(request: Request, adapters: Mapping[str, Adapter], truncate: Truncate) -> Adapter:
    """The result of a request, cut as its output is to be."""
    assert request.result
    output = request.output
    found = compute(request.result, adapters, allow_base_mismatch=request.allow_base_mismatch, truncate=truncate)
    _check_used(request, adapters, found)
    cut = truncate(found, **output.cut, dtype=output.dtype, exact=output.exact) if output.cut else found
    return _formed(cut, request)


def _check_used(request: Request, adapters: Mapping[str, Adapter], found: Adapter) -> None:
    """Raise OptionError for Gram matrices that nothing in the result asks for."""
    read = sources(found.history)
    for name, each in adapters.items():
        if each.grams is not None and each.grams.history not in read:
            raise OptionError(
                f"Gram matrices are given for {name}, and nothing in {request.result} asks for them",
                hint="merge with --regmean, or leave them out",
            )


def _formed(found: Adapter, request: Request) -> Adapter:
    return normalize(found) if request.output.normalize else found


def measured(
    found: Adapter, rank: int | None = None, *, dtype: str | None = None, how: Execution = DEFAULT, **cut: Any
) -> Adapter:
    """What `truncation.truncate` makes; where it has to measure first, in the memory that there is."""
    how = how.within(partial(working_memory, found, dtype))
    return truncation.truncate(found, rank, dtype=dtype, how=how, **cut)


def bounded(found: Adapter, rank: int | None = None, *, budget: int | None = None, **cut: Any) -> Adapter:
    """The same, without reading a tensor: where a budget decides, the adapter with the ranks that it has at most."""
    if budget is None:
        return truncation.truncate(found, rank, **cut)
    layout = {
        module: replace(each, dense=False, rank=min(each.rank, *each.shape)) for module, each in found.layout.items()
    }
    parameters = {"budget": budget, "unit": cut["unit"], "exact": cut.get("exact", False)}
    return replace(found, layout=layout, history=Step("truncate", parameters, (found.history,)))


def based(request: Request, models: Mapping[str, Checkpoint]) -> Checkpoint:
    """The base as an update is added to it: with the numbers and the rounding that are asked for.

    Raises:
        OptionError: it is not quantized, and what is asked for is about codes; or codes are found anew, which no rule
            of rounding is for.
    """
    base, path, output = models["base"], request.base.path if request.base else None, request.output
    if not base.schemes and (request.original is not None or request.base_view is not None):
        raise OptionError(
            "--original and --base-view are for a base that is quantized, and this one is not",
            path=path,
            hint="leave them out; --quantize nf4 writes the result in 4 bits",
        )
    if request.original is not None and request.base_view != DEQUANTIZED:
        base = viewed(base, models["original"])
    if (base.schemes or base.gguf) and (output.dtype or request.quantize) and not _same_scheme(request, base):
        base = dequantize(base, output.dtype)
    if request.rounding is None:
        return rounding(base, STOCHASTIC, IN_GGUF) if base.gguf and base.schemes else base
    if not base.schemes and request.quantize:
        raise OptionError(
            "--rounding is for codes that the base has already, and for 16 bits; --quantize finds codes anew",
            path=path,
            hint="give one of the two",
        )
    if request.rounding == CALIBRATED and not base.schemes:
        raise OptionError(
            "--rounding calibrated chooses codes, and this base has none",
            path=path,
            hint="leave it and --grams out, or name a base in 4 or 8 bits",
        )
    if request.rounding == STOCHASTIC and not base.schemes and not _in_16_bits(base, output.dtype):
        raise OptionError(
            "--rounding stochastic is for codes and for 16 bits, and this writes 32",
            path=path,
            hint="leave it out: they are rounded to nearest",
        )
    return rounding(base, request.rounding, request.seed or 0, models.get("grams"))


def _in_16_bits(base: Checkpoint, dtype: str | None) -> bool:
    """Whether changed weights are written in 16 bits, any of them."""
    return bool({"F16", "BF16"} & ({dtype} if dtype else {spec.dtype for spec in base.layout.values()}))


def _same_scheme(request: Request, base: Checkpoint) -> bool:
    """Whether the scheme that is asked for is the one that the base is in: it is kept then, with all its details."""
    to = request.quantize
    plain = to is not None and not to.double_quant and to.block_size is None
    return to is not None and plain and {scheme.name for scheme in base.schemes.values()} == {to.scheme}


def quantized(request: Request, model: Checkpoint) -> Checkpoint:
    """The model in the scheme that is asked for."""
    to = request.quantize
    assert to
    return quantize(model, to.scheme, double_quant=to.double_quant, block_size=to.block_size)
