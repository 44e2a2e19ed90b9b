"""The command that was typed: as the manifest notes it, and to be done again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

HIDDEN = {
    "-o": 1,
    "--output": 1,
    "--workers": 1,
    "--memory": 1,
    "--part": 1,
    "--engine": 1,
    "--address": 1,
    "--force": 0,
    "--json": 0,
    "--dry-run": 0,
    "--resume": 0,
    "--no-sync": 0,
    "--strict": 0,
    "--quiet": 0,
    "-q": 0,
    "--verbose": 0,
    "-v": 0,
    "--verify-inputs": 0,
}
"""Options that do not change what is made, with the number of their values."""


def command_line() -> list[str]:
    """The command as the manifest notes it:
    without what does not change the result, and of absolute paths the name only.
    """
    shown, arguments = ["adapterops"], iter(_typed())
    for argument in arguments:
        option, is_, value = argument.partition("=")
        if option in HIDDEN:
            for _ in range(0 if "=" in argument else HIDDEN[option]):
                next(arguments, None)
        elif not (argument.startswith("-o") and not argument.startswith("--")):
            shown.append(option + is_ + _place(value) if is_ and not argument.startswith("/") else _place(argument))
    return shown


def again(option: str, value: str) -> str:
    """The command that was typed, to be done, and with another value of an option."""
    typed, arguments = ["adapterops"], iter(_typed())
    for argument in arguments:
        if argument == option:
            next(arguments, None)
        elif argument not in ("--dry-run", "--json") and not argument.startswith(f"{option}="):
            typed.append(argument)
    return shlex.join([*typed, option, value])


@contextmanager
def noted(command: Sequence[str]) -> Iterator[None]:
    """As if a command had been typed that a manifest notes: what is printed of its result depends on its options."""
    here = click.get_current_context()
    group = here.find_root().command
    if len(command) < 2 or not isinstance(group, click.Group) or command[1] not in group.list_commands(here):
        yield
        return
    typed = group.get_command(here, command[1])
    assert typed is not None
    with typed.make_context(command[1], list(command[2:]), parent=here, resilient_parsing=True):
        yield


def _typed() -> Sequence[str]:
    arguments: Sequence[str] = click.get_current_context().find_root().obj
    return arguments


def _place(text: str) -> str:
    """A text of which, if it is a path from the root, or one that climbs up to it, the name is left."""
    climbs = text.split("/").count("..") >= len(Path.cwd().parts) - 1 if ".." in text else False
    return Path(os.path.abspath(text)).name if text.startswith("/") or climbs else text
