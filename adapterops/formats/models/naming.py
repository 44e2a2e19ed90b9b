"""What the name of a module or a tensor means, and which tensors of a checkpoint may be meant by it.

An adapter names the modules of a model in memory, a checkpoint the tensors of whoever saved it. The two differ in
prefixes (`model.`, `language_model.`, `transformer.`, and their order, which changed between versions of transformers),
in the names of experts, and in what is fused. A name stands for the tensor of exactly that name, or else for all with
its canonical one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from adapterops.formats.diffusion.families import authors_prefix
from adapterops.formats.diffusion.flat import Flat, flat, in_file
from adapterops.formats.models.architectures import (
    CALLED,
    CONV1D_MODULES,
    CONV1D_TYPES,
    EXPERT_LISTS,
    EXPERT_SYNONYMS,
    EXPERTS,
    FUSED,
    LINEAR_TYPES,
    PREFIXES,
    ROUTER,
    SPLIT,
    SYNONYMS,
    TOWER,
    TOWERS_MODEL,
    WEIGHT,
)
from adapterops.formats.models.divisions import joined, whole_of
from adapterops.formats.models.loading import loading
from adapterops.formats.models.suffixes import Move, moved, moves, roots, single_coder
from adapterops.formats.models.wrappers import unwrapped
from adapterops.storage.tensors import Spec

BIAS = ".bias"


@lru_cache(1 << 16)  # a name is asked for ten times
def canonical(name: str) -> str:
    """What two names of one weight have in common.

    >>> canonical("model.language_model.layers.0.mlp.gate"), canonical("language_model.model.layers.0.block_sparse_moe.gate")
    ('layers.0.mlp.gate', 'layers.0.mlp.gate')
    >>> canonical("model.layers.1.block_sparse_moe.experts.3.w2")
    'layers.1.mlp.experts.3.down_proj'
    >>> canonical("model.layers.1.mlp.experts.gate_up_projs.3"), canonical("model.layers.1.mlp.router.linear")
    ('layers.1.mlp.experts.3.gate_up_proj', 'layers.1.mlp.router')
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
        if parts[-2] in EXPERT_LISTS:
            parts[-2:] = parts[-1], EXPERT_LISTS[parts[-2]]
        parts[-1] = EXPERT_SYNONYMS.get(parts[-1], parts[-1])
    if parts[-2:] == ROUTER:
        del parts[-1]
    return ".".join(parts)


def conv1d(name: str, config: Mapping[str, Any] | None) -> bool:
    """Whether a module, or a weight, is a Conv1D of transformers: stored as (in, out), and as (out, in) when quantized.

    >>> conv1d("h.0.attn.c_attn.weight", {"model_type": "gpt2"}), conv1d("h.0.attn.c_attn", {"model_type": "llama"})
    (True, False)
    """
    return type_of(name, config) in CONV1D_TYPES and last(name.removesuffix(WEIGHT)) in CONV1D_MODULES


def type_of(name: str, config: Mapping[str, Any] | None) -> str:
    """The type of the model that a module is in, or its encoder or decoder; empty where the config does not say it.

    >>> composed = {"model_type": "encoder-decoder", "decoder": {"model_type": "gpt2"}}
    >>> type_of("decoder.transformer.h.0.attn.c_proj", composed), type_of("encoder.layer.0", composed)
    ('gpt2', 'encoder-decoder')
    """
    config = config or {}
    part, _, rest = name.partition(".")
    inner = config.get(part)
    if isinstance(inner, Mapping) and "model_type" in inner:
        return type_of(rest, inner)
    return str(config.get("model_type", ""))


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
    embedding is tied to. Of an expert it is part `place` of `parts` of its rows.
    """

    tensor: str
    start: str
    expert: int | None = None
    place: int = 0
    parts: int = 1


class RowsPart(NamedTuple):
    """Those of a tensor that are part `number` of `parts` equal ones."""

    tensor: str
    number: int
    parts: int


class Names:
    """The tensors of a base by the canonical names of their modules.

    Args:
        modules: those of an adapter, with their shapes: names that are in the base by another prefix are found there.
        shared: canonical names of modules that the files lack → what each is; see `ties.shared_modules`.
        tower: the part of the base that the modules are of, where the adapter says it and their names do not.
    """

    def __init__(
        self,
        base: Mapping[str, Spec],
        config: Mapping[str, Any] | None,
        modules: Mapping[str, tuple[int, ...]] | None = None,
        shared: Mapping[str, list[Candidate]] | None = None,
        tower: str = "",
    ) -> None:
        config = config or {}
        self.base, self.config, self.type, self.types = base, config, type_of("", config), model_types(config)
        self._shared = shared or {}
        self._index: dict[str, list[str]] = {}
        self._single: dict[str, set[int]] = {}
        self._parts: dict[str, RowsPart] = {}
        self.loading = known = loading(config)
        for tensor, spec in base.items():
            if tensor.endswith((WEIGHT, BIAS)) or len(spec.shape) == 3:
                name = canonical(known.renamed(tensor).removesuffix(WEIGHT))
                self._index.setdefault(name, []).append(tensor)
                if EXPERTS in name and (found := expert(name)):
                    self._single.setdefault(f"{found.parent}.{found.projection}", set()).add(found.number)
            parts = known.parts(tensor) if len(spec.shape) == 2 and known.divided else ()
            for number, part in enumerate(parts):
                self._parts[canonical(part.removesuffix(WEIGHT))] = RowsPart(tensor, number, len(parts))
        self._flat: dict[str, list[tuple[str, Flat]]] | None = None
        shapes = {canonical(module): shape for module, shape in (modules or {}).items()}
        self._coder = single_coder(classes(config))
        stated = {canonical(module) for module in modules or () if self.in_stated_part(module)} - self._index.keys()
        self._moved = self._places({name: shape for name, shape in shapes.items() if name not in stated}, tower)
        stored = {canonical(module): self._loaded(module) for module in modules or ()}
        old = {
            name: there for name, there in stored.items() if there != name and not self.has(self._moved.get(name, name))
        }
        places = self._places({there: shapes[name] for name, there in old.items()}, tower)
        self._moved |= {name: place for name, there in old.items() if self.has(place := places.get(there, there))}

    def _places(self, shapes: Mapping[str, tuple[int, ...]], tower: str) -> dict[str, str]:
        """Canonical names that the base has by another prefix → what they are there."""

        def fits(name: str, there: str) -> bool:
            return self._fits(shapes[name], there)

        return moved(shapes, self._index, self.has, fits, tower, self._coder)

    def _loaded(self, module: str) -> str:
        """The canonical name in memory of a module that is called as files call it: PEFT renames it, too, when it loads it; or as
        programs call it that train a model of their own.
        """
        words = {word: own for each in self.types for word, own in CALLED.get(each, {}).items()}
        name = canonical(self.loading.renamed(unwrapped(module) + WEIGHT).removesuffix(WEIGHT))
        return ".".join(words.get(part, part) for part in name.split(".")) if words else name

    def name(self, module: str) -> str:
        """The canonical name by which the base has a module, if it has it."""
        name = canonical(module)
        return self._moved.get(name, name)

    def knows(self, module: str) -> bool:
        """Whether there is a tensor of a module, by a name of the model in memory or of its files."""
        return self.has(canonical(module)) or self.has(self._loaded(module)) or canonical(module) in self._shared

    def has(self, name: str) -> bool:
        """Whether there is a tensor of a canonical name, or one that holds it, or its parts."""
        found, whole = expert(name), whole_of(name)
        above, parts = name.rpartition(".")[0], joined(name)
        others = [f"{found.parent}.{each}" for each in (FUSED[found.projection][0], found.projection)] if found else []
        others += [whole] if whole else []
        others += [f"{above}.{parts.parts[0]}"] if parts else []
        return name in self._parts or any(each in self._index for each in (name, *others))

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

    def rows(self, name: str) -> RowsPart | None:
        """The rows that the model makes a module of by a canonical name, where the files have these in one tensor with others."""
        return None if name in self._index else self._parts.get(name)

    def candidates(self, module: str) -> list[Candidate]:
        """The tensors that a module may be, by its name alone."""
        for exact in (module + WEIGHT, module):
            if exact in self.base:
                return [Candidate(exact, exact)]
        name = self.name(module)
        found = expert(name)
        if candidates := self._known(name):
            return candidates
        if found:
            if own := self._stacks(f"{found.parent}.{found.projection}"):  # also up of experts that have no gates
                return [each._replace(expert=found.number) for each in own]
            fused, place, parts = FUSED[found.projection]
            if joint := self._stacks(f"{found.parent}.{fused}"):
                return [each._replace(expert=found.number, place=place, parts=parts) for each in joint]
        return [Candidate(tensor, tensor) for tensor in self.flattened(flat(module))]

    def flattened(self, name: Flat) -> list[str]:
        """The tensors that a name without dots may stand for."""
        if self._flat is None:
            self._flat = {}
            there = {tensor: flat(tensor) for tensor in self.base}
            held = authors_prefix({found.key for found in there.values()})
            for tensor, found in there.items():
                for key in dict.fromkeys((found.key, found.key.removeprefix(held))):
                    self._flat.setdefault(key, []).append((tensor, found._replace(key=key)))
                if (own := in_file(tensor)) != found.key:  # a module that is called like a part of a pipeline
                    self._flat.setdefault(own, []).append((tensor, Flat(own)))
        return [tensor for tensor, found in self._flat.get(name.key, ()) if found.meets(name)]

    def in_stated_part(self, module: str) -> bool:
        """Whether a name begins with a part of a pipeline, in which the base has it."""
        name = flat(module)
        return bool(name.part and self.flattened(name))

    def _known(self, name: str) -> list[Candidate]:
        """The tensors with a canonical name, or what the model shares under it."""
        return [Candidate(tensor, tensor) for tensor in self.of(name)] or self._shared.get(name, [])

    def _stacks(self, name: str) -> list[Candidate]:
        """The tensors with a canonical name that have all experts of a layer."""
        return [each for each in self._known(name) if len(self.base[each.start].shape) == 3]

    def experts(self, parameter: str) -> int:
        """How many experts the base has of a parameter that holds all of them in an adapter; 0 where it has none."""
        parent, _, projection = canonical(parameter).rpartition(".")
        tensors = [each.start for each in self._known(f"{parent}.{projection}")]
        fused = [self.base[tensor].shape[0] for tensor in tensors if len(self.base[tensor].shape) == 3]
        first, *_ = SPLIT.get(projection, (projection,))
        return fused[0] if fused else len(self._single.get(f"{parent}.{first}", ()))


def namesakes(names: Iterable[str], base: Iterable[str], renamed: Callable[[str], str] = str) -> dict[str, list[str]]:
    """For each of some tensors, those of a base that its name may stand for.

    Args:
        renamed: what the model in memory calls a tensor of the base, where `names` are of that; or of files, too.
    """
    wanted = {name: canonical(name) for name in names}
    index: dict[str, list[str]] = {}
    exact = set()
    for name in base:
        exact.add(name)
        index.setdefault(canonical(renamed(name)), []).append(name)

    def places(those: Collection[str]) -> dict[str, str]:
        return moved(those, index, index.__contains__, lambda name, there: True)

    known = places(list(wanted.values()))
    there = {name: known.get(own, own) for name, own in wanted.items()}
    old = {name: canonical(renamed(unwrapped(name))) for name, place in there.items() if place not in index}
    known = places(list(old.values()))
    there |= {name: place for name, own in old.items() if (place := known.get(own, own)) in index}
    return {name: [name] if name in exact else index.get(place, []) for name, place in there.items()}


def model_types(config: Mapping[str, Any]) -> set[str]:
    """The types of a model and of the models in it, as a config says them."""
    found = {str(config["model_type"])} if "model_type" in config else set()
    return found.union(*(model_types(inner) for inner in config.values() if isinstance(inner, Mapping)))


def classes(config: Mapping[str, Any]) -> list[str]:
    """The classes of models that a config names as its architectures."""
    found = config.get("architectures")
    return [str(name) for name in found] if isinstance(found, list) else []
