"""What an error says, its exit code, and the place that is added to it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from adapterops import errors
from adapterops.errors import AdapterOpsError, InputError, ShapeError, UnsupportedError, at

CODES = {"OptionError": 2, "InputError": 3, "IncompatibleError": 4, "ShapeError": 4, "UnsupportedError": 4}
CODES |= {
    "NotFoundError": 5,
    "OutputExistsError": 6,
    "ResourceError": 7,
    "DiskError": 7,
    "VerificationError": 8,
    "UnjudgedError": 9,
}


def test_every_error_has_its_exit_code_and_a_name_of_its_own() -> None:
    kinds = {
        name: each
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, AdapterOpsError) and each is not AdapterOpsError
    }
    assert {name: each.exit_code for name, each in kinds.items()} == CODES
    assert len({each.default_code for each in kinds.values()}) == len(kinds)
    assert not any(issubclass(each, KeyError) for each in kinds.values()), "a mapping would swallow it"


def test_place_fact_and_remedy() -> None:
    error = InputError("is empty", path="a/b", tensor="w", hint="save it again", code="E-KEY")
    assert str(error) == "a/b: w: is empty\n  save it again"
    assert str(InputError("is empty")) == "is empty"
    assert error.as_json() == {
        "code": "E-KEY",
        "message": "is empty",
        "hint": "save it again",
        "path": "a/b",
        "tensor": "w",
    }
    assert UnsupportedError("x", details={"n": 1}).as_json()["details"] == {"n": 1}


def test_a_place_is_added_where_there_is_none() -> None:
    with pytest.raises(ShapeError) as caught, at(path="file", tensor="outer", hint="outer"), at(tensor="inner"):
        raise ShapeError("differ")
    assert (caught.value.path, caught.value.tensor, caught.value.hint) == ("file", "inner", "outer")
    with pytest.raises(ValueError, match="other"), at(path="file"):
        raise ValueError("other")


READING = ("formats/**/*.py", "updates/*.py")
"""The files that read adapters and models."""


def test_what_is_wrong_with_an_input_comes_with_a_way_on() -> None:
    package = Path(errors.__file__).parent
    refusals = [
        (path.relative_to(package), node.lineno, {keyword.arg for keyword in node.keywords})
        for pattern in READING
        for path in sorted(package.glob(pattern))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"InputError", "UnsupportedError"}
    ]
    assert len(refusals) > 100
    assert [(str(path), line) for path, line, given in refusals if "hint" not in given] == []
