"""What commands print: tables alike everywhere, numbers that do not flatter, progress for people alone."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapterops.cli import output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_is_the_same_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["[red]a[/red]", "1"], ["b\x1b[2J", "22"]]
    output.print_table(["name", "number"], rows)
    printed = capsys.readouterr().out
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    output.print_table(["name", "number"], rows)
    assert terminal.getvalue() == printed == "name          number\n[red]a[/red]       1\nb\ufffd[2J             22\n"


def test_columns_that_a_terminal_has_no_room_for_follow_below(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [["first", "1" * 30, "2" * 30, "3"], ["second", "4", "5", "6"]]
    header = ["name", "one", "two", "rank for 99%"]
    output.print_table(header, rows)
    assert capsys.readouterr().out.splitlines()[2].split() == rows[0]
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "48")
    output.print_table(header, rows)
    shown = terminal.getvalue().splitlines()
    assert max(map(len, shown)) <= 48
    assert [line.split() for line in shown if line.startswith("second")] == [["second", "4"], ["second", "5", "6"]]
    assert [line.split() for line in shown if line.startswith("name")] == [
        ["name", "one"],
        ["name", "two", "for", "99%"],
    ]
    monkeypatch.setenv("COLUMNS", "1")
    output.print_table(header, rows)


def test_a_table_without_rows_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["a", "b"], [])
    assert capsys.readouterr().out == "a  b\n"


@given(st.floats(0, 1, exclude_max=True))
def test_only_all_of_it_is_100_percent(fraction: float) -> None:
    assert float(output.percent(fraction).rstrip("%")) < 100
    assert float(output.percent(fraction).rstrip("%")) == pytest.approx(100 * fraction, abs=0.0051)


@given(st.integers(0, 10**13))
def test_amounts_are_right_to_a_twentieth(number: int) -> None:
    value, *letter = output.amount(number).split()
    factor = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}["".join(letter)]
    assert float(value) * factor == pytest.approx(number, rel=0.051)


def test_progress_is_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with output.progress("working") as report:
        assert report is None
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with output.progress("working") as report:
        assert report is not None
        report(1, 2)
        report(2, 2)
    assert terminal.getvalue() == "", "what is done soon shows no bar"
    monkeypatch.setattr(output, "QUIET_SECONDS", -1.0)
    for columns in (40, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        with output.progress("working") as report:
            assert report is not None
            report(1, 2)
            report(2, 2)
        shown = terminal.getvalue().replace("\033[?25l", "").replace("\033[?25h", "").split("\r")
        assert "working" in shown[-1]
        assert max(map(len, shown)) < columns, "a longer line could not be written over"
    monkeypatch.setenv("TERM", "dumb")
    with output.progress("working") as report:
        assert report is None


def test_an_error_after_the_output_says_that_it_is_there() -> None:
    with pytest.raises(KeyboardInterrupt) as stopped, output.written(Path("out")):
        raise KeyboardInterrupt
    assert stopped.value.__notes__ == ["out is written"]
