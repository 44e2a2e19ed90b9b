"""`adapter_config.json`: what it says about scales when reading; derived from the tensors when writing."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from adapterops.errors import AdapterWarning, InputError, UnsupportedError, in_json
from adapterops.formats.peft.types import LOAD, MERGE, TYPES
from adapterops.regex import Regex
from adapterops.updates.kinds import KINDS

BASE_CHANGING = {
    "pissa_niter": "convert it with PEFT: save_pretrained(..., path_initial_model_for_weight_conversion=INITIAL)",
    "corda": "convert it with PEFT: save_pretrained(..., path_initial_model_for_weight_conversion=INITIAL)",
    "lora_ga": "convert it with PEFT: save_pretrained(..., path_initial_model_for_weight_conversion=INITIAL)",
    "loftq": "give the base that LoftQ made, and set init_lora_weights to true in the config: it is LoRA on that one",
}
"""Beginnings of init_lora_weights under which the factors belong to a base that the stored one does not tell → way on."""

IN_ANY_CASE = ("gaussian", "mica", "olora")
"""Values of init_lora_weights that PEFT compares without case."""

KNOWN_STARTS = (*IN_ANY_CASE, "eva", "orthogonal", "pissa")
"""Values of init_lora_weights that leave the base as it is, or change it as the base itself shows."""

REFUSED = {
    "loftq_config": ("its factors belong to a quantized base", BASE_CHANGING["loftq"]),
    "alora_invocation_tokens": ("aLoRA is active only after certain tokens", LOAD),
    "arrow_config": ("Arrow chooses an adapter per token", LOAD),
    "enable_lora": (
        "PEFT before 0.3 had LoRA on parts of a joined layer, whose B is that of a convolution in groups",
        "merge it into its base with the PEFT that it was trained with",
    ),
    "modules_to_tie": ("LoRA on tied weights is not handled", MERGE),
    "megatron_config": ("Megatron layers are not handled", "export it with Megatron to PEFT's format"),
}
"""Fields that change the meaning of the tensors when they are set, why that is not handled, and what goes on."""

DERIVED = {
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "init_lora_weights", "target_modules", "target_parameters",
    "exclude_modules", "layers_to_transform", "layers_pattern", "peft_type", "base_model_name_or_path", "revision", "inference_mode",
    "bias", "modules_to_save", "trainable_token_indices", "lora_bias", "use_bdlora", "use_qalora", "qalora_group_size",
    "kasa_config",
}  # fmt: skip
"""Fields that are read here, and written from the tensors."""

TASK = "task_type"
TASKS = ("SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION")
"""What PEFT takes for the task that an adapter was trained for."""

KEPT = {TASK, "auto_mapping", "lora_dropout", "fan_in_fan_out"}
"""Fields that do not change the update and are passed on."""

REPLICATION = "layer_replication"
"""The field that says which layers of the base the model has, one above the other; passed on where it is set."""

IGNORED = {
    "peft_version", "eva_config", "corda_config", "lora_ga_config", "monteclora_config", "velora_config", "runtime_config",
    "megatron_core", "ensure_weight_tying", "merge_weights", "lora_dtype", "lorap_lr_ratio", "lorap_emb_lr", "swift_type",
}  # fmt: skip
"""Fields about training, PEFT's and those that ms-swift adds, or defaults of what is not handled."""


OF_TRANSFORMERS = Regex(r"transformers\.models\.(\w+)\.modeling_\w+")
"""The library of a class of transformers, which names the type of its models."""

SIDES = 0, 19
"""The version of PEFT since which fused experts are (out, in) for it."""

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
        missing: what `saved` names and no full tensor belongs to; empty once a base has shown that it has no such module.
        doubtful: full tensors that may have another name, by their names → that one; empty once a base has shown which it is.
        format: what it is written in where nothing else is asked for.
        model: config.json of the base whose names the modules have, where that was given.
        settled: whether a base has shown which module each name means.
        unnamed: the modules with tensors for which PEFT makes no LoRA by the config, and drops them: see `selection`.
        components: of a pipeline those that the modules are in, whose names begin with them, where a pipeline was given.
        prefixed: whether names may begin with a part of a pipeline, as in files of image models, and no base has named them.
        component: that which a lone base is of a pipeline of diffusers, empty for one by its authors; None where none was given.
        architecture: what llama.cpp calls the architecture of the model, where the file states it.
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
    missing: tuple[str, ...] = ()
    doubtful: Mapping[str, str] = field(default_factory=dict)
    format: str = "peft"
    embeddings: frozenset[str] = frozenset()
    tokens: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    model: Mapping[str, Any] | None = None
    architecture: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    settled: bool = False
    unnamed: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    component: str | None = None
    prefixed: bool = False

    @property
    def replication(self) -> tuple[tuple[int, int], ...]:
        """The ranges of layers of the base, the last of each excluded, that are the layers of the model; none where these are
        those of the base.
        """
        return tuple((first, end) for first, end in self.fields.get(REPLICATION, ()))

    @property
    def base_class(self) -> str | None:
        """The class of the model that PEFT wrapped, which it notes where an adapter has no task."""
        stated = (self.fields.get("auto_mapping") or {}).get("base_model_class")
        return stated if isinstance(stated, str) else None

    @property
    def base_type(self) -> str | None:
        """The type of that model, by the library that PEFT notes with the class; None where it is none of transformers."""
        found = OF_TRANSFORMERS.fullmatch(str((self.fields.get("auto_mapping") or {}).get("parent_library")))
        return found[1] if found else None

    def replaces(self, tensor: str) -> bool:
        """Whether the config announces a full tensor of this name: of a module that it names, or one inside of that."""
        return (self.biases and tensor.rpartition(".")[2] == "bias") or self.replaced(tensor) is not None

    def replaced(self, tensor: str) -> str | None:
        """The outermost module with a tensor that the config names, which PEFT copies whole; None where it names none.

        >>> AdapterConfig(saved=("classifier", "dense")).replaced("classifier.dense.weight")
        'classifier'
        """
        parents = tensor.split(".")[:-1]
        modules = (".".join(parents[: count + 1]) for count in range(len(parents)))
        return next(
            (each for each in modules if each.endswith(self.saved)), None
        )  # "norm" names "input_layernorm", too


def read_config(fields: Any) -> AdapterConfig:
    """The config, checked field by field; the scales are read by `scalings`.

    Raises:
        InputError: a field has an impossible value.
        UnsupportedError: a field asks for something that is not handled, or that is unknown and set.
    """
    if not isinstance(fields, dict):
        raise InputError(
            f"is a {type(fields).__name__}, expected an object",
            hint="give the adapter_config.json that was saved with the adapter",
            code="E-CONFIG",
        )
    stated = fields.get("peft_type", "LORA")
    if not isinstance(stated, str):
        raise InputError(
            f"peft_type is {in_json(stated)}, expected the name of a type",
            hint='write there what it was trained with, such as "LORA"',
            code="E-CONFIG",
        )
    kinds = [kind for kind in KINDS.values() if kind.peft_type == stated]
    if not kinds:
        read = ", ".join(sorted({kind.peft_type for kind in KINDS.values() if kind.peft_type}))
        known, meant = TYPES.get(stated), stated.rpartition(".")[2].upper()  # PeftType.LORA
        called = f", {known.name}" if known else ""
        mistyped = meant != stated and (meant in TYPES or meant in read.split(", "))
        newer = "update adapterops, or merge it into its base with the PEFT that made it"
        raise UnsupportedError(
            f"peft_type is {in_json(stated)}{called}: it is not handled here, as {read} are",
            hint=known.hint
            if known
            else f'PEFT writes it as "{meant}": put that into the config'
            if mistyped
            else newer,
        )
    own = {field for kind in kinds for field in (kind.alpha, kind.flag, *kind.fields) if field}
    _check_replication(fields.get(REPLICATION))
    _check_start(fields)
    refused = REFUSED | {field: (why, MERGE) for kind in kinds for field, why in kind.refused.items()}
    for name, value in fields.items():
        if name not in own:
            _check_field(name, value, refused)
    for name in ("base_model_name_or_path", "revision", TASK):
        if not isinstance(fields.get(name), str | None):
            raise InputError(
                f"{name} is {in_json(fields[name])}, expected a string or null",
                hint="write there what it was trained with",
                code="E-CONFIG",
            )
    if not isinstance(mapping := fields.get("auto_mapping"), dict | None):
        raise InputError(
            f"auto_mapping is {in_json(mapping)}, expected an object or null",
            hint="write there what it was trained with",
            code="E-CONFIG",
        )
    return AdapterConfig(
        fields.get("base_model_name_or_path") or None,
        fields.get("revision") or None,
        _stated_targets(fields),
        {name: _task(fields[name]) if name == TASK else fields[name] for name in sorted(KEPT & fields.keys())}
        | {name: fields[name] for name in (REPLICATION,) if fields.get(name)},
        _list("modules_to_save", fields.get("modules_to_save")),
        _trains_biases(fields.get("bias")),
        tuple(sorted(_list("target_parameters", fields.get("target_parameters")))),
    )


def _task(stated: str | None) -> str | None:
    """The task as PEFT has it; none where it has no such one.

    >>> _task("SEQ_CLS"), _task(None)
    ('SEQ_CLS', None)

    Warns:
        AdapterWarning: it is written otherwise (`TaskType.CAUSAL_LM`), or is none.
    """
    if not stated or stated in TASKS:
        return stated
    meant = stated.strip().rpartition(".")[2].upper()
    there = f"taken for {meant}" if meant in TASKS else "taken for none"
    warnings.warn(
        f"task_type is {stated!r}, with which PEFT does not load an adapter: it has {', '.join(TASKS)}, or null; {there}",
        AdapterWarning,
        stacklevel=3,
    )
    return meant if meant in TASKS else None


def knows_sides(fields: Any) -> bool:
    """Whether an adapter is of a version of PEFT that takes experts for (out, in), except where their model says (in, out)."""
    return is_at_least(fields, SIDES)


def is_at_least(fields: Any, version: tuple[int, int]) -> bool:
    """Whether a config states that a version of PEFT, or a later one, wrote it."""
    found = re.match(r"(\d+)\.(\d+)", str(fields.get("peft_version"))) if isinstance(fields, dict) else None
    return found is not None and tuple(map(int, found.groups())) >= version


def _list(what: str, names: Any) -> tuple[str, ...]:
    if not isinstance(names or [], list) or not all(isinstance(name, str) and name for name in names or []):
        raise InputError(
            f"{what} is {in_json(names)}, expected names", hint="write there what it was trained with", code="E-CONFIG"
        )
    return tuple(names or [])


def _check_replication(ranges: Any) -> None:
    """Raise InputError for what are no ranges of layers, the last of each excluded."""
    pairs = [each for each in ranges if isinstance(each, list) and len(each) == 2] if isinstance(ranges, list) else []
    whole = all(type(number) is int for pair in pairs for number in pair)
    if ranges and not (pairs == ranges and whole and all(0 <= first < end for first, end in pairs)):
        raise InputError(
            f"{REPLICATION} is {in_json(ranges)}, expected ranges of layers such as [[0, 4], [2, 6]]",
            hint="write there what it was trained with",
            code="E-CONFIG",
        )


def start_of(fields: Any) -> str | None:
    """What a config says of how the factors began, as PEFT compares it; None where it is no name.

    >>> start_of({"init_lora_weights": "OLoRA"}), start_of({"init_lora_weights": True})
    ('olora', None)
    """
    value = fields.get("init_lora_weights") if isinstance(fields, dict) else None
    if not isinstance(value, str):
        return None
    return value.lower() if value.lower() in IN_ANY_CASE else value


def _check_start(fields: Mapping[str, Any]) -> None:
    """Raise UnsupportedError for a beginning that changed the base in a way that the base does not show, or may have."""
    value = start_of(fields)
    if value is None or value in KNOWN_STARTS:
        return
    for start, hint in BASE_CHANGING.items():
        if value.startswith(start):
            raise UnsupportedError(
                f"init_lora_weights is {value!r}: the factors belong to a base that this initialisation changed, "
                "in a way that neither base nor adapter states",
                hint=hint,
            )
    raise UnsupportedError(
        f"init_lora_weights is {value!r}, which is not known here: it may have changed the base that the factors belong to",
        hint="set it to true in the config, if it left the base as it was; otherwise merge it into its base with the "
        "program that made it",
    )


def _check_field(name: str, value: Any, refused: Mapping[str, tuple[str, str]]) -> None:
    if name == "bias" and value not in ("none", None, False) and not _trains_biases(value):
        raise InputError(
            f"bias is {in_json(value)}, expected none, all, or lora_only or the like",
            hint="write there what it was trained with",
            code="E-CONFIG",
        )
    if name in refused and value:
        why, hint = refused[name]
        raise UnsupportedError(f"{name} is set: {why}", hint=hint)
    if value and name not in refused and name not in DERIVED | KEPT | IGNORED | {REPLICATION}:
        raise UnsupportedError(
            f"the field {name!r} is set and not known here; a newer PEFT may have given it a meaning",
            hint="update adapterops, or remove the field",
        )


def _trains_biases(bias: Any) -> bool:
    """Whether biases were trained, and are in the file as full tensors: all of them, or those of adapted layers, which every
    kind calls after itself.

    >>> _trains_biases("all"), _trains_biases("oft_only"), _trains_biases("none")
    (True, True, False)
    """
    return isinstance(bias, str) and (bias == "all" or bias.endswith("_only"))


def _stated_targets(fields: Mapping[str, Any]) -> Suffixes | str | None:
    targets = fields.get("target_modules")
    if fields.get("layers_to_transform") is not None or fields.get("layers_pattern") or fields.get("exclude_modules"):
        return None
    if isinstance(targets, str):
        return None if targets == ALL_LINEAR else targets or None
    named = isinstance(targets, list) and all(isinstance(target, str) for target in targets)
    return tuple(sorted(targets)) if named and targets else None
