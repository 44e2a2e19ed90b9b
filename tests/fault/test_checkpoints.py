"""Whatever happens while a model is written: it is whole or absent, the inputs are untouched, a second try succeeds."""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command, Fault, faulty, path_of
from corpus import config, tree, write_adapter
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_models import write_base, write_tuned

from adapterops import engine, shards
from adapterops.cli.main import run

COMMAND = ["fuse", "base", "a", "-o", "out"]
CLEAN = {"base", "a"}
SHARDS = [f"model-{number:05}-of-00004.safetensors" for number in (1, 2, 3, 4)]
STAGING = r"/\.out\.adapterops-\w+$"
JOURNAL = r"/\.journal$"
SHARD = r"/model-\d+-of-\d+\.safetensors$"
INPUTS = "/(base|a)/"

Fuse = Callable[..., tuple[int, str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a model `base` and an adapter `a`, as the current one; nothing may happen to them."""
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `COMMAND` writes in a `place` where nothing happens."""
    folder, before = tmp_path_factory.mktemp("whole"), os.getcwd()
    write_base(folder / "base")
    write_tuned(folder / "a")
    os.chdir(folder)
    ended = Command(COMMAND).end()
    os.chdir(before)
    assert ended.code == 0, ended
    return tree(folder / "out")


@pytest.fixture
def fuse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fuse:
    """Runs the command in this process: exit code, and what it said on stderr."""

    def run_here(*more: str, command: list[str] = COMMAND) -> tuple[int, str]:
        arguments = [*command, *more]
        monkeypatch.setattr(sys, "argv", ["adapterops", *arguments])
        capsys.readouterr()
        return run(arguments), capsys.readouterr().err

    return run_here


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def staging(place: Path) -> list[Path]:
    return sorted(place.glob(".out.adapterops-*"))


def journaled(place: Path) -> dict[str, tuple[int, int]]:
    """The finished shards of an interrupted run, and what tells whether a file was written anew."""
    (folder,) = staging(place)
    lines = [json.loads(line) for line in (folder / ".journal").read_text().splitlines()]
    return {line["file"]: made(folder / line["file"]) for line in lines[1:]}


def made(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def reused(place: Path, finished: dict[str, tuple[int, int]]) -> set[str]:
    return {name for name, before in finished.items() if made(place / "out" / name) == before}


def still_open(place: Path) -> list[str]:
    """Files of an output that this process has open."""
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    paths = [os.readlink(link) for link in links if os.path.lexists(link)]
    return [path for path in paths if path.startswith(f"{place}/.out.adapterops-")]


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def kill_after(shards: int, *more: str) -> None:
    """A run that is killed when so many shards are in its journal, which begins with the plan and is synced after each line."""
    ended = Command([*COMMAND, *more], Fault("fsync", "kill", JOURNAL, shards + 1, after=True)).end()
    assert ended.code == -signal.SIGKILL, ended


def replaced(path: Path) -> None:
    shutil.copy2(path, path.with_name("new"))
    os.replace(path.with_name("new"), path)


def rewritten(path: Path) -> None:
    """With one bit flipped."""
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def shorter(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 7)


def longer(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def removed(path: Path) -> None:
    path.unlink()


def the_base_s(path: Path) -> None:
    shutil.copy(path.parents[1] / "base" / path.name, path)


def test_what_a_run_writes_is_right(place: Path, fuse: Fuse, whole: dict[str, str]) -> None:
    assert fuse() == (0, "")
    assert tree(place / "out") == whole
    assert set(whole) == {*SHARDS, "adapterops.json", "config.json", "tokenizer.json", "model.safetensors.index.json"}
    base, fused = (
        {name: value for shard in SHARDS for name, value in load_file(place / folder / shard).items()} for folder in ("base", "out")
    )
    factors = load_file(place / "a/adapter_model.safetensors")
    for name, W in base.items():
        prefix = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{prefix}.lora_A.weight" in factors:
            delta = 2 * factors[f"{prefix}.lora_B.weight"] @ factors[f"{prefix}.lora_A.weight"]
            torch.testing.assert_close(fused[name], (W.float() + delta).to(torch.bfloat16))
        else:
            assert torch.equal(fused[name], W)


# F1, F2: the disk


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("function", ["mkdir", "posix_fallocate", "pwrite", "fsync", "rename"])
def test_the_disk_fails_at_the_nth_call(
    place: Path, fuse: Fuse, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch, function: str, error: int
) -> None:
    before = tree(place)
    for failing in range(1, 100):
        failed = threading.Event()

        def fail(failed: threading.Event = failed) -> None:
            failed.set()
            raise OSError(error, os.strerror(error))

        with monkeypatch.context() as patch:
            patch.setattr(os, function, faulty(Fault(function, nth=failing), fail))
            code, shown = fuse()
        assert "Traceback" not in shown
        assert still_open(place) == []
        if not failed.is_set() or code == 0:
            assert code == 0
            assert tree(place / "out") == whole
            remove(place / "out")
            if not failed.is_set():  # everything was done without reaching the call that fails
                break
            assert (function, error) == ("posix_fallocate", errno.EIO)  # preallocation is a courtesy, which a disk may decline
            continue
        assert code == 7
        assert os.strerror(error) in shown
        if (place / "out").exists():  # the rename was done, the last sync was not
            assert function == "fsync"
            assert tree(place / "out") == whole
            assert "nothing was left behind" not in shown
            remove(place / "out")
        assert tree(place) == before
        assert names(place) == CLEAN
        if function == "posix_fallocate":
            assert re.search(r"cannot reserve \d+ bytes.* \d+ bytes are free", shown)
    else:
        raise AssertionError("the calls have no end")
    assert failing > {"mkdir": 1, "rename": 1, "posix_fallocate": 4, "pwrite": 4 + 12, "fsync": 4 + 5 + 4 + 2}[function]


@pytest.mark.parametrize("always", [False, True], ids=["at the end", "as it grows"])
def test_a_sync_that_failed_is_not_tried_again(place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch, always: bool) -> None:
    """The system reports a failed write to a descriptor once; a second sync would succeed, and the data be lost."""
    if always:
        monkeypatch.setattr(shards, "SYNC_BYTES", 0)
    real = os.fsync
    for failing in range(1, 100):
        synced: list[str] = []

        def fails(descriptor: int, synced: list[str] = synced, failing: int = failing) -> None:
            synced.append(path_of(descriptor))
            if len(synced) == failing:
                time.sleep(0.01)  # a disk that fails is slow
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fails)
        code, _ = fuse()
        if len(synced) < failing:
            break
        assert code == 7
        if re.search(SHARD, synced[failing - 1]):
            assert synced[failing - 1] not in synced[failing:]
        remove(place / "out")


def test_files_that_may_not_grow(place: Path, whole: dict[str, str]) -> None:
    """Shards are preallocated, what is larger than they are is not."""
    (place / "base/tokenizer.json").write_text(json.dumps({"vocabulary": list(range(2000))}))
    before, setup = tree(place), "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"
    codes = []
    for limit in (0, 100, 500, 1000, 5000, 1 << 20):
        ended = Command(COMMAND, setup=setup.format(limit)).end()
        codes.append(ended.code)
        assert "Traceback" not in ended.err
        if ended.code:
            assert os.strerror(errno.EFBIG) in ended.err
            assert tree(place) == before
            assert names(place) == CLEAN
    assert codes == [7, 7, 7, 7, 7, 0]
    assert {name: tree(place / "out")[name] for name in SHARDS} == {name: whole[name] for name in SHARDS}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs privileges")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("found", ["before the work", "when preallocating", "when writing"])
def test_a_disk_that_is_too_small(tmp_path: Path, small_disk: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    shape = {"layers": 3, "out": 1500, "into": 1000}
    write_base(tmp_path / "base", **shape)
    write_tuned(tmp_path / "a", **shape)
    monkeypatch.chdir(tmp_path)
    if found != "before the work":  # others write to it, too: what is free now may not be free then
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1 << 40, 0, 1 << 40))
    if found == "when writing":
        monkeypatch.delattr(os, "posix_fallocate")
    code, shown = fuse(command=["fuse", "base", "a", "-o", "disk/out"])
    assert code == 7
    assert "bytes are free" in shown or os.strerror(errno.ENOSPC) in shown
    assert "Traceback" not in shown
    assert names(small_disk) == set()
    status = os.statvfs(small_disk)
    assert status.f_bfree == status.f_blocks, "a file that is open still takes space when its name is gone"


@pytest.mark.parametrize("function", ["pread", "preadv"])
def test_reading_fails_at_the_nth_call(
    place: Path, fuse: Fuse, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    before = tree(place)

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for failing in range(1, 100):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, faulty(Fault(function, where=INPUTS, nth=failing), fail))
            code, shown = fuse()
        if code == 0:
            break
        assert code in (3, 7)
        assert "Traceback" not in shown
        assert tree(place) == before
        assert names(place) == CLEAN
        assert os.strerror(errno.EIO) in shown
        assert re.search(r"\b(base|a)/(ad|m)\S+safetensors", shown), "it names the input"
        assert "writing failed" not in shown
    assert failing > 5
    assert tree(place / "out") == whole


# F3, F5, F7, F8: killed, and resumed


def test_killed_at_any_time(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    chance, before, length = random.Random(0), tree(place), 0.0
    for count in range(10):
        command = Command(COMMAND, Fault("mkdir", "pause", STAGING, after=True))
        assert command.paused()
        begin = time.monotonic()
        command.go_on()
        if not count:  # how long it takes here
            assert command.end().code == 0
            length = time.monotonic() - begin
        time.sleep(chance.random() * length)
        command.signal(signal.SIGKILL)
        command.end()
        assert len(staging(place)) <= 1  # what the one before left is gone, or was taken over
        if not (place / "out").exists() and chance.random() < 0.5:
            assert fuse("--resume") == (0, "")
            assert names(place) == {*CLEAN, "out"}
        if (place / "out").exists():
            assert tree(place / "out") == whole
            remove(place / "out")
        assert {name: value for name, value in tree(place).items() if not name.startswith(".")} == before
    assert fuse()[0] == 0
    assert names(place) == {*CLEAN, "out"}


@pytest.mark.parametrize("function", ["mkdir", "posix_fallocate", "pwrite", "fsync", "unlink", "rename"])
def test_killed_at_the_nth_call_and_resumed(place: Path, whole: dict[str, str], fuse: Fuse, function: str) -> None:
    for nth in range(1, 100):
        killed = Command(COMMAND, Fault(function, "kill", "", nth, after=nth % 2 == 0)).end().code
        if killed == 0:
            break
        assert killed == -signal.SIGKILL
        if (place / "out").exists():
            assert tree(place / "out") == whole
        else:
            assert fuse("--resume") == (0, "")
            assert tree(place / "out") == whole
            assert names(place) == {*CLEAN, "out"}
        remove(place / "out")
    assert nth > 1


@pytest.mark.parametrize("shards", [1, 2, 3, 4])
def test_a_resumed_run_takes_over_what_is_finished(place: Path, whole: dict[str, str], fuse: Fuse, shards: int) -> None:
    kill_after(shards)
    finished = journaled(place)
    assert len(finished) == shards
    assert fuse("--resume") == (0, "")
    assert reused(place, finished) == set(finished)
    assert tree(place / "out") == whole
    assert names(place) == {*CLEAN, "out"}


def test_killed_again_and_again_each_run_goes_on_where_the_last_one_stopped(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    for count in (1, 2, 3):
        more = ["--resume"] if count > 1 else []
        # the journal is there already: its plan is not written a second time
        ended = Command([*COMMAND, *more], Fault("fsync", "kill", JOURNAL, 1 if more else 2, after=True)).end()
        assert ended.code == -signal.SIGKILL
        assert len(journaled(place)) == count
    finished = journaled(place)
    assert fuse("--resume") == (0, "")
    assert reused(place, finished) == set(finished)
    assert tree(place / "out") == whole


def test_a_run_that_is_not_resumed_starts_anew(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    kill_after(2)
    finished = journaled(place)
    assert fuse() == (0, "")
    assert reused(place, finished) == set()
    assert tree(place / "out") == whole
    assert names(place) == {*CLEAN, "out"}


def test_resuming_where_nothing_was_interrupted_just_runs(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    assert fuse("--resume") == (0, "")
    assert tree(place / "out") == whole
    assert fuse("--resume")[0] == 6
    assert fuse("--resume", "--force") == (0, "")
    assert tree(place / "out") == whole
    assert names(place) == {*CLEAN, "out"}


@pytest.mark.parametrize("workers", ["1", "3"])
def test_the_bytes_of_a_resumed_run_do_not_depend_on_the_workers(place: Path, whole: dict[str, str], fuse: Fuse, workers: str) -> None:
    kill_after(2, "--workers", workers)
    finished = journaled(place)
    assert fuse("--resume", "--workers", "2") == (0, "")
    assert reused(place, finished) == set(finished)
    assert tree(place / "out") == whole


@pytest.mark.parametrize("damage", [rewritten, shorter, longer, empty, removed, the_base_s])
def test_a_finished_shard_that_was_damaged_is_made_again(
    place: Path, whole: dict[str, str], fuse: Fuse, damage: Callable[[Path], None]
) -> None:
    kill_after(3)
    finished = journaled(place)
    damaged = next(name for name in finished if name != SHARDS[3])  # that one has the base's bytes anyway
    damage(staging(place)[0] / damaged)
    assert fuse("--resume") == (0, "")
    assert reused(place, finished) == set(finished) - {damaged}
    assert tree(place / "out") == whole


@pytest.mark.parametrize("left", [0, 5, 40])
def test_a_journal_whose_last_line_was_cut_off(place: Path, whole: dict[str, str], fuse: Fuse, left: int) -> None:
    kill_after(3)
    (folder,), finished = staging(place), journaled(place)
    lines = (folder / ".journal").read_bytes().splitlines(keepends=True)
    (folder / ".journal").write_bytes(b"".join(lines[:-1]) + lines[-1][:left])
    ended = Command([*COMMAND, "--resume"], Fault("fsync", "kill", JOURNAL, 1, after=True)).end()
    assert ended.code == -signal.SIGKILL
    before = dict(list(finished.items())[:2])
    anew = json.loads((folder / ".journal").read_bytes().splitlines()[-1])["file"]
    written_anew = made(folder / anew)
    assert fuse("--resume") == (0, "")
    assert reused(place, before) == set(before)
    assert made(place / "out" / anew) == written_anew, "what was added after the cut counts"
    assert tree(place / "out") == whole


def garbage(place: Path) -> None:
    (staging(place)[0] / ".journal").write_bytes(b"\0" * 300)


def no_journal(place: Path) -> None:
    (staging(place)[0] / ".journal").unlink()


def strange_entries(place: Path) -> None:
    journal = staging(place)[0] / ".journal"
    plan = journal.read_text().splitlines()[0]
    journal.write_text("\n".join([plan, "[]", "1", "{}", json.dumps({"file": SHARDS[0]}), json.dumps({"file": "../../base/config.json"})]))


@pytest.mark.parametrize("damage", [garbage, no_journal, strange_entries])
def test_a_journal_that_is_of_no_use(place: Path, whole: dict[str, str], fuse: Fuse, damage: Callable[[Path], None]) -> None:
    kill_after(2)
    damage(place)
    before = tree(place / "base")
    assert fuse("--resume") == (0, "")
    assert tree(place / "out") == whole
    assert tree(place / "base") == before
    assert names(place) == {*CLEAN, "out"}


def other_adapter(place: Path) -> None:
    remove(place / "a")
    write_tuned(place / "a", seed=1)


def other_adapter_of_the_same_age(place: Path) -> None:
    """Archives and stores give all files one time."""
    status = (place / "a/adapter_model.safetensors").stat()
    other_adapter(place)
    os.utime(place / "a/adapter_model.safetensors", ns=(status.st_atime_ns, status.st_mtime_ns))


def other_alpha(place: Path) -> None:
    path = place / "a/adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_alpha": 16}))


def other_base(place: Path) -> None:
    remove(place / "base")
    write_base(place / "base", seed=1)


def other_shard_of_the_same_age(place: Path) -> None:
    path = place / "base" / SHARDS[0]
    status = path.stat()
    rewritten(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def nothing(place: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (other_adapter, []),
        (other_adapter_of_the_same_age, []),
        (other_alpha, []),
        (other_base, []),
        (other_shard_of_the_same_age, []),
        (nothing, ["-w", "0.5"]),
        (nothing, ["--dtype", "float32"]),
        (nothing, ["--precision", "float64"]),
        (nothing, ["--max-shard-size", "1kB"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else " ".join(value),
)
def test_nothing_of_other_work_is_taken_over(place: Path, fuse: Fuse, change: Callable[[Path], None], options: list[str]) -> None:
    """The journal is that of a run of one adapter, of all that follows from it, and of one base."""
    kill_after(2)
    finished = journaled(place)
    change(place)
    assert fuse("--resume", *options)[0] == 0
    resumed = tree(place / "out")
    assert not any(made(path) == finished.get(path.name) for path in (place / "out").iterdir())
    assert fuse("--force", *options)[0] == 0
    assert resumed == tree(place / "out")
    assert names(place) == {*CLEAN, "out"}


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
    ids=["before", "at the exchange", "after it", "cleaning up", "while cleaning up", "no exchange", "both renamed", "all renamed"],
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


# F4: signals


PHASES = {
    "planning": (Fault("pread", "pause", INPUTS), "nothing"),
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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


@pytest.mark.parametrize(("phase", "signals"), [*((phase, TWICE) for phase in PHASES), ("planning", BOTH), ("the next begun", BOTH)])
def test_two_signals(place: Path, whole: dict[str, str], fuse: Fuse, phase: str, signals: tuple[signal.Signals, ...]) -> None:
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
        command = Command([*COMMAND, "--resume"], Fault("pread", "pause", INPUTS))
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


def test_an_interrupt_does_not_wait_until_all_inputs_are_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_base(tmp_path / "base", layers=10)
    write_tuned(tmp_path / "a", layers=10)
    command = Command(COMMAND, setup=SLOW_HASH)
    assert command.paused()
    command.signal(signal.SIGINT)
    ended = command.end()
    assert ended.code == 130
    assert ended.err.count("hashing") < 12


# F6: memory


LITTLE_MEMORY = """
import os, resource
real = os.posix_fallocate
def limited(*arguments):
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + ({} << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.posix_fallocate = real
    real(*arguments)
os.posix_fallocate = limited
"""
"""From when on the work begins: imports and plans have what they need."""


def test_memory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_base(tmp_path / "base", out=1500, into=1000)
    write_tuned(tmp_path / "a", out=1500, into=1000)
    before, codes = tree(tmp_path), []
    for megabytes in (0, 16, 24, 28, 32, 1024):
        ended = Command(COMMAND, setup=LITTLE_MEMORY.format(megabytes)).end()
        codes.append(ended.code)
        assert "Traceback" not in ended.err, f"with {megabytes} MB"
        killed = ended.code < 0 or "OpenBLAS error" in ended.err  # libraries end the process where they have no other way
        assert ended.code in (0, 7) or killed
        if ended.code == 0:
            remove(tmp_path / "out")
        elif ended.code == 7:
            assert "memory" in ended.err
            assert names(tmp_path) == CLEAN
        assert {name: value for name, value in tree(tmp_path).items() if not name.startswith(".")} == before
    assert codes[0] == 7
    assert codes[-1] == 0
    assert names(tmp_path) == CLEAN


def test_the_first_thing_that_a_worker_computes_takes_one_thread() -> None:
    """Else libraries start threads of their own, which end the process where they cannot, and the bits depend on the machine."""
    X = torch.randn(768, 768, generator=torch.Generator().manual_seed(0))
    (found,) = engine.run(torch.linalg.svdvals, [X], workers=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = torch.linalg.svdvals(X)
    torch.set_num_threads(threads)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: ..."),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
    ],
    ids=["python", "torch's tensors", "torch", "threads"],
)
@pytest.mark.parametrize("nth", [1, 6])
def test_memory_runs_out_in_a_worker(place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch, error: Exception, nth: int) -> None:
    real, calls = survival.survival, itertools.count(1)

    def fails(*arguments: Any) -> Any:
        if next(calls) == nth:
            raise error
        return real(*arguments)

    monkeypatch.setattr(survival, "survival", fails)
    code, shown = fuse()
    assert code == 7
    assert "not enough memory" in shown
    assert shown.count("error:") == 1
    assert "Traceback" not in shown
    assert names(place) == CLEAN


# F9: two runs


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
        assert [command.end().code for command in commands] == [0, 0]
        assert tree(place / "out") == whole
        assert names(place) == {*CLEAN, "out"}


# F10: inputs that change


@pytest.mark.parametrize("change", [replaced, rewritten, shorter, longer, removed])
@pytest.mark.parametrize("name", [f"base/{SHARDS[1]}", f"base/{SHARDS[3]}", "a/adapter_model.safetensors"])
@pytest.mark.parametrize("when", [Fault("posix_fallocate"), Fault("fsync", where="/config.json$")], ids=["before it is read", "after"])
def test_an_input_changes(
    place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch, when: Fault, name: str, change: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(os, when.function, faulty(when, lambda: change(place / name)))
    code, shown = fuse()
    assert code == 3
    assert Path(name).name in shown
    assert "changed while it was read" in shown or "shrank while it was read" in shown
    assert "Traceback" not in shown
    assert names(place) == CLEAN


# F11: the place to write to


WITHOUT_PRIVILEGES = "import ctypes, struct; ctypes.CDLL(None).capset(struct.pack('Ii', 0x20080522, 0), bytes(24))\n"
"""Root may write to any folder, by capabilities that it can lay down."""


def test_a_folder_that_is_not_writable(place: Path) -> None:
    (place / "locked").mkdir(mode=0o555)
    ended = Command(["fuse", "base", "a", "-o", "locked/out"], setup=WITHOUT_PRIVILEGES).end()
    assert ended.code == 7
    assert "not writable" in ended.err
    assert "Traceback" not in ended.err
    assert names(place / "locked") == set()


def test_a_small_file_that_may_not_be_read(place: Path) -> None:
    (place / "base/tokenizer.json").chmod(0)
    ended = Command(COMMAND, setup=WITHOUT_PRIVILEGES).end()
    assert ended.code in (3, 7)
    assert "tokenizer.json" in ended.err
    assert "writing failed" not in ended.err
    assert "Traceback" not in ended.err
    assert names(place) == CLEAN


def test_a_folder_that_is_not_there(place: Path, fuse: Fuse) -> None:
    code, shown = fuse(command=["fuse", "base", "a", "-o", "missing/out"])
    assert code == 5
    assert "does not exist" in shown
    assert names(place) == CLEAN


def test_a_folder_of_another_file_system(place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere() -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "rename", faulty(Fault("rename"), elsewhere))
    code, shown = fuse()
    assert code == 7
    assert os.strerror(errno.EXDEV) in shown
    assert names(place) == CLEAN


@pytest.mark.parametrize("out", ["base", "base/inside", "a", "a/inside", "."])
def test_the_output_may_not_touch_an_input(place: Path, fuse: Fuse, out: str) -> None:
    before = tree(place)
    assert fuse("--force", command=["fuse", "base", "a", "-o", out])[0] in (2, 6)
    assert tree(place) == before
    assert names(place) == CLEAN


def test_what_is_not_ours_is_not_replaced(place: Path, fuse: Fuse) -> None:
    (place / "out").mkdir()
    (place / "out/mine").write_text("precious")
    assert fuse()[0] == 6
    assert fuse("--force")[0] == 6
    assert tree(place / "out").keys() == {"mine"}
    assert names(place) == {*CLEAN, "out"}


# F20: one tensor is bad


@pytest.mark.parametrize("layer", [0, 11])
def test_a_bad_number_ends_the_work(tmp_path: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch, layer: int) -> None:
    monkeypatch.chdir(tmp_path)
    bad = f"model.layers.{layer}.q_proj.weight"
    write_base(tmp_path / "base", layers=12, nan=bad)
    write_tuned(tmp_path / "a", layers=12)
    before, real, weights = tree(tmp_path), os.pwrite, []

    def write(descriptor: int, data: memoryview, position: int) -> int:
        if len(data) == 2 * 12 * 8:
            weights.append((path_of(descriptor), position))
        return real(descriptor, data, position)

    monkeypatch.setattr(os, "pwrite", write)
    code, shown = fuse("--workers", "1")
    assert code == 3
    assert bad in shown
    assert shown.count("error:") == 1
    assert "Traceback" not in shown
    assert len(weights) == len(set(weights))  # nothing is tried twice
    if layer == 0:
        assert len(weights) < 12, "of 24: what was waiting is not done any more"
    assert tree(tmp_path) == before
    assert names(tmp_path) == CLEAN


def test_two_bad_numbers_are_one_error(place: Path, fuse: Fuse) -> None:
    bad = load_file(place / "a/adapter_model.safetensors")
    remove(place / "a")
    for name in bad:
        bad[name][0, 0] = torch.inf
    write_adapter(place / "a", bad, config(2))
    code, shown = fuse()
    assert code == 3
    assert shown.count("error:") == 1
    assert "layers.0.q_proj" in shown
    assert names(place) == CLEAN


def test_a_bug_leaves_nothing_behind(place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survival, "survival", lambda *arguments, **named: 1 / 0)
    code, shown = fuse()
    assert code == 1
    assert "this is a bug in adapterops" in shown
    assert names(place) == CLEAN


# F21, F22: the surroundings


@pytest.mark.parametrize(("mask", "folder", "file"), [(0o077, 0o700, 0o600), (0o000, 0o777, 0o666), (0o022, 0o755, 0o644)])
def test_modes_follow_the_umask(place: Path, whole: dict[str, str], mask: int, folder: int, file: int) -> None:
    assert Command(COMMAND, setup=f"import os; os.umask({mask})").end().code == 0
    assert (place / "out").stat().st_mode & 0o777 == folder
    assert {path.stat().st_mode & 0o777 for path in (place / "out").iterdir()} == {file}
    assert tree(place / "out") == whole


def start(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """As a shell starts it."""
    return subprocess.run(
        [sys.executable, "-m", "adapterops", *arguments], env={**os.environ, **environment}, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    ("environment", "out"),
    [
        ({"LC_ALL": "C", "TZ": "Asia/Tokyo", "LANG": "C"}, b"out-\xff"),
        ({"PYTHONIOENCODING": "utf-8:strict"}, b"out-\xff"),  # as en_US.UTF-8 has it
    ],
    ids=["C", "strict UTF-8"],
)
def test_locales(place: Path, whole: dict[str, str], environment: dict[str, str], out: bytes) -> None:
    done = start("fuse", "base", "a", "-o", out, **environment)
    assert tree(place / os.fsdecode(out)) == whole
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""


@pytest.mark.parametrize("name", ["[x]*?", " with space ", "-dash", "line\nbreak", "ü", os.fsdecode(b"\xff"), "o" * 200])
def test_odd_names_of_the_output(place: Path, whole: dict[str, str], name: str) -> None:
    command = ["fuse", "base", "a", f"--output={name}"]
    killed = Command(command, Fault("fsync", "kill", JOURNAL, 3, after=True)).end()
    assert killed.code == -signal.SIGKILL
    ended = Command([*command, "--resume"]).end()
    assert tree(place / name) == whole
    assert (ended.code, ended.err) == (0, "")
    assert names(place) == {*CLEAN, name}


@pytest.mark.parametrize("name", ["[x]*?", "with space", "line\nbreak", "ü", os.fsdecode(b"\xff")])
def test_odd_names_of_the_inputs(place: Path, name: str) -> None:
    (place / "base").rename(place / name)
    (place / "a").rename(place / (name + "a"))
    ended = Command(["fuse", name, name + "a", "-o", "out"]).end()
    assert ended.code == 0, ended.err
    with safe_open(place / "out" / SHARDS[0], "pt") as file:
        assert "model.layers.0.q_proj.weight" in file.keys()  # noqa: SIM118  # it is no mapping
    assert json.loads((place / "out/adapterops.json").read_text())["inputs"]


CLOSED = "import os, sys; os.close({0}); sys.{1} = None\n"
FULL = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), {})\n"
NO_READER = "import os; reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)\n"
AT_ONCE = "import io, sys; sys.stdout = io.TextIOWrapper(sys.stdout.detach().detach(), write_through=True)\n"
"""Without: as with less output than a buffer holds."""


@pytest.mark.parametrize(
    ("setup", "code"),
    [
        (CLOSED.format(1, "stdout"), 0),
        (CLOSED.format(1, "stdout") + CLOSED.format(2, "stderr") + "os.close(0)", 0),
        (FULL.format(1), 7),
        (FULL.format(1) + AT_ONCE, 7),
        (FULL.format(1) + FULL.format(2), 7),
        (NO_READER, 0),
        (NO_READER + AT_ONCE, 0),
    ],
    ids=["closed", "all closed", "full", "full at once", "both full", "no reader", "no reader at once"],
)
@pytest.mark.parametrize("option", [[], ["--json"]], ids=["text", "json"])
def test_nobody_reads_the_results(place: Path, whole: dict[str, str], setup: str, code: int, option: list[str]) -> None:
    ended = Command([*COMMAND, *option], setup=setup).end()
    assert "Traceback" not in ended.err
    assert "Exception ignored" not in ended.err
    assert tree(place / "out") == whole
    assert names(place) == {*CLEAN, "out"}
    assert ended.code == code


# F23: what a power failure can take


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is written, synced and renamed, in order."""
    events: list[str] = []
    pwrite, fsync, rename, library = os.pwrite, os.fsync, os.rename, ctypes.CDLL

    def write(descriptor: int, *arguments: Any) -> int:
        events.append("write " + Path(path_of(descriptor)).name)
        return pwrite(descriptor, *arguments)

    def sync(descriptor: int) -> None:
        path = path_of(descriptor)
        fsync(descriptor)
        events.append("sync " + ("staging" if re.search(STAGING, path) else Path(path).name))

    def move(source: Path, target: Path) -> None:
        events.append("rename")
        rename(source, target)

    class Library:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.real = library(*arguments, **options)

        def __getattr__(self, name: str) -> Any:
            if name == "renameat2":
                events.append("rename")
            return getattr(self.real, name)

    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", move)
    monkeypatch.setattr(ctypes, "CDLL", Library)
    return events


@pytest.mark.parametrize("option", [None, "--force", "--resume"])
def test_files_are_synced_before_the_rename_and_the_folder_after(
    place: Path, fuse: Fuse, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch, option: str | None
) -> None:
    if option == "--force":
        assert fuse("-w", "3")[0] == 0
    if option == "--resume":  # what was finished without a sync is synced now
        ended = Command([*COMMAND, "--no-sync"], Fault("unlink", "kill", JOURNAL)).end()
        assert ended.code == -signal.SIGKILL
        assert set(journaled(place)) == set(SHARDS)
    events = recorded(monkeypatch)
    assert fuse(*[option] if option else [])[0] == 0
    assert tree(place / "out") == whole
    assert events.count("rename") == 1
    moved = events.index("rename")
    assert {f"sync {name}" for name in whole} <= set(events[:moved])
    assert events[moved - 1 :] == ["sync staging", "rename", f"sync {place.name}"]
    for name in SHARDS:
        if f"write {name}" in events:
            assert max(i for i, event in enumerate(events) if event == f"write {name}") < events.index(f"sync {name}")


def test_a_shard_is_in_the_journal_after_it_was_synced(place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch) -> None:
    events = recorded(monkeypatch)
    assert fuse()[0] == 0
    syncs = [event.removeprefix("sync ") for event in events if event.startswith("sync ")]
    begin, *finished = (i for i, name in enumerate(syncs) if name == ".journal")
    assert begin == 0
    assert sorted(syncs[i - 1] for i in finished) == SHARDS


def test_without_syncs_nothing_waits_for_the_disk(place: Path, fuse: Fuse, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    events = recorded(monkeypatch)
    assert fuse("--no-sync")[0] == 0
    assert not [event for event in events if event.startswith("sync")]
    assert tree(place / "out") == whole
