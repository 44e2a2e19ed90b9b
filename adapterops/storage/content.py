"""The bytes of a file, wherever they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from adapterops.errors import InputError, NotFoundError
from adapterops.storage.checksums import BLAKE3
from adapterops.storage.descriptors import Descriptor
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

    def read_into(self, view: memoryview, position: int, single: bool = False) -> int:
        """Read bytes from a position on, at most as many as there is room for: how many, and 0 at the end of the file.

        Args:
            single: nothing else of the file may be asked for.

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
        self._path, descriptor = path, open_regular(path)
        status = os.fstat(descriptor)
        self._file, self._identity, self.size = _file(status), _identity(status), status.st_size
        self._descriptor = Descriptor(descriptor, partial(open_regular, path))

    @contextmanager
    def _open(self) -> Iterator[int]:
        """A descriptor of the file that was opened.

        Raises:
            InputError: another is in its place.
        """
        try:
            with self._descriptor.open() as descriptor:
                if _file(os.fstat(descriptor)) != self._file:
                    raise changed(self._path)
                yield descriptor
        except NotFoundError:
            raise changed(self._path) from None

    @property
    def origin(self) -> tuple[int, ...]:
        with self._open() as descriptor:
            status = os.fstat(descriptor)
            return *_identity(status), status.st_ctime_ns

    def read_into(self, view: memoryview, position: int, single: bool = False) -> int:
        part = view[: 1 << 30]
        try:
            with self._descriptor.open() as descriptor:
                count, status = os.preadv(descriptor, [part], position), os.fstat(descriptor)
        except NotFoundError:
            raise changed(self._path) from None
        # what is short is asked for again, and ends there
        if _file(status) != self._file or (count == len(part) and _identity(status) != self._identity):
            raise changed(self._path)
        return count

    def check_unchanged(self) -> None:
        with self._open() as descriptor:
            same = _identity(os.fstat(descriptor)) == self._identity
        if not same or not self._in_place():
            raise changed(self._path)

    def _in_place(self) -> bool:
        """Whether the path still leads to the file that was opened, and not to another that took its place."""
        try:
            return _file(os.stat(self._path)) == self._file
        except OSError:
            return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _file(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def changed(path: Path) -> InputError:
    return InputError(
        "changed while it was read", path=path, hint="run again when nothing writes to it", code="E-CHANGED"
    )
