"""adapterops.json, read: as strictly as a stranger's file, for a seal that fits proves arithmetic and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from adapterops.errors import InputError, at
from adapterops.provenance.manifest import SCHEMA, seal
from adapterops.storage.checksums import BLAKE3, SHA256
from adapterops.storage.outputs import MANIFEST_LIMIT, manifest_of, plain_name
from adapterops.storage.strict import read_json

HASH = re.compile(r"[0-9a-f]{64}")
NEEDED = ("command", "inputs", "operation", "outputs")
SURVIVAL = ("relative", "gain", "changed", "entries", "uncertainty", "noise", "cosine")
FIGURES = (*SURVIVAL, "rank", "energy_kept")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of an output; None where there is none.

    Raises:
        InputError: it is damaged, or a field that is used somewhere is not what `write_manifest` writes.
    """
    path = manifest_of(folder)
    if not os.path.lexists(path):
        return None
    with at(path=path):
        content = read_json(path, MANIFEST_LIMIT)
        if not isinstance(content, dict) or content.get("seal") != seal(content):
            _fail("is damaged: its checksum does not fit its content")
        if content.get("schema") != SCHEMA:
            _fail(f"has schema {content.get('schema')!r}, expected {SCHEMA}")
        for name in NEEDED:
            if name not in content:
                _fail(f"has no {name}")
        _texts(content, "command")
        _each(content, "outputs", _output)
        inputs = _list(content["inputs"], "inputs")
        for index, given in enumerate(inputs):
            _input(given, f"inputs {index}")
        _operation(content["operation"], len(inputs))
        _numbers(content, ("energy_kept",), "the manifest")
        if "survival" in content:
            _numbers(content["survival"], SURVIVAL, "survival", needed=("relative", "gain"))
        figure = ("energy_kept",) if "energy_kept" in content else ("gain",) if "survival" in content else ()
        _each(content, "modules", lambda name, value: _numbers(value, FIGURES, name, needed=figure))
        _table(content.get("request", {}), "request")
        return content


def _fail(fact: str) -> NoReturn:
    raise InputError(fact, hint="make the output again", code="E-MANIFEST")


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        _fail(f"{where} is {_shown(value)}, expected fields")
    return dict(value)


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        _fail(f"{where} is {_shown(value)}, expected a list")
    return list(value)


def _each(content: Mapping[str, Any], field: str, check: Callable[[str, Any], object]) -> None:
    for name, value in _table(content.get(field, {}), field).items():
        check(name, value)


def _texts(content: Mapping[str, Any], field: str) -> None:
    if not all(isinstance(each, str) for each in _list(content.get(field, []), field)):
        _fail(f"{field} holds something other than text")


def _output(name: str, stated: Any) -> None:
    if not all(map(plain_name, name.split("/"))):  # a file of a folder in this one
        _fail(f"outputs names {name[:80]!r}, which is not the name of a file in this folder")
    _file(name, stated)


def _file(name: str, stated: Any) -> None:
    fields = _table(stated, name)
    size = fields.get("size")
    if type(size) is not int or size < 0:
        _fail(f"the size of {name[:80]} is {_shown(size)}, expected a whole number")
    for algorithm in (BLAKE3, SHA256):
        if algorithm in fields and not (isinstance(fields[algorithm], str) and HASH.fullmatch(fields[algorithm])):
            _fail(f"the {algorithm} of {name[:80]} is {_shown(fields[algorithm])}, expected 64 hexadecimal digits")
    if BLAKE3 not in fields:
        _fail(f"{name[:80]} has no {BLAKE3}")


def _input(given: Any, where: str) -> None:
    fields = _table(given, where)
    for field in ("path", "reference", "revision"):
        if not isinstance(fields.get(field, ""), str):
            _fail(f"{where}: {field} is {_shown(fields[field])}, expected text")
    if "path" not in fields or ("reference" in fields) != ("revision" in fields):
        _fail(f"{where} has no path, or one of reference and revision without the other")
    _each(fields, "files", _file)


def _operation(node: Any, inputs: int) -> None:
    fields = _table(node, "operation")
    if "input" in fields:
        number = fields["input"]
        if type(number) is not int or not 0 <= number < inputs:
            _fail(f"operation: input is {_shown(number)}, expected the number of one of {inputs}")
        return
    if not isinstance(fields.get("operation"), str):
        _fail(f"operation: its name is {_shown(fields.get('operation'))}, expected text")
    multipliers = _table(fields.get("multipliers", {}), "multipliers")
    _numbers(multipliers, tuple(multipliers), "multipliers")
    for inner in _list(fields.get("inputs", []), f"{fields['operation'][:80]}: inputs"):
        _operation(inner, inputs)


def _numbers(value: Any, names: tuple[str, ...], where: str, needed: tuple[str, ...] = ()) -> None:
    fields = _table(value, where)
    for name in needed:
        if name not in fields:
            _fail(f"{where[:80]} has no {name}")
    for name in names:
        number = fields.get(name)
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            _fail(f"{where[:80]}: {name} is {_shown(number)}, expected a number")


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)[:80]
