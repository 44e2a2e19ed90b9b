"""What the names of a base mean, found independently: by what transformers was seen to write, and where that says nothing, two names
are one weight where they end alike without wrappers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache, cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from adapterops.regex import Regex
from adapterops.storage.tensors import Spec
from adapterops.tables import ruled
from adapterops.verification.other_names import encoder, may_be_in

Parts = tuple[str, ...]
OUTER = {"base_model", "model", "module", "language_model", "transformer"}
OTHER_WORDS = {"block_sparse_moe": "mlp", "embed_out": "lm_head"}
OF_EXPERTS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
OLD: dict[Parts, list[str]] = {
    ("LayerNorm", "gamma"): ["LayerNorm"],
    ("LayerNorm", "beta"): ["LayerNorm", "bias"],
    ("conv", "weight_g"): ["conv", "parametrizations", "weight", "original0"],
    ("conv", "weight_v"): ["conv", "parametrizations", "weight", "original1"],
}
"""How names end in old files → how they do in the model."""
LISTS = {"gate_up_projs": "gate_up_proj", "down_projs": "down_proj"}
"""Lists with a module for each expert → the projection."""
AUTHORS = {"gpt_oss": [(".attn.", ".self_attn.")]}
"""Type of model → what adapters of it have in their names, and what transformers has there."""
HEAD = "lm_head"
HEADS = {HEAD, "proj_out"}
GENERATES = Regex("ForConditionalGeneration$|ForCausalLM$|LMHeadModel$")
WITH_HEAD = Regex("For[A-Z]|LMHeadModel$")
"""How classes are called that have an output embedding, and those that have a head."""
EMBEDDINGS = {
    "embed_tokens",
    "wte",
    "embed_in",
    "word_embeddings",
    "shared",
    "tok_embeddings",
    "tokens_embed",
    "word_embedding",
}
TABLES = Path(__file__).parent / "tables" / "names.txt"
INSIDE = {(), ("decoder",), ("text_model",)}
"""What the input embedding of a model that generates may be in."""


class UnplacedError(Exception):
    """No tensor of the base is known for a name, or several are."""


def bare(name: str) -> Parts:
    """A name without wrappers: those that begin with `_`, and the outer ones.

    >>> bare("base_model.model.model.layers.0._fsdp_wrapped_module.norm.weight")
    ('layers', '0', 'norm')
    """
    parts = [part for part in name.removesuffix(".weight").split(".") if not part.startswith("_")]
    while len(parts) > 1 and parts[0] in OUTER:
        parts = parts[1:]
    return tuple(parts)


def key(name: str) -> Parts:
    """What is left of a name without wrappers, in the words that most models have.

    >>> key("base_model.model.model.layers.0._fsdp_wrapped_module.block_sparse_moe.experts.1.w2.weight")
    ('layers', '0', 'mlp', 'experts', '1', 'down_proj')
    >>> key("bert.embeddings.LayerNorm.gamma"), key("bert.embeddings.LayerNorm.beta")[-1]
    (('bert', 'embeddings', 'LayerNorm'), 'bias')
    """
    parts = bare(name)
    kept = [part for i, part in enumerate(parts) if part != "vision_model" or not i or "_tower" not in parts[i - 1]]
    if len(kept) > 1 and kept[-2] in LISTS and kept[-1].isdecimal():
        kept[-2:] = kept[-1], LISTS[kept[-2]]
    if kept[-2:] == ["router", "linear"]:
        kept.pop()
    kept[-2:] = OLD.get(tuple(kept[-2:]), kept[-2:])
    words = {**OTHER_WORDS, **OF_EXPERTS} if "experts" in kept else OTHER_WORDS
    return tuple(words.get(part, part) for part in kept)


@cache
def saved(word: str) -> dict[Parts, Parts]:
    """What names of a model of a type, or a class, begin with → what those in its files do; `#` is a number of the former."""
    pairs = (rule.split("=>") for rule in ruled(TABLES, "SAVED").get(word, ()))
    return {_parts(model): _parts(file) for model, file in pairs}


@cache
def divided(model_type: str) -> dict[Parts, tuple[Parts, int, int]]:
    """Name of a model → the name in its files, and which of how many equal numbers of rows of that it is."""
    found = {}
    for rule in ruled(TABLES, "DIVIDED").get(model_type, ()):
        model, _, file, part = rule.split()
        number, _, count = part.partition("/")
        found[_parts(model)] = _parts(file), int(number), int(count)
    return found


def _parts(name: str) -> Parts:
    return tuple(filter(None, name.strip().split(".")))


def followed(name: Parts, rules: Mapping[Parts, Parts]) -> Parts:
    """A name, with `#` for its numbers, by the rule for the longest beginning of it.

    >>> followed(("a", "#", "b"), {("a",): ("c",), ("a", "#"): ("d", "#")})
    ('d', '#', 'b')
    """
    begin = next((size for size in range(len(name), -1, -1) if name[:size] in rules), None)
    return name if begin is None else rules[name[:begin]] + name[begin:]


def fitted(pattern: Parts, name: Parts) -> Parts:
    """A pattern with the numbers of a name for its `#`.

    >>> fitted(("d", "#", "b"), ("a", "7", "b"))
    ('d', '7', 'b')
    """
    numbers = (part for part in name if part.isdecimal())
    return tuple(next(numbers, "") if part == "#" else part for part in pattern)


def _of_inner(rules: Mapping[Parts, Parts]) -> dict[Parts, Parts]:
    """The rules for the names that a model has by itself, of those for what holds it."""
    return {model[1:]: file[1:] for model, file in rules.items() if len(model) > 1 and model[0] == file[0]}


class Base:
    """The tensors of a base by what their names leave."""

    def __init__(self, layout: Mapping[str, Spec], config: Mapping[str, Any], side: str = "") -> None:
        """`side`: the word for the part of a model for text and images that names are of which fit in several."""
        self.layout, self.config, self.side = layout, config, side
        self.type = str(config.get("model_type", ""))
        self.types = {self.type, *(str(part.get("model_type")) for part in config.values() if isinstance(part, dict))}
        self._keys: dict[Parts, list[str]] = {}
        self._ends: dict[str, list[Parts]] = {}
        self._bare: dict[Parts, list[str]] = {}
        self._files: dict[Parts, list[str]] | None = None
        self._sided = side and any(f"{side}_model." in name for name in layout)
        for name in layout:
            self._bare.setdefault(bare(name), []).append(name)
            self._keys.setdefault(key(name), []).append(name)
        for each in self._keys:
            self._ends.setdefault(each[-1], []).append(each)

    def find(self, name: str, shapes: tuple[tuple[int, ...], ...] = ()) -> str | None:
        """The tensor that a name means; None where none does.

        Raises:
            UnplacedError: several do, also by their shapes.
        """
        for exact in (name, f"{name}.weight"):
            if exact in self.layout:
                return exact
        for word, own in (pair for each in self.types for pair in AUTHORS.get(each, ())):
            name = name.replace(word, own)
        return self.find_ruled(name) or self.find_alike(name, shapes) or self._saved(name, True)

    def find_ruled(self, name: str) -> str | None:
        """The tensor that transformers is known to save, or to have, under another name than this."""
        return self._saved(name) or self._of_files(name)

    def _saved(self, name: str, within: bool = False) -> str | None:
        """The tensor that transformers saves what it has under a name as; also in a part that has a name of its own.

        Args:
            within: the base is the model in another one, and has another name for its part, or none.
        """
        mine = bare(name)
        pattern = tuple("#" if part.isdecimal() else part for part in mine)
        classes = map(str, self.config.get("architectures") or [])
        for word in (*classes, self.type, *sorted(self.types - {self.type})):
            rules = saved(word)
            ways = [pattern[:part] + followed(pattern[part:], rules) for part in range(2)]
            places = [(there, self._bare.get(fitted(there, mine), [])) for there in ways]
            if within:
                places = [(there, self._within.get(fitted(there, mine)[1:], [])) for there in ways]
                own = followed(pattern, _of_inner(rules))
                places.append((own, self._within.get(fitted(own, mine), [])))
            for there, known in places:
                found = self._of_side(known) if there != pattern else []
                if len(found) == 1:
                    return found[0]
        return None

    @cached_property
    def _within(self) -> dict[Parts, list[str]]:
        """The tensors by their names, and by those without the first part."""
        found: dict[Parts, list[str]] = {}
        for names, tensors in self._bare.items():
            for each in (names, names[1:]):
                found.setdefault(each, []).extend(tensors)
        return found

    def part(self, name: str) -> tuple[str, int, int] | None:
        """The tensor of which transformers saves as some rows what it has under a name; which of how many equal parts."""
        mine = bare(name)
        pattern = tuple("#" if part.isdecimal() else part for part in mine)
        for model_type in (self.type, *sorted(self.types - {self.type})):
            rules = divided(model_type)
            for first in range(2):
                rule = rules.get(pattern[first:])
                names = mine[:first] + fitted(rule[0], mine[first:]) if rule else ()
                found = self._bare.get(names) or (self._within.get(names[1:], []) if names else [])
                if rule and len(found) == 1:
                    return found[0], rule[1], rule[2]
            if rule := {model[1:]: each for model, each in rules.items() if model[:1] == each[0][:1]}.get(pattern):
                found = self._within.get(fitted(rule[0][1:], mine), [])
                if len(found) == 1:
                    return found[0], rule[1], rule[2]
        return None

    def _of_files(self, name: str) -> str | None:
        """The tensor of a base with the names of the model in memory, which transformers saves under this one, or under one
        that is the same but for its first part.
        """
        if self._files is None:
            self._files = {}
            for tensor in self.layout:
                mine = bare(tensor)
                pattern = tuple("#" if part.isdecimal() else part for part in mine)
                for rules in map(saved, self.types):
                    for part in range(2):
                        there = pattern[:part] + followed(pattern[part:], rules)
                        if there != pattern:
                            self._files.setdefault(fitted(there, mine), []).append(tensor)
        wanted, files = bare(name), self._files
        tails = [tensor for there in files if there[1:] == wanted[1:] or there == wanted[1:] for tensor in files[there]]
        found = self._of_side(list(dict.fromkeys(files.get(wanted) or tails)))
        return found[0] if len(found) == 1 else None

    def _of_side(self, found: list[str]) -> list[str]:
        """Those of the part that is asked for, where the base is more than that."""
        return [tensor for tensor in found if f"{self.side}_model." in tensor] if self._sided else found

    def find_alike(self, name: str, shapes: tuple[tuple[int, ...], ...]) -> str | None:
        """The tensor whose name ends like one."""
        wanted = key(name)
        found = list(self._keys.get(wanted, ()))
        if not found:
            found = [
                tensor
                for there in self._ends.get(wanted[-1], ())
                if there[-len(wanted) :] == wanted
                or ((len(there) > 1 or len(wanted) == 2) and wanted[-len(there) :] == there)
                for tensor in self._keys[there]
            ]
        if not found:  # what holds the model is called otherwise
            found = self._held(name)
        found = [tensor for tensor in found if self._same_half(key(tensor), wanted)]
        if len(found) > 1 and shapes:
            found = [tensor for tensor in found if self.layout[tensor].shape in shapes] or found
        if len(found) > 1:
            found = self._of_side(found) or found
        if len(found) > 1:
            most = max(min(len(key(tensor)), len(wanted)) for tensor in found)
            found = [tensor for tensor in found if min(len(key(tensor)), len(wanted)) == most]
        if len(found) > 1:  # two inputs of one name: the one whose tail is shared the farthest
            found = [tensor for tensor in found if tensor.endswith((name, f"{name}.weight"))] or found
        if len(found) > 1:
            raise UnplacedError(f"may be {' or '.join(found[:3])}")
        return found[0] if found else None

    def _same_half(self, name: Parts, other: Parts) -> bool:
        """Whether two names may be of one layer: not where one is in an encoder, or a decoder, that the other is not in; unless
        the class of the base is that alone, or its files are known to have other names than the model.
        """
        halves = {_half(name), _half(other)}
        if len(halves) == 1 or ("" in halves and any(map(saved, self.types))):
            return True
        own = str((self.config.get("architectures") or [""])[0]).removesuffix("Model").lower()
        return all(own.endswith(each) for each in halves)

    def _held(self, name: str) -> list[str]:
        """The tensors that a name means without the first parts of it, or in the place of another first part."""
        parts, wanted = name.split("."), key(name)
        for drop in range(1, len(parts)):
            if found := self._keys.get(key(".".join(parts[drop:])), ()):
                return list(found)
        same = [there for there in self._keys if len(there) > 2 and there[1:] == wanted[1:]]
        return [tensor for there in same for tensor in self._keys[there]]

    def matrix(self, name: str) -> tuple[int, int]:
        """A tensor as rows and columns; a kernel's rows are its outputs."""
        shape = self.layout[name].shape
        if len(shape) > 3:
            return shape[0], math.prod(shape[1:])
        return math.prod(shape[:-1]), shape[-1] if shape else 1

    def kernel(self, name: str) -> tuple[int, int]:
        """A tensor as the kernel of a convolution: all dimensions but that of its outputs are one."""
        shape = self.layout[name].shape
        return (shape[0], math.prod(shape[1:])) if len(shape) > 2 else self.matrix(name)

    def ending(self, end: str, module: str) -> str | None:
        """The tensor whose name ends so, and has least before that, in the part of a pipeline that a module is in.

        Dots are as underscores.
        """
        wanted, part = "_" + end.replace(".", "_"), encoder(module)
        flat = {name: "_" + name.removesuffix(".weight").replace(".", "_") for name in self.layout}
        found = [name for name, each in flat.items() if each.endswith(wanted) and may_be_in(name, part)]
        return min(found, key=lambda name: (encoder(name) != part, len(name)), default=None)

    def stated_tied(self, name: str = "") -> bool | None:
        """What the config says of sharing, if it says anything; also that of the part of a model that a tensor is in."""
        stated = [
            part["tie_word_embeddings"]
            for part in (self.config, self.config.get("text_config"), self.config.get(name.split(".")[0]))
            if isinstance(part, dict) and "tie_word_embeddings" in part
        ]
        return any(stated) if stated else None

    def tied(self) -> bool:
        """Whether input and output embedding are one tensor."""
        classes, stated = self.config.get("architectures"), self.stated_tied()
        causal = isinstance(classes, list) and any(str(c).endswith(("ForCausalLM", "LMHeadModel")) for c in classes)
        return causal if stated is None else stated

    def needs_head(self, stated: str = "") -> bool:
        """Whether nothing but the input embedding is the output embedding of this model, or of one of a class that is `stated`: of
        an encoder and decoder the class alone says that there is one.
        """
        known = list(filter(None, (stated, *map(str, self.config.get("architectures") or []))))
        several = bool(self.config.get("is_encoder_decoder"))
        of_words = any((GENERATES if several else WITH_HEAD).search(each) for each in known)
        return (of_words if known else not several) and not any(each[-1] in HEADS for each in self._keys)

    def shared(self, name: str, shape: tuple[int, ...]) -> str:
        """The tensor that a new one of the model was until now: one of its shape, with the same name in its layer, or else
        in no layer, and an embedding before others; of several the one with the most of the beginning of its name.

        Raises:
            UnplacedError: the base shares nothing, or has no such tensor, or several.
        """
        same = [each for each, spec in self.layout.items() if spec.shape == shape]
        ends = [each for each in same if _tail(key(each)) == _tail(key(name))]
        bias = name.endswith(".bias")
        same = [each for each in same if (bias or len(shape) > 1) and each.endswith(".bias") == bias]
        single = [each for each in same if not any(part.isdecimal() for part in key(each))]
        inputs = [each for each in single if key(each)[-1] in EMBEDDINGS]
        found = next((some for some in (ends, inputs, single) if some), [])
        ranks = {each: (-_alike(key(each), key(name)), len(key(each))) for each in found}
        best = [each for each in found if ranks[each] == min(ranks.values())]
        best = [each for each in best if "decoder" in key(each)] or best  # which is what an output embedding is of
        if self.stated_tied(name) is False or len(best) != 1:
            raise UnplacedError("is not in the base, and nothing in the base is it under another name")
        return best[0]


def _half(name: Parts) -> str:
    """The encoder or decoder that a name says its layers are in; empty where it says none.

    >>> _half(("decoder", "layers", "0", "fc1")), _half(("encoder", "encoder", "layer", "0")), _half(("bert", "layers", "0"))
    ('decoder', 'encoder', '')
    """
    number = next((place for place, part in enumerate(name) if part.isdecimal()), 0)
    return name[number - 2] if number > 1 and name[number - 2] in ("encoder", "decoder") else ""


def _tail(name: tuple[str, ...]) -> tuple[str, ...]:
    """From the layers on, or the last part of a name that is in none."""
    numbers = [place for place, part in enumerate(name) if part.isdecimal()]
    return name[max(numbers[0] - 1, 0) :] if numbers else name[-1:]


def _alike(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many parts two names begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
