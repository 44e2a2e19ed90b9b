"""What a file is known by, whatever is read of it and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterops.errors import InputError
from adapterops.storage.checksums import BLAKE3, SHA256, file_digests
from adapterops.storage.content import OnDisk
from adapterops.storage.identity import Identity

DATA = bytes(range(256)) * 40


def identity(path: Path, head: int = 100) -> Identity:
    path.write_bytes(DATA)
    return Identity(path, OnDisk(path), head)


@pytest.mark.parametrize("seen", [[], [(100, 9000)], [(100, 300), (400, 9840)], [(5000, 10), (0, 3)]])
def test_hashes_are_those_of_the_file(tmp_path: Path, seen: list[tuple[int, int]]) -> None:
    found = identity(tmp_path / "x")
    found.hash_as_read()
    for begin, size in seen:
        found.saw(begin, memoryview(DATA)[begin : begin + size])
    assert found.size == len(DATA)
    assert found.hashes() == file_digests(tmp_path / "x", BLAKE3)
    assert found.digest(SHA256) == file_digests(tmp_path / "x", SHA256)[SHA256]


def test_what_another_process_noted_is_not_computed(tmp_path: Path) -> None:
    found = identity(tmp_path / "x")
    found.note({BLAKE3: "noted"})
    assert found.hashes() == {BLAKE3: "noted"}


def test_a_file_that_changed(tmp_path: Path) -> None:
    found = identity(tmp_path / "x")
    before = found.origin
    (tmp_path / "x").write_bytes(DATA[1:])
    assert found.origin != before
    with pytest.raises(InputError, match="changed while it was read"):
        found.check_unchanged()
    with pytest.raises(InputError, match="changed while it was read"):
        found.digest()
