"""Files that are whole or absent."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapterops.errors import NotFoundError, OptionError, OutputExistsError, ResourceError
from adapterops.storage.documents import check_documents, write_documents


def test_both_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    write_documents({one: b"1", two: b"2"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"one": b"1", "two": b"2"}
    write_documents({one: b"3", two: b"4"}, force=True)
    assert (one.read_bytes(), two.read_bytes()) == (b"3", b"4")
    with pytest.raises(OutputExistsError):
        write_documents({tmp_path / "new": b"5", one: b"6"})
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}
    assert one.read_bytes() == b"3"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    (tmp_path / "one").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ResourceError):
        write_documents({tmp_path / "one": b"1", tmp_path / "two": b"2"}, force=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"one": b"old"}


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: str, target: str) -> None:
        raise PermissionError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", fail)
    write_documents({tmp_path / "one": b"1"})
    with pytest.raises(OutputExistsError):
        write_documents({tmp_path / "one": b"2"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"one": b"1"}


def test_what_is_checked_before_any_work(tmp_path: Path) -> None:
    source, ours, theirs = tmp_path / "source", tmp_path / "ours", tmp_path / "theirs"
    source.mkdir()
    ours.write_bytes(b"<mark>")
    theirs.write_bytes(b"something")
    (tmp_path / "link").symlink_to(ours)
    check_documents({tmp_path / "new": b"<mark>"}, [source], False)
    check_documents({ours: b"<mark>"}, [source], True)
    for out, force in ((ours, False), (theirs, True), (tmp_path / "link", True), (source, True)):
        with pytest.raises((OutputExistsError, OptionError)):
            check_documents({out: b"<mark>"}, [source], force)
    with pytest.raises(OptionError):
        check_documents({source / "new": b"<mark>"}, [source], False)
    with pytest.raises(NotFoundError):
        check_documents({tmp_path / "missing/new": b"<mark>"}, [], False)


def test_a_folder_that_may_not_be_written_to_is_told_with_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ResourceError, match=r"not writable\n.*--plan"):
        check_documents({tmp_path / "new": b""}, [], None, "--plan")


def test_permissions_are_those_of_the_umask(tmp_path: Path) -> None:
    write_documents({tmp_path / "one": b"1"})
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_kill_while_files_get_their_names(tmp_path: Path, force: bool, nth: int) -> None:
    """The next run finds both files of the killed one, and nothing hidden."""
    one, two = tmp_path / "one", tmp_path / "two"
    if force:
        write_documents({one: b"old", two: b"old"})
    code = f"""
import os
from pathlib import Path
from adapterops.storage.documents import write_documents
calls, real = [], os.{"replace" if force else "link"}
def die(*arguments):
    real(*arguments)
    calls.append(1)
    if len(calls) == {nth}:
        os._exit(9)
os.replace = os.link = die
write_documents({{Path({str(one)!r}): b"<mark>1", Path({str(two)!r}): b"<mark>2"}}, force={force})
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    check_documents({one: b"<mark>", two: b"<mark>"}, [], True)
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {"one": b"<mark>1", "two": b"<mark>2"}


def test_a_kill_before_that_leaves_nothing_for_long(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from adapterops.storage.documents import write_documents
os.fsync = lambda descriptor: os._exit(9)
write_documents({{Path({str(tmp_path / "one")!r}): b"1", Path({str(tmp_path / "two")!r}): b"2"}})
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert len(list(tmp_path.iterdir())) == 1
    write_documents({tmp_path / "one": b"3", tmp_path / "two": b"4"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"one": b"3", "two": b"4"}
