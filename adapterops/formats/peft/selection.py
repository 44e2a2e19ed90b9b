"""Which modules of a model PEFT puts LoRA on by a config, and so loads tensors for; of all others it drops them without a word."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from adapterops.errors import AdapterWarning, InputError, listed
from adapterops.formats.peft.config import ALL_LINEAR, Suffixes
from adapterops.formats.peft.patterns import WHOLE, matches
from adapterops.regex import Regex

SHOWN = 4
"""Modules that a warning lists."""

LAYER = Regex(r".*?\.[^.]*\.(\d+)\.")
"""Where PEFT looks for the number of a layer: the first one in a name."""


def uncovered(targets: Suffixes | str, modules: Sequence[str]) -> list[str]:
    """The modules that some target_modules do not name, by PEFT's rule: the end of a name, after a dot or whole; or an
    expression for all of it. One that cannot be used names none.
    """
    if not isinstance(targets, str):
        return [each for each in modules if not any(f".{each}".endswith(f".{suffix}") for suffix in targets)]
    try:
        found = matches([targets], modules, WHOLE)
    except InputError:
        return list(modules)
    return [module for module, named in zip(modules, found, strict=True) if not named]


def unnamed(fields: Mapping[str, Any], modules: Sequence[str]) -> list[str]:
    """The modules on which PEFT puts no LoRA by these fields of a config: target_modules do not name them, exclude_modules or
    modules_to_save do, or they are in none of layers_to_transform.

    >>> unnamed({"target_modules": ["q"], "layers_to_transform": [1]}, ["m.layers.0.q", "m.layers.1.q", "m.layers.1.v"])
    ['m.layers.0.q', 'm.layers.1.v']
    >>> unnamed({"target_modules": ["q"], "exclude_modules": ["layers.0.q"]}, ["m.layers.0.q", "m.layers.1.q"])
    ['m.layers.0.q']
    """
    targets, excluded = _names(fields.get("target_modules")), _names(fields.get("exclude_modules"))
    if targets == ALL_LINEAR:
        targets = None
    lost = set(uncovered(targets, modules)) if targets else set()
    lost |= set(modules) - set(uncovered(excluded, modules)) if excluded else set()
    whole = [name for name in _names(fields.get("modules_to_save")) or () if isinstance(name, str)]
    lost |= {module for module in modules if any(f".{name}." in f".{module}." for name in whole)}
    layers = fields.get("layers_to_transform")
    layers = [layers] if isinstance(layers, int) else layers
    if layers and not isinstance(targets, str | None):
        exact = set(targets)
        lost |= {each for each in modules if each not in exact and _layer(each, fields) not in {None, *layers}}
    return [module for module in modules if module in lost]


def say_dropped(modules: Sequence[str]) -> None:
    """Warn of modules of an input that are taken here, and are `unnamed` by its config."""
    if modules:
        warnings.warn(
            f"PEFT has no LoRA on {listed(modules, SHOWN)} by the adapter's config (target_modules, exclude_modules, "
            "layers_to_transform, modules_to_save), and drops their tensors when it loads them; here they are taken with the "
            'others, and drop(a, {"MODULE": "reason"}) in calc leaves them out',
            AdapterWarning,
            stacklevel=4,
        )


def _names(stated: Any) -> Suffixes | str | None:
    """Names, or an expression; None where neither is stated."""
    if isinstance(stated, str):
        return stated or None
    listed = isinstance(stated, Collection) and all(isinstance(each, str) for each in stated)
    return tuple(stated) or None if listed else None


def _layer(module: str, fields: Mapping[str, Any]) -> int | None:
    """The number by which layers_to_transform choose a module: -1 where it is in no layer, None where that is not known here."""
    patterns = _names(fields.get("layers_pattern"))
    words = (patterns,) if isinstance(patterns, str) else patterns or ()
    if not all(re.fullmatch(r"[\w.]+", word) for word in words):
        return None
    found = (re.match(rf"(?:^|.*?\.){re.escape(word)}\.(\d+)\.", module) for word in words)
    match = next(filter(None, found), None) if words else LAYER.match(module)
    return int(match[1]) if match else -1
