"""Prints commands.md from the commands themselves: `python docs/commands.py > docs/commands.md`."""

from __future__ import annotations

import click

from adapterops.cli.commands import COMMANDS, Commands, cli

WIDTH = 120


def commands() -> str:
    assert isinstance(cli, Commands)
    parts = ["# Commands\n\nWhat `adapterops COMMAND --help` says of each.\n"]
    for name in COMMANDS:
        context = click.Context(cli, info_name="adapterops", help_option_names=["-h", "--help"])
        command = cli.get_command(context, name)
        assert command is not None
        text = command.get_help(
            click.Context(command, info_name=name, parent=context, max_content_width=WIDTH, terminal_width=WIDTH)
        )
        parts.append(f"## {name}\n\n```\n{text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(commands(), end="")
