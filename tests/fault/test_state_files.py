"""What runs note for one another, with checksums that fit and values that do not: never a traceback, and never other weights."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from corpus import tree
from interrupted import remove
from tiny_models import write_base, write_tuned

from adapterops.cli.main import run
from adapterops.storage import staging
from adapterops.storage.checksums import digest
from adapterops.storage.journal import JOURNAL, line

COMMANDS = {
    "a model": ["fuse", "base", "a", "-o", "out"],
    "an adapter": ["truncate", "a", "--budget", "100", "-o", "out"],
    "a merge": ["merge", "a", "b", "--ties", "--convention", "paper", "-o", "out"],
    "a difference": ["extract", "fused", "--base", "base", "--rank", "1", "-o", "out"],
    "a verification": ["verify", "out", "--base", "base", "--adapter", "a"],
}
VALUES: list[Any] = [None, True, -1, 10**30, 0.5, "x", "0x1p99999", [], [1], ["a"], {}]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("prepared")
    write_base(place / "base", layers=1)
    write_tuned(place / "a", layers=1)
    write_tuned(place / "b", layers=1, seed=1)
    with pytest.MonkeyPatch.context() as there:
        there.chdir(place)
        assert run(["fuse", "base", "a", "-o", "fused"]) == 0
    return place


@pytest.fixture
def place(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changes(content: Any, depth: int = 3) -> Iterator[dict[str, Any]]:
    """A value with each place in it, to a depth, left out or something else, in turn."""
    for number, where in enumerate(_places(content, depth)):
        changed = copy.deepcopy(content)
        holder = changed
        for key in where[:-1]:
            holder = holder[key]
        if number % 3:
            holder[where[-1]] = VALUES[number % len(VALUES)]
        else:
            del holder[where[-1]]
        yield changed


def _places(value: Any, depth: int) -> Iterator[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside if depth else ():
        yield (key,)
        yield from ((key, *rest) for rest in _places(each, depth - 1))


def weights(folder: Path) -> dict[str, str]:
    return {name: each for name, each in tree(folder).items() if name.endswith(".safetensors")}


def check(go_on: Callable[[], int], whole: dict[str, str] | None, capsys: pytest.CaptureFixture[str]) -> None:
    """It is done, or refused with what to do."""
    code = go_on()
    said = capsys.readouterr().err
    assert code in {0, 3, 4, 5, 8}, said
    assert "Traceback" not in said
    if code == 0 and whole is not None:
        assert weights(Path("out")) == whole
    remove(Path("out"))


@pytest.mark.parametrize("kind", COMMANDS)
def test_parts(place: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan, the records, what was measured for all, and what was found."""
    command, proves = COMMANDS[kind], kind == "a verification"
    if proves:
        shutil.copytree("fused", "out")
    assert run([*command, "--part", "1/1"]) == 0
    (place / "left").mkdir()
    for folder in place.glob(".out.*"):
        folder.rename(place / "left" / folder.name)
    remove(place / "out")
    whole = None
    if not proves:
        assert run(command) == 0
        whole = weights(place / "out")
        remove(place / "out")
    for path in sorted((place / "left").rglob("*.json")):
        inside = path.relative_to(place / "left")
        stored = json.loads(path.read_bytes())
        of_part = "entry" not in stored
        for number, changed in enumerate(
            changes(stored if of_part else stored["entry"], 1 if inside.name == "plan.json" else 3)
        ):
            shutil.copytree("left", ".", dirs_exist_ok=True)
            if proves:
                shutil.copytree("fused", "out")
            if of_part:
                found = json.dumps(changed).encode()
                record = inside.parents[1] / "records" / f"{inside.name}.json"
                entry = json.loads(record.read_bytes())["entry"]
                inside.write_bytes(found)
                record.write_bytes(line({**entry, "blake3": digest(found)}))
            else:
                inside.write_bytes(line(changed))
            again = ["finalize", "out"] if number % 2 or inside.name == "plan.json" else [*command, "--part", "1/1"]
            check(lambda again=again: run(again), whole if again[0] == "finalize" else None, capsys)
            for folder in place.glob(".out.*"):
                remove(folder)


def test_a_journal(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(COMMANDS["a model"]) == 0
    whole = weights(place / "out")
    remove(place / "out")

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(staging, "publish", stop)
        assert run(COMMANDS["a model"]) == 130
    (left,) = place.glob(".out.adapterops-*")
    lines = (left / JOURNAL).read_bytes().splitlines(keepends=True)
    kept = left.rename(place / "left")
    for number, text in enumerate(lines):
        for changed in changes(json.loads(text)["entry"]):
            shutil.copytree(kept, left)
            (left / JOURNAL).write_bytes(b"".join([*lines[:number], line(changed), *lines[number + 1 :]]))
            check(lambda: run([*COMMANDS["a model"], "--resume"]), whole, capsys)
