"""Parameters that a model shares, so that its files have one of them: output and input embedding, mostly.

transformers ties what its classes say (`tables/tied.txt` has that), where the config says so and the files do not have both
ends. Of a class that is not in the tables, the usual names are known.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from adapterops.errors import UnsupportedError
from adapterops.formats.models.architectures import CAUSAL, EMBEDDINGS, GENERATING, HEAD, WEIGHT
from adapterops.formats.models.loading import loading
from adapterops.formats.models.naming import Candidate, canonical, classes
from adapterops.formats.models.vocabulary import is_input, is_output
from adapterops.regex import Regex
from adapterops.storage.tensors import Spec
from adapterops.tables import ruled

NUMBER = "{}"
table = partial(ruled, Path(__file__).parent / "tables" / "tied.txt")
IN_A_LAYER = Regex(r"\.\d+\.")
_SHARED = "is tied to other tensors of the base, and untying them would make it another model"


@dataclass(frozen=True)
class Ties:
    """What the model of a checkpoint shares.

    Attributes:
        missing: the ends that the files do not have → the tensor of the files that each is.
        ends: all tensors that are shared where the config says so, those of the files too.
        known: the class of the model is in the tables.
        kept: the config of such a model cannot say that nothing is shared.
    """

    missing: Mapping[str, str]
    ends: frozenset[str]
    known: bool
    kept: bool


class _Pair(NamedTuple):
    end: str
    source: str


def ties_of(base: Mapping[str, Spec], config: Mapping[str, Any] | None) -> Ties:
    """What the model of some files shares, by its config and by the tensors that they lack.

    >>> config = {"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]}
    >>> dict(ties_of({"model.decoder.embed_tokens.weight": Spec("F32", (8, 4))}, config).missing)
    {'proj_out.weight': 'model.decoder.embed_tokens.weight'}
    """
    config = config or {}
    own = _class(config)
    pairs = list(_pairs(base, config) if own else _usual(base, config))
    missing, ends = _found(pairs, base, config)
    return Ties(missing, frozenset(ends), own is not None, own in table("KEPT"))


def shared_modules(base: Mapping[str, Spec], config: Mapping[str, Any] | None) -> dict[str, list[Candidate]]:
    """Canonical names of the modules that files lack → what each may be: what the model shares, or may share where its
    config does not say what it is.
    """
    config = config or {}
    found = ties_of(base, config)
    missing = dict(found.missing)
    if not (found.known or says_tied(config) is False or config.get("is_encoder_decoder")):
        pairs = [*_of_type(config.get("model_type")), *(_Pair(HEAD + WEIGHT, f"{each}{WEIGHT}") for each in EMBEDDINGS)]
        missing = {**_found(pairs, base, config)[0], **missing}
    result: dict[str, list[Candidate]] = {}
    for end, source in missing.items():
        result.setdefault(canonical(end.removesuffix(WEIGHT)), []).append(Candidate(end, source))
    return result


def says_tied(config: Mapping[str, Any]) -> bool | None:
    """Whether a config says that the model shares its input embedding with its output embedding; None where it is
    silent.
    """
    parts = [part for part in (config, config.get("text_config")) if isinstance(part, dict)]
    stated = [part["tie_word_embeddings"] for part in parts if "tie_word_embeddings" in part]
    return any(stated) if stated else None


def stated(base: Mapping[str, Spec], config: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The config of some files, which says that their embeddings are tied also where only the missing head does."""
    if config is None or says_tied(config) is not None:
        return config
    missing = {canonical(end) for end in ties_of(base, config).missing}
    return {**config, "tie_word_embeddings": True} if HEAD + WEIGHT in missing else config


def untied(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose model shares nothing, and no model in it whose config says what that shares."""
    rules = table("TIED").get(_class(config) or "", ())
    fields = [rule.partition(": ")[2] for rule in rules if rule.startswith("in ")]
    result = {**config, "tie_word_embeddings": False}
    for field in {"text_config", *fields}:
        inner = config.get(field)
        if isinstance(inner, Mapping) and (field in fields or "tie_word_embeddings" in inner):
            result[field] = {**inner, "tie_word_embeddings": False}
    return result


def check_untied(tensors: Mapping[str, Spec], base: Mapping[str, Spec], config: Mapping[str, Any] | None) -> None:
    """Raise UnsupportedError for one end of what the base shares, where no config can say that it is not shared any more.

    Such a model would answer with another output embedding than the adapter was trained with.
    """
    check_known(tensors, base, config)
    found = ties_of(base, config)
    for name in tensors:
        if found.kept and name in {*found.missing, *found.missing.values()}:
            raise UnsupportedError(
                _SHARED,
                tensor=name,
                hint="load it with PEFT, which unties the model; or train without it",
            )


def check_known(tensors: Mapping[str, Spec], base: Mapping[str, Spec], config: Mapping[str, Any] | None) -> None:
    """Raise UnsupportedError for an embedding that others of the base share, if it is not known which."""
    for name in of_unknown(tensors, base, config):
        raise UnsupportedError(
            _SHARED,
            tensor=name,
            hint="train without it, or untie the base first: save it with tie_word_embeddings=False",
        )


def of_unknown(tensors: Mapping[str, Spec], base: Mapping[str, Spec], config: Mapping[str, Any] | None) -> list[str]:
    """The embeddings among some tensors that others of the base share, if it is not known which."""
    config = config or {}
    found = ties_of(base, config)
    if found.known:
        return []
    return [name for name, spec in tensors.items() if _may_be_shared(name, spec, base, config, found)]


def _may_be_shared(name: str, spec: Spec, base: Mapping[str, Spec], config: Mapping[str, Any], found: Ties) -> bool:
    """Whether a tensor may be an embedding that others share, in a model of a class that is not known."""
    names = classes(config)
    generates = any(name.endswith(GENERATING) for name in names) if names else True
    stated = says_tied(config)
    if not generates or stated is False or (stated is None and not any(name.endswith(CAUSAL) for name in names)):
        return False
    single = not config.get("is_encoder_decoder")
    if single and (found.missing or any(canonical(name) == HEAD + WEIGHT for name in base)):
        return False
    end = is_input(name) or is_output(name)
    return len(spec.shape) == 2 and (end or spec.shape[0] == config.get("vocab_size"))


def _class(config: Mapping[str, Any]) -> str | None:
    """The class that a config names, as the tables have it; None where they do not."""
    keys = (f"{config.get('model_type')}:{name}" for name in classes(config))
    return next((key for key in keys if key in table("TIED")), None)


def _pairs(base: Mapping[str, Spec], config: Mapping[str, Any]) -> Iterator[_Pair]:
    """What a model of a known class shares, and the models in it."""
    own = _class(config)
    shares = says_tied(config) is not False or own in table("KEPT")
    for rule in table("TIED")[own or ""]:
        if rule.startswith("in "):
            prefix, _, field = rule.removeprefix("in ").partition(": ")
            inner = config.get(field)
            if isinstance(inner, Mapping) and says_tied(inner) is not False:
                there = set(map(loading(config, base).name, base))
                inside = [_Pair(prefix + end, prefix + source) for end, source in _of_type(inner.get("model_type"))]
                yield from (pair for pair in inside if not there.isdisjoint(pair))
        elif shares:
            yield _pair(rule)


def _of_type(model_type: object) -> list[_Pair]:
    """What the classes of a type of model share by themselves."""
    rules = [rule for key, found in table("TIED").items() if key.partition(":")[0] == model_type for rule in found]
    return [_pair(rule) for rule in dict.fromkeys(rules) if not rule.startswith("in ")]


def _pair(rule: str) -> _Pair:
    end, _, source = rule.partition(" = ")
    return _Pair(end, source)


def _usual(base: Mapping[str, Spec], config: Mapping[str, Any]) -> Iterator[_Pair]:
    """What a model of an unknown class shares: its output embedding and the first input embedding that is known."""
    stated, inner = says_tied(config), config.get("text_config")
    ends = (*CAUSAL, "ForConditionalGeneration") if inner is not None else CAUSAL
    shares = stated if stated is not None else any(name.endswith(ends) for name in classes(config))
    several = any(each.get("is_encoder_decoder") for each in (config, inner) if isinstance(each, Mapping))
    names = {canonical(name) for name in base}
    if shares and not several:
        yield from [_Pair(HEAD + WEIGHT, each + WEIGHT) for each in EMBEDDINGS if each + WEIGHT in names][:1]


def _found(
    pairs: Collection[_Pair], base: Mapping[str, Spec], config: Mapping[str, Any]
) -> tuple[dict[str, str], set[str]]:
    """The ends that files lack → the tensor that each is; and all ends. Where the source is missing, another end is it."""
    known = loading(config, base)
    layers = any(NUMBER in pair.source or IN_A_LAYER.search(pair.source) for pair in pairs)
    memory = {name: known.name(name) for name in base if layers or not IN_A_LAYER.search(name)}
    index = {canonical(name): tensor for tensor, name in memory.items()}
    groups: dict[str, list[str]] = {}
    for pair in pairs:
        for end, source in _numbered(pair, memory.values()):
            groups.setdefault(source, [source]).append(end)
    missing: dict[str, str] = {}
    ends: set[str] = set()
    for names in groups.values():
        there = [index[canonical(name)] for name in names if canonical(name) in index]
        lacking = [name for name in names if canonical(name) not in index] if there else []
        new = {_in_files(name, memory[there[0]], there[0]): there[0] for name in lacking}
        missing |= new
        ends |= {*there, *new}
    return missing, ends


def _numbered(pair: _Pair, names: Collection[str]) -> Iterator[_Pair]:
    """A pair with `{}` for numbers as the pairs with those of some parameters; one that has none is itself."""
    if NUMBER not in pair.source:
        yield pair
        return
    pattern = re.compile(re.escape(pair.source).replace(re.escape(NUMBER), r"(\d+)"))
    for match in filter(None, map(pattern.fullmatch, names)):
        yield _Pair(pair.end.format(*match.groups()), match.group())


def _in_files(name: str, known: str, stored: str) -> str:
    """What files call a parameter, that have one called `known` as `stored`.

    >>> _in_files("lm_head.weight", "model.language_model.embed_tokens.weight", "language_model.model.embed_tokens.weight")
    'language_model.lm_head.weight'
    >>> _in_files("model.decoder.embed_tokens.weight", "model.shared.weight", "shared.weight")
    'decoder.embed_tokens.weight'
    """
    if name == HEAD + WEIGHT:
        return f"language_model.{name}" if stored.startswith("language_model.model.") else name
    if known.endswith(stored):
        return name.removeprefix(known.removesuffix(stored))
    return stored.removesuffix(known) + name if stored.endswith(known) else name
