"""Journals: what is damaged does not count, and nothing else is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapterops.storage.journal import JOURNAL, Journal, entries

ENTRIES = [{"file": "a", "size": 1}, {"file": "ü", "modules": {"q": [0.1, 1e-300]}}, {"file": "c"}]


def written(folder: Path) -> Journal:
    journal = Journal(folder, "plan")
    for entry in ENTRIES:
        journal.add(entry)
    return journal


def test_what_was_added_is_read(tmp_path: Path) -> None:
    assert written(tmp_path).entries() == ENTRIES
    assert entries(tmp_path / JOURNAL)[0] == {"plan": "plan"}
    assert entries(tmp_path / "nothing") == []


def test_any_byte_may_be_damaged(tmp_path: Path) -> None:
    """The line that it is in is dropped, and the others stay."""
    journal, path = written(tmp_path), tmp_path / JOURNAL
    whole = path.read_bytes()
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        found = entries(path)
        assert all(entry in [{"plan": "plan"}, *ENTRIES] for entry in found)
        assert len(found) >= len(ENTRIES) - 1
    path.write_bytes(whole)
    assert journal.entries() == ENTRIES


@pytest.mark.parametrize("left", [0, 1, 20])
def test_a_line_that_was_cut_off(tmp_path: Path, left: int) -> None:
    journal, path = written(tmp_path), tmp_path / JOURNAL
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:left])
    assert journal.entries() == ENTRIES[:-1]
    journal.add({"file": "d"})
    assert journal.entries() == [*ENTRIES[:-1], {"file": "d"}]
