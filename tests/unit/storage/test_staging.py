"""A folder appears whole, or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from adapterops.errors import DiskError, OutputExistsError, ResourceError
from adapterops.storage.measured import Measured
from adapterops.storage.outputs import MANIFEST
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
