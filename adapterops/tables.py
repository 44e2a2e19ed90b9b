"""Tables that programs write, which are files of the package: what holds for words, such as types of models."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from adapterops.regex import Regex

TITLE = Regex(r"^\[(\w+)\].*\n", re.MULTILINE)


@cache
def texts(file: Path) -> dict[str, str]:
    """The tables of a file: what follows each title `[NAME] what it says`, by its name."""
    parts = TITLE.split(file.read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@cache
def ruled(file: Path, name: str) -> dict[str, tuple[str, ...]]:
    """Of such a table: word → the lines that are indented below a line with it, or below the last of several such lines."""
    found: dict[str, list[str]] = {}
    words: list[str] = []
    above = " "
    for line in texts(file)[name].splitlines():
        if line.startswith(" "):
            for each in words:
                found[each].append(line.strip())
        else:
            words = line.split() if above.startswith(" ") else words + line.split()
            for each in line.split():
                found.setdefault(each, [])
        above = line
    return {each: tuple(lines) for each, lines in found.items()}
