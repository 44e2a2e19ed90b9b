"""What the tensors of a checkpoint are called in the model that transformers makes of it, which PEFT wraps.

A file keeps the names of the version that wrote it first; transformers 5 renames its tensors when it loads them, and
puts the experts of a layer into one parameter. `tables/renames.txt` has how, by model type.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from adapterops.formats.models.architectures import WEIGHT
from adapterops.formats.models.bare import NOTHING, Inner, inner
from adapterops.tables import ruled

OUT_IN, IN_OUT, EITHER = "out, in", "in, out", "either"
FUSED = {"TRANSPOSED": IN_OUT, "EITHER": EITHER}
table = partial(ruled, Path(__file__).parent / "tables" / "renames.txt")


@dataclass(frozen=True)
class Renaming:
    """The first match of `pattern` is replaced, in what follows `scope` where that is not None."""

    pattern: re.Pattern[str]
    replacement: str
    scope: str | None = None

    @classmethod
    def parse(cls, line: str) -> Renaming:
        """`in scope: pattern => replacement`, the scope being optional."""
        before, _, after = line.partition(" => ")
        scope, colon, pattern = (
            before.removeprefix("in ").partition(": ") if before.startswith("in ") else (None, "", "")
        )
        return cls(re.compile(pattern if colon else before), after, scope)

    def __call__(self, name: str) -> str:
        scopes = [] if self.scope is None else [self.scope, self.scope.removeprefix("model.")]
        scope = next((each for each in scopes if name.startswith(each)), None)
        if scope is None and scopes:
            return name
        head = scope or ""
        return head + self.pattern.sub(self.replacement, name.removeprefix(head), count=1)


LEGACY = tuple(
    map(
        Renaming.parse,
        (
            r"LayerNorm\.gamma$ => LayerNorm.weight",
            r"LayerNorm\.beta$ => LayerNorm.bias",
            r"\.weight_g$ => .parametrizations.weight.original0",
            r"\.weight_v$ => .parametrizations.weight.original1",
        ),
    )
)
"""Names in the files of models of any type: BERT's norms, as TensorFlow had them, and weights that older versions of torch
store as a length and a direction.
"""


@dataclass(frozen=True)
class Loading:
    """How transformers loads the checkpoints of some model.

    Attributes:
        renamings: to be applied one after the other.
        divided: what several tensors of the model are called that are equal numbers of the rows of one in the files, separated by
            spaces, from the first row to the last; see `parts`.
        converted: patterns of tensors that become others, in other pieces or in another order.
        stacked: experts that are stored each by itself are one parameter in the model.
        fused: how PEFT takes the experts in one tensor of a file: OUT_IN, IN_OUT, or EITHER; None where nothing is known.
        taken: last names of modules that PEFT takes for experts when they are targeted, wherever they are.
        passed: ends of the names of modules on which LoRA does nothing: the model reads their weight without calling them, or
            PEFT looks for the LoRA of them elsewhere.
        tower: what files put before the names of a class that is a part of the model of its type.
        inner: of a model with a head, or without, the other of which files may be.
    """

    renamings: tuple[Renaming, ...] = ()
    divided: tuple[Renaming, ...] = ()
    converted: tuple[re.Pattern[str], ...] = ()
    stacked: bool = False
    fused: str | None = None
    taken: frozenset[str] = frozenset()
    passed: frozenset[str] = frozenset()
    tower: str = ""
    inner: Inner = NOTHING

    def name(self, tensor: str) -> str:
        """The name of a parameter in the model.

        >>> loading({"model_type": "clip_text_model", "architectures": ["CLIPTextModel"]}).name("text_model.final_layer_norm.bias")
        'final_layer_norm.bias'
        """
        return self.inner(self.renamed(tensor).removeprefix(f"{self.tower}."))

    def renamed(self, tensor: str) -> str:
        """The name of a parameter in the whole model of its type.

        >>> loading({"model_type": "gpt_neox"}).name("embed_out.weight")
        'lm_head.weight'
        >>> loading({"model_type": "llava"}).name("language_model.model.layers.0.mlp.up_proj.weight")
        'model.language_model.layers.0.mlp.up_proj.weight'
        >>> Loading().renamed("bert.embeddings.LayerNorm.gamma")
        'bert.embeddings.LayerNorm.weight'
        """
        for renamed in (*self.renamings, *LEGACY):
            tensor = renamed(tensor)
        return tensor

    def parts(self, tensor: str) -> list[str]:
        """The parameters of the model that are equal numbers of the rows of a tensor of its files, from the first row to the
        last; none where it is one parameter, or not divided so.

        >>> loading({"model_type": "nomic_bert"}).parts("encoder.layers.0.attn.Wqkv.weight")[1:]
        ['layers.0.self_attn.k_proj.weight', 'layers.0.self_attn.v_proj.weight']
        """
        name = self.name(tensor)
        for rule in self.divided:
            names = [replace(rule, replacement=part)(name) for part in rule.replacement.split()]
            if names[0] != name:
                return names
        return []

    def loaded(self, module: str) -> str:
        """What PEFT takes the name of a module for when it loads LoRA for it: the rules for files are applied to it, and
        taken back where they only shorten it.

        >>> loading({"model_type": "laguna"}).loaded("model.layers.1.mlp.shared_experts.up_proj")
        'model.layers.1.mlp.shared_experts..up_proj'
        """
        name = self.name(module + WEIGHT).removesuffix(WEIGHT)
        return module if module.endswith(name) else name

    def takes(self, module: str) -> bool:
        """Whether LoRA on a module with a matrix is loaded by PEFT, and does something."""
        passed = any(f".{module}".endswith(f".{each}") for each in self.passed)
        return not passed and self.loaded(module) == module

    def converts(self, tensor: str) -> bool:
        """Whether a tensor is no parameter of the model, but a part of one, or several."""
        return any(pattern.search(tensor) for pattern in self.converted)


def loading(config: Mapping[str, Any] | None, names: Collection[str] = ()) -> Loading:
    """How transformers loads the checkpoints of a model with this config: by its class, where that has renamings of its own,
    or its type, and by those of the models in it.

    Args:
        names: the tensors of the files, which may be those of the model in one with a head.

    >>> config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
    >>> loading(config, ["h.0.mlp.c_fc.bias"]).name("h.0.mlp.c_fc.bias")
    'transformer.h.0.mlp.c_fc.bias'
    """
    known = config or {}
    types = tuple(_types(known))
    backbone = known.get("backbone_config")
    chosen = backbone.get("model_type") if isinstance(backbone, Mapping) else None
    stated = known.get("architectures")
    tower = tower_of(stated[0]) if isinstance(stated, list) and stated else ""
    own = str(stated[0]) if isinstance(stated, list) and stated and stated[0] in table("RENAMES") else ""
    found = replace(_loading(types, str(chosen), own), tower=tower) if types else Loading()
    return replace(found, inner=inner(lambda: map(found.name, names), known)) if names else found


def tower_of(name: object) -> str:
    """What files put before the names of a class that is one tower of a model for text and images.

    >>> tower_of("CLIPTextModel"), tower_of("CLIPTextModelWithProjection")
    ('text_model', '')
    """
    return next((tower for tower in towers() if name in table("TOWERS")[tower][0].split()), "")


def towers() -> list[str]:
    """What a model for text and images calls its two."""
    return list(table("TOWERS"))


def memories(name: str) -> set[str]:
    """What models of any type have in memory for a tensor of their files, where that is another name.

    >>> "layers.0.attention.o_proj.weight" in memories("encoder.layer.0.attention.output.dense.weight")
    True
    """
    return {known.renamed(name) for known in _all()} - {name}


@cache
def _all() -> tuple[Loading, ...]:
    """How the models of each type are loaded that is renamed, those that are alike once."""
    first = {rules: model_type for model_type, rules in table("RENAMES").items()}
    return tuple(_loading((model_type,), "") for model_type in first.values())


@cache
def _loading(types: tuple[str, ...], backbone: str, own: str = "") -> Loading:
    first, *inner = types
    rules = list(table("RENAMES").get(own or first, ()))
    places = table("PLACES").get(first, ())
    for each in inner:  # the first's rules have those of its default inner models
        if places and each == backbone:
            continue
        known = {rule.partition(" => ")[2] for rule in rules}
        new = [rule for rule in table("RENAMES").get(each, ()) if not rule.startswith(("^", "in "))]
        rules += [rule for rule in new if rule.partition(" => ")[2] not in known]
    rules += [f"in {place}{rule}" for place in places for rule in table("BACKBONES").get(backbone, ())]
    fused = next((how for name, how in FUSED.items() if not table(name).keys().isdisjoint(types)), OUT_IN)
    return Loading(
        tuple(map(Renaming.parse, rules)),
        tuple(Renaming.parse(rule) for each in types for rule in table("DIVIDED").get(each, ())),
        tuple(re.compile(pattern) for each in types for pattern in table("CONVERTED").get(each, ())),
        not table("STACKED").keys().isdisjoint(types),
        fused,
        frozenset(" ".join(table("TAKEN").get(first, ())).split()),
        frozenset(
            " ".join(word for each in (*types, f"{first}/{backbone}") for word in table("PASSED").get(each, ())).split()
        ),
    )


def is_of_type(config: Mapping[str, Any], model_type: str) -> bool:
    """Whether a model with this config, or one in it, is of a type, as folders of transformers are called.

    >>> config = {"model_type": "qwen2_vl", "text_config": {"model_type": "qwen2_vl_text"}}
    >>> is_of_type(config, "qwen2_vl"), is_of_type(config, "llama"), is_of_type({"model_type": "blip-2"}, "blip_2")
    (True, False, True)
    """
    own, *kinds = (re.sub(r"[-_]", "", each) for each in (model_type, *_types(config)))
    return any(each.startswith(own) or own.startswith(each) for each in kinds)


def _types(config: Mapping[str, Any]) -> list[str]:
    """The type of a model, and then of the models in it."""
    own = [str(config["model_type"])] if "model_type" in config else []
    return own + [each for inner in config.values() if isinstance(inner, Mapping) for each in _types(inner)]
