"""A recipe: a request in a file, with where its output goes.

adapterops: 1
inputs:
  a: runs/a                        # relative to the folder of the recipe
  b: {path: runs/b, blake3: ...}   # or sha256; of its tensors, or of each file by its name; also alpha, allow_nonfinite, grams
result: 0.7*a - ties(a, b, density=0.2)
base: models/base                  # the result is fused into it
quantize: nf4
output: {path: out, dtype: bfloat16, rank: 16}   # or energy, or budget; exact; max_shard_size; of an adapter format,
                                                 # or normalize: true
push: {repo: me/name, private: true}

Every other field of `Request` is one of a recipe, under the same name. Recipes of mergekit are read, too: see `mergekit`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapterops.errors import InputError, OptionError, at
from adapterops.provenance.reader import OUTPUT, REQUEST
from adapterops.recipes import mergekit
from adapterops.regex import Regex
from adapterops.requests.reading import Reader
from adapterops.requests.request import Request
from adapterops.storage.outputs import RECIPE
from adapterops.storage.strict import open_regular, parse_json, reading
from adapterops.storage.strict_yaml import LIMIT, Place, parse_yaml

VERSION = 1
REPO = Regex(r"[\w.-]+/[\w.-]+", re.ASCII)
PLAIN = Regex(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[A-Za-z_][\w.-]*", re.ASCII | re.IGNORECASE)
"""Keys that need no quotes."""


@dataclass(frozen=True)
class PushTo:
    """Where the output goes when it is written."""

    repo: str
    private: bool | None = None


@dataclass(frozen=True)
class Recipe:
    """What to make, where it goes, and where it is sent. `folder` is what paths are relative to."""

    request: Request
    folder: Path = field(default_factory=Path)
    output: str | None = None
    push: PushTo | None = None


def as_yaml(request: Request) -> str:
    """A request as a recipe, with every default in it."""
    return blocks({"adapterops": VERSION, **request.as_json()})


def blocks(fields: Mapping[str, Any], indent: str = "") -> str:
    """Mappings as blocks; text in quotes, which every version of YAML reads alike."""
    lines = []
    for key, value in fields.items():
        shown = key if PLAIN.fullmatch(key) else _quoted(key)
        if isinstance(value, Mapping):
            lines.append(f"{indent}{shown}:\n{blocks(value, indent + '  ')}")
        else:
            lines.append(f"{indent}{shown}: {_quoted(value) if isinstance(value, str) else json.dumps(value)}\n")
    return "".join(lines)


def _quoted(text: str) -> str:
    r"""Text in quotes; what cannot be printed by its number, and what is no character, half a surrogate pair, as "?".

    >>> print(_quoted("it's"), _quoted("u\n"), _quoted("a\udcff"))
    'it''s' "u\x0a" 'a?'
    """
    text = text.encode("utf-8", "replace").decode()
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(each if each.isprintable() and each not in '\\"' else _escaped(each) for each in text) + '"'


def _escaped(letter: str) -> str:
    return f"\\x{ord(letter):02x}" if ord(letter) < 256 else f"\\U{ord(letter):08x}"


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """The recipe in a file: YAML, or JSON where the file is called .json. No input is opened; of a recipe of mergekit the
    headers of its base, whose tensors it is about.

    Raises:
        NotFoundError, InputError: there is no such file, or it cannot be read.
        OptionError: it says something that is unknown, ambiguous or impossible; the message names the line and the
            column.
    """
    path = Path(path)
    if path.is_dir():
        here = (path / RECIPE).is_file()
        hint = (
            f"name the recipe in it: {path / RECIPE}" if here else "a recipe is a file of YAML that says what to make"
        )
        raise InputError("is a folder, not a file", path=path, hint=hint, code="E-NOT-A-FILE")
    with os.fdopen(open_regular(path), "rb") as file, reading(path):
        data = file.read(LIMIT + 1)
    with at(path=path):
        if len(data) > LIMIT:
            raise OptionError(f"is larger than {LIMIT} bytes, too large for a recipe", code="E-RECIPE")
        try:
            fields, marks = (parse_json(data), {}) if path.suffix == ".json" else parse_yaml(data)
        except InputError as error:
            raise OptionError(error.message, hint=error.hint, code="E-RECIPE") from None
        reader = Reader("the recipe", marks, "E-RECIPE")
        if isinstance(fields, dict) and mergekit.METHOD in fields:
            return Recipe(mergekit.request(reader, fields, path.parent), path.parent)
        return _recipe(reader, fields, path.parent)


def _recipe(reader: Reader, fields: Any, folder: Path) -> Recipe:
    if isinstance(fields, dict) and "request" in fields and "adapterops" not in fields:
        hint = f"its recipe is {folder / RECIPE}" if (folder / RECIPE).is_file() else "calc writes one, as recipe.yaml"
        reader.fail((), "is a manifest, not a recipe", hint)
    if isinstance(fields, dict) and "adapterops" not in fields and "result" in fields:
        reader.fail((), "has no adapterops", f"begin it with the version of recipes, the line adapterops: {VERSION}")
    top = dict(reader.table((), fields, ("adapterops", *REQUEST, "push"), ("adapterops",)))
    version = top.pop("adapterops")
    if isinstance(version, bool) or version != VERSION:
        reader.fail(
            ("adapterops",), f"is {json.dumps(version)}, expected {VERSION}, the version of recipes that is read here"
        )
    output, push = top.get("output"), reader.optional(("push",), top, lambda place, value: _push(reader, place, value))
    top.pop("push", None)
    path = None
    if isinstance(output, dict):
        reader.table(("output",), output, ("path", *OUTPUT))
        path = reader.optional(("output", "path"), output, reader.text)
        top["output"] = {name: value for name, value in output.items() if name != "path"}
    return Recipe(reader.request(top), folder, path, push)


def _push(reader: Reader, place: Place, value: Any) -> PushTo:
    fields = reader.table(place, value, ("repo", "private"), ("repo",))
    repo = reader.text((*place, "repo"), fields["repo"])
    if not REPO.fullmatch(repo):
        reader.fail((*place, "repo"), f"is {repo!r}, expected owner/name")
    private = fields.get("private")
    return PushTo(repo, None if private is None else reader.truth((*place, "private"), private))
