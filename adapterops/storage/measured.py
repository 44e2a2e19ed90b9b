"""What is measured over all inputs before the first file of an output can be made: once, for all processes that make it."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from adapterops.errors import InputError, NotFoundError
from adapterops.storage.journal import checked, line
from adapterops.storage.strict import read_all

LOCK = "lock"


class Measured:
    """Values of JSON by what they depend on, each in a file of a hidden folder next to the output, `.OUT.measured`.

    Whoever asks first measures, and the others wait for it; where the disk knows no locks, they measure, too. A process
    that is killed lets the next one measure. A damaged file counts as none.
    """

    def __init__(self, out: Path, sync: bool = True) -> None:
        self.folder, self._sync = folder_of(out), sync

    def __call__(self, key: str, measure: Callable[[], Any]) -> Any:
        """The value of a key, a name of a file, or what `measure` returns."""
        path = self.folder / f"{key}.json"
        self.folder.mkdir(exist_ok=True)
        with _locked(self.folder / LOCK):
            with suppress(InputError, NotFoundError):
                return checked(read_all(path))["value"]
            value = measure()
            new = self.folder / f"{uuid.uuid4().hex}.new"
            with open(new, "xb") as file:
                file.write(line({"value": value}))
                file.flush()
                if self._sync:
                    os.fsync(file.fileno())
            os.replace(new, path)
            return value


def folder_of(out: Path) -> Path:
    """Where that of an output is."""
    out = Path(os.path.realpath(out))
    return out.with_name(f".{out.name}.measured")


def forget(out: Path) -> None:
    """Remove it, once the output is there."""
    shutil.rmtree(folder_of(out), ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "ab") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
