"""Checkpoints into schemes of quantization and out of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from adapterops.arrays.dtypes import FLOATS
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.gguf import in_safetensors
from adapterops.checkpoints.layouts import check_dtype
from adapterops.checkpoints.stored import StoredTensor
from adapterops.errors import IncompatibleError, OptionError, check_opened
from adapterops.formats.models.architectures import WEIGHT
from adapterops.formats.models.converted import DESCRIBED, convertible, described, skipped, without
from adapterops.formats.models.model_files import ModelFiles
from adapterops.formats.models.naming import conv1d
from adapterops.operations.grams import matched
from adapterops.provenance.history import Step
from adapterops.quant.registry import make
from adapterops.quant.scheme import CALIBRATED, ROUNDINGS, STOCHASTIC
from adapterops.quant.transposed import Transposed


def quantize(
    checkpoint: Checkpoint, to: str = "nf4", *, double_quant: bool = False, block_size: int | None = None
) -> Checkpoint:
    """The checkpoint with every weight in the scheme that transformers quantizes when it loads a model, and config.json
    saying so.

    Weights are rounded once, from what they are before they are rounded to their dtype. Embeddings, output heads,
    routers and routed experts stay as they are, or as they are used where they were quantized; config.json lists them.

    Args:
        to: a scheme that is written, such as `nf4`, `fp4` or `int8`.
        double_quant: store the scales of 4-bit blocks in 8 bits.
        block_size: entries that share a scale, in 4 bits; 64 by default.

    Raises:
        OptionError: there is no such scheme, or it has no such options.
        IncompatibleError: no weight can be quantized.
        UnsupportedError: it is a pipeline of several models.
    """
    check_opened(checkpoint, Checkpoint, "open_checkpoint")
    checkpoint.check_one("quantized")
    checkpoint = in_safetensors(checkpoint)
    names = convertible(checkpoint.layout, checkpoint.config)
    used = {checkpoint.layout[name].dtype for name in names}
    chosen = make(to, "F16" if used == {"F16"} else "BF16", double_quant=double_quant, block_size=block_size)
    if not names:
        raise IncompatibleError(
            "has no weight of a Linear layer to quantize",
            path=checkpoint.files.path if checkpoint.files else None,
            code="E-NAMES",
        )
    schemes = {name: Transposed(chosen) if conv1d(name, checkpoint.config) else chosen for name in names}
    layout = {
        name: spec._replace(dtype=chosen.dtype) if name in schemes else spec for name, spec in checkpoint.layout.items()
    }
    return replace(
        checkpoint,
        layout=layout,
        files=_undescribed(checkpoint),
        schemes=schemes,
        config=described(checkpoint.config, chosen, skipped(checkpoint.layout, schemes, checkpoint.config)),
        history=Step("quantize", {"to": to, **chosen.parameters}, (checkpoint.history,)),
    )


def dequantize(checkpoint: Checkpoint, dtype: str | None = None) -> Checkpoint:
    """The checkpoint without quantization: every quantized weight as it is when used, and a config.json that says so.

    Args:
        dtype: of the weights that were quantized; by default the one they are used in.

    Raises:
        IncompatibleError: nothing is quantized.
        UnsupportedError: it is a pipeline of several models.
    """
    check_opened(checkpoint, Checkpoint, "open_checkpoint")
    checkpoint.check_one("dequantized")
    if not checkpoint.schemes and not checkpoint.gguf:
        raise IncompatibleError(
            "has no quantized weight",
            path=checkpoint.files.path if checkpoint.files else None,
            hint="it is in 16 or 32 bits already",
            code="E-QUANT",
        )
    if dtype is not None:
        check_dtype(dtype)
    checkpoint = in_safetensors(checkpoint)
    layout = {
        name: spec._replace(dtype=dtype or spec.dtype) if name in checkpoint.schemes else spec
        for name, spec in checkpoint.layout.items()
    }
    config = without(checkpoint.config)
    if config and dtype:
        config |= {key: FLOATS[dtype] for key in ("dtype", "torch_dtype") if key in config}
    step = Step("dequantize", {"dtype": dtype} if dtype else {}, (checkpoint.history,))
    files = _undescribed(checkpoint)
    return replace(checkpoint, layout=layout, files=files, schemes={}, config=config, history=step)


def rounding(checkpoint: Checkpoint, how: str | None, seed: int = 0, grams: Checkpoint | None = None) -> Checkpoint:
    """The checkpoint with a rule for changed weights that are on a grid already: `nearest`, `stochastic`, or `calibrated`
    for inputs whose Gram matrices are in a file.

    Raises:
        OptionError: there is no such rule; `calibrated` needs Gram matrices, and no other does.
        IncompatibleError: a Gram matrix is not of the shape of the inputs of its module.
    """
    if how is None:
        return checkpoint
    if how not in ROUNDINGS:
        raise OptionError(f"the rounding must be one of {', '.join(ROUNDINGS)}, got {how!r}")
    if (how == CALIBRATED) != (grams is not None):
        raise OptionError(
            "--rounding calibrated and --grams need each other",
            hint="give both --rounding calibrated and --grams FILE, which adapterops gram makes",
        )
    parameters: dict[str, Any] = {"rounding": how, **({"seed": seed} if how == STOCHASTIC else {})}
    inputs = (checkpoint.history, grams.history) if grams else (checkpoint.history,)
    found = grams_of(grams, checkpoint) if grams else {}
    return replace(checkpoint, rounding=how, seed=seed, grams=found, history=Step("round", parameters, inputs))


def grams_of(grams: Checkpoint, checkpoint: Checkpoint) -> dict[str, StoredTensor]:
    """The Gram matrix of the inputs of every weight in codes that has one.

    Raises:
        IncompatibleError: one has not the shape of its inputs, or none is of a module of this model.
    """
    weights = {name.removesuffix(WEIGHT): name for name in checkpoint.schemes}
    widths = {
        module: checkpoint.layout[name].shape[0 if conv1d(name, checkpoint.config) else -1]
        for module, name in weights.items()
    }
    names = matched({name: spec.shape for name, spec in grams.layout.items()}, widths, grams.history)
    found = {weights[module]: grams.stored[name] for module, name in names.items()}
    if not found:
        raise IncompatibleError(
            f"has no Gram matrix of a module in codes of this model: {', '.join(list(grams.layout)[:2])} ..., "
            f"and {', '.join(list(weights)[:2])} ...",
            path=grams.files.path if grams.files else None,
            hint="make it from the model that is fused, with adapterops gram",
            code="E-NAMES",
        )
    return found


def viewed(checkpoint: Checkpoint, original: Checkpoint) -> Checkpoint:
    """The checkpoint with the numbers of its quantized weights taken from the model that it was quantized from.

    Tensors that are not changed are still copied as they are; changed ones are encoded again, from numbers without a
    grid.

    Raises:
        IncompatibleError: the original lacks a weight, or has it in another shape.
    """
    for name in checkpoint.schemes:
        there = original.layout.get(name)
        if there is None or there.shape != checkpoint.layout[name].shape or name in original.schemes:
            found = "nothing of that name" if there is None else f"{_stored(original, name)} {list(there.shape)}"
            raise IncompatibleError(
                f"is {list(checkpoint.layout[name].shape)} and quantized; the original has {found}",
                tensor=name,
                hint="give the 16-bit model that this one was quantized from",
                code="E-NAMES",
            )
    return replace(
        checkpoint,
        views={name: original.stored[name] for name in checkpoint.schemes},
        history=Step("view", {}, (checkpoint.history, original.history)),
    )


def as_stored(checkpoint: Checkpoint, model: Checkpoint) -> Checkpoint:
    """The checkpoint, to be saved in the schemes that another one is in."""
    own = checkpoint.schemes
    schemes = {
        name: own[name] if own.get(name) == found else found
        for name, found in model.schemes.items()
        if name in checkpoint.layout
    }
    layout = dict(checkpoint.layout)
    for name in {*schemes, *checkpoint.schemes} & set(model.layout):
        layout[name] = layout[name]._replace(dtype=model.layout[name].dtype)
    return replace(checkpoint, layout=layout, schemes=schemes)


def _undescribed(checkpoint: Checkpoint) -> ModelFiles | None:
    """Its files without what says how the weights were quantized."""
    files = checkpoint.files
    return files and replace(files, others=tuple(path for path in files.others if path.name != DESCRIBED))


def _stored(checkpoint: Checkpoint, name: str) -> str:
    """How messages say what a tensor is stored as."""
    return checkpoint.schemes[name].name if name in checkpoint.schemes else checkpoint.layout[name].dtype
