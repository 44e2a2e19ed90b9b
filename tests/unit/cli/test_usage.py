"""Mistakes in a command line end in the fact and the next step; lists of numbers are taken."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from adapterops.cli.usage import MEANT, explained, listed


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("a b -w 0.7 0.3 -o x", "a b -w 0.7 -w 0.3 -o x"),
        ("-w 0.7 -0.3 .5 a", "-w 0.7 -w -0.3 -w .5 a"),
        ("--weight=1 2e-1", "--weight=1 -w 2e-1"),
        ("-w 0.7 -w 0.3", "-w 0.7 -w 0.3"),
        ("-w", "-w"),
        ("a 0.5 --rank 8", "a 0.5 --rank 8"),
        ("-o=x -- -q=x -w 0.5 0.3", "-o x -- -q=x -w 0.5 0.3"),
        ("-w 0.5 -- 0.3", "-w 0.5 -- 0.3"),
    ],
)
def test_numbers_after_a_weight_are_weights(given: str, meant: str) -> None:
    assert list(listed(given.split())) == meant.split()


def test_a_folder_whose_name_is_a_number_is_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "10").mkdir()
    assert list(listed(["-w", "0.5", "10"])) == ["-w", "0.5", "10"]


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("-o", "--output")
@click.option("--rank", type=click.IntRange(1))
@click.option("--scale", type=float)
def command(**given: object) -> None:
    """A command."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("a --outdir x", "there is no option --outdir\n  did you mean --output? see tool --help"),
        ("a --rnak 8", "there is no option --rnak\n  did you mean --rank? see tool --help"),
        ("a --zzzzzz", "there is no option --zzzzzz\n  see tool --help"),
        ("", "SOURCES is missing\n  usage: tool [OPTIONS] SOURCES...; see tool --help"),
        ("a --rank", "--rank needs a value\n  see tool --help"),
        ("a --rank x", "--rank: 'x' is not a whole number\n  see tool --help"),
        ("a --rank 0", "--rank: 0 is less than 1\n  see tool --help"),
        ("a --scale x", "--scale: 'x' is not a number\n  see tool --help"),
    ],
)
def test_one_style(arguments: str, message: str) -> None:
    with pytest.raises(click.UsageError) as found:
        command.main(arguments.split(), prog_name="tool", standalone_mode=False)
    assert str(explained(found.value, "tool")) == message


def test_what_is_meant_is_an_option_of_some_command() -> None:
    from importlib import import_module

    from adapterops.cli.commands import COMMANDS, cli

    commands = [import_module(f"adapterops.cli.{name}").command for name in COMMANDS]
    there = {option for each in commands for parameter in each.params for option in parameter.opts}
    there |= {option for parameter in cli.params for option in parameter.opts}
    assert there.issuperset(meant for each in MEANT.values() for meant in each)
    own = [{option for parameter in each.params for option in parameter.opts} for each in commands]
    assert not [word for word, options in MEANT.items() for each in own if word in each and each & set(options)]
