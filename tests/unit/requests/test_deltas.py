"""What a delta may name; how it comes and goes is tried in tests/interop/test_deltas.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterops.errors import InputError
from adapterops.requests.deltas import _check_name, _safe

REVISION = "a" * 40
GOOD = {
    "inputs": {"a": {"path": "adapters/a"}, "b": {"path": f"hf://me/b@{REVISION}"}},
    "result": "a + b",
    "base": {"path": f"hf://me/base@{REVISION}"},
}


def test_commits_and_adapters_that_came_along() -> None:
    assert _safe({"schema": 1, "request": GOOD}, Path("delta")).base


@pytest.mark.parametrize(
    ("stated", "fact"),
    [
        (None, "no delta of schema 1"),
        ({"schema": 2, "request": GOOD}, "no delta of schema 1"),
        ({"schema": 1}, "no delta of schema 1"),
        ({"schema": 1, "request": {**GOOD, "allow_pickle": True}}, "pickles"),
        ({"schema": 1, "request": {**GOOD, "base": {"path": "adapters/a"}}}, "neither a commit"),
        ({"schema": 1, "request": {**GOOD, "base": {"path": "hf://me/base@main"}}}, "neither a commit"),
    ],
)
def test_what_else_it_names_is_refused(stated: object, fact: str) -> None:
    with pytest.raises(InputError, match=fact):
        _safe(stated, Path("delta"))


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../x", "a/b/c", "", ".x", "a//b", "a\nb"])
def test_no_file_is_written_elsewhere(name: str) -> None:
    with pytest.raises(InputError):
        _check_name(name, Path("delta"))
    _check_name("text_encoder/model.safetensors", Path("delta"))
