"""Killed at any moment, and resumed: what is finished is taken over, and nothing of other work."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Command, Fault
from corpus import tree
from interrupted import (
    CLEAN,
    COMMAND,
    JOURNAL,
    KILLS,
    SHARDS,
    STAGING,
    Fuse,
    empty,
    journaled,
    kill_after,
    longer,
    made,
    names,
    other_adapter,
    other_adapter_of_the_same_age,
    other_alpha,
    other_base,
    other_shard_of_the_same_age,
    remove,
    removed,
    reused,
    rewritten,
    shorter,
    staging,
    the_base_s,
)

from adapterops.storage.identity import Identity
from adapterops.storage.journal import entries, line


def test_killed_at_any_time(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    chance, before, length = random.Random(0), tree(place), 0.0
    for count in range(KILLS or 10):
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


def test_input_files_of_finished_shards_are_not_hashed_again(
    place: Path, whole: dict[str, str], fuse: Fuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_after(2)
    finished, hashed, real = journaled(place), set(), Identity.hash_as_read

    def hash_as_read(file: Identity, *algorithms: str) -> None:
        hashed.add(file.path.name)
        real(file, *algorithms)

    monkeypatch.setattr(Identity, "hash_as_read", hash_as_read)
    assert fuse("--resume") == (0, "")
    assert hashed & set(SHARDS) == set(SHARDS) - set(finished)
    assert tree(place / "out") == whole


def test_killed_again_and_again_each_run_goes_on_where_the_last_one_stopped(
    place: Path, whole: dict[str, str], fuse: Fuse
) -> None:
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
def test_the_bytes_of_a_resumed_run_do_not_depend_on_the_workers(
    place: Path, whole: dict[str, str], fuse: Fuse, workers: str
) -> None:
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


def test_a_journal_that_was_damaged(place: Path, whole: dict[str, str], fuse: Fuse) -> None:
    """A digit of a figure that only the manifest shows: the file is made again, and the figure is right."""
    kill_after(3)
    (folder,) = staging(place)
    for at in range(0, len((folder / ".journal").read_bytes()), 97):
        data = bytearray((folder / ".journal").read_bytes())
        if chr(data[at]).isdigit():
            data[at] = ord("7") if data[at] != ord("7") else ord("8")
        (folder / ".journal").write_bytes(data)
    assert fuse("--resume") == (0, "")
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
    anew = json.loads((folder / ".journal").read_bytes().splitlines()[-1])["entry"]["file"]
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
    plan, strange = entries(journal)[0], [{}, {"file": SHARDS[0]}, {"file": "../../base/config.json"}]
    journal.write_bytes(b"".join(map(line, [plan, *strange])) + b"[]\n1\n{}\n")


def other_sizes(place: Path) -> None:
    """Entries whose checksums fit, with sizes that are not those of the files."""
    journal = staging(place)[0] / ".journal"
    plan, *rest = entries(journal)
    false = [{**each, "size": size} for each, size in zip(rest, (-1, True), strict=True)]
    journal.write_bytes(b"".join(map(line, [plan, *false])))


@pytest.mark.parametrize("damage", [garbage, no_journal, strange_entries, other_sizes])
def test_a_journal_that_is_of_no_use(
    place: Path, whole: dict[str, str], fuse: Fuse, damage: Callable[[Path], None]
) -> None:
    kill_after(2)
    damage(place)
    before = tree(place / "base")
    assert fuse("--resume") == (0, "")
    assert tree(place / "out") == whole
    assert tree(place / "base") == before
    assert names(place) == {*CLEAN, "out"}


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
def test_nothing_of_other_work_is_taken_over(
    place: Path, fuse: Fuse, change: Callable[[Path], None], options: list[str]
) -> None:
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
