"""A report is a page and its numbers: both or neither, and nothing hidden for longer than until the next run."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from commands import Command, Fault
from corpus import tree
from interrupted import CLEAN, names

REPORT = ["report", "a", "-o", "page.html"]
PAIR = {"page.html", "page.json"}
HIDDEN = r"/\.page\.(json|html)\.adapterops-\w+$"


def hidden(place: Path) -> set[str]:
    return {name for name in names(place) if name.startswith(".")}


@pytest.mark.parametrize("nth", [1, 2])
def test_a_kill_before_the_files_are_named(place: Path, nth: int) -> None:
    ended = Command(REPORT, Fault("fsync", "kill", HIDDEN, nth)).end()
    assert ended.code == -signal.SIGKILL
    assert hidden(place)
    assert Command(REPORT).end().code == 0
    assert names(place) == CLEAN | PAIR


@pytest.mark.parametrize("nth", [1, 2])
def test_a_kill_between_the_names(place: Path, nth: int) -> None:
    ended = Command(REPORT, Fault("link", "kill", r"page\.", nth, after=True)).end()
    assert ended.code == -signal.SIGKILL
    assert Command(REPORT).end().code == 6  # the report is complete now
    assert names(place) == CLEAN | PAIR
    found = tree(place)
    assert Command([*REPORT, "--force"]).end().code == 0
    assert tree(place) == found


@pytest.mark.parametrize("nth", [1, 2])
def test_a_kill_while_a_report_is_replaced(place: Path, nth: int) -> None:
    assert Command(["report", "a", "a", "-o", "page.html"]).end().code == 0
    old = tree(place)
    ended = Command([*REPORT, "--force"], Fault("replace", "kill", r"page\.", nth, after=True)).end()
    assert ended.code == -signal.SIGKILL
    assert Command(REPORT).end().code == 6
    assert names(place) == CLEAN | PAIR
    found = tree(place)
    assert all(found[name] != old[name] for name in PAIR), "both are of the run that was killed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals(place: Path, number: signal.Signals) -> None:
    command = Command(REPORT, Fault("fsync", "pause", HIDDEN))
    assert command.paused()
    command.signal(number)
    assert command.end().code == 128 + number
    assert names(place) == CLEAN


def test_what_a_living_run_writes_is_left_alone(place: Path) -> None:
    first = Command(REPORT, Fault("fsync", "pause", HIDDEN, 2))
    assert first.paused()
    assert Command(REPORT).end().code == 0
    assert first.end().code == 6
    assert names(place) == CLEAN | PAIR
