"""A new file of known size, whose bytes come in any order."""

from __future__ import annotations

import os
from pathlib import Path

from adapterops.errors import DiskError
from adapterops.storage.checksums import FileHash
from adapterops.storage.descriptors import Descriptor
from adapterops.storage.staging import DISK_FULL, remedy


class OutputFile:
    """A new file of `size` bytes, which come in any order, from several threads. It is hashed as it is written.

    Raises:
        DiskError: the disk has no room for it.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._failed: OSError | None = None
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._descriptor = Descriptor(descriptor, lambda: os.open(path, os.O_RDWR | os.O_CLOEXEC))
        self._hash = FileHash(self._read_into)
        try:
            with self._descriptor.open() as descriptor:
                preallocate(descriptor, size, path)
        except BaseException:
            self.close()
            raise

    def _read_into(self, view: memoryview, position: int) -> int:
        with self._descriptor.open() as descriptor:
            return os.preadv(descriptor, [view], position)

    def put(self, data: bytes | bytearray | memoryview, position: int) -> None:
        """Bytes from a position on."""
        whole = view = memoryview(data).cast("B")
        begin = position
        with self._descriptor.open() as descriptor:
            while view:
                count = os.pwrite(descriptor, view, position)
                view, position = view[count:], position + count
        self._hash.saw(begin, whole)

    def sync(self) -> None:
        """Wait until all is on the disk. What failed once fails again: the system forgets what it could not write."""
        if self._failed is not None:
            raise self._failed
        try:
            with self._descriptor.open() as descriptor:
                os.fsync(descriptor)
        except OSError as error:
            self._failed = error
            raise

    def blake3(self) -> str:
        """The hash of the whole file: of what was written in order, as it was, and of the rest as it can be read."""
        return self._hash.hexdigest()

    def close(self) -> None:
        self._descriptor.close()


def preallocate(descriptor: int, size: int, path: Path) -> None:
    """Claim the space now: a full disk is found before the work, not after it."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in DISK_FULL:
            return  # a file system that cannot preallocate; the writes themselves will tell
        status = os.statvfs(path.parent)
        raise DiskError(
            f"cannot reserve {size} bytes for {path.name}: {error.strerror}; {status.f_bavail * status.f_frsize} bytes are free",
            hint=remedy(error, "or write to another disk"),
        ) from error
