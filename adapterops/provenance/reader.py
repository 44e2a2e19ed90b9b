"""adapterops.json, read: as strictly as a stranger's file, for a seal that fits proves arithmetic and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from adapterops.errors import InputError, at
from adapterops.provenance.manifest import SCHEMA, seal
from adapterops.regex import Regex
from adapterops.storage.checksums import BLAKE3, SHA256
from adapterops.storage.outputs import MANIFEST_LIMIT, manifest_of, plain_name
from adapterops.storage.strict import read_json

HASH = Regex(r"[0-9a-f]{64}")
NEEDED = ("command", "inputs", "operation", "outputs")
SURVIVAL = ("relative", "gain", "changed", "entries", "uncertainty", "noise", "cosine")
FIGURES = (*SURVIVAL, "rank", "energy_kept")

TEXT, NUMBER, TRUTH, TABLE = (str,), (int, float), (bool,), (dict,)
PATH = (str, dict)
REQUEST: Mapping[str, tuple[type, ...]] = {
    "inputs": TABLE, "result": TEXT, "base": PATH, "extract": TABLE, "original": PATH, "base_view": TEXT,
    "rounding": TEXT, "seed": NUMBER, "grams": PATH, "precision": TEXT, "quantize": (str, dict), "stack": (list,),
    "output": TABLE, "allow_base_mismatch": TRUTH, "unfuse": TRUTH, "dequantize": TRUTH, "accept_loss": TRUTH,
    "allow_pickle": TRUTH,
}  # fmt: skip
"""The fields of a request, and what JSON has of each; `requests.reading` says what they mean."""

OUTPUT: Mapping[str, tuple[type, ...]] = {
    "dtype": TEXT, "format": TEXT, "adapter": TRUTH, "names": TEXT, "normalize": TRUTH, "rank": NUMBER,
    "energy": NUMBER, "budget": (str, int), "exact": TRUTH, "max_shard_size": (str, int),
    "tensor_types": (list,),
}  # fmt: skip
"""The fields of its output."""

WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "fields", list: "a list"}


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
            _fail("is damaged: its checksum does not match its content")
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
        _request(content.get("request", {}))
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
    _numbers(fields, ("condition",), "operation")
    for each in _list(fields.get("held", []), "held"):
        if each is not None:
            _numbers(each, ("kept", "added", "error"), "held", ("kept", "added"))
    for inner in _list(fields.get("inputs", []), f"{fields['operation'][:80]}: inputs"):
        _operation(inner, inputs)


def _request(value: Any) -> None:
    """What every reader of a manifest may take for granted; whether the request can be done, who does it asks."""
    fields = _typed(value, REQUEST, "request")
    _typed(fields.get("output", {}), OUTPUT, "request: output")
    models = {name: fields[name] for name, kind in REQUEST.items() if kind is PATH and name in fields}
    for name, model in {**models, **fields.get("inputs", {})}.items():
        path = model.get("path") if isinstance(model, dict) else model
        if not isinstance(path, str):
            _fail(f"request: the path of {name[:80]} is {_shown(path)}, expected text")


def _typed(value: Any, known: Mapping[str, tuple[type, ...]], where: str) -> Mapping[str, Any]:
    fields = _table(value, where)
    for name, each in fields.items():
        if name not in known:
            _fail(f"{where} has a field {name[:80]!r}, which is not known")
        if type(each) not in known[name]:
            _fail(f"{where}: {name} is {_shown(each)}, expected {' or '.join(map(WORDS.__getitem__, known[name]))}")
    return fields


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
