"""Manifests are read as strictly as strangers' files, though their seals fit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus import write_adapter
from tiny_models import write_base, write_tuned
from turns import ALL

import adapterops as ao
from adapterops.cli.main import run
from adapterops.errors import InputError
from adapterops.provenance.manifest import seal
from adapterops.provenance.reader import read_manifest
from adapterops.storage.outputs import MANIFEST

MISSING = "missing"
EACH = 1 if ALL else 4
"""Of so many values one is put in a place."""

VALUES: list[Any] = [
    MISSING,
    None,
    7,
    -1,
    1.5,
    True,
    "text",
    [],
    [7],
    {},
    {"a": 7},
    {"../a": {"size": 1, "blake3": "0" * 64}},
]


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The manifest with a change, sealed anew."""
    content = json.loads((folder / MANIFEST).read_text())
    change(content)
    (folder / MANIFEST).write_text(json.dumps({**content, "seal": seal(content)}))


def asking(folder: Path, request: Any) -> None:
    """The manifest with another request."""
    changed(folder, lambda content: content.update(request=request))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    ao.save_adapter(2 * ao.open_adapter(write_adapter(tmp_path / "a")), tmp_path / "out")
    return tmp_path / "out"


def test_what_was_written_is_read(output: Path, tmp_path: Path) -> None:
    content = read_manifest(output)
    assert content
    assert content["outputs"].keys() == {"adapter_model.safetensors", "adapter_config.json"}
    assert read_manifest(tmp_path / "a") is None


def test_a_seal_that_does_not_fit(output: Path) -> None:
    (output / MANIFEST).write_text((output / MANIFEST).read_text().replace("LORA", "lora").replace('"a"', '"b"'))
    with pytest.raises(InputError, match="its checksum does not match"):
        read_manifest(output)


@pytest.mark.parametrize("name", ["", "..", "../x", "/x", "a/", "a//b", "a/../b", "./a", "a\\b", "a\0b"])
def test_outputs_have_plain_names(output: Path, name: str) -> None:
    changed(output, lambda content: content["outputs"].update({name: {"size": 1, "blake3": "0" * 64}}))
    with pytest.raises(InputError, match="not the name of a file"):
        read_manifest(output)


def nodes(content: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place, *(each for key, value in inner for each in nodes(value, (*place, key)))]


@pytest.mark.parametrize("command", ["verify", "push"])
def test_every_field_may_be_anything(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever stands anywhere in a manifest: a documented exit code, and no traceback. Of the values each command gets others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("adapterops.hub.package._license", lambda given: None)
    monkeypatch.setattr("adapterops.hub.pushing.there_now", lambda *_: None)
    write_base(Path("base"), layers=1)
    write_tuned(Path("a"), layers=1)
    assert run(["fuse", "base", "a", "-o", "out"]) == 0
    whole = (tmp_path / "out" / MANIFEST).read_text()
    arguments = {"verify": ["verify", "out"], "push": ["push", "out", "me/out", "--dry-run"]}[command]
    for number, place in enumerate(nodes(json.loads(whole))):
        for value in VALUES[(number + (command == "push")) % EACH :: EACH] if place else ():

            def change(content: Any, place: tuple[Any, ...] = place, value: Any = value) -> None:
                for key in place[:-1]:
                    content = content[key]
                if value == MISSING:
                    del content[place[-1]]
                else:
                    content[place[-1]] = value

            (tmp_path / "out" / MANIFEST).write_text(whole)
            changed(tmp_path / "out", change)
            capsys.readouterr()
            assert run(arguments) in (0, 2, 3, 4, 5, 8), (place, value, capsys.readouterr().err)


WRONG: dict[str, Any] = {
    "unknown": {"surprise": 1},
    "a list": [],
    "a number": {"result": 7},
    "text": {"unfuse": "yes"},
    "truth for a number": {"seed": True},
    "no path": {"base": {"blake3": "0" * 64}},
    "path": {"inputs": {"a": {"path": 7}}},
    "input": {"inputs": {"a": None}},
    "output": {"output": {"rank": "four"}},
    "unknown output": {"output": {"surprise": 1}},
}
READING = {
    "verify": ["verify", "out"],
    "verify with all": ["verify", "out", "--base", "base", "--adapter", "a"],
    "push": ["push", "out", "me/out", "--dry-run"],
    "card": ["card", "out"],
    "diagnose": ["diagnose", "out", "--base", "base"],
    "unfuse": ["unfuse", "out", "a", "-o", "new", "--force"],
    "extract": ["extract", "out", "--base", "base", "--rank", "1", "-o", "new", "--force"],
    "show": ["show", "out"],
    "compare": ["compare", "a", "a", "--base", "out"],
    "finalize": ["finalize", "out"],
}
NOT_ASKED = {"diagnose", "extract", "show", "compare"}
"""They read the tensors, and take nothing from a manifest that they would have to believe."""


@pytest.mark.parametrize("command", READING)
def test_a_request_that_is_none(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("adapterops.hub.package._license", lambda given: None)
    monkeypatch.setattr("adapterops.hub.pushing.there_now", lambda *_: None)
    write_base(Path("base"), layers=1)
    write_tuned(Path("a"), layers=1)
    assert run(["fuse", "base", "a", "-o", "out"]) == 0
    whole = json.loads((tmp_path / "out" / MANIFEST).read_text())
    for name, wrong in WRONG.items():
        asking(tmp_path / "out", {**whole["request"], **wrong} if isinstance(wrong, dict) else wrong)
        capsys.readouterr()
        code = run(READING[command])
        shown = capsys.readouterr()
        if command in NOT_ASKED:
            assert code in (0, 4), (name, shown.err)
            continue
        assert code == (8 if command == "verify with all" else 3), (name, shown.err)
        assert "request" in shown.out + shown.err


IMPOSSIBLE: dict[str, Any] = {
    "rounding": {"rounding": "sideways"},
    "method": {"result": "sorcery(a)"},
    "formula": {"result": "a +* 2"},
    "scheme": {"quantize": "nf5"},
}


@pytest.mark.parametrize("command", ["verify", "push", "card"])
def test_a_request_that_cannot_be_done(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody typed it: an output that says so is damaged, and is neither sent nor described."""
    monkeypatch.chdir(tmp_path)
    write_base(Path("base"), layers=1)
    write_tuned(Path("a"), layers=1)
    assert run(["fuse", "base", "a", "-o", "out"]) == 0
    whole = json.loads((tmp_path / "out" / MANIFEST).read_text())
    for name, wrong in IMPOSSIBLE.items():
        asking(tmp_path / "out", {**whole["request"], **wrong})
        capsys.readouterr()
        assert run(READING[command]) == 3, name
        shown = capsys.readouterr()
        assert MANIFEST in shown.err
        assert not shown.out


@pytest.mark.parametrize("kind", ["folder", "link", "pipe", "deep", "huge number"])
def test_a_manifest_that_is_no_file(output: Path, kind: str) -> None:
    path = output / MANIFEST
    path.unlink()
    {
        "folder": path.mkdir,
        "link": lambda: path.symlink_to("nowhere"),
        "pipe": lambda: os.mkfifo(path),
        "deep": lambda: path.write_text('{"a":' * 900 + "1" + "}" * 900),
        "huge number": lambda: path.write_text('{"schema": ' + "9" * 400 + "}"),
    }[kind]()
    with pytest.raises(ao.AdapterOpsError):
        read_manifest(output)


@pytest.mark.parametrize("value", [7, "text", [0.5], {"q": "half"}, {"q": True}])
def test_multipliers_are_numbers(value: Any, output: Path) -> None:
    changed(output, lambda content: content["operation"].update({"multipliers": value}))
    with pytest.raises(InputError, match="multipliers"):
        read_manifest(output)
