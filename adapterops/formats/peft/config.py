"""`adapter_config.json`: what it says about scales when reading; derived from the tensors when writing."""

from __future__ import annotations

import math
import re
import sys
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from adapterops.errors import AdapterWarning, IncompatibleError, InputError, UnsupportedError
from adapterops.formats.models.vocabulary import TOKEN_ROWS, is_input, is_output
from adapterops.formats.peft.patterns import WHOLE, matches, one_each
from adapterops.formats.peft.types import LOAD, MERGE, TYPES
from adapterops.updates.kinds import KINDS

BASE_CHANGING = {
    "pissa_niter": "convert it with PEFT: save_pretrained(..., path_initial_model_for_weight_conversion=INITIAL)",
    "corda": "convert it with PEFT: save_pretrained(..., path_initial_model_for_weight_conversion=INITIAL)",
    "lora_ga": "convert it with PEFT: save_pretrained(..., path_initial_model_for_weight_conversion=INITIAL)",
    "loftq": "give the base that LoftQ made, and set init_lora_weights to true in the config: it is LoRA on that one",
}
"""Beginnings of init_lora_weights under which the factors belong to a base that the stored one does not tell → way on."""

REFUSED = {
    "layer_replication": (
        "its layers are not those of the base",
        "write a base that has each layer as often (mergekit's passthrough), and take the field out of the config",
    ),
    "loftq_config": ("its factors belong to a quantized base", BASE_CHANGING["loftq"]),
    "use_qalora": ("QA-LoRA stores its factors pooled by the groups of a GPTQ base", "load it with PEFT and that base"),
    "alora_invocation_tokens": ("aLoRA is active only after certain tokens", LOAD),
    "arrow_config": ("Arrow chooses an adapter per token", LOAD),
    "modules_to_tie": ("LoRA on tied weights is not handled", MERGE),
    "megatron_config": ("Megatron layers are not handled", "export it with Megatron to PEFT's format"),
}
"""Fields that change the meaning of the tensors when they are set, why that is not handled, and what goes on."""

DERIVED = {
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "init_lora_weights", "target_modules", "target_parameters",
    "exclude_modules", "layers_to_transform", "layers_pattern", "peft_type", "base_model_name_or_path", "revision", "inference_mode",
    "bias", "modules_to_save", "trainable_token_indices", "lora_bias", "use_bdlora", "kasa_config",
}  # fmt: skip
"""Fields that are read here, and written from the tensors."""

BIASES = ("all", "lora_only")
"""Values of `bias` under which biases were trained, and are in the file as full tensors."""

KEPT = {"task_type", "auto_mapping", "lora_dropout", "fan_in_fan_out"}
"""Fields that do not change the update and are passed on."""

IGNORED = {
    "peft_version", "eva_config", "corda_config", "lora_ga_config", "monteclora_config", "velora_config", "runtime_config",
    "megatron_core", "qalora_group_size", "ensure_weight_tying",
}  # fmt: skip
"""Fields about training, or defaults of what is not handled."""


SIDES = 0, 19
"""The version of PEFT since which fused experts are (out, in) for it."""

SHOWN = 5
"""Names that a warning lists."""

ALL_LINEAR = "all-linear"
"""What may stand for the names of all Linear layers."""

Suffixes: TypeAlias = tuple[str, ...]
"""Ends of the names of modules, or of parameters."""


@dataclass(frozen=True)
class AdapterConfig:
    """What is known of an adapter besides its updates.

    Attributes:
        base_model, revision: what it was trained on, where that is known.
        targets: suffixes that name exactly the adapted modules of the base, or an expression that does, where such
            are known.
        fields: other fields of the config, verbatim: task_type, lora_dropout, ...
        saved: names, or ends of names, of modules that are in the file as full tensors.
        biases: whether trained biases are.
        target_parameters: as `targets`, for parameters that are adapted as such.
        experts: each such parameter, by its full name → how many experts it holds; 1 for a matrix.
        reversed: those of `experts` that PEFT takes for (in, out), and so has factors of the transposed update for.
        square: those of `experts` that are square, and the only ones of their module: nothing shows which side is which,
            and they are taken for what PEFT takes them for in a model that stores (out, in).
        tokens: rows of an embedding that are in the file as a full tensor, by its name → which rows they are.
        embeddings: the adapted modules that are embeddings.
        unannounced: the embeddings that are in the file as full tensors, and which `saved` does not name. PEFT copies
            them into the tensor of the model, and so into all that is tied to it.
        format: what it is written in where nothing else is asked for.
        model: config.json of the base whose names the modules have, where that was given.
        metadata: what the header of an image adapter's file says besides scales: its training, title, license.
    """

    base_model: str | None = None
    revision: str | None = None
    targets: Suffixes | str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    saved: tuple[str, ...] = ()
    biases: bool = False
    target_parameters: Suffixes | None = ()
    experts: Mapping[str, int] = field(default_factory=dict)
    reversed: frozenset[str] = frozenset()
    square: frozenset[str] = frozenset()
    unannounced: tuple[str, ...] = ()
    format: str = "peft"
    embeddings: frozenset[str] = frozenset()
    tokens: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    model: Mapping[str, Any] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def replaces(self, tensor: str) -> bool:
        """Whether the config announces a full tensor of this name: of a module that it names, or one inside of that."""
        *parents, role = tensor.split(".")
        modules = (".".join(parents[:count]) for count in range(1, len(parents) + 1))
        return (self.biases and role == "bias") or any(
            module.endswith(self.saved) for module in modules
        )  # "norm" means "input_layernorm", too: PEFT's rule


@dataclass(frozen=True)
class Scaling:
    """alpha/r, or alpha/sqrt(r) under rsLoRA."""

    alpha: float
    rank: int
    rslora: bool = False

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


def of_rows(fields: Any) -> Any:
    """A config as that of LoRA: where rows of embeddings alone are trained, of LoRA on nothing that has them, too.

    >>> of_rows({"peft_type": "TRAINABLE_TOKENS", "token_indices": [3], "target_modules": ["wte"]})["trainable_token_indices"]
    [3]
    """
    if not isinstance(fields, dict) or fields.get("peft_type") != "TRAINABLE_TOKENS":
        return fields
    own = ("token_indices", "target_modules", "init_weights")
    rest = {name: value for name, value in fields.items() if name not in own}
    return {
        **rest,
        "peft_type": "LORA",
        "r": 1,
        "lora_alpha": 1,
        "trainable_token_indices": fields.get("token_indices"),
    }


def read_config(fields: Any) -> AdapterConfig:
    """The config, checked field by field; the scales are read by `scalings`.

    Raises:
        InputError: a field has an impossible value.
        UnsupportedError: a field asks for something that is not handled, or that is unknown and set.
    """
    if not isinstance(fields, dict):
        raise InputError(f"is a {type(fields).__name__}, expected an object", code="E-CONFIG")
    stated = fields.get("peft_type", "LORA")
    kinds = [kind for kind in KINDS.values() if kind.peft_type == stated]
    if not kinds:
        read = ", ".join(sorted({kind.peft_type for kind in KINDS.values() if kind.peft_type}))
        known = TYPES.get(str(stated))
        called = f", {known.name}" if known else ""
        raise UnsupportedError(
            f"peft_type is {stated!r}{called}: it is not handled here, as {read} are",
            hint=known.hint if known else "update adapterops, or merge it into its base with the PEFT that made it",
        )
    own = {field for kind in kinds for field in (kind.alpha, kind.flag, *kind.fields) if field}
    refused = REFUSED | {field: (why, MERGE) for kind in kinds for field, why in kind.refused.items()}
    for name, value in fields.items():
        if name not in own:
            _check_field(name, value, refused)
    for name in ("base_model_name_or_path", "revision"):
        if not isinstance(fields.get(name), str | None):
            raise InputError(f"{name} is {fields[name]!r}, expected a string or null", code="E-CONFIG")
    return AdapterConfig(
        fields.get("base_model_name_or_path") or None,
        fields.get("revision") or None,
        _stated_targets(fields),
        {name: fields[name] for name in sorted(KEPT & fields.keys())},
        _list("modules_to_save", fields.get("modules_to_save")),
        fields.get("bias") in BIASES,
        tuple(sorted(_list("target_parameters", fields.get("target_parameters")))),
    )


def knows_sides(fields: Any) -> bool:
    """Whether an adapter is of a version of PEFT that takes experts for (out, in), except where their model says (in, out)."""
    found = re.match(r"(\d+)\.(\d+)", str(fields.get("peft_version"))) if isinstance(fields, dict) else None
    return found is not None and tuple(map(int, found.groups())) >= SIDES


def _list(what: str, names: Any) -> tuple[str, ...]:
    if not isinstance(names or [], list) or not all(isinstance(name, str) and name for name in names or []):
        raise InputError(f"{what} is {names!r}, expected names", code="E-CONFIG")
    return tuple(names or [])


def token_indices(fields: Any, names: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Which rows the full tensors of these names are, by the config.

    Raises:
        InputError: it names none, or no rows; or rows of a module that the file has not.
    """
    stated = fields.get("trainable_token_indices") if isinstance(fields, dict) else None
    found: dict[str, tuple[int, ...]] = {}
    for name in names:
        module, rows = name.removesuffix(TOKEN_ROWS), stated
        if isinstance(stated, dict):
            rows = _rows(module, stated)
            if rows is None and is_output(f"{module}.weight"):  # which PEFT keeps tied to the input embedding
                inputs = [name.removesuffix(TOKEN_ROWS) for name in names]
                rows = next((_rows(each, stated) for each in inputs if is_input(f"{each}.weight")), None)
        whole = isinstance(rows, list) and all(type(row) is int and row >= 0 for row in rows)
        if not whole or not rows or len(set(rows)) != len(rows):
            raise InputError(
                f"trainable_token_indices is {stated!r}, expected the numbers of the rows that {name} has, each once",
                hint="give the config that was saved with the adapter",
                code="E-CONFIG",
            )
        found[name] = tuple(rows)
    keys = stated.items() if isinstance(stated, dict) else [("the input embedding", stated)] if stated else []
    for key, rows in keys:
        there = isinstance(key, str) and any(name.removesuffix(TOKEN_ROWS).endswith(key) for name in names)
        if not (there or (not isinstance(stated, dict) and names)) and rows not in map(list, found.values()):
            raise InputError(
                f"trainable_token_indices names rows of {key}, of which the tensors have nothing",
                hint="save it again",
                code="E-KEY",
            )
    return found


def _rows(module: str, stated: Mapping[Any, Any]) -> Any:
    """What is stated for a module, by PEFT's rule: a name, or the end of one."""
    return next((each for key, each in stated.items() if isinstance(key, str) and module.endswith(key)), None)


def _check_field(name: str, value: Any, refused: Mapping[str, tuple[str, str]]) -> None:
    if name == "init_lora_weights" and isinstance(value, str):
        for start, hint in BASE_CHANGING.items():
            if value.startswith(start):
                raise UnsupportedError(
                    f"init_lora_weights is {value!r}: the factors belong to a base that this initialisation changed, "
                    "in a way that neither base nor adapter say",
                    hint=hint,
                )
    if name == "bias" and value not in ("none", None, False, *BIASES):
        raise InputError(f"bias is {value!r}, expected none, all or lora_only", code="E-CONFIG")
    if name in refused and value:
        why, hint = refused[name]
        raise UnsupportedError(f"{name} is set: {why}", hint=hint)
    if value and name not in refused and name not in DERIVED | KEPT | IGNORED:
        raise UnsupportedError(
            f"the field {name!r} is set and not known here; a newer PEFT may have given it a meaning",
            hint="update adapterops, or remove the field",
        )


def _stated_targets(fields: Mapping[str, Any]) -> Suffixes | str | None:
    targets = fields.get("target_modules")
    if fields.get("layers_to_transform") is not None or fields.get("layers_pattern") or fields.get("exclude_modules"):
        return None
    if isinstance(targets, str):
        return None if targets == ALL_LINEAR else targets or None
    named = isinstance(targets, list) and all(isinstance(target, str) for target in targets)
    return tuple(sorted(targets)) if named and targets else None


def scalings(
    fields: Mapping[str, Any], ranks: Mapping[str, int | None], stacked: Collection[str] = ()
) -> dict[str, Scaling]:
    """The scaling of every module, by PEFT's rules: the first pattern in the order of the file that matches wins.

    Args:
        fields: the config.
        ranks: for each module the rank of its tensors, which is the truth; None where they do not say it.
        stacked: those whose tensors may hold several experts, each of the rank that the config says.

    Raises:
        InputError: the config's rank is not the tensors', or a value is impossible.

    Warns:
        AdapterWarning: a pattern matches no module, or several with different values match one.
    """
    stated = fields.get("peft_type", "LORA")
    field = next(kind.alpha for kind in KINDS.values() if kind.peft_type == stated)
    if field is None:
        return dict.fromkeys(ranks, Scaling(1, 1))
    if stated == "ADALORA":
        return _of_adalora(fields, ranks)
    r, alpha = _rank("r", fields.get("r")), check_alpha(field, fields.get(field))
    rslora = fields.get("use_rslora") or False
    if not isinstance(rslora, bool):
        raise InputError(f"use_rslora is {rslora!r}, expected true or false", code="E-CONFIG")
    ranks_said = _look_up("rank_pattern", fields.get("rank_pattern"), list(ranks), r, _rank)
    alphas = _look_up("alpha_pattern", fields.get("alpha_pattern"), list(ranks), alpha, check_alpha)
    for module, rank in ranks.items():
        said = ranks_said[module]
        if rank is not None and (rank % said if module in stacked else said != rank):
            raise InputError(
                f"the config says rank {said}, the tensors have rank {rank}"
                + (" for all experts" if module in stacked else ""),
                tensor=module,
                hint="the config belongs to another adapter, or was edited",
                code="E-RANK",
            )
    return {module: Scaling(alphas[module], int(ranks_said[module]), rslora) for module in ranks}


def _of_adalora(fields: Mapping[str, Any], ranks: Mapping[str, int | None]) -> dict[str, Scaling]:
    """alpha over the rank that training began with, however much of it is left (and over 1e-5 more, as PEFT does).

    Raises:
        InputError: a mask of rank_pattern keeps another number of dimensions than the tensors have.
    """
    initial, alpha = _rank("init_r", fields.get("init_r")), check_alpha("lora_alpha", fields.get("lora_alpha"))
    masks = fields.get("rank_pattern") or {}
    for name, mask in masks.items() if isinstance(masks, dict) else ():
        module = name.partition(".lora_E")[0]
        kept = sum(mask) if isinstance(mask, list) and all(isinstance(each, bool) for each in mask) else None
        if module in ranks and kept != ranks[module]:
            raise InputError(
                f"rank_pattern keeps {kept} of its dimensions, the tensors have {ranks[module]}",
                tensor=module,
                hint="the config belongs to another adapter, or was edited",
                code="E-RANK",
            )
    return dict.fromkeys(ranks, Scaling(alpha * initial / (initial + 1e-5), int(initial)))


def _look_up(what: str, patterns: Any, modules: Sequence[str], default: float, check: Any) -> dict[str, float]:
    if patterns is None or patterns == {}:
        return dict.fromkeys(modules, default)
    if not isinstance(patterns, dict):
        raise InputError(f"{what} is {patterns!r}, expected an object", code="E-CONFIG")
    values = [check(f"{what}[{key!r}]", value) for key, value in patterns.items()]
    found = matches(list(patterns), modules)
    used = {index for indices in found for index in indices}
    for index, key in enumerate(patterns):
        if index not in used:
            warnings.warn(f"{what} {key!r} matches no module", AdapterWarning, stacklevel=2)
    for module, indices in zip(modules, found, strict=True):
        if len({values[index] for index in indices}) > 1:
            warnings.warn(
                f"several of {what} match {module} with different values; the first in the file is taken, as PEFT does",
                AdapterWarning,
                stacklevel=2,
            )
            break
    return {module: values[indices[0]] if indices else default for module, indices in zip(modules, found, strict=True)}


def _rank(what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{what} is {value!r}, expected a whole number above 0", code="E-CONFIG")
    return value


def check_alpha(what: str, value: Any) -> float:
    """A lora_alpha: a number above 0, whole or not.

    Raises:
        InputError: it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= sys.float_info.max:
        raise InputError(f"{what} is {value!r}, expected a number above 0", code="E-CONFIG")
    return float(value)


def combine(
    configs: Sequence[AdapterConfig], names: Sequence[str], *, allow_base_mismatch: bool = False
) -> AdapterConfig:
    """What several adapters have in common.

    Raises:
        IncompatibleError: they were trained on different bases.
    """
    base = _agreed("base models", [config.base_model for config in configs], names, allow_base_mismatch)
    revision = _agreed("base revisions", [config.revision for config in configs], names, allow_base_mismatch)
    fields = _common([config.fields for config in configs])
    return AdapterConfig(
        base,
        revision,
        _union([config.targets for config in configs]),
        fields,
        configs[0].saved,
        configs[0].biases,
        _suffixes([config.target_parameters for config in configs]),
        _experts(configs, names),
        _reversed(configs, names),
        frozenset().union(*(config.square for config in configs)),
        unannounced=tuple(sorted({tensor for config in configs for tensor in config.unannounced})),
        format=configs[0].format,
        embeddings=frozenset().union(*(config.embeddings for config in configs)),
        tokens={name: rows for config in configs for name, rows in config.tokens.items()},
        model=configs[0].model,
        metadata=_merged([config.metadata for config in configs], names),
    )


def _merged(found: Sequence[Mapping[str, str]], names: Sequence[str]) -> dict[str, str]:
    """What all headers say, and for those that follow modelspec what the result was merged from."""
    common, described = _common(found), any(name.startswith("modelspec.") for each in found for name in each)
    if len(found) > 1 and described:
        common["modelspec.merged_from"] = ", ".join(Path(name).stem for name in names)
    return common


def _common(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of them say."""
    first, *others = found
    return {key: value for key, value in first.items() if all(key in o and o[key] == value for o in others)}


def _union(targets: Sequence[Suffixes | str | None]) -> Suffixes | str | None:
    """What names the modules of all; one expression where any has one."""
    found: set[str] = set()
    for each in targets:
        if each is None:
            return None
        found.add(each if isinstance(each, str) else rf"(?:.*\.)?(?:{'|'.join(map(re.escape, each))})")
    if not any(isinstance(each, str) for each in targets):
        return _suffixes([each for each in targets if not isinstance(each, str)])
    return found.pop() if len(found) == 1 else "|".join(f"(?:{each})" for each in sorted(found))


def _suffixes(targets: Iterable[Suffixes | None]) -> Suffixes | None:
    found: set[str] = set()
    for each in targets:
        if each is None:
            return None
        found |= set(each)
    return tuple(sorted(found))


def _reversed(configs: Sequence[AdapterConfig], names: Sequence[str]) -> frozenset[str]:
    """Raises IncompatibleError where one adapter shows that a parameter is (in, out), and another does not show it."""
    found = frozenset().union(*(config.reversed for config in configs))
    for config, path in zip(configs, names, strict=True):
        for parameter in sorted(config.square & found):
            raise IncompatibleError(
                "is square, and another adapter shows that its model has it as (in, out)",
                path=path,
                tensor=parameter,
                hint="merge it with the PEFT it was trained with",
                code="E-ORIENTATION",
            )
    return found


def _experts(configs: Sequence[AdapterConfig], names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for config, name in zip(configs, names, strict=True):
        for parameter, count in config.experts.items():
            if found.setdefault(parameter, count) != count:
                raise IncompatibleError(
                    f"has {count} experts here, and {found[parameter]} in another adapter",
                    path=name,
                    tensor=parameter,
                    hint="give adapters that were trained on one base",
                )
    return found


def _agreed(what: str, values: Iterable[str | None], names: Sequence[str], allow: bool) -> str | None:
    known = {value: name for value, name in reversed(list(zip(values, names, strict=True))) if value is not None}
    if len(known) > 1 and not allow:
        places = "; ".join(f"{name}: {value}" for value, name in known.items())
        raise IncompatibleError(
            f"the adapters have different {what}: {places}",
            hint="combine them anyway with --allow-base-mismatch; of adapters trained one after the other, each on the model "
            "that the one before was fused into, add all",
            code="E-BASE",
        )
    return next(iter(known)) if len(known) == 1 else None


def write_config(
    config: AdapterConfig, ranks: Mapping[str, int], full: Collection[str] = (), r: int | None = None
) -> dict[str, Any]:
    """The fields of a config under which PEFT loads factors of these ranks with a scale of 1, whatever its version.

    Args:
        ranks: by the names of modules, of the parameters in `config.experts`, and of biases of LoRA.
        full: the names of full tensors that go along.
        r: the rank of what no pattern of a module can name: experts that PEFT stacks; by default the largest.

    Where the ranks differ every module has its own pattern, which no other matches, so that no order of them can change
    their meaning.
    """
    lora_bias = any(name.endswith(".bias") for name in ranks)
    ranks = {name: rank for name, rank in ranks.items() if not name.endswith(".bias")}
    r = r or max(ranks.values())
    parameters = [name for name in ranks if name in config.experts]
    announced = [tensor for tensor in full if tensor not in {*config.unannounced, *config.tokens}]
    tokens = {name.removesuffix(TOKEN_ROWS): list(rows) for name, rows in config.tokens.items() if name in full}
    saved_in = {tensor.rpartition(".")[0] for tensor in announced if not tensor.endswith(".bias")}
    saved = sorted(saved_in - {name.removesuffix(".weight") if name in config.experts else name for name in ranks})
    biases = any(tensor.endswith(".bias") and tensor.removesuffix(".bias") not in saved for tensor in full)
    names = one_each(ranks, config.model is not None) if len(set(ranks.values())) > 1 else {}
    patterns = {names[module]: ranks[module] for module in names}
    return dict(
        sorted(
            {
                **config.fields,
                "peft_type": "LORA",
                "base_model_name_or_path": config.base_model,
                "revision": config.revision,
                "inference_mode": True,
                "r": r,
                "lora_alpha": r,
                "rank_pattern": patterns,
                "alpha_pattern": patterns,
                "use_rslora": False,
                "init_lora_weights": True,
                "bias": "all" if biases else "none",
                **({"modules_to_save": saved} if saved else {}),
                **({"lora_bias": True} if lora_bias else {}),
                **({"trainable_token_indices": tokens} if tokens else {}),
                "target_modules": _targets(config.targets, [name for name in ranks if name not in config.experts]),
                **({"target_parameters": _targets(config.target_parameters, parameters)} if parameters else {}),
                **({"peft_version": ".".join(map(str, (*SIDES, 0)))} if parameters else {}),
            }.items()
        )
    )


def _targets(targets: Suffixes | str | None, modules: Sequence[str]) -> list[str] | str:
    left = sorted(uncovered(targets, modules)) if targets else []
    if left:
        warnings.warn(
            f"the adapter's target_modules do not name {', '.join(left[:SHOWN])}: where the model has another name for it, PEFT "
            "leaves it out; name the model with --base, whose names are taken then",
            AdapterWarning,
            stacklevel=4,
        )
    if not targets or left:
        return sorted(modules)
    return targets if isinstance(targets, str) else list(targets)


def uncovered(targets: Suffixes | str, modules: Sequence[str]) -> list[str]:
    """The modules that some target_modules do not name, by PEFT's rule: the end of a name, after a dot or whole; or an
    expression for all of it. One that cannot be used names none.
    """
    if not isinstance(targets, str):
        return [each for each in modules if not any(f".{each}".endswith(f".{suffix}") for suffix in targets)]
    try:
        found = matches([targets], modules, WHOLE)
    except InputError:
        return list(modules)
    return [module for module, named in zip(modules, found, strict=True) if not named]
