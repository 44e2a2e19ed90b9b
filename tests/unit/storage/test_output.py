"""New files whose bytes come in any order."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterops.storage.checksums import digest
from adapterops.storage.output import OutputFile


def test_bytes_are_where_they_were_put_and_hashed(tmp_path: Path) -> None:
    file = OutputFile(tmp_path / "a", 6)
    for data, position in ((b"ef", 4), (b"ab", 0), (b"cd", 2)):
        file.put(data, position)
    file.sync()
    assert file.blake3() == digest(b"abcdef")
    file.close()
    assert (tmp_path / "a").read_bytes() == b"abcdef"


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(FileExistsError):
        OutputFile(tmp_path / "a", 6)
    assert (tmp_path / "a").read_bytes() == b"x"
