"""Output that is whole or absent.

A folder is built next to its destination under a hidden name, synced, and renamed once: the rename is the commit. The
hidden folder is locked while its maker lives, so that what a killed run left behind is known, and removed by the next,
or taken over by it where the work has a journal.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from adapterops.errors import NotFoundError, OptionError, OutputExistsError, ResourceError

MANIFEST = "adapterops.json"
RECIPE = "recipe.yaml"
"""What an output is made by, written next to it."""

JOURNAL = ".journal"
ASIDE = "-old"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DISK = (*DISK_FULL, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EXDEV)


def check_output(out: Path, inputs: list[Path], force: bool) -> None:
    """Raise what `staged` would, before any work: the output exists, is inside an input, or cannot be created.

    Raises:
        OptionError: `out` is an input, is inside one, or, to be replaced, holds one.
        OutputExistsError: `out` exists and may not be replaced.
        NotFoundError, ResourceError: the folder it would go to is missing or not writable.
    """
    place = Path(os.path.realpath(out))
    for source in (Path(os.path.realpath(path)) for path in inputs):
        if place == source or (source.is_dir() and source in place.parents):
            raise OptionError(
                f"the output would be inside the input {source.name}", path=out, hint="name another place with -o"
            )
        if place in source.parents and place.exists():
            raise OptionError(
                f"the output would replace the input {source.name}", path=out, hint="name another place with -o"
            )
    if os.path.lexists(out) and not _empty(out):
        if not force:
            raise OutputExistsError(
                "already exists", path=out, hint="name another place with -o, or replace it with --force"
            )
        if not (out / MANIFEST).is_file():
            raise OutputExistsError(
                f"was not written by adapterops (it has no {MANIFEST}), so --force does not replace it",
                path=out,
                hint="remove it yourself, or name another place with -o",
            )
    parent = place.parent
    if not parent.is_dir():
        raise NotFoundError("the folder to write into does not exist", path=parent, hint="create it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ResourceError("the folder to write into is not writable", path=parent, hint="name another place with -o")


def _empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


class Journal:
    """What is finished of a long work, in a file next to it:
    one JSON object a line, synced, under the key of the plan.
    """

    def __init__(self, folder: Path, plan: str, sync: bool = True) -> None:
        self.path, self._sync = folder / JOURNAL, sync
        if not self.path.exists():
            self.add({"plan": plan})

    def add(self, entry: Mapping[str, Any]) -> None:
        text = json.dumps(entry) + "\n"
        with open(self.path, "ab+") as file:
            if file.tell() and _last(file) != b"\n":
                text = "\n" + text  # after a line that a crash cut off
            file.write(text.encode())
            file.flush()
            if self._sync:
                os.fsync(file.fileno())

    def entries(self) -> list[dict[str, Any]]:
        """What was added after the plan. A last line that was cut off by a crash does not count."""
        return _journal(self.path)[1:]


def _last(file: BinaryIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def _journal(path: Path) -> list[dict[str, Any]]:
    lines = []
    with suppress(OSError):
        for line in path.read_bytes().splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    lines.append(entry)
    return lines


@contextmanager
def staged(
    out: Path, *, force: bool = False, plan: str | None = None, resume: bool = False, sync: bool = True
) -> Iterator[Path]:
    """A folder to write into, which becomes `out` when the block ends well, and vanishes when it does not.

    Files must be synced by whoever writes them. With `force`, an output of ours that is there is exchanged for the new
    one after that is complete. Work with a `plan` has a `Journal`: what an interrupted or killed run of the same plan
    left is taken over with `resume`, and kept for that when this one is interrupted. Without `sync` nothing waits for
    the disk.

    Raises:
        OutputExistsError: somebody else put something there meanwhile.
        ResourceError: the disk failed or is full.
    """
    out = Path(os.path.realpath(out))
    adopted = _adopt(out, plan) if resume and plan else None
    if adopted is None:
        _remove_stale(out)
    folder, lock = adopted or _create(out)
    keep = published = False
    journal = b""
    try:
        yield folder
        if (folder / JOURNAL).exists():
            journal = (folder / JOURNAL).read_bytes()
            (folder / JOURNAL).unlink()
        if sync:
            _sync(folder)
        _publish(folder, out, force)
        published = True
        if sync:
            _sync(out.parent)
    except OSError as error:
        if error.errno in _DISK:
            left = (
                "the output is whole, but may not survive a power failure" if published else "nothing was left behind"
            )
            raise ResourceError(
                f"writing failed: {error.strerror}",
                path=out,
                hint=f"{left}; free some space, or write elsewhere with -o",
            ) from error
        raise
    except BaseException as error:
        if published or not folder.exists():
            error.add_note(f"{out.name} is written")
        elif journal and not isinstance(error, Exception):
            (folder / JOURNAL).write_bytes(journal)
        keep = not isinstance(error, Exception) and len(_journal(folder / JOURNAL)) > 1
        if keep:
            error.add_note("run it again with --resume to go on from here")
        raise
    finally:
        if not keep:
            _remove(folder)
        os.close(lock)


def _remove(folder: Path) -> None:
    """Remove a folder that a thread nobody waits for may still write into."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.01)


def _adopt(out: Path, plan: str) -> tuple[Path, int] | None:
    """The folder that an earlier run of the same plan left, locked."""
    for folder in _left_behind(out):
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _journal(folder / JOURNAL)[:1] == [{"plan": plan}]:
                    return folder, lock
            except OSError:
                pass
            os.close(lock)
    return None


def _left_behind(out: Path) -> list[Path]:
    return sorted(out.parent.glob(f".{glob.escape(out.name)}.adapterops-*"))


def _create(out: Path) -> tuple[Path, int]:
    while True:
        folder = out.parent / f".{out.name}.adapterops-{uuid.uuid4().hex[:12]}"
        try:
            folder.mkdir()
        except OSError as error:
            raise ResourceError(
                f"cannot be created: {error.strerror}", path=out, hint="name another place with -o"
            ) from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with suppress(OSError):  # taken for stale by another run before it was locked: try another name
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if folder.exists():
                return folder, lock


def _remove_stale(out: Path) -> None:
    """Remove what killed runs left next to `out`: hidden folders that nobody holds a lock on.

    An old output that was aside when its replacement was killed goes back to its place.
    """
    for folder in _left_behind(out):
        if folder.name.endswith(ASIDE) and not os.path.lexists(out):
            os.rename(folder, out)
            continue
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _publish(folder: Path, out: Path, force: bool) -> None:
    if force and out.is_dir() and not _empty(out):
        _exchange(folder, out)
        return
    try:
        os.rename(folder, out)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise OutputExistsError(
                "appeared while this run was writing", path=out, hint="name another place with -o"
            ) from error
        raise


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders in one step, so that a reader sees one or the other;
    `old`'s content ends up under `new`'s name.
    """
    at_fdcwd, exchange = -100, 2
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(at_fdcwd, os.fsencode(new), at_fdcwd, os.fsencode(old), exchange) == 0:
            return
    aside = new.with_name(new.name + ASIDE)  # where the system has no exchange: two renames
    os.rename(old, aside)
    os.rename(new, old)
    os.rename(aside, new)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
