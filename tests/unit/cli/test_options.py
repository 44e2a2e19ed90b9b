"""Several options as one value."""

from __future__ import annotations

import click
from click.testing import CliRunner

from adapterops.cli.options import group


def test_a_command_gets_what_is_made_of_the_options_of_a_group() -> None:
    @click.command()
    @group("both", lambda left, right: left + right, click.option("--left"), click.option("--right"))
    @click.option("--other")
    def command(both: str, other: str) -> None:
        click.echo(f"{both} {other}")

    done = CliRunner().invoke(command, ["--left", "a", "--right", "b", "--other", "c"])
    assert done.output == "ab c\n"
