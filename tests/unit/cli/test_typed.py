"""What the manifest keeps of a command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from adapterops.cli.typed import again, command_line


@contextmanager
def typed(line: str) -> Iterator[None]:
    """In a command of those arguments."""
    group = click.Context(click.Group(), obj=line.split())
    with click.Context(click.Command("fuse"), parent=group).scope():
        yield


def test_a_command_line_is_kept_without_the_machine_it_ran_on() -> None:
    arguments = "fuse /home/me/base a --alpha=3 --original=/home/me/full -o /tmp/x --output=y -oz --workers 3 --force --json -w 0.5"
    with typed(arguments):
        assert command_line() == ["adapterops", "fuse", "base", "a", "--alpha=3", "--original=full", "-w", "0.5"]


def test_a_command_with_another_value_of_an_option() -> None:
    with typed("merge a b --scale auto --dry-run -o out"):
        assert again("--scale", "sum") == "adapterops merge a b -o out --scale sum"
