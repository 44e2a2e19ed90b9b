"""A file as it was when it was opened, or an error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapterops.errors import InputError
from adapterops.storage.content import OnDisk


def opened(path: Path) -> OnDisk:
    path.write_bytes(bytes(range(100)))
    return OnDisk(path)


def test_bytes_from_a_position_on(tmp_path: Path) -> None:
    content, view = opened(tmp_path / "x"), memoryview(bytearray(30))
    assert content.size == 100
    assert (content.read_into(view, 10), view[0], view[29]) == (30, 10, 39)
    assert (content.read_into(view, 90), view[9]) == (10, 99)
    assert content.read_into(view, 100) == 0


def test_a_file_that_is_written_to(tmp_path: Path) -> None:
    content = opened(tmp_path / "x")
    origin = content.origin
    os.utime(tmp_path / "x", ns=(0, 0))
    assert content.origin != origin
    with pytest.raises(InputError, match="changed while it was read"):
        content.read_into(memoryview(bytearray(30)), 0)
    with pytest.raises(InputError, match="changed while it was read"):
        content.check_unchanged()


def test_another_file_in_its_place(tmp_path: Path) -> None:
    content = opened(tmp_path / "x")
    (tmp_path / "y").write_bytes(bytes(100))
    os.replace(tmp_path / "y", tmp_path / "x")
    assert content.read_into(memoryview(bytearray(30)), 10) == 30
    with pytest.raises(InputError, match="changed while it was read"):
        content.check_unchanged()
