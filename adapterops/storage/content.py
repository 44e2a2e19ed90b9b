"""The bytes of a file, wherever they are."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from adapterops.errors import InputError
from adapterops.storage.checksums import BLAKE3
from adapterops.storage.strict import open_regular


class Content(Protocol):
    """The bytes of one file, as it was when it was opened.

    Attributes:
        algorithms: the hashes that identify it.
        remedy: what may be done about a file that is damaged.
    """

    size: int
    algorithms: Sequence[str]
    remedy: str

    @property
    def origin(self) -> tuple[int, ...]:
        """What tells whether it was written to or replaced, on any machine that shares the disk: the numbers of a device
        and of a file are a machine's own.
        """

    def read_into(self, view: memoryview, position: int, alone: bool = False) -> int:
        """Read bytes from a position on, at most as many as there is room for: how many, and 0 at the end of the file.

        Args:
            alone: nothing else of the file may be asked for.

        Raises:
            InputError: the file changed since it was opened.
        """

    def check_unchanged(self) -> None:
        """Raise InputError if the file is no longer the one that was opened."""


class OnDisk:
    """A file of this machine, read into memory of our own.

    Never memory-mapped: a file that shrinks while it is read is an error here, and kills the process there.
    """

    algorithms: Sequence[str] = (BLAKE3,)
    remedy = "download or save it again"

    def __init__(self, path: Path) -> None:
        self._path, self._descriptor = path, open_regular(path)
        weakref.finalize(self, os.close, self._descriptor)
        self._identity = self._stat()
        self.size = self._identity[0]

    def _stat(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns

    @property
    def origin(self) -> tuple[int, ...]:
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def read_into(self, view: memoryview, position: int, alone: bool = False) -> int:
        part = view[: 1 << 30]
        count = os.preadv(self._descriptor, [part], position)
        if count == len(part) and self._stat() != self._identity:  # what is short is asked for again, and ends there
            self.check_unchanged()
        return count

    def check_unchanged(self) -> None:
        if self._stat() != self._identity or not self._in_place():
            raise changed(self._path)

    def _in_place(self) -> bool:
        """Whether the path still leads to the file that is open, and not to another that took its place."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except OSError:
            return False


def changed(path: Path) -> InputError:
    return InputError(
        "changed while it was read", path=path, hint="run again when nothing writes to it", code="E-CHANGED"
    )
