"""Some modules of an adapter, and a factor for each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import check_linear
from adapterops.errors import OptionError, check_opened, count, printable
from adapterops.formats.diffusion.spellings import ROOTS, is_underscored
from adapterops.formats.models.vocabulary import TOKEN_ROWS
from adapterops.provenance.history import Step
from adapterops.regex import Regex

RANGE = Regex(r"(\w+)\.(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
SHOWN = 3


def matching(pattern: str, modules: Iterable[str]) -> list[str]:
    """The modules that a pattern matches, in their order.

    The name of a module matches that module alone, whatever it would match as a pattern.
    A shell pattern matches the full name, dots included. `layers.0-11`, any word and one number or two, matches what
    has such a number after that word anywhere in its name, also with an underscore for the dot, as kohya's have.

    >>> modules = ["layers.0.mlp.up", "layers.1.mlp.up", "layers.10.attn.q"]
    >>> matching("*.mlp.*", modules), matching("layers.1-10", modules)
    (['layers.0.mlp.up', 'layers.1.mlp.up'], ['layers.1.mlp.up', 'layers.10.attn.q'])
    >>> matching("mlp.0", ["mlp.0", "decoder.mlp.0.up"])
    ['mlp.0']

    Raises:
        OptionError: it matches none, and the message names what is near; or it is no text.
    """
    if not isinstance(pattern, str):
        raise OptionError(f"a pattern is text, got {printable(repr(pattern)[:80])}", hint='such as "layers.0-11"')
    modules = list(modules)
    layers = RANGE.fullmatch(pattern)
    if pattern in modules:
        found = [pattern]
    elif layers is None:
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
    """The numbers after a word in the name of a module; in one with underscores for dots, a word that is no end of a
    longer one.

    >>> _numbers("layers", "model.layers.3.experts.7.up"), _numbers("experts", "model.layers.3.experts.7.up"), _numbers("ayers", "layers.3")
    ([3], [7], [])
    >>> flat = "lora_unet_double_blocks_3_img_attn_qkv"
    >>> _numbers("double_blocks", flat), _numbers("blocks", flat)
    ([3], [])
    """
    if not is_underscored(module):
        return [int(number) for number in re.findall(rf"(?<![^.]){re.escape(word)}\.(\d{{1,9}})(?![^.])", module)]
    found = re.finditer(rf"(?<![^_]){re.escape(word)}_(\d{{1,9}})(?![^_])", module)
    longer = [root for root in ROOTS.split("|") if root.endswith(f"_{word}")]
    return [int(each[1]) for each in found if not module[: each.start() + len(word)].endswith(tuple(longer) or ("\0",))]


def _near(pattern: str, modules: list[str]) -> str | None:
    """What was probably meant by a pattern that matches nothing."""
    layers = RANGE.fullmatch(pattern)
    numbers = sorted({number for module in modules for number in _numbers(layers[1], module)}) if layers else []
    if layers and numbers:
        word, first, last = layers[1], layers[2], layers[3] or layers[2]
        upward = f"; ranges count upward: write {word}.{last}-{first}" if int(first) > int(last) else ""
        return f"there are {word}.{numbers[0]}-{numbers[-1]}{upward}"
    words = {word: None for module in modules for word in module.split(".") if not word.isdigit()}
    words |= {root: None for root in ROOTS.split("|") if any(_numbers(root, module) for module in modules)}
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
    check_opened(adapter, Adapter, "open_adapter")
    if not patterns:
        raise OptionError("select needs at least one pattern", hint='such as select(a, "*.mlp.*")')
    step = Step("select", {"patterns": list(patterns)}, (adapter.history,))
    return _part(adapter, patterns, step, matched=True)


def drop(adapter: Adapter, reasons: Mapping[str, str]) -> Adapter:
    """All modules but those whose names a pattern matches, which become zero: the base stays as it is there.

    Args:
        reasons: pattern, as in `matching`, → why its modules are left out, which the manifest keeps. Whole trained
            tensors are left out with the module that they belong to.

    Raises:
        OptionError: there is no pattern, or one that matches nothing or has no reason in words; or no module is left.
    """
    check_opened(adapter, Adapter, "open_adapter")
    such = 'such as drop(a, {"layers.0-11": "why"})'
    if not reasons:
        raise OptionError("drop needs at least one pattern", hint=such)
    if not isinstance(reasons, Mapping) or not all(isinstance(reason, str) for reason in reasons.values()):
        raise OptionError("drop needs a reason in words for each pattern", hint=such)
    return _part(adapter, reasons, Step("drop", {"reasons": dict(reasons)}, (adapter.history,)), matched=False)


def _part(adapter: Adapter, patterns: Iterable[str], step: Step, *, matched: bool) -> Adapter:
    """The modules that a pattern matches, or all others, with the whole tensors that belong to them."""
    owner = {tensor: _owner(tensor) for tensor in adapter.full}
    modules = list(dict.fromkeys([*adapter.layout, *owner.values()]))
    found = {module for pattern in patterns for module in matching(pattern, modules)}
    kept = {module for module in modules if (module in found) == matched}
    if not kept:
        hint = "take patterns of fewer modules"
        raise OptionError(f"{step.operation} leaves none of {count(len(modules), 'module')}", hint=hint)
    layout = {module: each for module, each in adapter.layout.items() if module in kept}
    part = adapter.map(step, layout, lambda _, update: update)
    full = {tensor: stored for tensor, stored in adapter.full.items() if owner[tensor] in kept}
    return replace(part, full=full, config=replace(adapter.config, targets=None, target_parameters=None))


def _owner(tensor: str) -> str:
    return tensor.removesuffix(TOKEN_ROWS) if tensor.endswith(TOKEN_ROWS) else tensor.rpartition(".")[0]


def scale(adapter: Adapter, by: float | Mapping[str, float]) -> Adapter:
    """c · ΔW, with one factor for all modules, or one for each by the first pattern that matches its name: block weights.

    Args:
        by: a number, or pattern → number, such as {"layers.0-11": 0.3}; what no pattern matches stays as it is.

    Raises:
        OptionError: there is no pattern; one matches nothing, or nothing that earlier ones leave, except for a last `*`;
            a factor is not finite.
    """
    check_opened(adapter, Adapter, "open_adapter")
    if not isinstance(by, Mapping):
        return by * adapter
    if not by:
        raise OptionError("scale needs at least one pattern", hint='such as scale(a, {"layers.0-11": 0.3})')
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
    if any(factor != 1 for factor in factors.values()):
        check_linear(adapter, "scaled")

    def scaled(module: str, update: Any) -> Any:
        return factors[module] * update if module in factors else update

    step = Step("scale_modules", {"by": {pattern: float(factor) for pattern, factor in by.items()}}, (adapter.history,))
    return adapter.map(step, adapter.layout, scaled)
