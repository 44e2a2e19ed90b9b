"""Whether a config.json makes the model that another one makes: what transformers computes with, field by field.

Programs write fields that a config did not have, and leave out others, when they save a model. A field that only one
config has is compared with what transformers takes where there is none; `tables/settings.txt` has that by model type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from adapterops.regex import Regex
from adapterops.tables import texts

Config = Mapping[str, Any]

SAYS_NOTHING = Regex(
    r"^(transformers_version|_name_or_path|dtype|torch_dtype|architectures|quantization_config|use_cache|vocab_size"
    r"|vocabulary_size|ffn_vocab_size|tie_word_embeddings|_attn_implementation\w*|attn_implementation|_commit_hash)$"
)
"""What says nothing of the model that is computed, or is judged by the tensors: the vocabulary, and what is shared."""

ROTARY = Regex(
    r"^(rope_(parameters|scaling|theta|local_base_freq)|rotary_(pct|emb_base)|partial_rotary_factor"
    r"|(global|local)_rope_theta)$"
)
"""What belongs to rotary positions, which transformers has written in several ways."""

TABLES = Path(__file__).parent / "tables" / "settings.txt"
KINDS = {"None": "default", "mrope": "default", "su": "longrope"}
THETA = ("rope_theta", "rotary_emb_base", "global_rope_theta")
PART = ("partial_rotary_factor", "rotary_pct")


class OtherField(NamedTuple):
    """A field that makes another model: where it is, what is found there, and what was expected."""

    field: str
    found: object
    expected: object

    def __str__(self) -> str:
        return f"{self.field} is {self.found!r}, expected {self.expected!r}"


class _Silent:
    """What a config says where it has no such field."""

    def __repr__(self) -> str:
        return "not there"


SILENT = _Silent()


def differences(found: Config, expected: Config, *, own: bool = False, above: str = "") -> Iterator[OtherField]:
    """The fields by which a config makes another model than it should.

    Args:
        own: both were written by this project, which adds and leaves out nothing; otherwise what one of them has may be
            what transformers takes where a config is silent.
    """
    kind = str(found.get("model_type", expected.get("model_type")))
    found, expected = _aligned(_named(found, kind), _named(expected, kind))
    if not own:
        yield from _rotary(found, expected, kind, above)
    for field in sorted({*found, *expected}):
        if SAYS_NOTHING.match(field) or (ROTARY.match(field) and not own):
            continue
        one, other = found.get(field, SILENT), expected.get(field, SILENT)
        if isinstance(one, Mapping) and isinstance(other, Mapping) and _is_config(field, one, other):
            yield from differences(one, other, own=own, above=f"{above}{field}.")
        elif SILENT not in (one, other) or own:
            if _plain(field, one) != _plain(field, other):
                yield OtherField(above + field, one, other)
        elif (default := _default(field, kind)) is not SILENT:
            one, other = (default if each is SILENT else each for each in (one, other))
            if one != other:
                yield OtherField(above + field, one, other)


def _is_config(field: str, one: Config, other: Config) -> bool:
    """Whether two mappings are configs of a part of the model, and not a value such as the names of labels."""
    return field.endswith("_config") or "model_type" in one or "model_type" in other


def usual(field: str, config: Config) -> Any:
    """What transformers takes where a config is silent; None where that is not known."""
    found = _default(field, str(config.get("model_type")))
    return None if found is SILENT else found


def _plain(field: str, value: Any) -> Any:
    """A value without what a program may write otherwise: where the code of a class comes from."""
    if field == "auto_map" and isinstance(value, Mapping):
        return {name: str(place).rpartition("--")[2] for name, place in value.items()}
    return value


def _named(config: Config, kind: str) -> dict[str, Any]:
    """A config by the names that the class has for its fields; a window that is not used is none."""
    names = _names().get(kind, {})
    found = {names.get(field, field): value for field, value in config.items()}
    if "sliding_window" in found and (found.get("use_sliding_window") is False or not found["sliding_window"]):
        found["sliding_window"] = None
    return found


def _aligned(found: dict[str, Any], expected: dict[str, Any]) -> tuple[Config, Config]:
    """Two configs of which one may have what the other's language model says in itself."""
    if isinstance(found.get("text_config"), Mapping) == isinstance(expected.get("text_config"), Mapping):
        return found, expected
    if isinstance(found.get("text_config"), Mapping):
        return found, _with_text(expected, found["text_config"])
    return _with_text(found, expected["text_config"]), expected


def _with_text(flat: Config, text: Config) -> Config:
    if "hidden_size" not in flat:
        return flat  # it says nothing of its language model
    inner = {field: value for field, value in flat.items() if field in text or ROTARY.match(field)}
    kept = {field: value for field, value in flat.items() if field not in inner or field == "model_type"}
    return {**kept, "text_config": {**inner, "model_type": text.get("model_type")}}


def _rotary(found: Config, expected: Config, kind: str, above: str) -> Iterator[OtherField]:
    """Whether positions are turned otherwise: by kind of scaling, its numbers, the base and the part that is turned."""
    usual = _default("rope_parameters", kind)
    usual = usual if isinstance(usual, Mapping) else {}
    ours, theirs = _positions(found, usual), _positions(expected, usual)
    if ours.keys() != theirs.keys():  # of each kind of layer in one, of all in the other
        if _scales(ours) != _scales(theirs):
            yield OtherField(f"{above}rope_parameters", _stated(found), _stated(expected))
        return
    for layers, one in ours.items():
        other = theirs[layers]
        for name in sorted({*one, *other}):
            a, b = one.get(name), other.get(name)
            known = name in one and name in other
            if a != b and (known or name in ("rope_type", "factor")):
                place = ".".join(filter(None, ("rope_parameters", layers, name)))
                yield OtherField(above + place, a, b)


def _stated(config: Config) -> Any:
    return config.get("rope_parameters") or config.get("rope_scaling")


def _positions(config: Config, usual: Config) -> dict[str, dict[str, Any]]:
    """Kind of layer → how positions are turned there; of all layers under an empty name."""
    stated = _stated(config)
    stated = stated if isinstance(stated, Mapping) else {}
    theta, part = ([config[name] for name in names if name in config][:1] for names in (THETA, PART))
    if not stated and not theta and not part:
        stated = usual
    of_layers = {name: each for name, each in stated.items() if isinstance(each, Mapping)}
    own = {**({"rope_theta": theta[0]} if theta else {}), **({"partial_rotary_factor": part[0]} if part else {})}
    if of_layers:
        return {name: _position(each, {}) for name, each in of_layers.items()}
    default = {name: each for name, each in usual.items() if name in ("rope_theta", "partial_rotary_factor")}
    if not stated and not any(isinstance(each, Mapping) for each in usual.values()):
        stated = usual
    return {"": _position({**default, **stated, **own}, {})}


def _position(stated: Config, own: Config) -> dict[str, Any]:
    kind = str(stated.get("rope_type") or stated.get("type") or "default")
    rest = {name: each for name, each in stated.items() if name not in ("rope_type", "type") and each is not None}
    kind = KINDS.get(kind, kind)
    if kind == "default":
        rest = {name: each for name, each in rest.items() if name in ("rope_theta", "partial_rotary_factor")}
    return {"partial_rotary_factor": 1.0, **rest, **own, "rope_type": kind}


def _scales(positions: Mapping[str, Config]) -> bool:
    return any(each["rope_type"] != "default" for each in positions.values())


def _default(field: str, kind: str) -> Any:
    """What a class takes where its config is silent; SILENT where that is not known."""
    if kind not in _types() or field not in _defaults():
        return SILENT
    values = _defaults()[field]
    return values.get(kind, values["*"])


@cache
def _types() -> frozenset[str]:
    return frozenset(texts(TABLES)["TYPES"].split())


@cache
def _defaults() -> dict[str, dict[str, Any]]:
    """Field → type → what it has; `*` for what most have."""
    found: dict[str, dict[str, Any]] = {}
    for field, value, kind in _pairs("DEFAULTS"):
        found.setdefault(field, {})[kind] = SILENT if value == "?" else json.loads(value)
    return found


@cache
def _names() -> dict[str, dict[str, str]]:
    """Type → another name of a field → its name."""
    found: dict[str, dict[str, str]] = {}
    for other, field, kind in _pairs("OTHER_NAMES"):
        found.setdefault(kind, {})[other] = field
    return found


def _pairs(name: str) -> Iterator[tuple[str, str, str]]:
    """Of a table: both sides of each pair, and each type that it holds for."""
    for block in re.split(r"\n(?! )", texts(TABLES)[name].strip()):
        pairs, _, kinds = " ".join(block.split()).partition(" of ")
        for pair in pairs.split():
            left, _, right = pair.partition("=")
            yield from ((left, right, kind) for kind in kinds.split())
