"""Whatever happens to the disk or the process:
the output is whole or absent, the inputs are untouched, a second try succeeds.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import Command
from corpus import tree, write_adapter

from adapterops.cli.main import run

COMMAND = ["truncate", "a", "--rank", "1", "-o", "out"]
CLEAN = {"a"}
SLOW = """
import time
import adapterops.adapters.factors as module
real, first = module._factors, [pause]
def slow(*arguments):
    while first:
        first.pop()()
    time.sleep({seconds})
    return real(*arguments)
module._factors = slow
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an adapter `a`, as the current one."""
    write_adapter(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def working(*arguments: str, seconds: float = 0.3) -> Command:
    """A command that takes a while for each module, and is at the first."""
    command = Command(arguments, setup=SLOW.format(seconds=seconds))
    assert command.paused()
    command.go_on()
    return command


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("function", ["posix_fallocate", "fsync", "rename", "mkdir"])
def test_the_disk_fails_at_the_nth_call(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], function: str, error: int
) -> None:
    before, real, calls = tree(place / "a"), getattr(os, function), 0
    for failing in range(1, 20):
        calls = 0

        def fails(*arguments: object, failing: int = failing, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(error, os.strerror(error))
            return real(*arguments, **options)

        monkeypatch.setattr(os, function, fails)
        code = run(COMMAND)
        monkeypatch.setattr(os, function, real)
        shown = capsys.readouterr().err
        assert "Traceback" not in shown
        assert tree(place / "a") == before
        if calls < failing:  # everything was done without reaching the call that fails
            assert code == 0
            break
        if code == 0:  # preallocation is a courtesy, which a disk may decline
            assert (function, error) == ("posix_fallocate", errno.EIO)
        elif "out" in names(place):  # the rename was done, the last sync was not
            assert (code, function) == (7, "fsync")
        else:
            assert code == 7
            assert os.strerror(error) in shown
            assert names(place) == CLEAN
        if (place / "out").exists():
            assert run([*COMMAND, "--force"]) == 0
            subprocess.run(["rm", "-r", "out"], check=True)
    else:
        raise AssertionError("the calls have no end")


def test_a_file_that_may_not_grow(place: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));"
        "from adapterops.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *COMMAND], capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert "bytes are free" in done.stderr
    assert "Traceback" not in done.stderr
    assert names(place) == CLEAN


def test_killed_at_any_time(place: Path) -> None:
    chance, before = random.Random(0), tree(place / "a")
    for _ in range(12):
        command = working(*COMMAND, seconds=0.05)
        time.sleep(chance.random() * 0.25)
        command.signal(signal.SIGKILL)
        command.end()
        assert tree(place / "a") == before
        if (place / "out").exists():
            assert set(tree(place / "out")) == {"adapter_config.json", "adapter_model.safetensors", "adapterops.json"}
            assert run(["show", "out"]) == 0
            subprocess.run(["rm", "-r", "out"], check=True)
    assert run(COMMAND) == 0
    assert names(place) == {"a", "out"}  # what the killed runs left is gone


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_signals(place: Path, number: signal.Signals, times: int) -> None:
    command = working(*COMMAND)
    for _ in range(times):
        command.signal(number)
        time.sleep(0.02)
    ended = command.end()
    assert ended.code == 128 + number
    assert "nothing was written" in ended.err
    assert "Traceback" not in ended.err
    assert names(place) == CLEAN


def test_two_write_to_one_place(place: Path) -> None:
    commands = [working(*COMMAND) for _ in range(2)]
    assert sorted(command.end().code for command in commands) == [0, 6]
    assert names(place) == {"a", "out"}
    assert run(["show", "out"]) == 0


def test_an_output_is_replaced_whole(place: Path) -> None:
    assert run(COMMAND) == 0
    first = tree(place / "out")
    assert run(COMMAND) == 6
    assert run([*COMMAND[:3], "2", "-o", "out", "--force"]) == 0
    assert tree(place / "out") != first
    (place / "mine").mkdir()
    (place / "mine/file").write_text("precious")
    assert run([*COMMAND[:3], "1", "-o", "mine", "--force"]) == 6
    assert (place / "mine/file").read_text() == "precious"
    assert names(place) == {"a", "out", "mine"}


@pytest.mark.parametrize("out", ["a", "a/inside", "."])
def test_the_output_may_not_touch_an_input(place: Path, out: str) -> None:
    before = tree(place)
    assert run([*COMMAND[:4], "-o", out, "--force"]) in (2, 6)
    assert tree(place) == before


@pytest.mark.parametrize(
    ("mask", "folder", "file"),
    [(0o077, 0o700, 0o600), (0o000, 0o777, 0o666), (0o022, 0o755, 0o644)],
    ids="{:03o}".format,
)
def test_modes_follow_the_umask(place: Path, mask: int, folder: int, file: int) -> None:
    before = os.umask(mask)
    try:
        assert run(COMMAND) == 0
    finally:
        os.umask(before)
    assert (place / "out").stat().st_mode & 0o777 == folder
    assert {path.stat().st_mode & 0o777 for path in (place / "out").iterdir()} == {file}


def test_locale_and_odd_names(place: Path) -> None:
    results = []
    for language, out in (("C", b"out-\xff"), ("C.UTF-8", "ausgabe-ü".encode())):
        environment = {**os.environ, "LANG": language, "LC_ALL": language, "TZ": "Asia/Tokyo"}
        subprocess.run(
            [sys.executable, "-m", "adapterops", *COMMAND[:-1], out],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        results.append(tree(place / os.fsdecode(out)))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "shell", ["{command} >&-", "{command} > /dev/full", "{command} | true", "{command} --json | head -c 1 > /dev/null"]
)
def test_nobody_reads_the_results(place: Path, shell: str) -> None:
    command = " ".join([sys.executable, "-m", "adapterops", *COMMAND])
    done = subprocess.run(["bash", "-c", shell.format(command=command)], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert set(tree(place / "out")) == {"adapter_config.json", "adapter_model.safetensors", "adapterops.json"}


def test_files_are_synced_before_the_rename_and_the_folder_after(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def sync(descriptor: int) -> None:
        events.append("sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def move(source: Path, target: Path) -> None:
        events.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", move)
    assert run(COMMAND) == 0
    moved = events.index("rename")
    assert {f"sync {name}" for name in ("adapter_model.safetensors", "adapter_config.json", "adapterops.json")} <= set(
        events[:moved]
    )
    assert events[moved - 1].startswith("sync .out.adapterops-")
    assert events[moved + 1 :] == [f"sync {place.name}"]
