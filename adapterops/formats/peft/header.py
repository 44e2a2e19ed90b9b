"""What the header of a lone file says of its scale: a config of PEFT, whole, or entry by entry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adapterops.errors import InputError, at
from adapterops.formats.peft.scaling import Scaling, scalings
from adapterops.storage.strict import parse_json

EMBEDDED = "lora_adapter_metadata"
"""The entry that holds a whole config."""

ALPHAS = ("lora_alpha", "network_alpha", "alpha")
"""Entries that say alpha; those of a part of a pipeline come after its name."""

PATTERNS = ("rank_pattern", "alpha_pattern")


def packed(metadata: Mapping[str, str]) -> Any:
    """The whole config in a header; None where there is none."""
    if EMBEDDED not in metadata:
        return None
    with at(tensor=f"header entry {EMBEDDED}"):
        return parse_json(metadata[EMBEDDED].encode())


def entries(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Every entry as what it stands for: a number, a truth value, patterns, or its text."""
    return {key: _value(key, text) for key, text in metadata.items()}


def stated(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a config of LoRA that plain entries of a header are; those that are not there are left out. Nothing
    where no entry says alpha.

    >>> stated({"lora_alpha": "8", "r": "4", "use_rslora": "true", "format": "pt"})
    {'lora_alpha': 8, 'r': 4, 'use_rslora': True}

    Raises:
        InputError: two entries say different alphas, or ranks.
    """
    known = entries(metadata)
    alpha = _one({key: known[key] for key in ALPHAS if known.get(key) is not None})
    if alpha is None:
        return {}
    rank = _one({key: known[key] for key in ("r", "rank") if known.get(key) is not None})
    others = {key: known[key] for key in ("use_rslora", *PATTERNS) if key in known}
    return {"lora_alpha": alpha, **({"r": rank} if rank is not None else {}), **others}


def contradicting(metadata: Mapping[str, str], fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The config as it is by what else the header says of scales: in plain entries, and in a whole config that is not this
    one, where that is for one model. The rank is the tensors' own, whoever says it.

    >>> list(contradicting({"alpha": "8", "r": "2"}, {"r": 4, "lora_alpha": 16}))
    [{'r': 4, 'lora_alpha': 8}]
    """
    plain, whole = stated({key: text for key, text in metadata.items() if _is_stated(key, text)}), packed(metadata)
    alpha = "lora_alpha" if "lora_alpha" in fields else "alpha"
    for other in (plain, whole if isinstance(whole, dict) and whole != fields else {}):
        given = {alpha: other.get("lora_alpha", other.get("alpha"))}
        given |= {key: other[key] for key in ("use_rslora", *PATTERNS) if key in other}
        if given[alpha] is not None and alpha in fields:
            yield {**fields, **given}


def _is_stated(key: str, text: str) -> bool:
    """Whether an entry says something: of a scale a number, of patterns an object."""
    try:
        value = _value(key, text)
    except InputError:
        return False
    return isinstance(value, dict) if key in PATTERNS else key not in ALPHAS or isinstance(value, (int, float))


def of_each(fields: Mapping[str, Any], ranks: Mapping[str, int]) -> dict[str, Scaling]:
    """The scaling of every module by such fields, or by a config; where they say no rank, that of its tensors.

    Raises:
        InputError: as `scalings` does.
    """
    with at(tensor="the header"):
        if fields.get("r") is not None:
            return scalings(fields, ranks)
        found: dict[str, Scaling] = {}
        for rank in sorted(set(ranks.values())):
            found |= scalings({**fields, "r": rank}, {name: each for name, each in ranks.items() if each == rank})
        return found


def _one(given: Mapping[str, Any]) -> Any:
    if len(set(map(repr, map(_float, given.values())))) > 1:
        raise InputError(
            f"the header states {' and '.join(f'{key} {value}' for key, value in given.items())}",
            hint="find out which one it was trained with, and remove the others",
            code="E-ALPHA",
        )
    return next(iter(given.values()), None)


def _float(value: Any) -> Any:
    return float(value) if isinstance(value, int) else value


def _value(key: str, text: str) -> Any:
    if key.rpartition(".")[2] in PATTERNS:
        with at(tensor=f"header entry {key}"):
            return parse_json(text.encode())
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text.lower(), text)
