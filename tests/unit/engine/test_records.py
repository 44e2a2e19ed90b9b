"""When a file that was noted counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adapterops.engine.records import whole
from adapterops.storage.checksums import digest


@dataclass(frozen=True)
class Finished:
    size: int | None
    blake3: str
    inputs: Sequence[Mapping[str, str]] = ()


def test_a_file_is_whole_or_not(tmp_path: Path) -> None:
    noted = Finished(4, digest(b"data"))
    assert not whole(tmp_path, "a", noted, sync=True)
    (tmp_path / "a").write_bytes(b"data")
    assert whole(tmp_path, "a", noted, sync=True)
    (tmp_path / "a").write_bytes(b"Data")
    assert not whole(tmp_path, "a", noted, sync=False)
    (tmp_path / "a").write_bytes(b"data")
    assert not whole(tmp_path, "a", replace(noted, size=5), sync=False)
