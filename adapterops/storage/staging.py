"""Output that is whole or absent.

A folder is built next to its destination under a hidden name, synced, and renamed once: the rename is the commit. The
hidden folder is locked while its maker lives, so that what a killed run left behind is known, and removed by the next,
or taken over by it where the work has a journal.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from adapterops.errors import DiskError, OutputExistsError
from adapterops.storage.hidden import ASIDE, abandoned, adopt, create, remove, remove_stale
from adapterops.storage.journal import JOURNAL, entries
from adapterops.storage.measured import forget
from adapterops.storage.outputs import MANIFEST, REPLACED, check_replaceable, empty, manifest_of
from adapterops.storage.strict import check_path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
WITHOUT_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
"""What file systems say that have no second name for a file."""
DISK = (*DISK_FULL, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EXDEV)
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
"""What is said of a rename to a name that something else has."""
ELSEWHERE = "or write elsewhere with -o"


WAYS = {
    **dict.fromkeys(DISK_FULL, "free some space"),
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable"),
    errno.EIO: "check the disk",
}
"""What helps against what a system says of a file that cannot be written."""


def remedy(error: OSError, then: str) -> str:
    """What helps, where the system says what is wrong, and how to go on: `then` begins with its conjunction."""
    way = WAYS.get(error.errno or 0)
    return f"{way}, {then}" if way else then.removeprefix("or ").removeprefix("and ")


@contextmanager
def staged(
    out: Path,
    *,
    force: bool = False,
    plan: str | None = None,
    resume: bool = False,
    single: bool = False,
    sync: bool = True,
) -> Iterator[Path]:
    """A folder to write into, which becomes `out` when the block ends well, and vanishes when it does not. Where `out` is
    to be a single file, it is the one of that name in the folder, and the manifest gets a place next to it.

    Files must be synced by whoever writes them. With `force`, an output of ours that is there is exchanged for the new
    one after that is complete. Work with a `plan` has a `Journal`: what an interrupted or killed run of the same plan
    left is taken over with `resume`, and kept for that when this one is interrupted. Without `sync` nothing waits for
    the disk.

    Raises:
        OutputExistsError: somebody else put something there meanwhile.
        ResourceError: the disk failed or is full.
    """
    check_path(out)
    out = Path(os.path.realpath(out))
    adopted = adopt(out, plan) if resume and plan else None
    if adopted is None:
        if single and force:
            _finish(out)
        remove_stale(out)
    folder, lock = adopted or create(out)
    keep = published = False
    journal = b""
    try:
        with writing(out, "nothing was left behind; "):
            yield folder
            if (folder / JOURNAL).exists():
                journal = (folder / JOURNAL).read_bytes()
                (folder / JOURNAL).unlink()
            if sync:
                sync_folders(folder)
            if single:
                with _turn(out.parent):
                    publish_file(folder, out, force)
            else:
                publish(folder, out, force)
            published = True
            forget(out)
        if sync:
            with writing(out, "the output is complete, but may not survive a power failure; "):
                sync_folder(out.parent)
    except Exception:  # says by itself what became of the output
        raise
    except BaseException as stop:  # a signal: whoever sent it is told
        if published or not folder.exists():
            stop.add_note(f"{out.name} is written")
        elif keep := _kept(folder, journal):
            stop.add_note("run it again with --resume to go on from here")
        raise
    finally:
        if not keep:
            remove(folder)
        os.close(lock)


def _kept(folder: Path, journal: bytes) -> bool:
    """Whether what an interrupted run left is worth to go on from; its journal is put back where it was taken away."""
    if journal:
        (folder / JOURNAL).write_bytes(journal)
    return len(entries(folder / JOURNAL)) > 1


@contextmanager
def writing(out: Path, left: str, then: str = ELSEWHERE) -> Iterator[None]:
    """Turn a failure of the disk into what it is: one of the output. What is known to be one gets its place.

    Args:
        left: what was left, before how to make room.
        then: how to go on without that.
    """
    try:
        yield
    except DiskError as error:
        error.path = error.path or str(out)
        raise
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise DiskError(f"writing failed: {error.strerror}", path=out, hint=left + remedy(error, then)) from error


def publish(folder: Path, out: Path, force: bool) -> None:
    """Rename a complete folder to `out`; with `force`, an output that is there is exchanged for it.

    Another run may put its own there, or exchange it, between a look and a step: then it is looked at again.

    Raises:
        OutputExistsError: something else is there.
    """
    while True:
        if force and out.is_dir() and not empty(out):
            check_replaceable(out)  # somebody may have added something meanwhile
            if _exchange(folder, out):
                return
            continue
        try:
            os.rename(folder, out)
            return
        except OSError as error:
            if error.errno not in TAKEN:
                raise
            if not force or error.errno == errno.ENOTDIR:
                raise _appeared(out) from error


def publish_file(folder: Path, out: Path, force: bool) -> None:
    """Give the file of a complete folder its name, after its manifest and what else is in the folder; with `force`, one
    that is there is replaced.

    Raises:
        OutputExistsError: something is there.
    """
    if os.path.lexists(out):
        if not force:
            raise _appeared(out)
        check_replaceable(out)
        shutil.copyfile(
            manifest_of(out), folder / REPLACED
        )  # says what the file that is there is, until it is replaced
    placed = []
    try:
        for path, place in _placed(folder, out):
            os.replace(path, place)
            placed.append(place)
        _name_file(folder / out.name, out, force)
    except BaseException:
        if not os.path.lexists(out):
            for place in placed:
                place.unlink()
        elif (folder / REPLACED).exists() and (folder / out.name).exists():
            os.replace(folder / REPLACED, manifest_of(out))
        raise


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """One run at a time, where the disk has locks: a file and its manifest are named one after the other."""
    with ExitStack() as held:
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            held.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _name_file(path: Path, out: Path, force: bool) -> None:
    """Give a file its name, which nothing else has without `force`."""
    if force:
        os.replace(path, out)
        return
    try:
        os.link(path, out)
    except OSError as error:
        if isinstance(error, FileExistsError) or os.path.lexists(out):
            raise _appeared(out) from error
        if error.errno not in WITHOUT_LINKS:
            raise
        os.rename(path, out)


def _placed(folder: Path, out: Path) -> list[tuple[Path, Path]]:
    """What is in a complete folder but the file itself, the manifest first, and the place of each next to the file."""
    others = sorted(path for path in folder.iterdir() if path.name not in (out.name, MANIFEST, REPLACED))
    manifest = [(folder / MANIFEST, out.with_name(f"{out.name}.{MANIFEST}"))] if (folder / MANIFEST).exists() else []
    return manifest + [(path, out.with_name(path.name)) for path in others]


def _finish(out: Path) -> None:
    """Replace a single file whose manifest was replaced already, by a run that was killed before it came to the file."""
    for folder in abandoned(out):
        if out.is_file() and (folder / REPLACED).exists() and not (folder / MANIFEST).exists():
            check_replaceable(out)
            for path, place in _placed(folder, out):
                os.replace(path, place)
            if (folder / out.name).exists():
                os.replace(folder / out.name, out)


def _appeared(out: Path) -> OutputExistsError:
    return OutputExistsError("appeared while this run was writing", path=out, hint="name another place with -o")


def _exchange(new: Path, old: Path) -> bool:
    """Swap two folders in one step, so that a reader sees one or the other; `old`'s content ends up under `new`'s name.
    False where another run was faster: then `new` is where it was.
    """
    at_fdcwd, exchange = -100, 2
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(at_fdcwd, os.fsencode(new), at_fdcwd, os.fsencode(old), exchange) == 0:
            return True
    aside = new.with_name(new.name + ASIDE)  # where the system has no exchange: two renames
    try:
        os.rename(old, aside)
        os.rename(new, old)
    except OSError as error:
        if error.errno not in (*TAKEN, errno.ENOENT) or not new.exists():
            raise
        check_replaceable(old)  # it is another run's, and what is aside was replaced by that
        remove(aside)
        return False
    with suppress(FileNotFoundError):  # nothing holds a lock on it: another run may have removed it
        os.rename(aside, new)
    return True


def sync_folders(folder: Path) -> None:
    """Wait until the disk has the names of all files in a folder, and in folders in it."""
    for each in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        sync_folder(each)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names of the files in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
