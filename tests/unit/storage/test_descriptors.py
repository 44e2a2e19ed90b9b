"""Files that stay open, and those that are opened whenever they are used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapterops.errors import InputError
from adapterops.storage import descriptors
from adapterops.storage.content import OnDisk
from adapterops.storage.descriptors import Descriptor
from adapterops.storage.output import OutputFile


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    """Room for one open file."""
    return Room(monkeypatch, 1)


class Room:
    """Room for some more files than are open now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, more: int) -> None:
        self.monkeypatch = monkeypatch
        self.set(more)

    def set(self, more: int) -> None:
        free = os.dup(0)
        os.close(free)
        self.monkeypatch.setattr(descriptors, "_room", lambda: free + more)


def opened(path: Path) -> Descriptor:
    def again() -> int:
        return os.open(path, os.O_RDONLY)

    return Descriptor(again(), again)


def is_open(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").exists()


def test_as_many_stay_open_as_there_is_room_for(room: Room, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    first, second = opened(tmp_path / "x"), opened(tmp_path / "x")
    with first.open() as kept, second.open() as other:
        assert os.pread(kept, 3, 0) == os.pread(other, 3, 0) == b"abc"
    assert (is_open(kept), is_open(other)) == (True, False)
    first.close()
    first.close()
    assert not is_open(kept)
    third, fourth = opened(tmp_path / "x"), opened(tmp_path / "x")
    first.close()
    with third.open() as again, fourth.open() as last:
        assert again == kept
    assert (is_open(again), is_open(last)) == (True, False), "what is closed twice makes room once"


def test_what_is_given_up_is_closed(room: Room, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    given_up = opened(tmp_path / "x")
    with given_up.open() as kept:
        pass
    assert is_open(kept)
    del given_up
    assert not is_open(kept)


@pytest.mark.parametrize("change", ["replaced", "removed", "written"])
def test_what_is_opened_again_is_the_file_that_was_opened(room: Room, tmp_path: Path, change: str) -> None:
    room.set(0)
    path = tmp_path / "x"
    path.write_bytes(bytes(100))
    content, view = OnDisk(path), memoryview(bytearray(10))
    assert content.read_into(view, 0) == 10
    content.check_unchanged()
    if change == "written":
        os.utime(path, ns=(0, 0))
    else:
        path.rename(tmp_path / "y")
    if change == "replaced":
        path.write_bytes(bytes(100))
    for ask in (lambda: content.read_into(view, 0), content.check_unchanged):
        with pytest.raises(InputError, match="changed while it was read"):
            ask()


def test_an_output_that_is_opened_for_each_write(room: Room, tmp_path: Path) -> None:
    room.set(0)
    file, other = OutputFile(tmp_path / "x", 6), OutputFile(tmp_path / "y", 6)
    for each in (file, other):
        each.put(b"def", 3)
        each.put(b"abc", 0)
        each.sync()
    assert file.blake3() == other.blake3()
    file.close()
    assert (tmp_path / "x").read_bytes() == b"abcdef"
