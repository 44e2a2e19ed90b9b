"""An output that is replaced, by one run or by two at once: the old one or the new one, always complete."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from pathlib import Path

import pytest
from commands import Command, Fault, faulty
from corpus import tree
from interrupted import CLEAN, COMMAND, JOURNAL, STAGING, Fuse, kill_after, names, remove

EXCHANGE = """
import ctypes, os, signal
real = ctypes.CDLL
class Library:
    def __init__(self, *arguments, **options):
        self.real = real(*arguments, **options)
    def __getattr__(self, name):
        function = getattr(self.real, name)
        if name != "renameat2":
            return function
        def renameat2(*arguments):
            {before}
            result = function(*arguments)
            {after}
            return result
        return renameat2
ctypes.CDLL = Library
"""
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
NO_EXCHANGE = EXCHANGE.format(before="raise OSError(38, 'not implemented')", after="")


@pytest.mark.parametrize(
    ("faults", "setup", "after"),
    [
        ([Fault("fsync", "kill", STAGING)], "", "old"),
        ([], EXCHANGE.format(before=DIE, after=""), "old"),
        ([], EXCHANGE.format(before="", after=DIE), "new"),
        ([Fault("rmdir", "kill")], "", "new"),
        ([Fault("unlink", "kill", nth=4)], "", "new"),
        ([Fault("rename", "kill")], NO_EXCHANGE, "old"),
        ([Fault("rename", "kill", nth=2, after=True)], NO_EXCHANGE, "new"),
        ([Fault("rename", "kill", nth=3, after=True)], NO_EXCHANGE, "new"),
    ],
    ids=[
        "before",
        "at the exchange",
        "after it",
        "cleaning up",
        "while cleaning up",
        "no exchange",
        "both renamed",
        "all renamed",
    ],
)
def test_killed_while_an_output_is_replaced(
    place: Path, whole: dict[str, str], fuse: Fuse, faults: list[Fault], setup: str, after: str
) -> None:
    assert fuse("-w", "3")[0] == 0
    old = tree(place / "out")
    ended = Command([*COMMAND, "--force"], *faults, setup=setup).end()
    assert ended.code == -signal.SIGKILL, ended
    assert tree(place / "out") == {"old": old, "new": whole}[after]
    assert fuse("--force") == (0, "")
    assert tree(place / "out") == whole
    assert names(place) == {*CLEAN, "out"}


def test_a_file_system_without_an_exchange(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    assert fuse("-w", "3")[0] == 0
    assert Command([*COMMAND, "--force"], setup=NO_EXCHANGE).end().code == 0
    assert tree(place / "out") == whole
    assert names(place) == {*CLEAN, "out"}


def test_without_an_exchange_a_kill_between_the_renames_does_not_lose_the_old_output(
    place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fuse("-w", "3")[0] == 0
    old = tree(place / "out")
    ended = Command([*COMMAND, "--force"], Fault("rename", "kill", after=True), setup=NO_EXCHANGE).end()
    assert ended.code == -signal.SIGKILL
    assert any(tree(path) == old for path in place.iterdir())

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", faulty(Fault("pwrite"), full))
    assert fuse("--force")[0] == 7  # the new one is not complete: the old one must still be there
    assert any(tree(path) == old for path in place.iterdir())


def test_killed_at_any_time_while_an_output_is_replaced(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    assert fuse("-w", "3")[0] == 0
    old, chance = tree(place / "out"), random.Random(1)
    for _ in range(5):
        command = Command([*COMMAND, "--force"], Fault("fsync", "pause", "/adapterops.json$"))
        assert command.paused()
        command.go_on()
        time.sleep(chance.random() * 0.01)
        command.signal(signal.SIGKILL)
        command.end()
        assert tree(place / "out") in (old, whole)
        if tree(place / "out") == whole:
            assert fuse("-w", "3", "--force")[0] == 0
    assert fuse("--force")[0] == 0
    assert names(place) == {*CLEAN, "out"}


def test_the_one_that_is_done_first_wins(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    first = Command(COMMAND, Fault("rename"))
    assert first.paused()
    assert fuse() == (0, "")  # what the first one is writing is not taken for stale
    ended = first.end()
    assert ended.code == 6
    assert "appeared while this run was writing" in ended.err
    assert tree(place / "out") == whole
    assert names(place) == {*CLEAN, "out"}


@pytest.mark.parametrize("option", [None, "--resume"])
def test_two_write_to_one_place(place: Path, whole: dict[str, str], option: str | None) -> None:
    for count in (0, 2):
        if count:
            kill_after(count)
        commands = [Command([*COMMAND, option] if option else COMMAND) for _ in range(2)]
        assert sorted(command.end().code for command in commands) == [0, 6]
        assert tree(place / "out") == whole
        assert names(place) == {*CLEAN, "out"}
        remove(place / "out")


def test_what_a_living_run_writes_is_not_taken_over(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    first = Command(COMMAND, Fault("fsync", "pause", JOURNAL, 3))
    assert first.paused()
    assert fuse("--resume") == (0, "")
    assert first.end().code == 6
    assert tree(place / "out") == whole
    assert names(place) == {*CLEAN, "out"}


def test_two_replace_one_output(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    assert fuse("-w", "3")[0] == 0
    for _ in range(2):
        commands = [Command([*COMMAND, "--force"]) for _ in range(2)]
        ended = [command.end() for command in commands]
        assert [each.code for each in ended] == [0, 0], ended
        assert tree(place / "out") == whole
        assert names(place) == {*CLEAN, "out"}
