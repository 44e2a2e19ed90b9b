"""What is in a manifest, and what is told of its inputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_models import write_base, write_tuned

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("command", [["merge"], ["fuse", "base"]])
def test_an_adapter_that_is_given_twice(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    write_base(tmp_path / "base")
    shutil.copytree(write_tuned(tmp_path / "a"), tmp_path / "copy")
    write_tuned(tmp_path / "b", seed=1)
    assert run([*command, "a", "b", "-o", "good"]) == 0
    assert "byte for byte" not in capsys.readouterr().err
    assert run([*command, "a", "copy", "-o", "out"]) == 0
    assert "warning: a and copy are the same files, byte for byte, and count as two adapters" in capsys.readouterr().err
    assert run([*command, "a", "a", "-o", "again", "--strict"]) == 3
    assert not (tmp_path / "again").exists()
