"""What a recipe may say, and how it is read and written.

adapterops: 1
inputs:
  a: runs/a                        # relative to the folder of the recipe
  b: {path: runs/b, blake3: ...}   # or sha256; of its tensors, or of each file by its name; also alpha, allow_nonfinite
result: 0.7*a - ties(a, b, density=0.2)
base: models/base                  # the result is fused into it
quantize: nf4
output: {path: out, dtype: bfloat16, rank: 16}   # or energy, or budget; exact
push: {repo: me/name, private: true}
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from adapterops.dtypes import FLOATS
from adapterops.errors import InputError, OptionError, at
from adapterops.operations.algebra import budget, check_cut
from adapterops.operations.expression import Expression, check_name, parse
from adapterops.operations.functions import nearest
from adapterops.operations.quantization import SCHEMES
from adapterops.storage.checksums import BLAKE3, SHA256
from adapterops.storage.strict import open_regular, parse_json
from adapterops.storage.strict_yaml import LIMIT, Marks, Place, parse_yaml

VERSION = 1
TOP = ("adapterops", "inputs", "result", "allow_base_mismatch", "base", "quantize", "output", "push")
ALGORITHMS = {BLAKE3: "b3sum", SHA256: "sha256sum"}
"""Hashes that identify an input, and what prints them."""

ADAPTER = ("path", *ALGORITHMS, "alpha", "allow_nonfinite")
CHECKPOINT = ("path", *ALGORITHMS)
OUTPUT = ("path", "dtype", "rank", "energy", "budget", "exact")
PUSH = ("repo", "private")
SHOWN = 80
"""Characters of a value that a message shows."""

HASH = re.compile(r"[0-9a-f]{64}")
REPO = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[A-Za-z_][\w.-]*", re.ASCII | re.IGNORECASE)
"""Keys that need no quotes."""


@dataclass(frozen=True)
class Ingredient:
    """An adapter or a checkpoint to read.

    `path` is relative to the folder of the recipe, or a reference with a scheme. `hashes` are those of its tensors, or of each
    file by its name, by algorithm.
    """

    path: str
    hashes: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    alpha: float | None = None
    allow_nonfinite: bool = False


@dataclass(frozen=True)
class Output:
    """What is written: where, in which dtype, and how much of it. At most one of rank, energy and budget."""

    path: str | None = None
    dtype: str | None = None
    rank: int | None = None
    energy: float | None = None
    budget: str | None = None
    exact: bool = False


@dataclass(frozen=True)
class Push:
    """Where the output goes when it is written."""

    repo: str
    private: bool | None = None


@dataclass(frozen=True)
class Recipe:
    """What to make, of what, and where it goes. `folder` is what paths are relative to."""

    folder: Path
    inputs: Mapping[str, Ingredient]
    result: Expression
    output: Output = field(default_factory=Output)
    base: Ingredient | None = None
    quantize: str | None = None
    allow_base_mismatch: bool = False
    push: Push | None = None

    def __str__(self) -> str:
        """The recipe as YAML, with every default in it; without `push`, and without a path for the output."""
        inputs = {name: _said(each) | {"allow_nonfinite": each.allow_nonfinite} for name, each in self.inputs.items()}
        base = {} if self.base is None else {"base": _said(self.base)}
        quantized = {} if self.quantize is None else {"quantize": self.quantize}
        result = {"result": str(self.result), "allow_base_mismatch": self.allow_base_mismatch}
        output = {name: value for name, value in vars(replace(self.output, path=None)).items() if value is not None}
        return _yaml({"adapterops": VERSION, "inputs": inputs, **result, **base, **quantized, "output": output})


def spelled(most: str | None) -> str | None:
    """A budget in one way of the several that it can be written in.

    >>> spelled("2M"), spelled("1.5kB")
    ('2000000', '1500B')
    """
    number, unit = budget(most)
    return None if number is None else f"{number}B" if unit == "bytes" else str(number)


def _said(ingredient: Ingredient) -> dict[str, Any]:
    said = {"path": ingredient.path, **ingredient.hashes, "alpha": ingredient.alpha}
    return {name: value for name, value in said.items() if value is not None}


def _yaml(fields: Mapping[str, Any], indent: str = "") -> str:
    """Mappings as blocks; text in quotes, which every version of YAML reads alike."""
    lines = []
    for key, value in fields.items():
        shown = key if PLAIN.fullmatch(key) else _quoted(key)
        if isinstance(value, Mapping):
            lines.append(f"{indent}{shown}:\n{_yaml(value, indent + '  ')}")
        else:
            lines.append(f"{indent}{shown}: {_quoted(value) if isinstance(value, str) else json.dumps(value)}\n")
    return "".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'" if text.isprintable() else json.dumps(text)


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """The recipe in a file: YAML, or JSON where the file is called .json. No input is opened.

    Raises:
        NotFoundError, InputError: there is no such file, or it cannot be read.
        OptionError: it says something that is unknown, ambiguous or impossible; the message names the line and the column.
    """
    path = Path(path)
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(LIMIT + 1)
    with at(path=path):
        if len(data) > LIMIT:
            raise OptionError(f"is larger than {LIMIT} bytes, too large for a recipe", code="E-RECIPE")
        try:
            fields, marks = (parse_json(data), {}) if path.suffix == ".json" else parse_yaml(data)
        except InputError as error:
            raise OptionError(error.message, hint=error.hint, code="E-RECIPE") from None
        return _Schema(marks).recipe(fields, path.parent)


class _Schema:
    """Checks the fields of a recipe. Each method takes the place of what it checks, for messages."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def recipe(self, fields: Any, folder: Path) -> Recipe:
        top = self._table((), fields, TOP, ("adapterops", "inputs", "result"))
        if isinstance(top["adapterops"], bool) or top["adapterops"] != VERSION:
            self._fail(("adapterops",), f"is {_kind(top['adapterops'])}, expected {VERSION}, the version of recipes that is read here")
        names = top["inputs"]
        if not isinstance(names, dict) or not names:
            self._fail(("inputs",), "needs a name and a path for each adapter", "such as inputs: {a: runs/a, b: runs/b}")
        for name in names:
            self._at(("inputs", name), check_name, name)
        inputs = {name: self._ingredient(("inputs", name), value, ADAPTER) for name, value in names.items()}
        base = self._ingredient(("base",), top["base"], CHECKPOINT) if top.get("base") is not None else None
        quantize = self._choice(("quantize",), top.get("quantize"), SCHEMES)
        if quantize and base is None:
            self._fail(("quantize",), "needs a base", "only models are quantized: name the one to fuse the result into")
        result = self._at(("result",), parse, self._text(("result",), top["result"]), names)
        mismatch = self._truth(("allow_base_mismatch",), top.get("allow_base_mismatch"))
        output, push = self._output(top.get("output")), self._push(top.get("push"))
        return Recipe(folder, inputs, result, output, base, quantize, mismatch, push)

    def _where(self, place: Place) -> str:
        """The line and the column, where they are known, and the names of what encloses it."""
        line, column = self._marks.get(place, (0, 0))
        names = ".".join(_shown(str(name)) for name in place)
        return (f"line {line}, column {column}: " if line else "") + (names or "the recipe")

    def _fail(self, place: Place, fact: str, hint: str | None = None) -> NoReturn:
        raise OptionError(f"{self._where(place)} {fact}", hint=hint, code="E-RECIPE")

    def _at(self, place: Place, check: Any, *arguments: Any) -> Any:
        """What `check` returns; what it raises gets the place."""
        try:
            return check(*arguments)
        except OptionError as error:
            error.message = f"{self._where(place)}: {error.message}"
            raise

    def _table(self, place: Place, fields: Any, known: Collection[str], needed: Collection[str] = ()) -> dict[str, Any]:
        if not isinstance(fields, dict):
            self._fail(place, f"is {_kind(fields)}, expected fields: {', '.join(known)}")
        for name in fields:
            if name not in known:
                self._fail((*place, name), "is unknown", nearest(name, known))
        for name in needed:
            if fields.get(name) is None:
                self._fail(place, f"has no {name}", f"it has {', '.join(fields)}" if fields else None)
        return fields

    def _ingredient(self, place: Place, value: Any, known: Collection[str]) -> Ingredient:
        if isinstance(value, str):
            return Ingredient(self._text(place, value))
        fields = self._table(place, value, known, ("path",))
        return Ingredient(
            self._text((*place, "path"), fields["path"]),
            self._hashes(place, fields),
            self._number((*place, "alpha"), fields.get("alpha")),
            self._truth((*place, "allow_nonfinite"), fields.get("allow_nonfinite")),
        )

    def _hashes(self, place: Place, fields: Mapping[str, Any]) -> dict[str, str | Mapping[str, str]]:
        """The hashes that an input is to have, by algorithm."""
        found: dict[str, str | Mapping[str, str]] = {}
        for algorithm in ALGORITHMS:
            stated = fields.get(algorithm)
            where = (*place, algorithm)
            if isinstance(stated, dict):
                found[algorithm] = {name: self._digest((*where, name), each, algorithm) for name, each in stated.items()}
            elif stated is not None:
                found[algorithm] = self._digest(where, stated, algorithm)
        return found

    def _digest(self, place: Place, value: Any, algorithm: str) -> str:
        if not isinstance(value, str) or not HASH.fullmatch(value):
            hint = f"as {ALGORITHMS[algorithm]} prints them"
            self._fail(place, f"is {_kind(value)}, expected 64 hexadecimal digits in quotes", hint)
        return value

    def _output(self, value: Any) -> Output:
        place = ("output",)
        fields = self._table(place, {} if value is None else value, OUTPUT)
        path = fields.get("path")
        rank, energy, most = fields.get("rank"), self._number((*place, "energy"), fields.get("energy")), fields.get("budget")
        if rank is not None and type(rank) is not int:
            self._fail((*place, "rank"), f"is {_kind(rank)}, expected a whole number")
        if most is not None:
            if type(most) not in (int, str):
                self._fail((*place, "budget"), f"is {_kind(most)}, expected a number such as 500k, 2M (parameters) or 8MB (bytes)")
            most = self._at((*place, "budget"), spelled, str(most))
        if rank is not None or energy is not None or most is not None:
            self._at(place, check_cut, rank, energy, None if most is None else 1)
        names = {
            **{short: short for short in FLOATS},
            **{long: short for short, long in FLOATS.items()},
            "bf16": "BF16",
            "fp16": "F16",
        }
        dtype = self._choice((*place, "dtype"), fields.get("dtype"), names)
        exact = self._truth((*place, "exact"), fields.get("exact"))
        return Output(
            None if path is None else self._text((*place, "path"), path), names[dtype] if dtype else None, rank, energy, most, exact
        )

    def _push(self, value: Any) -> Push | None:
        if value is None:
            return None
        fields = self._table(("push",), value, PUSH, ("repo",))
        repo = self._text(("push", "repo"), fields["repo"])
        if not REPO.fullmatch(repo):
            self._fail(("push", "repo"), f"is {repo!r}, expected owner/name")
        private = fields.get("private")
        return Push(repo, None if private is None else self._truth(("push", "private"), private))

    def _text(self, place: Place, value: Any) -> str:
        if not isinstance(value, str) or not value or "\0" in value:
            self._fail(place, f"is {_kind(value)}, expected text", "text that looks like something else goes in quotes")
        return value

    def _number(self, place: Place, value: Any) -> float | None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            self._fail(place, f"is {_kind(value)}, expected a number")
        return None if value is None else float(value)

    def _truth(self, place: Place, value: Any) -> bool:
        if value is not None and not isinstance(value, bool):
            self._fail(place, f"is {_kind(value)}, expected true or false")
        return bool(value)

    def _choice(self, place: Place, value: Any, known: Collection[str]) -> str | None:
        if value is not None and (not isinstance(value, str) or value not in known):
            self._fail(place, f"is {_kind(value)}, expected one of {', '.join(known)}", nearest(str(value), known))
        chosen: str | None = value
        return chosen


def _kind(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return "missing" if value is None else json.dumps(value)[:SHOWN]


def _shown(name: str) -> str:
    """A name from a stranger, as a message may print it."""
    return name[:SHOWN] if name.isprintable() else repr(name)[:SHOWN]
