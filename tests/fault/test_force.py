"""--force replaces what adapterops wrote and nothing else, whatever the command."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from corpus import tree
from interrupted import names

from adapterops.cli.main import run

COMMANDS = {
    "merge": ["merge", "a", "a", "-w", "1", "-w", "1", "-o", "out"],
    "truncate": ["truncate", "a", "--rank", "1", "-o", "out"],
    "calc": ["calc", "2*a", "a=a", "-o", "out"],
    "fuse": ["fuse", "base", "a", "-o", "out"],
    "unfuse": ["unfuse", "base", "a", "-o", "out"],
    "extract": ["extract", "other", "--base", "base", "--rank", "1", "-o", "out"],
    "quantize": ["quantize", "base", "--to", "int8", "-o", "out"],
    "report": ["report", "a", "-o", "page.html", "--figures", "out"],
}


def empty(out: Path) -> None:
    out.mkdir()
    (out / "adapterops.json").write_text("{}")
    (out / "thesis.txt").write_text("mine")


def unreadable(out: Path) -> None:
    empty(out)
    (out / "adapterops.json").write_text('{"outputs": {"thesis.txt": 1}')


def added(name: str) -> Callable[[Path], None]:
    def add(out: Path) -> None:
        assert run(["truncate", "a", "--rank", "2", "-o", str(out)]) == 0
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")

    return add


def link(out: Path) -> None:
    assert run(["truncate", "a", "--rank", "2", "-o", str(out)]) == 0
    os.replace(out / "adapter_config.json", out.parent / "mine.json")
    (out / "adapter_config.json").symlink_to("../mine.json")


def named(out: Path) -> None:
    """A file of somebody's, which the manifest was edited to name."""
    added("thesis.txt")(out)
    content = json.loads((out / "adapterops.json").read_text())
    content["outputs"]["thesis.txt"] = content["outputs"]["adapter_config.json"]
    (out / "adapterops.json").write_text(json.dumps(content))


def changed(out: Path) -> None:
    assert run(["truncate", "a", "--rank", "2", "-o", str(out)]) == 0
    (out / "adapter_config.json").write_text((out / "adapter_config.json").read_text().replace("lora", "LORA"))


PEOPLE_S = {
    "a manifest of something else": empty,
    "a damaged one": unreadable,
    "a file": added("notes.txt"),
    "a hidden file": added(".notes"),
    "a card of one's own": added("README.md"),
    "a folder": added("checkpoint/notes.txt"),
    "a link": link,
    "a file that the manifest was edited to name": named,
    "a change of a file": changed,
}


@pytest.mark.parametrize("make", PEOPLE_S.values(), ids=PEOPLE_S)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_people_added_is_not_deleted(
    place: Path, capsys: pytest.CaptureFixture[str], command: str, make: Callable[[Path], None]
) -> None:
    if command == "extract":
        assert run(["fuse", "base", "a", "-o", "other"]) == 0
    make(place / "out")
    before, there = tree(place), names(place)
    assert run([*COMMANDS[command], "--force"]) == 6
    assert "--force does not replace it" in capsys.readouterr().err
    assert (tree(place), names(place)) == (before, there)


def test_what_is_added_while_the_work_is_done(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(COMMANDS["truncate"]) == 0
    real = os.fsync

    def fsync(descriptor: int) -> None:
        (place / "out/notes.txt").write_text("mine")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert run([*COMMANDS["truncate"], "--force"]) == 6
    assert (place / "out/notes.txt").read_text() == "mine"
    assert names(place) == {"a", "base", "out"}


@pytest.mark.parametrize("command", COMMANDS)
def test_its_own_output_is_replaced(place: Path, command: str) -> None:
    if command == "extract":
        assert run(["fuse", "base", "a", "-o", "other"]) == 0
    for _ in range(2):
        assert run([*COMMANDS[command], "--force"]) == 0
    assert "outputs" in json.loads((place / "out/adapterops.json").read_text())
