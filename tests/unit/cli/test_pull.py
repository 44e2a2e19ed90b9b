"""`pull`: a folder as the Hub has it, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from corpus import write_adapter
from hub_server import Hub

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]
FILES = ["adapter_config.json", "adapter_model.safetensors"]


@pytest.fixture
def commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Hub) -> str:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return hub.put("me/a", write_adapter(tmp_path / "a"))


def test_files_are_those_of_the_commit(commit: str, tmp_path: Path, capsys: Capture) -> None:
    assert run(["pull", "me/a", "-v"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("wrote a: 2 files, ")
    assert first.endswith(f", of me/a at {commit}")
    assert sorted(line.strip() for line in rest) == FILES
    assert all(Path("a", name).read_bytes() == (tmp_path / "a" / name).read_bytes() for name in FILES)
    assert run(["pull", "me/a"]) == 6, "what is there is not replaced"


def test_a_plan_writes_nothing(commit: str, tmp_path: Path, capsys: Capture) -> None:
    assert run(["pull", "me/a", "--dry-run", "--json", "-o", "there"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["dry_run"], found["path"], found["revision"]) == ("pull", True, "there", commit)
    assert sorted(found["files"]) == FILES
    assert found["bytes"] == sum((tmp_path / "a" / name).stat().st_size for name in FILES)
    assert run(["pull", "me/a", "--dry-run", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("would write a: ")
    assert list(Path.cwd().iterdir()) == []
    assert run(["pull", "me/a", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
