"""What the name of a module or a tensor means, and which tensors of a checkpoint may be meant by it.

An adapter names the modules of a model in memory, a checkpoint the tensors of whoever saved it. The two differ in
prefixes (`model.`, `language_model.`, `transformer.`, and their order, which changed between versions of transformers),
in the names of experts, and in what is fused. A name stands for the tensor of exactly that name, or else for all with
its canonical one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from adapterops.errors import UnsupportedError
from adapterops.formats.architectures import (
    CAUSAL,
    CONV1D_MODULES,
    CONV1D_TYPES,
    EMBEDDINGS,
    EXPERT_SYNONYMS,
    EXPERTS,
    FUSED,
    GENERATING,
    HEAD,
    LINEAR_TYPES,
    PREFIXES,
    SPLIT,
    SYNONYMS,
    TOWER,
    TOWERS_MODEL,
    WEIGHT,
)
from adapterops.formats.divisions import joined, whole_of
from adapterops.formats.loading import loading
from adapterops.formats.suffixes import Move, moved, moves, roots
from adapterops.formats.vocabulary import is_input, is_output
from adapterops.formats.wrappers import unwrapped
from adapterops.storage.safetensors import Spec


def canonical(name: str) -> str:
    """What two names of one weight have in common.

    >>> canonical("model.language_model.layers.0.mlp.gate"), canonical("language_model.model.layers.0.block_sparse_moe.gate")
    ('layers.0.mlp.gate', 'layers.0.mlp.gate')
    >>> canonical("model.layers.1.block_sparse_moe.experts.3.w2")
    'layers.1.mlp.experts.3.down_proj'
    >>> canonical("vision_tower.vision_model.encoder.layers.0.mlp.fc1")
    'vision_tower.encoder.layers.0.mlp.fc1'
    """
    parts = unwrapped(name).split(".")
    while len(parts) > 1 and parts[0] in PREFIXES:
        del parts[0]
    parts = [
        SYNONYMS.get(part, part)
        for place, part in enumerate(parts)
        if part != TOWERS_MODEL or not place or not parts[place - 1].endswith(TOWER)
    ]
    if len(parts) > 2 and parts[-3] == EXPERTS:
        parts[-1] = EXPERT_SYNONYMS.get(parts[-1], parts[-1])
    return ".".join(parts)


def conv1d(name: str, config: Mapping[str, Any] | None) -> bool:
    """Whether a module, or a weight, is a Conv1D of transformers: stored as (in, out), and as (out, in) when quantized.

    >>> conv1d("h.0.attn.c_attn.weight", {"model_type": "gpt2"}), conv1d("h.0.attn.c_attn", {"model_type": "llama"})
    (True, False)
    """
    return str((config or {}).get("model_type")) in CONV1D_TYPES and last(name.removesuffix(WEIGHT)) in CONV1D_MODULES


def may_be_conv1d(name: str, types: Collection[str]) -> bool:
    """Whether a module may be a Conv1D in a model of these types, of which some may be unknown.

    >>> may_be_conv1d("h.0.attn.c_attn", ["remote"]), may_be_conv1d("h.0.attn.c_attn", ["gpt_bigcode"])
    (True, False)
    >>> may_be_conv1d("layers.0.self_attn.q_proj", [])
    False
    """
    return last(name) in CONV1D_MODULES and (LINEAR_TYPES.isdisjoint(types) or not CONV1D_TYPES.isdisjoint(types))


def last(name: str) -> str:
    """The last part of a name."""
    return name.rpartition(".")[2]


class Expert(NamedTuple):
    """What the canonical name of an expert's projection says."""

    parent: str
    number: int
    projection: str

    def sibling(self, projection: str) -> str:
        """The canonical name of another projection of this expert."""
        return f"{self.parent}.{self.number}.{projection}"


def expert(module: str) -> Expert | None:
    """The expert that a module belongs to, by its name.

    >>> expert("model.layers.1.block_sparse_moe.experts.3.w2")
    Expert(parent='layers.1.mlp.experts', number=3, projection='down_proj')
    """
    above, _, projection = canonical(module).rpartition(".")
    parent, _, number = above.rpartition(".")
    if not number.isdecimal() or not parent.endswith(EXPERTS) or projection not in FUSED:
        return None
    return Expert(parent, int(number), projection)


class Candidate(NamedTuple):
    """A tensor that a module may be: all of it, or the one of an `expert` among all in it.

    `start` is the tensor of the base whose numbers it has: its own, or those of the input embedding that an output
    embedding is tied to.
    """

    tensor: str
    start: str
    expert: int | None = None


class Names:
    """The tensors of a base by the canonical names of their modules.

    Args:
        modules: those of an adapter, with their shapes: names that are in the base by another prefix are found there.
    """

    def __init__(
        self,
        base: Mapping[str, Spec],
        config: Mapping[str, Any] | None,
        modules: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        config = config or {}
        self.base, self.type, self.types = base, str(config.get("model_type", "")), model_types(config)
        self._tied = ties(config) is not False and not config.get("is_encoder_decoder")
        self._index: dict[str, list[str]] = {}
        self._single: dict[str, set[int]] = {}
        known = loading(config)
        for tensor, spec in base.items():
            if tensor.endswith(WEIGHT) or len(spec.shape) == 3:
                name = canonical(known.name(tensor).removesuffix(WEIGHT))
                self._index.setdefault(name, []).append(tensor)
                if EXPERTS in name and (found := expert(name)):
                    self._single.setdefault(f"{found.parent}.{found.projection}", set()).add(found.number)
        shapes = {canonical(module): shape for module, shape in (modules or {}).items()}
        self._moved = moved(shapes, self._index, self.has, lambda name, there: self._fits(shapes[name], there))

    def name(self, module: str) -> str:
        """The canonical name by which the base has a module, if it has it."""
        name = canonical(module)
        return self._moved.get(name, name)

    def has(self, name: str) -> bool:
        """Whether there is a tensor of a canonical name, or one that holds it, or its parts."""
        found, whole = expert(name), whole_of(name)
        above, parts = name.rpartition(".")[0], joined(name)
        others = [f"{found.parent}.{FUSED[found.projection][0]}"] if found else []
        others += [whole] if whole else []
        others += [f"{above}.{parts.parts[0]}"] if parts else []
        return any(each in self._index for each in (name, *others))

    def tried(self, modules: Iterable[str]) -> list[tuple[Move, int]]:
        """Prefixes under which the base has some of these modules, and of how many; those of the most first."""
        groups = roots([canonical(module) for module in modules], self._index, self.has)
        found = [
            (move, len(there)) for each in groups.values() for move, there in moves(each, self._index, self.has).items()
        ]
        return sorted(found, key=lambda each: -each[1])

    def _fits(self, shape: tuple[int, ...], name: str) -> bool:
        """Whether a tensor of a canonical name has a shape; what is stored in another division may."""
        stored = [self.base[tensor].shape for tensor in self.of(name)]
        return not stored or any(sorted(each) == sorted(shape) for each in stored)

    def of(self, name: str) -> list[str]:
        """The tensors with a canonical name."""
        return self._index.get(name, [])

    def candidates(self, module: str) -> list[Candidate]:
        """The tensors that a module may be, by its name alone."""
        if module + WEIGHT in self.base:
            return [Candidate(module + WEIGHT, module + WEIGHT)]
        name = self.name(module)
        found = expert(name)
        if tensors := self.of(name):
            return [Candidate(tensor, tensor) for tensor in tensors]
        if name == HEAD and self._tied:
            return [Candidate(head_for(tensor), tensor) for short in EMBEDDINGS for tensor in self.of(short)]
        if found:
            fused, _, _ = FUSED[found.projection]
            return [Candidate(tensor, tensor, found.number) for tensor in self.of(f"{found.parent}.{fused}")]
        return []

    def experts(self, parameter: str) -> int:
        """How many experts the base has of a parameter that holds all of them in an adapter; 0 where it has none."""
        parent, _, projection = canonical(parameter).rpartition(".")
        fused = [
            self.base[tensor].shape[0]
            for tensor in self.of(f"{parent}.{projection}")
            if len(self.base[tensor].shape) == 3
        ]
        first, *_ = SPLIT.get(projection, (projection,))
        return fused[0] if fused else len(self._single.get(f"{parent}.{first}", ()))


def namesakes(names: Iterable[str], base: Iterable[str]) -> dict[str, list[str]]:
    """For each of some tensors, those of a base that its name may stand for."""
    wanted = list(names)
    index: dict[str, list[str]] = {}
    exact = set()
    for name in base:
        exact.add(name)
        index.setdefault(canonical(name), []).append(name)
    other = moved([canonical(name) for name in wanted], index, index.__contains__, lambda name, there: True)
    return {
        name: [name] if name in exact else index.get(other.get(canonical(name), canonical(name)), []) for name in wanted
    }


def head_for(embedding: str) -> str:
    """What the output embedding is called where the input embedding is `embedding`.

    >>> head_for("model.embed_tokens.weight"), head_for("language_model.model.embed_tokens.weight")
    ('lm_head.weight', 'language_model.lm_head.weight')
    """
    prefix = "language_model." if embedding.startswith("language_model.model.") else ""
    return f"{prefix}{HEAD}{WEIGHT}"


def head_of(base: Mapping[str, Spec], config: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """The names of the output embedding, and of the input embedding that it is, in a checkpoint that ties them."""
    config = config or {}
    stated, inner = ties(config), config.get("text_config")
    ends = (*CAUSAL, "ForConditionalGeneration") if inner is not None else CAUSAL
    tied = stated if stated is not None else any(name.endswith(ends) for name in classes(config))
    if any(each.get("is_encoder_decoder") for each in (config, inner) if isinstance(each, Mapping)):  # ties several
        return None
    names = {canonical(name.removesuffix(WEIGHT)): name for name in base if name.endswith(WEIGHT)}
    embedding = next((names[short] for short in EMBEDDINGS if short in names), None)
    return (head_for(embedding), embedding) if tied and embedding and HEAD not in names else None


def ties(config: Mapping[str, Any]) -> bool | None:
    """Whether the model shares its input embedding with its output embedding; None where its config does not say."""
    parts = [part for part in (config, config.get("text_config")) if isinstance(part, dict)]
    stated = [part["tie_word_embeddings"] for part in parts if "tie_word_embeddings" in part]
    return any(stated) if stated else None


def model_types(config: Mapping[str, Any]) -> set[str]:
    """The types of a model and of the models in it, as a config says them."""
    found = {str(config["model_type"])} if "model_type" in config else set()
    return found.union(*(model_types(inner) for inner in config.values() if isinstance(inner, Mapping)))


def classes(config: Mapping[str, Any]) -> list[str]:
    """The classes of models that a config names as its architectures."""
    found = config.get("architectures")
    return [str(name) for name in found] if isinstance(found, list) else []


def untied(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose model has an output embedding of its own."""
    result = {**config, "tie_word_embeddings": False}
    inner = config.get("text_config")
    if isinstance(inner, dict) and "tie_word_embeddings" in inner:
        result["text_config"] = {**inner, "tie_word_embeddings": False}
    return result


def check_untied(tensors: Mapping[str, Spec], base: Mapping[str, Spec], config: Mapping[str, Any] | None) -> None:
    """Raise UnsupportedError for a full embedding where others of the base share it, and it is not known which.

    Such a model would answer with another output embedding than the adapter was trained with.
    """
    for name in shared_by_others(tensors, base, config):
        raise UnsupportedError(
            "is tied to other tensors of the base, and untying them would make it another model",
            tensor=name,
            hint="train without it, or untie the base first: save it with tie_word_embeddings=False",
        )


def shared_by_others(
    tensors: Mapping[str, Spec], base: Mapping[str, Spec], config: Mapping[str, Any] | None
) -> list[str]:
    """The embeddings among some tensors that others of the base share, and it is not known which."""
    config = config or {}
    names = classes(config)
    generates = any(name.endswith(GENERATING) for name in names) if names else True
    stated = ties(config)
    if not generates or stated is False or (stated is None and not any(name.endswith(CAUSAL) for name in names)):
        return []
    several = config.get("is_encoder_decoder")
    if not several and (any(canonical(name) == HEAD + WEIGHT for name in base) or head_of(base, config)):
        return []
    return [
        name
        for name, spec in tensors.items()
        if len(spec.shape) == 2 and (is_input(name) or is_output(name) or spec.shape[0] == config.get("vocab_size"))
    ]
