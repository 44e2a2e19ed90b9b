"""Adapter module ↔ base tensor: where in a checkpoint the weight of each module lies.

An adapter names the modules of a model in memory, a checkpoint the tensors of whoever saved it. The two differ in prefixes
(`model.`, `language_model.`, `transformer.`, and their order, which changed between versions of transformers), in the names
of experts, and in what is fused. A module is found by its exact name, or as the only one with its name after all that is
taken away; anything else is an error that names both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapterops.dtypes import FLOATS
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.storage.safetensors import Spec

WEIGHT = ".weight"
PREFIXES = {"base_model", "model", "language_model", "transformer", "module"}
"""Wrappers that a name may begin with, in any order."""

SYNONYMS = {"block_sparse_moe": "mlp"}
EXPERT_SYNONYMS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
FUSED = {
    "gate_proj": ("gate_up_proj", 0, 2),
    "up_proj": ("gate_up_proj", 1, 2),
    "gate_up_proj": ("gate_up_proj", 0, 1),
    "down_proj": ("down_proj", 0, 1),
}
"""Projection of an expert → the parameter that holds it for all experts, and which part of its rows, of how many."""

INTERLEAVED = {"gpt_oss"}
"""Model types whose fused experts have the rows of gate and up in turn."""

CONV1D_TYPES = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp"}
CONV1D_MODULES = {"c_attn", "c_proj", "c_fc", "q_attn"}
"""Where transformers uses Conv1D, which stores (in, out)."""


HEAD = "lm_head"
EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings", "decoder.embed_tokens")
CAUSAL = ("ForCausalLM", "LMHeadModel")
"""Ends of the names of models that have an output embedding."""

GENERATING = (*CAUSAL, "ForConditionalGeneration", "ForMaskedLM", "ForPreTraining")
"""The same, and of those whose output embedding has other names, or is tied to several."""

SHOWN = 8
"""Names that an error lists of each side."""


def conv1d(name: str, config: Mapping[str, Any] | None) -> bool:
    """Whether the module, or the weight, is a Conv1D of transformers: stored as (in, out), and the other way round when quantized.

    >>> conv1d("h.0.attn.c_attn.weight", {"model_type": "gpt2"}), conv1d("h.0.attn.c_attn", {"model_type": "llama"})
    (True, False)
    """
    return str((config or {}).get("model_type")) in CONV1D_TYPES and name.removesuffix(WEIGHT).rpartition(".")[2] in CONV1D_MODULES


@dataclass(frozen=True)
class Place:
    """Where the weight of a module lies: in `tensor`, all dimensions but the last taken for one, from (row, column) on.

    `transposed`: it is stored as (in, out). `copied`: the tensor is not in the base yet, and starts as a copy of this one.
    """

    tensor: str
    row: int = 0
    column: int = 0
    transposed: bool = False
    copied: str | None = None


def resolve(modules: Mapping[str, tuple[int, int]], base: Mapping[str, Spec], config: Mapping[str, Any] | None = None) -> dict[str, Place]:
    """The place of every module.

    Args:
        modules: name → (out, in).
        base: the tensors of the checkpoint.
        config: its config.json, for the model type.

    Raises:
        IncompatibleError: a module has no place, or several, or another shape; all of them are listed.
        UnsupportedError: a weight is quantized.
    """
    names = _Names(base, config or {})
    found: dict[str, Place] = {}
    missing, wrong = [], []
    for module, shape in modules.items():
        candidates = names.candidates(module)
        for each in candidates:
            _check_dtype(each, base)
        places = [place for each in candidates if (place := names.fit(each, module, shape))]
        if len(places) == 1:
            found[module] = places[0]
        elif len(places) > 1:
            wrong.append(f"{module} could be {' or '.join(place.tensor for place in places)}")
        elif candidates:
            wrong.append(
                f"{module} is {list(shape)}, {candidates[0].tensor} is {list(base[candidates[0].copied or candidates[0].tensor].shape)}"
            )
        else:
            missing.append(module)
    for module in modules:
        head, _, projection = module.rpartition(".")
        if projection == "gate_up_proj" and (f"{head}.gate_proj" in modules or f"{head}.up_proj" in modules):
            wrong.append(f"{module} is there whole and in parts")
    _check(found, missing, wrong, len(modules), base)
    names.check_squares(found, modules)
    return found


def resolve_whole(tensors: Mapping[str, Spec], base: Mapping[str, Spec]) -> dict[str, str]:
    """The base's name of each whole tensor of an adapter; an output embedding that the base does not have keeps its own.

    Raises:
        IncompatibleError: a tensor has no counterpart, or several, or another shape.
    """
    index: dict[str, list[str]] = {}
    for name in base:
        index.setdefault(canonical(name), []).append(name)
    found = {}
    for tensor, spec in tensors.items():
        names = [tensor] if tensor in base else index.get(canonical(tensor), [])
        if not names and canonical(tensor) == HEAD + WEIGHT:
            names = [tensor]
        if len(names) != 1 or (names[0] in base and base[names[0]].shape != spec.shape):
            there = ", ".join(f"{name} {list(base[name].shape)}" for name in names) or "nothing"
            raise IncompatibleError(
                f"is a whole tensor of shape {list(spec.shape)}, and the base has {there} of that name",
                tensor=tensor,
                hint="the adapter was trained on another model, or with another vocabulary",
                code="E-NAMES",
            )
        found[tensor] = names[0]
    return found


def check_untied(tensors: Mapping[str, Spec], base: Mapping[str, Spec], config: Mapping[str, Any] | None) -> None:
    """Raise UnsupportedError for a whole embedding where others of the base share it, and it is not known which.

    Such a model would answer with another output embedding than the adapter was trained with.
    """
    config = config or {}
    names = architectures(config)
    generates = any(name.endswith(GENERATING) for name in names) if names else True
    said = ties(config)
    if not generates or said is False or (said is None and not any(name.endswith(CAUSAL) for name in names)):
        return
    several = config.get("is_encoder_decoder")
    if not several and (any(canonical(name) == HEAD + WEIGHT for name in base) or head_of(base, config)):
        return
    for name, spec in tensors.items():
        last = canonical(name).removesuffix(WEIGHT).rpartition(".")[2]
        if len(spec.shape) == 2 and (last == HEAD or spec.shape[0] == config.get("vocab_size")):
            raise UnsupportedError(
                "is tied to other tensors of the base, and untying them would make it another model",
                tensor=name,
                hint="train without it, or untie the base first: save it with tie_word_embeddings=False",
            )


def experts_of(base: Mapping[str, Spec]) -> tuple[dict[str, int], dict[str, dict[int, tuple[int, ...]]]]:
    """The experts of a checkpoint, by what its parameters are called without prefixes.

    Returns:
        For parameters that hold all experts, how many; for those that are stored by themselves, the shape of each.
    """
    fused: dict[str, int] = {}
    single: dict[str, dict[int, tuple[int, ...]]] = {}
    for tensor, spec in base.items():
        name = canonical(tensor.removesuffix(WEIGHT))
        head, _, projection = name.rpartition(".")
        parent, _, expert = head.rpartition(".")
        if len(spec.shape) == 3:
            fused[name] = spec.shape[0]
        elif len(spec.shape) == 2 and expert.isdecimal() and parent.endswith("experts") and projection in FUSED:
            single.setdefault(f"{parent}.{projection}", {})[int(expert)] = spec.shape
    return fused, single


def head_of(base: Mapping[str, Spec], config: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """The names of the output embedding and of the input embedding that stands for it, in a checkpoint that ties them."""
    config = config or {}
    said = ties(config)
    tied = said if said is not None else any(name.endswith(CAUSAL) for name in architectures(config))
    if config.get("is_encoder_decoder"):  # which ties more than two
        return None
    for name in base:
        if canonical(name.removesuffix(WEIGHT)) in EMBEDDINGS and tied and _head_beside(name) not in base:
            return _head_beside(name), name
    return None


class _Names:
    """The tensors of a base by what remains of their names without prefixes."""

    def __init__(self, base: Mapping[str, Spec], config: Mapping[str, Any]) -> None:
        self.base, self.type, self.ties = base, str(config.get("model_type", "")), ties(config)
        self.shared = bool(config.get("is_encoder_decoder"))
        self.index: dict[str, list[str]] = {}
        for tensor, spec in base.items():
            if tensor.endswith(WEIGHT) or len(spec.shape) == 3:
                self.index.setdefault(canonical(tensor.removesuffix(WEIGHT)), []).append(tensor)

    def candidates(self, module: str) -> list[Place]:
        if module + WEIGHT in self.base:
            return [Place(module + WEIGHT)]
        name = canonical(module)
        if name in self.index:
            return [Place(tensor) for tensor in self.index[name]]
        if name == HEAD and self.ties is not False and not self.shared:
            return [
                Place(_head_beside(tensor), copied=tensor)
                for short, tensors in self.index.items()
                if short in EMBEDDINGS
                for tensor in tensors
            ]
        head, _, projection = name.rpartition(".")
        parent, _, expert = head.rpartition(".")
        if expert.isdecimal() and parent.endswith("experts") and projection in FUSED:
            return [Place(tensor, row=int(expert)) for tensor in self.index.get(f"{parent}.{FUSED[projection][0]}", [])]
        return []

    def fit(self, place: Place, module: str, shape: tuple[int, int]) -> Place | None:
        """The place with its orientation, if a weight of this shape can lie there."""
        stored = self.base[place.copied or place.tensor].shape
        if len(stored) == 3:
            return self._expert(place, stored, module, shape)
        if len(stored) != 2 or sorted(stored) != sorted(shape):
            return None
        transposed = stored != shape
        if stored[0] == stored[1]:
            transposed = self.type in CONV1D_TYPES and module.rpartition(".")[2] in CONV1D_MODULES
        return Place(place.tensor, transposed=transposed, copied=place.copied)

    def _expert(self, place: Place, stored: tuple[int, ...], module: str, shape: tuple[int, int]) -> Place | None:
        *_, expert, projection = ["", *canonical(module).split(".")]
        if not expert.isdecimal() or projection not in FUSED:
            return None
        _, part, parts = FUSED[projection]
        out, into = parts * shape[0], shape[1]
        count, high, wide = stored
        if place.row >= count or sorted((high, wide)) != sorted((out, into)):
            return None
        transposed = self._turned(place.tensor) if high == wide else (high, wide) != (out, into)
        if transposed is None or (parts == 2 and self.type in INTERLEAVED):
            what = "rows and columns" if transposed is None else "gate and up"
            raise UnsupportedError(
                f"lies in {place.tensor}, where {what} cannot be told apart from the files",
                tensor=module,
                hint="fuse into a checkpoint that stores each expert by itself",
            )
        start, offset = place.row * high, part * shape[0]
        if not transposed:
            return Place(place.tensor, row=start + offset)
        return Place(place.tensor, row=start, column=offset, transposed=True)

    def _turned(self, tensor: str) -> bool | None:
        """Whether square experts are stored as (in, out): as those of the other parameter are, whose longer side tells."""
        parent, _, projection = tensor.rpartition(".")
        size = self.base[tensor].shape[2]
        other = self.base.get(f"{parent}.{'down_proj' if projection == 'gate_up_proj' else 'gate_up_proj'}")
        if other is None or sorted(other.shape[1:]) not in ([size, 2 * size], [size / 2, size]):
            return None
        return other.shape[1] < other.shape[2]

    def check_squares(self, found: Mapping[str, Place], modules: Mapping[str, tuple[int, int]]) -> None:
        """Where other weights of an unknown model are stored transposed, a square one does not say how it is."""
        if self.type in CONV1D_TYPES:
            return
        kinds = {
            module.rpartition(".")[2] for module, place in found.items() if place.transposed and len(self.base[place.tensor].shape) == 2
        }
        for module, (out, into) in modules.items():
            unknown = not self.type and module.rpartition(".")[2] in CONV1D_MODULES
            if (kinds or unknown) and out == into and found[module].copied is None:
                raise IncompatibleError(
                    f"is square, and {', '.join(sorted(kinds)) or 'its like'} may be stored as (in, out): is this one, too?",
                    tensor=module,
                    hint=f"say what the model is: put its model_type, such as {sorted(CONV1D_TYPES)[2]}, into config.json of the base",
                    code="E-ORIENTATION",
                )


def canonical(name: str) -> str:
    """What two names of one weight have in common.

    >>> canonical("model.language_model.layers.0.mlp.gate"), canonical("language_model.model.layers.0.block_sparse_moe.gate")
    ('layers.0.mlp.gate', 'layers.0.mlp.gate')
    >>> canonical("model.layers.1.block_sparse_moe.experts.3.w2")
    'layers.1.mlp.experts.3.down_proj'
    """
    parts = name.split(".")
    while len(parts) > 1 and parts[0] in PREFIXES:
        del parts[0]
    parts = [SYNONYMS.get(part, part) for part in parts]
    if len(parts) > 2 and parts[-3] == "experts":
        parts[-1] = EXPERT_SYNONYMS.get(parts[-1], parts[-1])
    return ".".join(parts)


def _head_beside(embedding: str) -> str:
    """What the output embedding is called where the input embedding is `embedding`.

    >>> _head_beside("model.embed_tokens.weight"), _head_beside("language_model.model.embed_tokens.weight")
    ('lm_head.weight', 'language_model.lm_head.weight')
    """
    prefix = "language_model." if embedding.startswith("language_model.model.") else ""
    return f"{prefix}{HEAD}{WEIGHT}"


def ties(config: Mapping[str, Any]) -> bool | None:
    """Whether the model shares its input embedding with its output embedding; None where its config does not say."""
    parts = [part for part in (config, config.get("text_config")) if isinstance(part, dict)]
    said = [part["tie_word_embeddings"] for part in parts if "tie_word_embeddings" in part]
    return any(said) if said else None


def architectures(config: Mapping[str, Any]) -> list[str]:
    """The classes that a config names."""
    found = config.get("architectures")
    return [str(name) for name in found] if isinstance(found, list) else []


def untied(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose model has an output embedding of its own."""
    result = {**config, "tie_word_embeddings": False}
    inner = config.get("text_config")
    if isinstance(inner, dict) and "tie_word_embeddings" in inner:
        result["text_config"] = {**inner, "tie_word_embeddings": False}
    return result


def _check(found: Mapping[str, Place], missing: list[str], wrong: list[str], count: int, base: Mapping[str, Spec]) -> None:
    twice: dict[Place, str] = {}
    for module, place in found.items():
        if place in twice:
            wrong.append(f"{module} and {twice[place]} are both {place.tensor}")
        twice[place] = module
    if not missing and not wrong:
        return
    weights = [tensor for tensor, spec in base.items() if tensor.endswith(WEIGHT) and len(spec.shape) > 1]
    if not found and not wrong:
        raise IncompatibleError(
            f"0 of {count} modules of the adapter are in the base. The adapter has {_list(missing)}; the base has {_list(weights)}",
            hint="the adapter was trained on another architecture",
            code="E-NAMES",
        )
    problems = []
    if missing:
        problems.append(f"{len(missing)} of {count} modules are not in the base: {_list(missing)}; the base has {_list(weights)}")
    if wrong:
        problems.append(f"{len(wrong)} of {count} modules do not fit: {_list(wrong)}")
    raise IncompatibleError("; ".join(problems), hint="the adapter was trained on another model", code="E-NAMES")


def _list(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _check_dtype(place: Place, base: Mapping[str, Spec]) -> None:
    dtype = base[place.copied or place.tensor].dtype
    if dtype not in FLOATS:
        raise UnsupportedError(
            f"is stored as {dtype}: the base is quantized, and nothing can be added to it without loss",
            tensor=place.tensor,
            hint="fuse into the 16-bit checkpoint that it was made from",
        )
