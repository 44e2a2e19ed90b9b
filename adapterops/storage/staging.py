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
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adapterops.errors import AdapterOpsError, NotFoundError, OptionError, OutputExistsError, ResourceError
from adapterops.storage.journal import JOURNAL, entries
from adapterops.storage.strict import read_all, read_json, reading

MANIFEST = "adapterops.json"
RECIPE = "recipe.yaml"
"""What an output is made by, written next to it."""

CARD = "README.md"
MARK = "<!-- Written by adapterops from adapterops.json. Without this line, the next push keeps your text. -->"
"""What a card that adapterops wrote has in it."""

MANIFEST_LIMIT = 1 << 26
ASIDE = "-old"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DISK = (*DISK_FULL, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EXDEV)


def manifest_of(out: Path) -> Path:
    """Where the manifest of an output is: in its folder, or next to its file."""
    return out.with_name(f"{out.name}.{MANIFEST}") if out.is_file() else out / MANIFEST


def check_output(out: Path, inputs: list[Path], force: bool) -> None:
    """Raise what `staged` would, before any work: the output exists, is inside an input, or cannot be created.

    Raises:
        OptionError: `out` is an input, is inside one, or, to be replaced, holds one.
        OutputExistsError: `out` exists and may not be replaced.
        NotFoundError, ResourceError: the folder it would go to is missing or not writable.
    """
    place = Path(os.path.realpath(out))
    for source in (Path(os.path.realpath(path)) for path in inputs):
        if place == source:
            raise OptionError("the output is an input, too", path=out, hint="name another place with -o")
        if source.is_dir() and source in place.parents:
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
        check_replaceable(out)
    check_parent(place)


def hidden(out: Path) -> Path:
    """A new name next to `out`, for what is not finished."""
    return out.with_name(f".{out.name}.adapterops-{uuid.uuid4().hex[:12]}")


def check_parent(out: Path) -> None:
    """Raise what making something at `out`, a real path, would raise of the name and of the folder it would go to.

    Raises:
        InputError: the name is too long, or a folder on the way may not be looked into.
        NotFoundError, ResourceError: the folder is missing or not writable.
    """
    parent = out.parent
    with reading(out):
        if not parent.is_dir():
            raise NotFoundError("the folder to write into does not exist", path=parent, hint="create it first")
        hidden(out).exists()
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ResourceError("the folder to write into is not writable", path=parent, hint="name another place with -o")


def check_replaceable(out: Path) -> None:
    """Raise OutputExistsError unless `out` is an output of which nothing would be lost but what adapterops wrote."""
    fact = None
    if not manifest_of(out).is_file():
        fact = f"was not written by adapterops (it has no {MANIFEST})"
    elif (named := _named(out)) is None:
        fact = f"has a {MANIFEST} that does not say which files adapterops wrote"
    elif added := [name for name, path in _inside(out, named) if not _written(name, path, named)]:
        fact = f"holds what adapterops did not write: {', '.join(added[:5])}{' ...' if len(added) > 5 else ''}"
    if fact:
        raise OutputExistsError(
            f"{fact}, so --force does not replace it",
            path=out,
            hint="remove it yourself, or name another place with -o",
        )


def _named(out: Path) -> set[str] | None:
    """The files that the manifest of an output names; None where it does not say."""
    try:
        content = read_json(manifest_of(out), MANIFEST_LIMIT)
    except AdapterOpsError:
        return None
    outputs = content.get("outputs") if isinstance(content, dict) else None
    return {MANIFEST, *outputs} if isinstance(outputs, dict) else None


def _inside(out: Path, named: Collection[str]) -> Iterator[tuple[str, Path]]:
    """What is in an output, by its name there: the files of a folder one by one, where any of them is named."""
    if out.is_file():
        yield out.name, out
        return
    for path in sorted(out.iterdir()):
        inner = {name.removeprefix(f"{path.name}/") for name in named if name.startswith(f"{path.name}/")}
        if inner and path.is_dir() and not path.is_symlink():
            yield from ((f"{path.name}/{name}", each) for name, each in _inside(path, inner))
        else:
            yield path.name, path


def _written(name: str, path: Path, named: Collection[str]) -> bool:
    """Whether a file is one that the manifest names, or a card of ours, which comes from the Hub with an output."""
    if path.is_symlink() or not path.is_file():
        return False
    return name in named or (path.name == CARD and MARK.encode() in read_all(path))


def plain_name(name: str) -> bool:
    """Whether a name is one of a file in a folder, and no way out of it.

    >>> plain_name("a.json"), plain_name("../a.json"), plain_name("..")
    (True, False, False)
    """
    return name not in ("", ".", "..") and not any(letter in name for letter in "/\\\0")


def _empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


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
            sync_folders(folder)
        (publish_file if single else publish)(folder, out, force)
        published = True
        if sync:
            sync_folder(out.parent)
    except OSError as error:
        if error.errno in DISK:
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
        keep = not isinstance(error, Exception) and len(entries(folder / JOURNAL)) > 1
        if keep:
            error.add_note("run it again with --resume to go on from here")
        raise
    finally:
        if not keep:
            _remove(folder)
        os.close(lock)


@contextmanager
def writing(out: Path, hint: str) -> Iterator[None]:
    """Turn a failure of the disk into what it is: one of the output.

    Args:
        hint: what was left, and how to go on.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise ResourceError(f"writing failed: {error.strerror}", path=out, hint=hint) from error


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
                if entries(folder / JOURNAL)[:1] == [{"plan": plan}]:
                    return folder, lock
            except OSError:
                pass
            os.close(lock)
    return None


def _left_behind(out: Path) -> list[Path]:
    return sorted(out.parent.glob(f".{glob.escape(out.name)}.adapterops-*"))


def _create(out: Path) -> tuple[Path, int]:
    try:
        return create_locked(lambda: hidden(out))
    except OSError as error:
        raise ResourceError(
            f"cannot be created: {error.strerror}", path=out, hint="name another place with -o"
        ) from error


def create_locked(name: Callable[[], Path]) -> tuple[Path, int]:
    """A new folder of such a name, and the lock that says that whoever made it lives."""
    while True:
        folder = name()
        try:
            folder.mkdir()
        except OSError:
            raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with suppress(FileNotFoundError):  # taken for dead by another process before it was locked: try another name
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            if _locked(lock) and folder.exists():
                return folder, lock
            os.close(lock)


def _locked(folder: int) -> bool:
    """Whether it is ours now; on a disk without locks it is anyway, for there nobody can take it for dead."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _remove_stale(out: Path) -> None:
    """Remove what killed runs left next to `out`: hidden folders that nobody holds a lock on.

    An old output that was aside when its replacement was killed goes back to its place.
    """
    for folder in _left_behind(out):
        if folder.name.endswith(ASIDE) and not os.path.lexists(out):
            os.rename(folder, out)
            continue
        remove_if_dead(folder)


def remove_if_dead(folder: Path) -> None:
    """Remove a folder that nobody holds a lock on: whoever made it was killed."""
    with suppress(OSError):
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def publish(folder: Path, out: Path, force: bool) -> None:
    """Rename a complete folder to `out`; with `force`, an output that is there is exchanged for it.

    Raises:
        OutputExistsError: something else is there.
    """
    if force and out.is_dir() and not _empty(out):
        check_replaceable(out)  # somebody may have added something meanwhile
        _exchange(folder, out)
        return
    try:
        os.rename(folder, out)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise _appeared(out) from error
        raise


def publish_file(folder: Path, out: Path, force: bool) -> None:
    """Give the file of a complete folder its name, after its manifest; with `force`, one that is there is replaced.

    Raises:
        OutputExistsError: something is there.
    """
    if os.path.lexists(out):
        if not force:
            raise _appeared(out)
        check_replaceable(out)
    manifest = out.with_name(f"{out.name}.{MANIFEST}")
    os.replace(folder / MANIFEST, manifest)
    if force:
        os.replace(folder / out.name, out)
        return
    try:
        os.link(folder / out.name, out)
    except FileExistsError as error:
        raise _appeared(out) from error


def _appeared(out: Path) -> OutputExistsError:
    return OutputExistsError("appeared while this run was writing", path=out, hint="name another place with -o")


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
