"""`rank_pattern`, `alpha_pattern` and `target_modules`: regular expressions from strangers.

A pattern of plain characters is matched here. Any other could take for ever, and Python's engine cannot be interrupted,
so it is matched in a process of its own, under a limit of processor time.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence

from adapterops.errors import InputError

PLAIN = re.compile(r"\^?(?:[\w.-]|\\\.)*\$?", re.ASCII)
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
            f"{len(patterns)} patterns are more than any model has modules; at most {MOST} are read", code="E-PATTERN"
        )
    if all(PLAIN.fullmatch(pattern) for pattern in patterns):
        compiled = [re.compile(rule.replace("{}", pattern)) for pattern in patterns]
        return [[index for index, pattern in enumerate(compiled) if pattern.match(name)] for name in names]
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
        raise InputError(f"the patterns {shown!r} cannot be used: {child.stderr.strip()[:200]}", code="E-PATTERN")
    if child is None or child.returncode:
        raise InputError(
            f"the patterns {shown!r} take more than {CPU_SECONDS} s to match",
            hint="write the module names without nested repetition",
            code="E-PATTERN",
        )
    found: list[list[int]] = json.loads(child.stdout)
    return found
