"""Colour where a terminal is, and no more printed than was asked for."""

from __future__ import annotations

import io

import click
import pytest

from adapterops.cli import terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "coloured"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {"FORCE_COLOR": "0"}, False),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_where_colours_are(
    stream: io.StringIO, environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert terminal.coloured(stream) == coloured
    assert terminal.painted("error:", "error", stream) == ("\x1b[31m\x1b[1merror:\x1b[0m" if coloured else "error:")


def test_outside_a_command_everything_is_printed() -> None:
    assert not terminal.quiet()
    assert not terminal.verbose()


def test_one_of_the_two() -> None:
    quiet, verbose = (click.Option([f"--{name}"], is_flag=True) for name in (terminal.QUIET, terminal.VERBOSE))
    with click.Context(click.Command("x")) as context:
        terminal.set_loudness(context, verbose, False)
        terminal.set_loudness(context, quiet, True)
        assert terminal.quiet()
        assert not terminal.verbose()
        with pytest.raises(click.UsageError, match="exclude each other"):
            terminal.set_loudness(context, verbose, True)


def test_a_file_has_lines_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    assert terminal.width_of(Terminal()) == 72
    assert terminal.width_of(io.StringIO()) is None
