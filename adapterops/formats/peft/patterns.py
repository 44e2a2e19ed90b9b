"""`rank_pattern`, `alpha_pattern` and `target_modules`: regular expressions from strangers.

A pattern of plain characters is matched here. Any other could take for ever, and Python's engine cannot be interrupted,
so it is matched in a process of its own, under a limit of processor time.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Collection, Sequence

from adapterops.errors import IncompatibleError, InputError
from adapterops.formats.models.architectures import PREFIXES, TOWERS_MODEL
from adapterops.regex import Regex

PLAIN = Regex(r"\^?(?:[\w.-]|\\\.)*\$?", re.ASCII)
END, WHOLE = r"(.*\.)?({})$", r"(?:{})\Z"
"""Where a pattern has to match: the end of a name, after a dot, or the whole of it."""

MOST = 20_000
CPU_SECONDS = 0.5
WALL_SECONDS = 10.0

_CHILD = f"""
import json, re, signal, sys
if hasattr(signal, "setitimer"):
    signal.setitimer(signal.ITIMER_PROF, {CPU_SECONDS})
patterns, names, rule = json.load(sys.stdin)
try:
    compiled = [re.compile(rule.replace("{{}}", pattern)) for pattern in patterns]
except (re.error, RecursionError, OverflowError) as error:
    sys.exit(f"not a regular expression: {{error}}")
json.dump([[i for i, pattern in enumerate(compiled) if pattern.match(name)] for name in names], sys.stdout)
"""


def matches(patterns: Sequence[str], names: Sequence[str], rule: str = END) -> list[list[int]]:
    """For each name the indices of the patterns that match it, by PEFT's rule: for ranks and alphas `END`, for
    `target_modules` `WHOLE`.

    >>> matches(["q_proj", "layers.0.v_proj"], ["model.layers.0.q_proj", "model.layers.10.v_proj", "xq_proj"])
    [[0], [], []]

    Raises:
        InputError: a pattern is not a regular expression, or takes too long to match.
    """
    if len(patterns) > MOST:
        raise InputError(
            f"{len(patterns)} patterns are more than any model has modules; at most {MOST} are read",
            hint="write one pattern for many modules",
            code="E-PATTERN",
        )
    if all(PLAIN.fullmatch(pattern) for pattern in patterns):
        compiled = [re.compile(rule.replace("{}", pattern)) for pattern in patterns]
        return [[index for index, pattern in enumerate(compiled) if pattern.match(name)] for name in names]
    import subprocess  # here: few configs have patterns

    shown = ", ".join(patterns)[:80]
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _CHILD],
            input=json.dumps([patterns, names, rule]),
            capture_output=True,
            text=True,
            timeout=WALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        child = None
    if child is not None and child.returncode > 0:
        raise InputError(
            f"the patterns {shown!r} cannot be used: {child.stderr.strip()[:200]}",
            hint="write them as regular expressions of Python",
            code="E-PATTERN",
        )
    if child is None or child.returncode:
        raise InputError(
            f"the patterns {shown!r} take more than {CPU_SECONDS} s to match",
            hint="write the module names without nested repetition",
            code="E-PATTERN",
        )
    found: list[list[int]] = json.loads(child.stdout)
    return found


OLD = ("language_model.", "vision_tower.", "visual.")
"""How names begin that transformers 5 puts behind `model.` when it loads them."""


def one_each(modules: Collection[str], as_loaded: bool) -> dict[str, str]:
    """Module → a pattern that matches it and no other of these.

    Where the names may be those of another version of transformers, a pattern is the end of a name that does not change,
    so that it matches the name of the model in memory, too: PEFT renames tensors when it loads them, and no patterns.

    Args:
        as_loaded: the names are those of the model in memory.

    >>> list(one_each(["language_model.model.norm", "visual.proj"], False).values())
    ['norm', 'visual\\\\.proj']
    >>> one_each(["model.norm"], True)["model.norm"]
    '^model\\\\.norm'

    Raises:
        IncompatibleError: names of an older version have no such end of their own.
    """
    split = [module.split(".") for module in modules]
    ends = Counter(".".join(parts[first:]) for parts in split for first in range(len(parts)))
    found = {}
    for module, parts in zip(modules, split, strict=True):
        end = ".".join(_without_wrappers(parts))
        if not as_loaded and ends[end] > 1 and module.startswith(OLD):
            raise IncompatibleError(
                "has a rank of its own, and a name of an older version of transformers, which PEFT changes when it loads it: "
                "no pattern of its config would match both names and no other module",
                tensor=module,
                hint="name the model with --base, whose names are taken then, or give all modules one rank with --rank",
                code="E-NAMES",
            )
        found[module] = f"^{re.escape(module)}" if as_loaded or ends[end] > 1 else re.escape(end)
    return found


def _without_wrappers(parts: Sequence[str]) -> Sequence[str]:
    """A name without what it may have before, and in, the name of its tower or language model."""
    first = next((place for place, part in enumerate(parts[:-1]) if part not in PREFIXES), len(parts) - 1)
    tower = parts.index(TOWERS_MODEL) + 1 if TOWERS_MODEL in parts[first + 1 : -1] else first
    return parts[max(first, tower) :]
