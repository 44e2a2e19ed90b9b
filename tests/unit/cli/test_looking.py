"""Options of commands that only read."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from adapterops.cli.looking import Looking, looking, sarif
from adapterops.errors import OutputExistsError


@click.command()
@sarif
@looking
def command(sarif: Path | None, looking: Looking) -> None:
    click.echo(f"{sarif} {looking}")


def test_options_become_one_value() -> None:
    done = CliRunner().invoke(command, ["--alpha", "8", "--workers", "2", "--json"])
    assert done.output == f"None {Looking(8.0, False, 2, None, True)}\n"


def test_another_file_is_not_replaced_by_a_log(tmp_path: Path) -> None:
    other = tmp_path / "notes.sarif"
    other.write_text("mine")
    with pytest.raises(OutputExistsError):
        CliRunner().invoke(command, ["--sarif", str(other)], catch_exceptions=False)
