"""The models that requests ask for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import check_needs_no_base
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.layouts import cast, sharded
from adapterops.checkpoints.rounding import check_rounding
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import AdapterWarning, OptionError
from adapterops.expressions.formula import untouched
from adapterops.operations.fusion import OF_UNFUSING, check_replaces_nothing, fuse, unfuse, without_copies
from adapterops.operations.quantization import dequantize, quantize, rounding, viewed
from adapterops.operations.stacking import Slice, stack
from adapterops.operations.targets.based import fitted, on_base
from adapterops.operations.targets.components import in_components
from adapterops.operations.tensor_types import tensor_types
from adapterops.operations.uniting import united
from adapterops.quant.scheme import CALIBRATED, STOCHASTIC
from adapterops.requests.adapters import Truncate, adapter
from adapterops.requests.fields import DEQUANTIZED
from adapterops.requests.places import Opened
from adapterops.requests.request import DEQUANTIZE, FUSE, QUANTIZE, STACK, UNFUSE, Request, layers_of

IN_GGUF = 0
"""The seed of what is rounded in a GGUF model where none is given: on its grids nothing else keeps an update."""


def model(request: Request, opened: Opened, truncate: Truncate, how: Execution = DEFAULT) -> Checkpoint:
    """The model that a request asks for, in the dtype and the files that it asks for."""
    output, models = request.output, opened.models
    if request.kind == QUANTIZE:
        made = quantized(request, models["base"])
    elif request.kind == STACK:
        made = stack([Slice(models[layers_of(each.model)], each.first, each.end) for each in request.stack])
    elif request.kind == DEQUANTIZE:
        made = dequantize(models["base"], output.dtype)
    else:
        made = _fused(request, opened, truncate, how)
    check_rounding(made, OF_UNFUSING if request.kind == UNFUSE else "")
    made = cast(made, output.dtype) if output.dtype else made
    return sharded(made, output.max_shard_size) if output.max_shard_size else made


def _fused(request: Request, opened: Opened, truncate: Truncate, how: Execution) -> Checkpoint:
    models, adapters = opened.models, opened.adapters
    base = based(request, models)
    change = adapter(request, adapters_for(request, adapters, base), truncate, how)
    add = unfuse if request.kind == UNFUSE else fuse
    _warn_of_no_config(base)
    model = add(base, change, dtype=request.output.dtype, precision=request.precision)
    model = tensor_types(model, request.output.tensor_types)
    return quantized(request, model) if request.quantize and not model.schemes else model


def _warn_of_no_config(base: Checkpoint) -> None:
    """A folder that transformers cannot load, nor what is made of it."""
    files = base.files
    if base.config is None and files and files.path.is_dir() and not files.components and not base.gguf:
        warnings.warn(
            f"{files.path}: has no config.json, so the output has none, and from_pretrained cannot load it: copy the config.json "
            "of the model into its folder",
            AdapterWarning,
            stacklevel=3,
        )


def adapters_for(request: Request, adapters: Mapping[str, Adapter], base: Checkpoint) -> Mapping[str, Adapter]:
    """The adapters that are fused with a base: by the components of a pipeline, without the tensors that are copies of its
    own, and where they call modules in different ways, by its names. Task vectors have its names.
    """
    if any(each.task_vector for each in adapters.values()):
        return adapters
    adapters = {name: in_components(each, base, request.inputs[name].component) for name, each in adapters.items()}
    if request.kind == FUSE:
        adapters = dict(zip(adapters, without_copies(list(adapters.values()), base), strict=True))
    if request.kind == FUSE:
        assert request.result
        combined = not untouched(request.result.tree)
        adapters = {name: on_base(each, base, differences=combined) for name, each in adapters.items()}
    else:
        adapters = {name: fitted(each, base) for name, each in adapters.items()}
    if request.kind == UNFUSE:
        for each in adapters.values():
            check_needs_no_base(each, "taken out of a model again", hint=OF_UNFUSING)
            check_replaces_nothing(each)
    if len(adapters) == 1:
        return adapters
    return dict(zip(adapters, united(list(adapters.values()), base), strict=True))


def based(request: Request, models: Mapping[str, Checkpoint]) -> Checkpoint:
    """The base as an update is added to it: with the numbers and the rounding that are asked for.

    Raises:
        OptionError: it is not quantized, and what is asked for is about codes; or codes are found independently, which no rule
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
    how, seed = rounding_of(request, base)
    if request.rounding is None:
        return rounding(base, how, seed)
    if not base.schemes and request.quantize:
        raise OptionError(
            "--rounding is for codes that the base has already, and for 16 bits; --quantize computes new codes",
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
    return rounding(base, how, seed, models.get("grams"))


def rounding_of(request: Request, base: Checkpoint) -> tuple[str | None, int]:
    """How changed weights are rounded, and the seed: where nothing is asked for, at random in a GGUF model with codes that
    stays one, and to nearest elsewhere.
    """
    stays = base.gguf and not (request.output.dtype or request.quantize)
    if request.rounding is None and stays and (base.schemes or request.output.tensor_types):
        return STOCHASTIC, IN_GGUF
    return request.rounding, request.seed or 0


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
