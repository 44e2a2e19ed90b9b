"""When a file that was noted counts."""

from __future__ import annotations

from pathlib import Path

from adapterops.engine.records import whole
from adapterops.storage.checksums import digest


def test_a_file_is_whole_or_not(tmp_path: Path) -> None:
    blake3 = digest(b"data")
    assert not whole(tmp_path, "a", blake3, sync=True)
    (tmp_path / "a").write_bytes(b"data")
    assert whole(tmp_path, "a", blake3, sync=True)
    (tmp_path / "a").write_bytes(b"Data")
    assert not whole(tmp_path, "a", blake3, sync=False)
