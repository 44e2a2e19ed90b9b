"""What is measured once for all processes."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from adapterops.errors import OutputExistsError
from adapterops.storage.journal import line
from adapterops.storage.measured import Measured, folder_of, forget


def anything(value: object) -> bool:
    return True


def refused() -> None:
    raise AssertionError("measured again")


@pytest.mark.parametrize("value", [["a", "b"], {"m": 3}, [], None])
def test_once_for_all(tmp_path: Path, value: object) -> None:
    out = tmp_path / "out"
    assert Measured(out)("key", anything, lambda: value) == value
    assert Measured(out, sync=False)("key", anything, refused) == value
    assert Measured(out)("other", anything, lambda: 1) == 1
    assert Measured(tmp_path / "another")("key", anything, lambda: 2) == 2
    forget(out)
    assert not folder_of(out).exists()
    assert Measured(out)("key", anything, lambda: 3) == 3


def test_a_damaged_value_is_measured_again(tmp_path: Path) -> None:
    measured = Measured(tmp_path / "out")
    measured("key", int, lambda: 12)
    path = folder_of(tmp_path / "out") / "key.json"
    for damaged in (path.read_bytes().replace(b"12", b"13"), b"", b"{}", line({"value": "12"}), line({"of": 12})):
        path.write_bytes(damaged)
        assert measured("key", int, lambda: 12) == 12
        assert measured("key", anything, refused) == 12


def test_what_fails_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        Measured(tmp_path / "out")("key", anything, refused)
    assert Measured(tmp_path / "out")("key", anything, lambda: 1) == 1


def test_others_wait_for_who_came_first(tmp_path: Path) -> None:
    calls: list[int] = []

    def slow() -> int:
        calls.append(1)
        time.sleep(0.05)
        return len(calls)

    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(Measured(tmp_path / "out")("key", anything, slow)))
        for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [1] * 4


def test_to_measure_one_value_another_is_asked_for(tmp_path: Path) -> None:
    measured = Measured(tmp_path / "out")
    found: list[int] = []

    def ask() -> None:
        found.append(measured("outer", anything, lambda: 1 + Measured(tmp_path / "out")("inner", anything, lambda: 1)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(20)
    assert found == [2]
    assert measured("inner", anything, refused) == 1


def test_an_output_that_was_finalized_meanwhile(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert Measured(out)("key", anything, lambda: (forget(out), 1)[1]) == 1
    out.mkdir()
    with pytest.raises(OutputExistsError, match="was finalized while this was running"):
        Measured(out)("key", anything, lambda: (forget(out), 1)[1])


def test_a_value_that_the_disk_does_not_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*paths: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert Measured(tmp_path / "missing" / "out")("key", anything, lambda: 1) == 1
    monkeypatch.setattr(os, "replace", full)
    assert Measured(tmp_path / "out")("key", anything, lambda: 1) == 1
    monkeypatch.undo()
    assert Measured(tmp_path / "out")("key", anything, lambda: 2) == 2
