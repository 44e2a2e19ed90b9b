"""Tables that programs write, which are files of the package: what holds for words, such as types of models."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

TITLE = re.compile(r"^\[(\w+)\].*\n", re.MULTILINE)


@cache
def text(package: str, name: str, table: str) -> str:
    """The lines of a table: of the file `name` in the folder `tables` of a package, what follows a title `[TABLE] ...`."""
    parts = TITLE.split(files(package).joinpath("tables", name).read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], parts[2::2], strict=True))[table]


@cache
def ruled(package: str, name: str, table: str) -> dict[str, tuple[str, ...]]:
    """Of such a table: word → the lines that are indented below a line with it, or below the last of several such lines.

    >>> ruled("adapterops.formats.models", "renames.txt", "PASSED")["falcon_mamba"]
    ('mixer.dt_proj',)
    """
    found: dict[str, tuple[str, ...]] = {}
    words: list[str] = []
    above = " "
    for line in text(package, name, table).splitlines():
        if line.startswith(" "):
            found |= {each: (*found[each], line.strip()) for each in words}
        else:
            words = line.split() if above.startswith(" ") else words + line.split()
            found |= {each: found.get(each, ()) for each in line.split()}
        above = line
    return found
