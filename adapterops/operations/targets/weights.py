"""The weights that an adapter can change, of the model in memory, in the tensors of a checkpoint: by headers alone.

One tensor is one weight, mostly. Experts that are stored in one tensor are a weight each, and gate and up of an expert
that is stored by itself are one, because the model in memory has them in one parameter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapterops.errors import IncompatibleError
from adapterops.formats.diffusion.layers import without_lora
from adapterops.formats.models.architectures import (
    CONV1D_MODULES,
    EXPERT_SYNONYMS,
    EXPERTS,
    FUSED,
    MAMBA_KERNEL,
    MAMBA_TYPES,
    NOT_LINEAR,
    WEIGHT,
)
from adapterops.formats.models.converted import EMBEDDING, TORCHS_OWN
from adapterops.formats.models.loading import EITHER, IN_OUT, OUT_IN, Loading, loading
from adapterops.formats.models.naming import conv1d
from adapterops.formats.models.ties import ties_of
from adapterops.formats.stacks import DOWN, GATE_UP, STACKED, UP
from adapterops.regex import Regex
from adapterops.storage.tensors import Spec

DIFFUSERS, AUTHORS = "_class_name", ("model.diffusion_model.", "diffusion_model.")
"""The field of diffusers' configs, and how names of image models begin elsewhere: of their convolutions with groups the names are
known."""

OUTPUT = ".out_proj.weight"

SINGLE = Regex(rf"(?P<path>.*\b{EXPERTS})\.(?P<number>\d+)\.(?P<projection>\w+)")


@dataclass(frozen=True)
class RowRun:
    """Rows of a tensor, from `begin` to before `end`, all dimensions but the last taken for one."""

    tensor: str
    begin: int
    end: int


@dataclass(frozen=True)
class ModelWeight:
    """A matrix of the model in memory.

    Attributes:
        shape: (rows, columns) of its pieces, one below the other.
        pieces: where its numbers are.
        transposed: the update that an adapter has is that of the transposed matrix; None where the files do not show it.
        parameter: what PEFT adapts where that is no module: one for all experts of a layer, or the weight of a module.
        experts: of the parameter.
        kernel: (in, height, width) of a convolution.
    """

    shape: tuple[int, int]
    pieces: tuple[RowRun, ...]
    transposed: bool | None = False
    parameter: str | None = None
    experts: int = 1
    kernel: tuple[int, ...] = ()


@dataclass
class _Stack:
    """The experts of one layer and projection that are stored each by itself: number → part → tensor."""

    parts: int
    found: dict[int, dict[int, str]] = field(default_factory=dict)


def weights(layout: Mapping[str, Spec], config: Mapping[str, Any] | None) -> dict[str, ModelWeight]:
    """Module of an adapter → its weight. What is in none of them an adapter can hold as a full tensor, or not at all.

    Args:
        layout: the tensors of a checkpoint, by the names in its files.
    """
    known = loading(config, layout)
    found: dict[str, ModelWeight] = {}
    stacks: dict[str, _Stack] = {}
    gated = _gated(layout, known) if known.stacked else set()
    for tensor, names in names_of(layout, config).items():
        spec, (name, *_) = layout[tensor], names
        single = SINGLE.fullmatch(name.removesuffix(WEIGHT)) if known.stacked else None
        modules = [each.removesuffix(WEIGHT) for each in names if each.endswith(WEIGHT)]
        if len(spec.shape) == 2 and tensor.endswith("weight") and (divided := known.parts(tensor)):
            found |= _parts(tensor, divided, spec, known)
        if known.converts(tensor):
            continue
        if len(spec.shape) == 3:
            for each in names:
                found |= _fused(tensor, each, spec, _orientation(tensor, layout, known))
        elif single and name.endswith(WEIGHT):
            projection = EXPERT_SYNONYMS.get(single["projection"], single["projection"])
            ungated = projection == UP and single["path"] not in gated
            whole, index, parts = (UP, 0, 1) if ungated else FUSED.get(projection, (projection, 0, 1))
            stack = stacks.setdefault(f"{single['path']}.{whole}", _Stack(parts))
            stack.found.setdefault(int(single["number"]), {})[index] = tensor
        elif of_attention(tensor, layout) and not known.parts(tensor.removesuffix(OUTPUT) + TORCHS_OWN):
            continue
        elif len(spec.shape) == 2 and all(is_linear(each, config) and known.takes(each) for each in modules):
            for each in modules:
                found |= _linear(tensor, each, spec, known, config)
        elif len(spec.shape) == 4 and (DIFFUSERS in (config or {}) or tensor.startswith(AUTHORS)):
            piece = RowRun(tensor, 0, spec.shape[0])
            layers = (each for each in modules if not without_lora(each))
            found |= {each: ModelWeight(spec.matrix, (piece,), kernel=spec.shape[1:]) for each in layers}
    for parameter, stack in stacks.items():
        found |= _stacked(parameter, stack, layout)
    return found


def _gated(layout: Mapping[str, Spec], known: Loading) -> set[str]:
    """The paths of experts that are stored each by itself and have gates."""
    found = (SINGLE.fullmatch(known.name(tensor).removesuffix(WEIGHT)) for tensor in layout)
    return {
        each["path"]
        for each in found
        if each and EXPERT_SYNONYMS.get(each["projection"], each["projection"]) in ("gate_proj", GATE_UP)
    }


def names_of(layout: Mapping[str, Spec], config: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """Tensor of a checkpoint → what the model in memory calls it, and the others that are that tensor, too."""
    known = loading(config, layout)
    result = {tensor: [known.name(tensor)] for tensor in layout}
    for end, tensor in ties_of(layout, config).missing.items():
        result[tensor].append(known.name(end))
    return result


def is_linear(module: str, config: Mapping[str, Any] | None) -> bool:
    """Whether a module with a matrix is one that PEFT adapts as a Linear layer, as far as its name shows.

    >>> is_linear("model.layers.0.mlp.up_proj", None), is_linear("decoder.embed_tokens.0", None)
    (True, False)
    """
    last = next((part for part in reversed(module.split(".")) if not part.isdecimal()), "")
    kernel = last in MAMBA_KERNEL and str((config or {}).get("model_type")) in MAMBA_TYPES
    return not (last in NOT_LINEAR or kernel or EMBEDDING.search(last) or without_lora(module))


def of_attention(tensor: str, layout: Collection[str]) -> bool:
    """Whether it is the output of a MultiheadAttention of torch, which reads this weight without calling its layer, so that
    LoRA on it does nothing.

    >>> of_attention("head.attention.out_proj.weight", ["head.attention.in_proj_weight"])
    True
    """
    return tensor.endswith(OUTPUT) and tensor.removesuffix(OUTPUT) + TORCHS_OWN in layout


def _linear(
    tensor: str, module: str, spec: Spec, known: Loading, config: Mapping[str, Any] | None
) -> Iterator[tuple[str, ModelWeight]]:
    """The weight of a module, which PEFT takes for a parameter where it would take the module for experts."""
    height, width = spec.shape
    last = module.rpartition(".")[2]
    unknown = last in CONV1D_MODULES and not (config or {}).get("model_type")
    parameter = f"{module}{WEIGHT}" if last in known.taken else None
    transposed = None if unknown else conv1d(module, config)
    yield module, ModelWeight((height, width), (RowRun(tensor, 0, height),), transposed, parameter)


def _parts(tensor: str, names: Sequence[str], spec: Spec, known: Loading) -> Iterator[tuple[str, ModelWeight]]:
    """The weights that are equal numbers of the rows of one tensor."""
    height, left = divmod(spec.shape[0], len(names))
    for number, module in enumerate(name.removesuffix(WEIGHT) for name in names):
        if not left and known.takes(module):
            yield (
                module,
                ModelWeight((height, spec.shape[1]), (RowRun(tensor, number * height, (number + 1) * height),)),
            )


def _fused(tensor: str, parameter: str, spec: Spec, transposed: bool | None) -> Iterator[tuple[str, ModelWeight]]:
    """The experts in one tensor."""
    path, _, projection = parameter.rpartition(".")
    if path.rpartition(".")[2] != EXPERTS or projection not in STACKED:
        return
    count, height, width = spec.shape
    for expert in range(count):
        piece = RowRun(tensor, expert * height, (expert + 1) * height)
        yield f"{path}.{expert}.{projection}", ModelWeight((height, width), (piece,), transposed, parameter, count)


def _orientation(tensor: str, layout: Mapping[str, Spec], known: Loading) -> bool | None:
    """Whether fused experts are transposed: by the type of model, or else by the sides of both parameters."""
    if known.fused in (OUT_IN, IN_OUT):
        return known.fused == IN_OUT
    path = tensor.rpartition(".")[0]
    up, down = (layout.get(f"{path}.{projection}") for projection in (GATE_UP, DOWN))
    if up is None or down is None or len(up.shape) != 3 or len(down.shape) != 3:
        return None
    if up.shape[1:] == (2 * down.shape[2], down.shape[1]):
        return False
    if known.fused == EITHER:  # transformers compares each with what it expects
        return layout[tensor].shape[1] != layout[tensor].shape[2]
    return None


def _stacked(parameter: str, stack: _Stack, layout: Mapping[str, Spec]) -> Iterator[tuple[str, ModelWeight]]:
    """Experts that are stored each by itself, if all parts of all are there and handled."""
    path, _, projection = parameter.rpartition(".")
    numbers = sorted(stack.found)
    complete = all(sorted(parts) == list(range(stack.parts)) for parts in stack.found.values())
    if projection not in STACKED or not complete or numbers != list(range(len(numbers))):
        return
    for number, parts in sorted(stack.found.items()):
        tensors = [parts[index] for index in range(stack.parts)]
        shapes = [layout[tensor].shape for tensor in tensors]
        pieces = tuple(RowRun(tensor, 0, shape[0]) for tensor, shape in zip(tensors, shapes, strict=True))
        shape = sum(each[0] for each in shapes), shapes[0][1]
        yield f"{path}.{number}.{projection}", ModelWeight(shape, pieces, False, parameter, len(numbers))


def owners(found: Mapping[str, ModelWeight]) -> dict[str, list[str]]:
    """Tensor → the modules whose weights have rows of it."""
    result: dict[str, list[str]] = {}
    for module, weight in found.items():
        for piece in weight.pieces:
            result.setdefault(piece.tensor, []).append(module)
    return result


def check_oriented(module: str, weight: ModelWeight) -> None:
    """Raise IncompatibleError for a weight of which it is not known how it is stored."""
    if weight.transposed is None:
        raise IncompatibleError(
            "may be stored as (in, out): is it?",
            tensor=module,
            hint="say what the model is: put its model_type, such as gpt2, into config.json of the base",
            code="E-ORIENTATION",
        )
