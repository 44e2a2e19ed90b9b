"""A file on the Hub:
its header by one request or two, small tensors alone, and all of it when a large one is needed.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adapterops.errors import InputError
from adapterops.hub import ranges
from adapterops.hub.ranges import Fetched, Streamed
from adapterops.storage.checksums import BLAKE3, SHA256, file_digests
from adapterops.storage.safetensors import SafetensorsFile

SMALL, LARGE = torch.arange(6.0), torch.arange(40_000.0)


class Remote:
    """A file elsewhere, and what was asked of it."""

    def __init__(self, folder: Path, data: bytes | None = None) -> None:
        self.there, self.here = folder / "there.safetensors", folder / "here.safetensors"
        if data is None:
            save_file({"small": SMALL, "large": LARGE}, self.there)
        else:
            self.there.write_bytes(data)
        self.asked: list[tuple[int, int]] = []
        self.fetched = 0

    def read(self, begin: int, count: int) -> bytes:
        self.asked.append((begin, count))
        return self.there.read_bytes()[begin : begin + count]

    def fetch(self) -> None:
        self.fetched += 1
        shutil.copy(self.there, self.here)

    def open(self) -> SafetensorsFile:
        content = Fetched(self.here, self.there.stat().st_size, (1,), self.read, self.fetch)
        return SafetensorsFile(self.here, content=content)


def test_a_header_takes_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Remote(tmp_path)
    assert set(remote.open().entries) == {"small", "large"}
    assert remote.asked == [(0, ranges.FIRST)]
    monkeypatch.setattr(ranges, "FIRST", 64)
    assert set(remote.open().entries) == {"small", "large"}
    assert len(remote.asked) == 3
    assert not remote.fetched


def test_small_tensors_are_read_alone_and_large_ones_bring_the_file(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    file = remote.open()
    assert bytes(file.read("small")) == SMALL.numpy().tobytes()
    assert bytes(file.read("small", 4, 12)) == SMALL.numpy().tobytes()[4:12]
    assert not remote.fetched
    assert bytes(file.read("large")) == LARGE.numpy().tobytes()
    assert bytes(file.read("small")) == SMALL.numpy().tobytes()
    assert remote.fetched == 1


def test_what_is_here_is_not_asked_for(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    remote.fetch()
    assert bytes(remote.open().read("small")) == SMALL.numpy().tobytes()
    assert remote.asked == []


def test_an_answer_that_is_too_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "FIRST", 64)
    remote = Remote(tmp_path)
    file = remote.open()
    remote.there.write_bytes(remote.there.read_bytes()[: 8 + 200])
    with pytest.raises(InputError, match=r"the Hub sent \d+ of 24 bytes"):
        file.read("small")


def test_another_file_than_the_header_was_of(tmp_path: Path) -> None:
    remote = Remote(tmp_path)
    file = remote.open()
    save_file({"small": SMALL, "other": LARGE}, remote.there)
    with pytest.raises(InputError, match="not the file whose header"):
        file.read("large")


def test_a_header_that_is_hostile(tmp_path: Path) -> None:
    text = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]}}).encode()
    with pytest.raises(InputError):
        Remote(tmp_path, struct.pack("<Q", len(text)) + text + bytes(8)).open()


class Passing(Remote):
    """The same, whose bytes are not kept; an answer may end before the file does."""

    def __init__(self, folder: Path, most: int | None = None) -> None:
        super().__init__(folder)
        self.most, self.closed = most, 0

    @contextmanager
    def pieces(self, begin: int) -> Iterator[Iterator[bytes]]:
        self.asked.append((begin, -1))
        data = self.there.read_bytes()[begin:][: self.most]
        try:
            yield iter([data[at : at + 1000] for at in range(0, len(data), 1000)])
        finally:
            self.closed += 1

    def open(self) -> SafetensorsFile:
        size = self.there.stat().st_size
        return SafetensorsFile(
            self.here, content=Streamed(self.here, "a file", size, (1,), self.read, self.pieces, (BLAKE3, SHA256))
        )


def test_a_file_that_passes_is_read_by_one_request_and_hashed(tmp_path: Path) -> None:
    remote = Passing(tmp_path)
    file = remote.open()
    file.identity.hash_as_read()
    names = sorted(file.entries, key=lambda name: file.entries[name].begin)
    found = b"".join(bytes(piece) for name in names for piece in file.chunks(name))
    assert remote.there.read_bytes().endswith(found)
    assert file.identity.hashes() == file_digests(remote.there, BLAKE3, SHA256)
    assert len([begin for begin, count in remote.asked if count < 0]) == 1
    assert remote.closed == 1
    assert not remote.here.exists()


def test_two_workers_share_the_answers(tmp_path: Path) -> None:
    remote = Passing(tmp_path)
    file = remote.open()
    rows = file.entries["large"].shape[0]
    halves = [file.array("large", (0, 1)), file.array("large", (0, 1))]
    assert (halves[0] == halves[1]).all()
    assert bytes(file.read("large")) == LARGE.numpy().tobytes()
    assert len(file._content._streams) <= ranges.STREAMS
    assert rows == len(LARGE)


def test_an_answer_that_ends_too_soon_is_an_error(tmp_path: Path) -> None:
    remote = Passing(tmp_path, most=1500)
    with pytest.raises(InputError, match="the Hub sent"):
        remote.open().read("large")
    assert remote.closed
