"""The character NUL, which no path has: whoever asks for one is told so, and no command ends as if the fault were ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from corpus import factors, write_adapter

import adapterops as ao
from adapterops.cli.commands import cli
from adapterops.cli.main import run
from adapterops.errors import OptionError

BAD = "a\0b"


def test_every_command_says_so_of_every_argument(capsys: pytest.CaptureFixture[str]) -> None:
    names = cli.list_commands(click.Context(cli))
    assert len(names) > 20
    for name in names:
        for arguments in ([BAD], ["x", "-o", BAD], ["x", f"--base={BAD}"]):
            assert run([name, *arguments]) == 2, (name, arguments)
            assert "has the character NUL" in capsys.readouterr().err


@pytest.fixture
def adapter(tmp_path: Path) -> ao.Adapter:
    write_adapter(tmp_path / "a", factors(["q"]))
    return ao.open_adapter(tmp_path / "a")


DOORS: dict[str, Callable[[ao.Adapter], Any]] = {
    "open_adapter": lambda a: ao.open_adapter(BAD),
    "open_checkpoint": lambda a: ao.open_checkpoint(BAD),
    "inspect": lambda a: ao.inspect(BAD),
    "save_adapter": lambda a: ao.save_adapter(a, BAD),
    "read_recipe": lambda a: ao.read_recipe(BAD),
    "run_recipe": lambda a: ao.run_recipe(BAD),
    "push": lambda a: ao.push(BAD, "owner/name", dry_run=True),
    "report": lambda a: ao.report([a], f"{BAD}.html"),
    "split": lambda a: ao.split(BAD, "out"),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_of_the_library_says_so(door: str, adapter: ao.Adapter) -> None:
    with pytest.raises(OptionError, match="NUL"):
        DOORS[door](adapter)
