"""In what two documents of one form differ, field by field."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from adapterops.errors import listed
from adapterops.storage.strict import json_text

SHOWN, WIDTH = 5, 70
"""Differences that a message shows, and letters of each value: more than a hash has."""


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], free: Collection[str]) -> dict[str, list[Any]]:
    """The fields in which two plans differ: what they are here, and there.

    >>> differences({"plan": "a", "request": {"dtype": "F16"}}, {"plan": "b", "request": {"seed": 1}}, free=["plan"])
    {'request.dtype': ['F16', None], 'request.seed': [None, 1]}

    Args:
        free: fields that may differ.
    """
    here, there = (_flat({name: plan[name] for name in plan if name not in free}) for plan in (ours, theirs))
    differ = [name for name in here | there if here.get(name) != there.get(name)]
    return {name: [here.get(name), there.get(name)] for name in differ}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    inside = ((f"{prefix}.{key}" if prefix else key, inner) for key, inner in value.items())
    return {name: leaf for path, inner in inside for name, leaf in _flat(inner, path).items()}


def shown(found: Mapping[str, Sequence[Any]]) -> str:
    """The differences as a message has them; that of the hash of a plan follows from the others, and counts alone.

    >>> shown({"plan": ["a", "b"], "request.seed": [None, 1]})
    'request.seed is null here, 1 there'
    >>> shown({"inputs.0.model.safetensors": [[12, 1], [12, 2]]})
    'inputs.0.model.safetensors differs'
    """
    names = [name for name in found if name != "plan"] or list(found)
    texts = [_text(name, *found[name]) for name in names]
    return listed(texts, SHOWN, by="; ")


def _text(name: str, here: Any, there: Any) -> str:
    """One difference; sizes and times of files say nothing to who reads them."""
    if isinstance(here, list | tuple) or isinstance(there, list | tuple):
        return f"{name} differs"
    texts = (json_text(each).decode() for each in (here, there))
    here, there = (text if len(text) <= WIDTH else f"{text[:WIDTH]}..." for text in texts)
    return f"{name} is {here} here, {there} there"
