"""What is said of modules that have no place in a base: what was tried, what is nearest, and how much would fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from adapterops.errors import IncompatibleError, UnsupportedError, count, listed
from adapterops.formats.diffusion.flat import DENOISER, flat
from adapterops.formats.models.architectures import SHARED_LAYERS, WEIGHT
from adapterops.formats.models.divisions import parts_of, wholes_of
from adapterops.formats.models.naming import Names, canonical
from adapterops.formats.models.suffixes import Move

SHOWN = 8
"""Names that an error lists of each side."""

ALIKE = 3
"""Sentences that an error lists: others say the same of other modules."""

BIAS = ".bias"
MERGE = "merge it with PEFT: merge_and_unload, and save_pretrained of the model"
OWN_BASE = "give the base that the adapter was trained on"


def misfits(
    found: Sequence[str],
    missing: Sequence[str],
    wrong: Sequence[str],
    count: int,
    names: Names | None,
    hint: str = OWN_BASE,
) -> IncompatibleError | UnsupportedError:
    """The error for modules that do not fit a base.

    Args:
        found: modules that have their place.
        missing: modules that the base has nothing for.
        wrong: sentences about those it has, and that do not fit.
        count: all modules.
        names: those of the base; None where they do not matter.
        hint: what can be done where none is missing.
    """
    if names is None or not missing:
        fact = f"{len(wrong)} of {count} modules do not fit: {listed(wrong, ALIKE, by='; ')}"
        return IncompatibleError(fact, hint=hint, code="E-NAMES")
    if cause := _cause(found[0] if found else None, missing, names):
        why, hint = cause
        return UnsupportedError(
            f"{len(missing)} of {count} modules are not in the base: {listed(missing, SHOWN)}. {why}", hint=hint
        )
    nothing = not found and not wrong
    own, near = listed(missing, SHOWN), listed(_nearest(missing, names), SHOWN)
    fact = (
        f"0 of {count} modules of the adapter are in the base. The adapter has {own}; the base has {near}"
        if nothing
        else f"{len(missing)} of {count} modules are not in the base: {own}; nearest in the base are {near}"
    )
    if wrong:
        fact += f"; {len(wrong)} of {count} modules do not fit: {listed(wrong, ALIKE, by='; ')}"
    if divided := _divided(missing, names):
        return IncompatibleError(f"{fact}. {divided}", hint=f"{OWN_BASE}, in the same division", code="E-NAMES")
    tried = names.tried(missing)
    if tried:
        shown = ", ".join(f"{fits} of {count} {_how(move)}" for move, fits in tried[:3])
        return IncompatibleError(f"{fact}. Renamed, these would fit: {shown}", hint=_renaming(tried), code="E-NAMES")
    hint = (
        "no wrapper, prefix or suffix of the names makes one fit: it is for another architecture, or has the names of "
        f"another program; {OWN_BASE}"
        if nothing
        else OWN_BASE
    )
    return IncompatibleError(fact, hint=hint, code="E-NAMES")


def _cause(known: str | None, missing: Sequence[str], names: Names) -> tuple[str, str] | None:
    """Why transformers has modules in memory that the files of this model have not, where that is known, and what goes on.
    `known` is a module that has its place; where none has, the names alone show what is meant, down to the number of a layer.
    """
    if known is None:
        cause = _converted(missing, names, lambda one, other: any(map(str.isdecimal, one[: _begin(one, other)])))
        return (cause[0], f"{OWN_BASE}; if this is it, {cause[1]}") if cause else None
    parts = {flat(module).part for module in missing}
    of_encoder = all(map(str.isdecimal, parts)) and not any(map(_of_encoder, names.base))
    if of_encoder or (parts == {DENOISER} and flat(known).part.isdecimal()):
        own = re.match(r"lora_[a-z]+\d?_|\w+\.", known)
        return (
            f"Their names are those of {'a text encoder' if of_encoder else 'a UNet or transformer'}, and the base has none",
            "give the folder of the whole pipeline; or take the others alone, such as with: "
            f"adapterops calc 'select(a, \"{own[0] if own else known}*\")' a=ADAPTER -o others",
        )
    if all(module.endswith(BIAS) for module in missing):
        fact = "They are biases that were trained with the adapter (lora_bias, diff_b), and "
        if all(names.candidates(module.removesuffix(BIAS)) for module in missing):
            return (
                f"{fact}the base has no biases there",
                "load it next to its base, whose files have no place for them; merge and truncate take it",
            )
        return f"{fact}the base has their weights in another division, for which these are not handled", MERGE
    again = next((module for module in missing if not SHARED_LAYERS.isdisjoint(module.split("."))), None)
    if again:
        return (
            f"{again} is a layer that the model has at several depths and its files once: LoRA at one of them is not handled",
            "run it with PEFT, next to its base: what merge_and_unload makes of it is another model, too",
        )
    return _converted(missing, names, _common)


def _divided(missing: Sequence[str], names: Names) -> str | None:
    """What the base has in another division, if it has one of the modules so: in which order of rows is not known then."""
    for module in missing:
        name = names.name(module)
        whole, parts = ([t for each in those(name) for t in names.of(each)] for those in (wholes_of, parts_of))
        if whole:
            return f"The base has {module} in another division: {whole[0]} is one matrix of several, whose order is not known here"
        if parts:
            return f"The base has {module} in another division: split, such as {parts[0]}, and in which order is not known here"
    return None


def _converted(
    missing: Sequence[str], names: Names, alike: Callable[[list[str], list[str]], int]
) -> tuple[str, str] | None:
    """The same of modules that transformers makes of other tensors, by names of these that are `alike`."""
    wanted = canonical(missing[0]).split(".")
    others = [
        tensor
        for tensor in _nearest(missing, names)
        if names.loading.converts(tensor) and alike(wanted, canonical(names.loading.name(tensor)).split("."))
    ]
    if others:
        return (
            f"transformers makes modules of {listed(others, ALIKE)} when it loads a model of type {names.type}, of other "
            "pieces than the files have, and these are not handled",
            MERGE,
        )
    return None


def _of_encoder(tensor: str) -> bool:
    """Whether a tensor of a base may be one of a text encoder."""
    name = flat(tensor)
    return name.part.isdecimal() or name.key.startswith(("encoder_", "embed", "layers_", "model_layers_"))


def _renaming(tried: Sequence[tuple[Move, int]]) -> str:
    best = [move for move, fits in tried if fits == tried[0][1]]
    if len(best) > 1:
        return "which of them is meant is not known: put the prefix of that part of the base before the adapter's names"
    return f"{OWN_BASE}; if this is it, rename the modules of the adapter"


def _how(move: Move) -> str:
    begin = f"with the prefix {move.prefix!r}" if move.prefix else ""
    rest = f"without the first {count(move.drop, 'part')} of their names" if move.drop else ""
    return " and ".join(filter(None, (begin, rest)))


def _nearest(missing: Sequence[str], names: Names) -> list[str]:
    """The weights of the base, those first that end as the first missing module does."""
    wanted = canonical(missing[0]).split(".")
    weights = [tensor for tensor, spec in names.base.items() if tensor.endswith("weight") and len(spec.shape) > 1]
    return sorted(weights, key=lambda tensor: -_common(wanted, canonical(tensor.removesuffix(WEIGHT)).split(".")))


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts at the end, and at the beginning, two names have in common."""
    return _run(zip(reversed(one), reversed(other), strict=False)) + _begin(one, other)


def _begin(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts at the beginning two names have in common."""
    return _run(zip(one, other, strict=False))


def _run(pairs: Iterable[tuple[str, str]]) -> int:
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count
