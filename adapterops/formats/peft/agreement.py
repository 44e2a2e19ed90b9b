"""Whether the config of an adapter and its tensors tell of the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from adapterops.arrays.dtypes import FLOATS
from adapterops.errors import InputError, UnsupportedError
from adapterops.formats.models.vocabulary import is_end
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.keys import BIAS
from adapterops.formats.peft.parts import Parts
from adapterops.formats.peft.scaling import Scaling
from adapterops.storage.tensors import TensorHeader, no_numbers
from adapterops.updates.kinds import KINDS

CLASSIFIERS = {"classifier", "score"}
"""Names that PEFT always lists for sequence classification, whichever of them the model has."""

TENSOR = "its alpha tensor"
OTHERS = "the config belongs to another adapter, or was edited"


def not_saved(config: AdapterConfig, full: Mapping[str, str]) -> tuple[str, ...]:
    """What modules_to_save names and no full tensor belongs to: PEFT passes over what a model has not, or has without tensors."""
    names = sorted(set(config.saved) - CLASSIFIERS)
    each = {name: replace(config, saved=(name,), biases=False) for name in names}
    return tuple(name for name in names if not any(map(each[name].replaces, full)))


def check_rows(file: TensorHeader, names: Mapping[str, str], tokens: Mapping[str, Collection[int]]) -> None:
    for tensor, name in names.items():
        shape = file.entries[name].shape
        if len(shape) != 2 or shape[0] != len(tokens[tensor]):
            raise InputError(
                f"has the shape {list(shape)}, and trainable_token_indices names {len(tokens[tensor])} rows",
                tensor=name,
                hint="give the config that was saved with the adapter",
                code="E-SHAPE",
            )


def check_kinds(found: Mapping[str, Parts], fields: Any) -> None:
    """The config and the tensors must tell of one kind of update."""
    if fields is None:
        return
    stated = str(fields.get("peft_type", "LORA"))
    flagged = [kind for kind in KINDS.values() if kind.flag and kind.peft_type == stated]
    for module, each in found.items():
        kind = each.kind
        if kind.peft_type != stated:
            raise InputError(
                f"is {kind.name}, and the config says {stated}", tensor=module, hint=OTHERS, code="E-CONFIG"
            )
        for other in flagged:
            if bool(fields.get(other.flag)) != (kind.flag == other.flag):
                raise InputError(
                    f"is {kind.name}, and the config {'sets' if fields.get(other.flag) else 'does not set'} {other.flag}",
                    tensor=module,
                    hint=OTHERS,
                    code="E-CONFIG",
                )


def check_kernels(file: TensorHeader, found: Mapping[str, Parts]) -> None:
    """Raise UnsupportedError for LoKr of a convolution in one dimension whose W₂ is stored whole, which PEFT multiplies in an
    order of its own: as (1, out, in) with (out, in, width), and the numbers of that are taken for (out, in, width).
    """
    for module, each in found.items():
        name = each.tensors.get("lokr_w2")
        if name and len(file.entries[name].shape) == 3:
            raise UnsupportedError(
                "is LoKr of a convolution in one dimension with all of lokr_w2, whose entries PEFT 0.21 puts in "
                "an order that no other convolution has",
                tensor=module,
                hint="merge it into its base with PEFT: merge_and_unload",
            )


def are_tied(found: Mapping[str, Parts], fields: Any) -> bool:
    """Whether there is one update of two tied ends, which PEFT then has under the names of both: of the output embedding, and
    transposed of the input embedding. Each applies it once.

    Raises:
        InputError: they are not of one rank and one shape.
    """
    if not fields or not fields.get("ensure_weight_tying"):
        return False
    ends = {module: each for module, each in found.items() if is_end(f"{module}.weight")}
    if len({(each.shape, each.rank) for each in ends.values()}) > 1:
        shown = ", ".join(f"{module} has rank {each.rank} and {list(each.shape)}" for module, each in ends.items())
        raise InputError(
            f"ensure_weight_tying is set, and what is tied has no update of one rank and shape: {shown}",
            hint=OTHERS,
            code="E-SHAPE",
        )
    return len(ends) > 1


def check_biases(biases: Mapping[str, Parts], found: Mapping[str, Parts], file: TensorHeader) -> None:
    """Each bias of LoRA must be that of a module with LoRA, as long as its output."""
    for name, bias in biases.items():
        module = found.get(name.removesuffix(".bias"))
        if module is None or module.shape[0] != bias.shape[1]:
            shown = f"LoRA of {module.shape[0]} outputs" if module else "no LoRA"
            raise InputError(
                f"has a bias of {bias.shape[1]} numbers, and {shown}",
                tensor=bias.tensors[BIAS],
                hint="save it again",
                code="E-SHAPE",
            )
        check_float(file, bias)


def check_lora_bias(there: bool, fields: Any) -> None:
    """The config must know of biases of LoRA."""
    if fields is not None and bool(fields.get("lora_bias")) != there:
        fact = "there are biases of LoRA, and the config does not set" if there else "there are no biases, and it sets"
        raise InputError(f"{fact} lora_bias", hint=OTHERS, code="E-CONFIG")


def check_float(file: TensorHeader, parts: Parts) -> None:
    for name in parts.tensors.values():
        if file.entries[name].dtype not in FLOATS:
            raise no_numbers(file.entries[name].dtype, file.path, name)


def check_same(known: Mapping[str, Scaling], scales: Mapping[str, float], where: str) -> None:
    """Raise InputError for a module that the header of the file scales otherwise than its config does."""
    for module, scale in scales.items():
        if scale != known[module].scale:
            raise InputError(
                f"the header states a scale of {scale:g}, and {where} one of {known[module].scale:g}",
                tensor=module,
                hint="find out which one it was trained with, and remove the other",
                code="E-ALPHA",
            )


def agreeing(
    known: dict[str, Scaling], alphas: Mapping[str, float], where: str, scales: str = TENSOR
) -> dict[str, Scaling]:
    """The scalings, of which every alpha is what the tensors, or a user, say it is."""
    for module, value in alphas.items():
        if value != known[module].alpha:
            raise InputError(
                f"{scales} says {value:g}, the {where} says {known[module].alpha:g}",
                tensor=module,
                hint="correct the one that is wrong",
                code="E-ALPHA",
            )
    return known
