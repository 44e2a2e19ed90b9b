"""Hidden folders for what is not finished, locked while their maker lives."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from adapterops.errors import ResourceError
from adapterops.storage.journal import JOURNAL, entries

ASIDE = "-old"
"""How the name of an old output ends while the new one takes its place."""


def hidden(out: Path) -> Path:
    """A new name next to `out`, for what is not finished."""
    return out.with_name(f".{out.name}.adapterops-{uuid.uuid4().hex[:12]}")


def remove(folder: Path) -> None:
    """Remove a folder that a thread nobody waits for may still write into."""
    for _ in range(100):
        _remove_all(folder)
        if not folder.exists():
            return
        time.sleep(0.01)


def _remove_all(folder: Path) -> None:
    """Remove what can be removed of a folder, also where folders in it, or it itself, are not to be written to."""
    with suppress(OSError):
        folder.chmod(stat.S_IRWXU)
        for path, folders, _ in os.walk(folder):
            for inner in (Path(path, name) for name in folders):
                if not inner.is_symlink():
                    inner.chmod(stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


def abandoned(out: Path) -> list[Path]:
    """The hidden folders next to `out` that nobody holds a lock on."""
    found = []
    for folder in next_to(out):
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append(folder)
            except OSError:
                pass
            os.close(lock)
    return found


def adopt(out: Path, plan: str) -> tuple[Path, int] | None:
    """The folder that an earlier run of the same plan left, locked."""
    for folder in next_to(out):
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


def next_to(out: Path, kind: str = "adapterops") -> list[Path]:
    """What is hidden next to an output as `.OUT.KIND-TOKEN`: not what is of another one, whose own name ends so."""
    begin = f".{out.name}.{kind}-"
    return sorted(path for path in out.parent.glob(f"{glob.escape(begin)}*") if "." not in path.name[len(begin) :])


def create(out: Path) -> tuple[Path, int]:
    """A new folder next to `out`, locked.

    Raises:
        ResourceError: it cannot be created.
    """
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


def remove_stale(out: Path) -> None:
    """Remove what killed runs left next to `out`: hidden folders that nobody holds a lock on.

    An old output that was aside when its replacement was killed goes back to its place.
    """
    for folder in next_to(out):
        if folder.name.endswith(ASIDE) and not os.path.lexists(out):
            with suppress(OSError):  # another run was faster
                os.rename(folder, out)
        else:
            remove_if_dead(folder)


def remove_if_dead(folder: Path) -> None:
    """Remove a folder that nobody holds a lock on: whoever made it was killed."""
    with suppress(OSError):
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_all(folder)
        finally:
            os.close(lock)
