"""What a power failure can take: files are synced before the rename, the folder after it."""

from __future__ import annotations

import ctypes
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from commands import Command, Fault, path_of
from corpus import tree
from interrupted import COMMAND, JOURNAL, SHARDS, STAGING, Fuse, journaled


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


def test_a_shard_is_in_the_journal_after_it_was_synced(
    place: Path, fuse: Fuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = recorded(monkeypatch)
    assert fuse()[0] == 0
    syncs = [event.removeprefix("sync ") for event in events if event.startswith("sync ")]
    begin, *finished = (i for i, name in enumerate(syncs) if name == ".journal")
    assert begin == 0
    assert sorted(syncs[i - 1] for i in finished) == SHARDS


def test_without_syncs_nothing_waits_for_the_disk(
    place: Path, fuse: Fuse, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = recorded(monkeypatch)
    assert fuse("--no-sync")[0] == 0
    assert not [event for event in events if event.startswith("sync")]
    assert tree(place / "out") == whole
