"""Fixtures of the tests that disturb `fuse`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Command
from corpus import tree
from interrupted import COMMAND, Fuse
from tiny_models import write_base, write_tuned

from adapterops.cli.main import run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a model `base` and an adapter `a`, as the current one; nothing may happen to them."""
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `COMMAND` writes in a `place` where nothing happens."""
    folder, before = tmp_path_factory.mktemp("whole"), os.getcwd()
    write_base(folder / "base")
    write_tuned(folder / "a")
    os.chdir(folder)
    ended = Command(COMMAND).end()
    os.chdir(before)
    assert ended.code == 0, ended
    return tree(folder / "out")


@pytest.fixture
def fuse(capsys: pytest.CaptureFixture[str]) -> Fuse:
    """Runs the command in this process: exit code, and what it said on stderr."""

    def run_here(*more: str, command: list[str] = COMMAND) -> tuple[int, str]:
        arguments = [*command, *more]
        capsys.readouterr()
        return run(arguments), capsys.readouterr().err

    return run_here
