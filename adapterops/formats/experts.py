"""LoRA on parameters that are no module's only weight: PEFT's `target_parameters`, which models with fused experts
need.

The name of the parameter is not in the names of its tensors. PEFT wraps the module that holds it, once for each of its
parameters: `experts.lora_A` is the outermost wrapper, `experts.base_layer.lora_A` the one inside it. The config says
which parameters there are, the shapes say which is which. A has the rows of all experts, one expert after the other; B
has the columns of all, the first of every expert, then the second.

Here every expert is a module of its own, `experts.3.gate_up_proj`, as if its weight were that of a Linear layer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from adapterops.errors import IncompatibleError, InputError, UnsupportedError
from adapterops.formats.models.architectures import CONV1D_MODULES
from adapterops.formats.peft.parts import Parts
from adapterops.formats.peft.scaling import Scaling
from adapterops.formats.stacks import DOWN, FIRST, GATE_UP, STACKED, UP, WRAPPED, parameter_of

EXPERTS = "experts"
HINT = (
    "merge it with PEFT (merge_and_unload): handled are gate_up_proj, up_proj and down_proj of experts, and the "
    "two-dimensional weight of a module"
)


def parameters(found: Mapping[str, Parts], targets: Sequence[str], sided: bool) -> dict[str, Parts]:
    """The pairs of a file by the names of the parameters that they adapt, or of the modules where they adapt no
    parameter.

    Args:
        found: module, with `.base_layer` for every wrapper around it → pair.
        targets: ends of the names of parameters, as in the config.
        sided: they are of a version of PEFT that takes experts for (out, in).

    Raises:
        UnsupportedError: it cannot be known which parameter a pair adapts, or which way round, or none such is handled.
        InputError: a wrapper is missing.
    """
    levels: dict[str, list[str]] = {}
    for name in sorted(found, key=lambda name: (len(name), name)):
        module = name
        while module.endswith(WRAPPED):
            module = module.removesuffix(WRAPPED)
        levels.setdefault(module, []).append(name)
    leaves: dict[str, set[str]] = {}
    for target in targets:
        leaves.setdefault(target.rpartition(".")[0], set()).add(target.rpartition(".")[2])
    result = {}
    for module, names in levels.items():
        wanted = _wanted(module, leaves)
        if names != [module + depth * WRAPPED for depth in range(len(names))]:
            raise InputError(
                "has a LoRA inside another that is not there",
                tensor=names[-1],
                hint="save the adapter again",
                code="E-KEY",
            )
        if not wanted and len(names) == 1 and module.rpartition(".")[2] != EXPERTS:
            result[module] = found[module]
            continue
        if len(wanted) != len(names):
            raise UnsupportedError(
                f"has LoRA on {len(names)} of its parameters, and the config's target_parameters names {', '.join(wanted) or 'none'} of it",
                tensor=module,
                hint="they cannot be matched: give the config that PEFT saved with it, without parameters that the model lacks",
            )
        for leaf, pair in _assigned(module, wanted, [found[name] for name in names], sided).items():
            if f"{module}.{leaf}" in found:
                raise InputError(
                    "is adapted as a module and as a parameter",
                    hint="keep one of the two, the one that was trained",
                    tensor=f"{module}.{leaf}",
                    code="E-KEY",
                )
            result[f"{module}.{leaf}"] = pair
    return result


def _wanted(module: str, leaves: Mapping[str, set[str]]) -> list[str]:
    """The parameters of a module that the targets name, by PEFT's rule: by the end of their names, after a dot, or by
    all of it.

    A target without a dot is in every module that has such a parameter: any may have a weight, only experts have the
        others.

    Args:
        leaves: the targets, the part after the last dot by the part before it.
    """
    parts = module.split(".")
    named = {leaf for first in range(len(parts)) for leaf in leaves.get(".".join(parts[first:]), ())}
    anywhere = leaves.get("", set())
    return sorted(named | (anywhere if parts[-1] == EXPERTS else anywhere & {"weight"}))


def _assigned(module: str, wanted: Sequence[str], pairs: Sequence[Parts], sided: bool) -> dict[str, Parts]:
    """Parameter → pair, transposed so that it is (out, in); `pairs` from the outermost wrapper on."""
    last = module.rpartition(".")[2]
    if wanted == ["weight"] and last not in CONV1D_MODULES:
        return {"weight": pairs[0]}
    if wanted == ["weight"]:
        raise UnsupportedError(
            "has LoRA on its parameter weight, which GPT-2 and its kin store as (in, out) and other models as (out, in): "
            "which of the two this is cannot be known here",
            tensor=module,
            hint="merge it with PEFT (merge_and_unload)",
        )
    if last != EXPERTS or not STACKED.issuperset(wanted) or FIRST.issubset(wanted):
        raise UnsupportedError(
            f"has LoRA on its parameter {' and '.join(wanted)}, which is not handled", tensor=module, hint=HINT
        )
    if len(wanted) == 1:
        if pairs[0].shape[0] == pairs[0].shape[1] and not sided:
            raise UnsupportedError(
                f"has LoRA on {wanted[0]} alone, which is square: {list(pairs[0].shape)}. Versions of PEFT before 0.19 take its "
                "sides the other way round, and the peft_version of its config does not say that it is later",
                tensor=module,
                hint="merge it with the PEFT it was trained with, or, if that was 0.19 or later, put its peft_version into the config",
            )
        return {wanted[0]: pairs[0]}
    if UP in wanted:
        return _without_gates(module, pairs, sided)
    for down, up in (pairs, reversed(pairs)):
        (out, inner), (high, wide) = down.shape, up.shape
        if (high, wide) == (2 * inner, out):
            return {GATE_UP: up, DOWN: down}
        if (high, wide) == (inner, 2 * out):  # PEFT before 0.19 took the sides of a parameter the other way round
            return {
                GATE_UP: replace(up, shape=(wide, high), transposed=True),
                DOWN: replace(down, shape=(inner, out), transposed=True),
            }
    shapes = " and ".join(str(list(pair.shape)) for pair in pairs)
    raise UnsupportedError(
        f"has LoRA of the shapes {shapes}, which no pair of gate_up_proj and down_proj has", tensor=module, hint=HINT
    )


def _without_gates(module: str, pairs: Sequence[Parts], sided: bool) -> dict[str, Parts]:
    """Of experts that have no gates: up is the inner one. Each has the sides of the other the other way round, so that shapes
    do not show which is which.
    """
    down, up = pairs
    if down.shape != up.shape[::-1]:
        shapes = " and ".join(str(list(pair.shape)) for pair in pairs)
        raise UnsupportedError(
            f"has LoRA of the shapes {shapes}, which no pair of up_proj and down_proj has", tensor=module, hint=HINT
        )
    if not sided:
        raise UnsupportedError(
            "has LoRA on up_proj and down_proj of experts that have no gates. Versions of PEFT before 0.19 take their sides the "
            "other way round, and the peft_version of its config does not say that it is later",
            tensor=module,
            hint="merge it with the PEFT it was trained with, or, if that was 0.19 or later, put its peft_version into the config",
        )
    return {UP: up, DOWN: down}


def by_expert(
    found: Mapping[str, Parts], known: Mapping[str, Scaling], modules: Collection[str]
) -> tuple[dict[str, Parts], dict[str, Scaling], dict[str, int]]:
    """Pairs and scalings of every expert, and the number of experts of every parameter; a two-dimensional one counts 1.

    Args:
        found: as `parameters` returns it.
        known: the scalings of all, with the rank of one expert.
        modules: the names in `found` that are no parameters.

    Raises:
        InputError: the parameters of one module have different ranks and numbers of experts.
        UnsupportedError: a parameter has another number of dimensions than is handled.
    """
    pairs: dict[str, Parts] = {}
    scalings: dict[str, Scaling] = {}
    counts: dict[str, int] = {}
    for name, pair in found.items():
        module, _, leaf = name.rpartition(".")
        rank = known[name].rank
        count = (pair.rank or rank) // rank
        parts = {name: pair}
        if name not in modules:
            counts[name] = count
            if (count == 1) != (leaf == "weight"):
                raise UnsupportedError(
                    f"has LoRA on its parameter {leaf}, of {count} experts", tensor=module, hint=HINT
                )
            parts = {module: pair}
            if leaf != "weight":
                parts = {
                    f"{module}.{expert}.{leaf}": replace(pair, rank=rank, bound=rank, expert=expert, experts=count)
                    for expert in range(count)
                }
        pairs |= parts
        scalings |= dict.fromkeys(parts, known[name])
    for down, count in counts.items():
        up = min(counts.get(f"{down.removesuffix(DOWN)}{each}", count) for each in FIRST)
        if down.endswith(f".{DOWN}") and up < count:  # the other way round is LongCat: some of its experts have no down
            raise InputError(
                f"has {up} experts by one of its parameters, and {count} of rank {known[down].rank} by {DOWN}",
                tensor=down.rpartition(".")[0],
                hint="a rank in the config is not that of the tensors: give the config that it was saved with",
                code="E-RANK",
            )
    for name in found:
        if name in modules and parameter_of(name, counts) != name:
            raise InputError(
                "is adapted by itself, and as a part of a parameter",
                hint="keep one of the two, the one that was trained",
                tensor=name,
                code="E-KEY",
            )
    return dict(sorted(pairs.items())), dict(sorted(scalings.items())), counts


def square(counts: Mapping[str, int], found: Mapping[str, Parts]) -> frozenset[str]:
    """The parameters of several experts that are square, and the only ones of their module in a file."""
    paths = [name.rpartition(".")[0] for name in counts]
    lone = [name for name, count in counts.items() if count > 1 and paths.count(name.rpartition(".")[0]) == 1]
    return frozenset(name for name in lone if found[name].shape[0] == found[name].shape[1])


def along_experts(found: Mapping[str, Parts]) -> dict[str, int]:
    """The parameters of PEFT that modules are parts of whose factors have an axis of experts, and how many these are."""
    names = {name: name.split(".") for name, each in found.items() if each.rows}
    return {
        ".".join((*parts[:-2], parts[-1])): found[name].experts for name, parts in names.items() if parts[-1] in STACKED
    }


def check_alike(name: str, modules: Iterable[str], own: Mapping[str, int], counts: Mapping[str, int]) -> None:
    """Raise IncompatibleError for an adapter that has LoRA on single experts which another has in one parameter.

    Args:
        name, modules, own: those of the adapter.
        counts: parameters of all adapters.
    """
    paths = {parameter.rpartition(".")[0] for parameter, count in counts.items() if count > 1}
    for module in modules:
        path, _, expert = module.rpartition(".")[0].rpartition(".")
        if path in paths and expert.isdecimal() and parameter_of(module, own) == module:
            raise IncompatibleError(
                "is LoRA on a single expert, and other adapters have it on the parameter of all experts",
                path=name,
                tensor=module,
                hint="name the model that they are for with --base, or fuse them into it one after the other",
            )
