"""A folder appears whole, or not at all."""

from __future__ import annotations

import ctypes
import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adapterops.errors import DiskError, OutputExistsError, ResourceError
from adapterops.storage.checksums import BLAKE3, file_digests
from adapterops.storage.hidden import create, remove_stale
from adapterops.storage.measured import Measured
from adapterops.storage.outputs import MANIFEST, check_replaceable
from adapterops.storage.staging import publish, staged, writing


def test_what_ends_well_appears_and_nothing_else_does(tmp_path: Path) -> None:
    with staged(tmp_path / "out") as folder:
        (folder / "file").write_bytes(b"x")
        assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out/file").read_bytes() == b"x"


def test_what_was_measured_for_it_is_of_no_use_any_more(tmp_path: Path) -> None:
    """Parts may have been begun, and given up."""
    Measured(tmp_path / "out")("key", int, lambda: 1)
    with staged(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt()])
def test_what_does_not_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def interrupted() -> None:
        with staged(tmp_path / "out") as folder:
            (folder / "file").touch()
            raise error

    with pytest.raises(type(error)):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_of_the_output(tmp_path: Path) -> None:
    """What finds it inside knows a hidden folder alone, which nobody has to know."""
    with pytest.raises(DiskError) as caught, staged(tmp_path / "out"):
        raise DiskError("cannot reserve 5 bytes")
    assert caught.value.path == str(tmp_path / "out")


def test_somebody_else_was_faster(tmp_path: Path) -> None:
    def late() -> None:
        with staged(tmp_path / "out"):
            (tmp_path / "out").mkdir()
            (tmp_path / "out/theirs").touch()

    with pytest.raises(OutputExistsError, match="appeared while this run was writing"):
        late()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["theirs"]


def test_one_file_and_its_manifest(tmp_path: Path) -> None:
    with staged(tmp_path / "m.gguf", single=True) as folder:
        (folder / "m.gguf").write_bytes(b"x")
        (folder / MANIFEST).write_bytes(b"{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf", f"m.gguf.{MANIFEST}"]


def test_only_an_output_of_ours_is_exchanged(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    for folder in (new, old):
        folder.mkdir()
        (folder / folder.name).touch()
    with pytest.raises(OutputExistsError):
        publish(new, old, force=True)
    assert (old / "old").exists()


@pytest.mark.parametrize(("there", "nth"), [(False, 1), (True, 1), (True, 2), (True, 3)])
def test_another_run_is_active_between_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, nth: int
) -> None:
    """On a file system without an exchange: before what was there is moved aside, before the new one takes its place,
    and before what was aside is removed, as it is by a run that starts."""
    out, renames, rename = tmp_path / "out", iter(range(1, 99)), os.rename
    locks: list[int] = []

    def no_exchange(*_: object, **__: object) -> None:
        raise OSError

    def made(by: str) -> Path:
        folder, lock = create(out)
        locks.append(lock)
        (folder / MANIFEST).write_text(json.dumps({"outputs": {}, "by": by}))
        return folder

    def late(old: Path, new: Path) -> None:
        if next(renames) == nth:
            monkeypatch.setattr(os, "rename", rename)
            remove_stale(out)
            if nth < 3:
                publish(made("other"), out, force=True)
            monkeypatch.setattr(os, "rename", late)
        rename(old, new)

    monkeypatch.setattr(ctypes, "CDLL", no_exchange)
    monkeypatch.setattr(os, "rename", late)
    if there:
        rename(made("old"), out)
    publish(made("new"), out, force=True)
    assert "new" in (out / MANIFEST).read_text()
    for lock in locks:
        os.close(lock)
    remove_stale(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_several_replace_one_file_and_each_is_found_with_its_manifest(tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"

    def replace(by: bytes) -> None:
        for number in range(40):
            with staged(out, force=True, single=True, sync=False) as folder:
                (folder / out.name).write_bytes(by * number)
                written = {"size": number * len(by)} | file_digests(folder / out.name, BLAKE3)
                (folder / MANIFEST).write_text(json.dumps({"outputs": {out.name: written}}))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(replace, (b"a", b"bc", b"def")))
    check_replaceable(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf", f"m.gguf.{MANIFEST}"]


def test_a_failure_of_the_disk_is_one_of_the_output(tmp_path: Path) -> None:
    full, left = pytest.raises(ResourceError, match="writing failed: No space left"), "something is left: "
    with full as caught, writing(tmp_path, left, "go on"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.hint == "something is left: free some space, go on"
    with pytest.raises(DiskError, match="writing failed") as caught, writing(tmp_path, left):
        raise OSError(errno.EACCES, "Permission denied")
    assert caught.value.hint == "something is left: make it writable, or write elsewhere with -o"
    full, memory = (kind("needs more") for kind in (DiskError, ResourceError))
    for error, path in ((full, str(tmp_path)), (memory, None)):  # which of the two is the output's
        with pytest.raises(ResourceError, match="needs more"), writing(tmp_path, left):
            raise error
        assert error.path == path
    with pytest.raises(OSError, match="Bad"), writing(tmp_path, ""):
        raise OSError(errno.EBADF, "Bad file descriptor")
