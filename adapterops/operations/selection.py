"""Some modules of an adapter, and a factor for each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from adapterops.adapters.adapter import Adapter, check_linear
from adapterops.errors import OptionError, count
from adapterops.formats.vocabulary import TOKEN_ROWS
from adapterops.provenance.history import Step

RANGE = re.compile(r"(\w+)\.(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
SHOWN = 3


def matching(pattern: str, modules: Iterable[str]) -> list[str]:
    """The modules that a pattern matches, in their order.

    A shell pattern matches the full name, dots included. `layers.0-11`, any word and one number or two, matches what
    has such a number after that word anywhere in its name.

    >>> modules = ["layers.0.mlp.up", "layers.1.mlp.up", "layers.10.attn.q"]
    >>> matching("*.mlp.*", modules), matching("layers.1-10", modules)
    (['layers.0.mlp.up', 'layers.1.mlp.up'], ['layers.1.mlp.up', 'layers.10.attn.q'])

    Raises:
        OptionError: it matches none; the message names what is near.
    """
    modules = list(modules)
    layers = RANGE.fullmatch(pattern)
    if layers is None:
        found = [module for module in modules if fnmatchcase(module, pattern)]
    else:
        first, last = int(layers[2]), int(layers[3] or layers[2])
        found = [module for module in modules if any(first <= number <= last for number in _numbers(layers[1], module))]
    if not found:
        raise OptionError(
            f"the pattern {pattern!r} matches none of {count(len(modules), 'module')}", hint=_near(pattern, modules)
        )
    return found


def _numbers(word: str, module: str) -> list[int]:
    """
    >>> _numbers("layers", "model.layers.3.experts.7.up"), _numbers("experts", "model.layers.3.experts.7.up"), _numbers("ayers", "layers.3")
    ([3], [7], [])
    """
    return [int(number) for number in re.findall(rf"(?<![^.]){re.escape(word)}\.(\d{{1,9}})(?![^.])", module)]


def _near(pattern: str, modules: list[str]) -> str | None:
    """What was probably meant by a pattern that matches nothing."""
    layers = RANGE.fullmatch(pattern)
    numbers = sorted({number for module in modules for number in _numbers(layers[1], module)}) if layers else []
    if layers and numbers:
        return f"there are {layers[1]}.{numbers[0]}-{numbers[-1]}"
    words = {word: None for module in modules for word in module.split(".") if not word.isdigit()}
    unknown = [word for word in re.findall(r"[^\W\d]\w*", pattern) if word not in words]
    close = {word: None for each in unknown for word in get_close_matches(each, words, n=SHOWN)}
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there are {', '.join(modules[:SHOWN])}{' and others' if len(modules) > SHOWN else ''}; * matches any characters"


def select(adapter: Adapter, *patterns: str) -> Adapter:
    """The modules whose names one of the patterns matches; all others become zero.

    Args:
        patterns: as in `matching`. Whole trained tensors are chosen by the module that they belong to.

    Raises:
        OptionError: there is no pattern, or one that matches nothing.
    """
    if not patterns:
        raise OptionError("select needs at least one pattern", hint='such as select(a, "*.mlp.*")')
    owner = {tensor: _owner(tensor) for tensor in adapter.full}
    modules = list(dict.fromkeys([*adapter.layout, *owner.values()]))
    chosen = {module for pattern in patterns for module in matching(pattern, modules)}
    layout = {module: each for module, each in adapter.layout.items() if module in chosen}
    selected = adapter.map(
        Step("select", {"patterns": list(patterns)}, (adapter.history,)), layout, lambda _, update: update
    )
    kept = {tensor: stored for tensor, stored in adapter.full.items() if owner[tensor] in chosen}
    return replace(selected, full=kept, config=replace(adapter.config, targets=None, target_parameters=None))


def _owner(tensor: str) -> str:
    return tensor.removesuffix(TOKEN_ROWS) if tensor.endswith(TOKEN_ROWS) else tensor.rpartition(".")[0]


def scale(adapter: Adapter, by: float | Mapping[str, float]) -> Adapter:
    """c · ΔW, with one factor for all modules, or one for each by the first pattern that matches its name.

    Args:
        by: a number, or pattern → number, such as {"layers.0-11": 0.3, "*": 1.0}; every module has to be matched.

    Raises:
        OptionError: a pattern matches nothing, or nothing that earlier ones leave, except for a last `*`; a module is
            not matched; a factor is not finite.
    """
    if not isinstance(by, Mapping):
        return by * adapter
    for pattern, factor in by.items():
        if not math.isfinite(factor):
            raise OptionError(f"the factor of {pattern!r} must be finite, got {factor!r}")
    factors: dict[str, float] = {}
    for pattern, factor in by.items():
        left = [module for module in matching(pattern, adapter.layout) if module not in factors]
        if not left and pattern != "*":
            raise OptionError(
                f"earlier patterns match all that {pattern!r} does",
                hint="the first that matches wins: put the special ones first",
            )
        factors |= dict.fromkeys(left, float(factor))
    missing = [module for module in adapter.layout if module not in factors]
    if missing:
        raise OptionError(
            f"no pattern matches {missing[0]}" + (f" and {len(missing) - 1} other modules" if len(missing) > 1 else ""),
            hint='say what becomes of the rest: "*": 1.0 leaves it as it is',
        )
    if any(factor != 1 for factor in factors.values()):
        check_linear(adapter, "scaled")

    def scaled(module: str, update: Any) -> Any:
        return factors[module] * update

    step = Step("scale_modules", {"by": {pattern: float(factor) for pattern, factor in by.items()}}, (adapter.history,))
    return adapter.map(step, adapter.layout, scaled)
