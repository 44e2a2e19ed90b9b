"""Signals at any moment: the exit code tells which, and nothing is left."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import Command, Fault
from corpus import tree
from interrupted import (
    CLEAN,
    COMMAND,
    INPUTS,
    JOURNAL,
    SHARD,
    SHARDS,
    STAGING,
    Fuse,
    journaled,
    names,
    remove,
    reused,
    staging,
)
from tiny_models import write_base, write_tuned

PHASES = {
    "planning": (Fault("preadv", "pause", INPUTS), "nothing"),
    "staging made": (Fault("mkdir", "pause", STAGING, after=True), "nothing"),
    "plan noted": (Fault("fsync", "pause", JOURNAL, 1), "nothing"),
    "first preallocation": (Fault("posix_fallocate", "pause"), "nothing"),
    "last header": (Fault("pwrite", "pause", SHARDS[3]), "nothing"),
    "a shard finished": (Fault("fsync", "pause", JOURNAL, 2, after=True), "resumable"),
    "the next begun": (Fault("fsync", "pause", SHARD, 2), "resumable"),
    "small files": (Fault("fsync", "pause", "/config.json$"), "resumable"),
    "manifest": (Fault("fsync", "pause", "/adapterops.json$"), "resumable"),
    "staging synced": (Fault("fsync", "pause", STAGING), "resumable or written"),
    "renaming": (Fault("rename", "pause", STAGING), "resumable or written"),
    "renamed": (Fault("rename", "pause", STAGING, after=True), "written"),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("phase", PHASES)
def test_signals(place: Path, whole: dict[str, str], fuse: Fuse, phase: str, number: signal.Signals) -> None:
    fault, left = PHASES[phase]
    before = tree(place)
    command = Command(COMMAND, fault)
    assert command.paused()
    command.signal(number)
    ended = command.end()
    assert "Traceback" not in ended.err
    if "written" in left and (place / "out").exists():
        assert ended.code in (0, 128 + number)
        assert tree(place / "out") == whole
        assert "nothing was written" not in ended.err
        assert names(place) == {*CLEAN, "out"}
        return
    assert ended.code == 128 + number
    assert f"stopped by {number.name}" in ended.err
    if left == "nothing":
        assert "nothing was written" in ended.err
        assert tree(place) == before
        assert names(place) == CLEAN
    else:
        assert "--resume" in ended.err
        finished = journaled(place)
        assert finished
        assert fuse("--resume") == (0, "")
        assert reused(place, finished) == set(finished)
        assert tree(place / "out") == whole
        assert names(place) == {*CLEAN, "out"}


TWICE, BOTH = (signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize(
    ("phase", "signals"), [*((phase, TWICE) for phase in PHASES), ("planning", BOTH), ("the next begun", BOTH)]
)
def test_two_signals(
    place: Path, whole: dict[str, str], fuse: Fuse, phase: str, signals: tuple[signal.Signals, ...]
) -> None:
    """Whether the second stops a run at once or not: what it leaves is for the next one to remove, or to resume."""
    command = Command(COMMAND, PHASES[phase][0])
    assert command.paused()
    for number in signals:
        command.signal(number)
    ended = command.end()
    assert ended.code in {128 + number for number in signals} | ({0} if "written" in PHASES[phase][1] else set())
    assert "Traceback" not in ended.err
    if not (place / "out").exists():
        assert fuse("--resume") == (0, "")
        assert names(place) == {*CLEAN, "out"}
    assert tree(place / "out") == whole


def test_a_second_interrupt_while_cleaning_up(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    command = Command(COMMAND, Fault("posix_fallocate"), Fault("rmdir", "pause", STAGING.replace("/", "")))
    assert command.paused()
    command.signal(signal.SIGINT)
    assert command.paused()  # removing the staging folder
    command.signal(signal.SIGINT)
    ended = command.end()
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert fuse() == (0, "")
    assert tree(place / "out") == whole
    assert names(place) == {*CLEAN, "out"}


SLOW_READER = """
import sys
class Slow:
    def __init__(self, stream):
        self.stream = stream
    def __getattr__(self, name):
        return getattr(self.stream, name)
    def {0}(self, *arguments):
        pause()
        return self.stream.{0}(*arguments)
sys.stdout = Slow(sys.stdout)
"""


@pytest.mark.parametrize("function", ["write", "flush"])
def test_an_interrupt_while_the_results_are_printed(place: Path, whole: dict[str, str], function: str) -> None:
    command = Command(COMMAND, setup=SLOW_READER.format(function))
    assert command.paused()
    assert tree(place / "out") == whole
    command.signal(signal.SIGINT)
    ended = command.end()
    assert ended.code in (0, 130)
    assert "Traceback" not in ended.err
    assert "nothing was written" not in ended.err


def test_interrupted_at_any_time(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    chance, before = random.Random(2), tree(place)
    for _ in range(6):
        command = Command([*COMMAND, "--resume"], Fault("preadv", "pause", INPUTS))
        assert command.paused()
        command.go_on()
        time.sleep(chance.random() * 0.04)
        command.signal(signal.SIGTERM)
        ended = command.end()
        assert ended.code in (0, 143)
        assert "Traceback" not in ended.err
        if staging(place):
            assert journaled(place), "what is left can be resumed"
        else:
            assert "--resume" not in ended.err
        if (place / "out").exists():
            assert tree(place / "out") == whole
            remove(place / "out")
    assert fuse("--resume") == (0, "")
    assert tree(place / "out") == whole
    remove(place / "out")
    assert tree(place) == before
    assert names(place) == CLEAN


SLOW_HASH = """
import itertools, sys, time
from adapterops.storage.checksums import FileHash
real, calls = FileHash.hexdigest, itertools.count()
def slow(hash):
    print("hashing", file=sys.stderr, flush=True)
    if next(calls) == 0:
        pause()
    time.sleep(0.1)
    return real(hash)
FileHash.hexdigest = slow
"""


def test_an_interrupt_does_not_wait_until_all_inputs_are_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_base(tmp_path / "base", layers=10)
    write_tuned(tmp_path / "a", layers=10)
    command = Command(COMMAND, setup=SLOW_HASH)
    assert command.paused()
    command.signal(signal.SIGINT)
    ended = command.end()
    assert ended.code == 130
    assert ended.err.count("hashing") < 12


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_libraries_are_imported(tmp_path: Path, number: signal.Signals) -> None:
    """Each import of ours is a moment at which it may come."""
    code = f"""
import os, sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name in ("click", "numpy", "adapterops.cli.commands", "adapterops.cli.methods"):
            os.kill(os.getpid(), {int(number)})
sys.argv = ["adapterops", "methods"]
from adapterops.cli.main import main
sys.meta_path.insert(0, Stop())
main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 128 + number
    assert ended.stderr == f"stopped by {number.name}; nothing was written\n"


def test_nohup(tmp_path: Path) -> None:
    code = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.argv = ["adapterops", "methods"]
from adapterops.cli import main
run, main.run = main.run, lambda arguments: (os.kill(os.getpid(), signal.SIGHUP), run(arguments))[1]
main.main()
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_an_object_is_given_up(number: signal.Signals) -> None:
    """Python lets no exception out of what it calls then."""
    code = f"""
import os, sys, time, weakref
from adapterops.cli import commands, main
class Held:
    pass
def work(*arguments, **options):
    held = Held()
    weakref.finalize(held, os.kill, os.getpid(), {int(number)})
    del held
    time.sleep(5)
commands.cli.main = work
sys.argv = ["adapterops", "methods"]
main.main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 128 + number
    assert ended.stderr == f"stopped by {number.name}; nothing was written\n"


BETWEEN = {
    "before what is caught": ("warnings", "simplefilter", True),
    "after it": ("signal", "setitimer", False),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("when", BETWEEN)
def test_a_signal_next_to_the_work(when: str, number: signal.Signals) -> None:
    """As the command begins, and when all is done."""
    module, function, early = BETWEEN[when]
    setup = f"""
import os, {module}
real = {module}.{function}

def sent(*given):
    {module}.{function} = real
    os.kill(os.getpid(), {int(number)})
    return real(*given)

{module}.{function} = sent
"""
    ended = Command(["methods"], setup=setup).end()
    assert ended.code == 128 + number
    assert "Traceback" not in ended.err
    assert ("nothing was written" in ended.err) == early
