"""Help in sections: every option of every command once, and each section known to some command."""

from __future__ import annotations

from importlib import import_module

import click
import pytest

from adapterops.cli.commands import COMMANDS
from adapterops.cli.sections import sections


def help_of(name: str) -> str:
    command = import_module(f"adapterops.cli.{name}").command
    return str(command.get_help(click.Context(command, info_name=name, terminal_width=100)))


def test_many_options_come_in_sections() -> None:
    shown = help_of("fuse")
    places = [shown.index(f"\n{title}:\n") for title in ("Options", *sections())]
    assert places == sorted(places)
    assert shown.index("Methods:") < shown.index("  --ties ") < shown.index("How a method works:")
    assert shown.index("Where and how it runs:") < shown.index("  --part ") < shown.index("How inputs are read:")


def test_few_options_come_in_one_list() -> None:
    assert not any(f"{title}:" in help_of("finalize") for title in sections())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_there_once(name: str) -> None:
    lines, parameters = help_of(name).splitlines(), import_module(f"adapterops.cli.{name}").command.params
    assert len({str(each.name) for each in parameters}) == len(parameters)
    for parameter in parameters:
        if isinstance(parameter, click.Option):
            option = parameter.opts[-1]
            found = [line for line in lines if line.startswith("  -") and f"{option} " in f"{line.split('  ')[1]} "]
            assert len(found) == 1, (name, option, found)


def test_every_name_is_an_option_of_some_command() -> None:
    commands = [import_module(f"adapterops.cli.{name}").command for name in COMMANDS]
    there = {each.name for command in commands for each in command.params}
    assert there.issuperset(name for names in sections().values() for name in names)
