"""Hashes of files: BLAKE3 identifies what is read and written; sha256 is what the Hub states, and recipes may."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeAlias

from blake3 import blake3

from adapterops.storage.strict import open_regular, reading

BLAKE3, SHA256 = "blake3", "sha256"

READ_AT_ONCE = 1 << 22
"""Bytes that are read and hashed at once. Between any two of these a thread waits for the interpreter: beside one that runs Python
it hashes twice as fast as with a quarter of them.
"""

FIRST = 1 << 16
"""The same at the beginning of a file, and twice as many each time: most have few, and memory is cleared before it is had."""


class Digest(Protocol):
    """A hash that is being computed."""

    def update(self, data: bytes | memoryview, /) -> object: ...
    def hexdigest(self) -> str: ...


def new(algorithm: str) -> Digest:
    """An empty hash. One thread: the parallelism is over files and tensors."""
    if algorithm == BLAKE3:
        return blake3(max_threads=1)
    import hashlib  # here: it brings all of OpenSSL, and most commands have no use for it

    return hashlib.new(algorithm)


def digest(data: bytes | memoryview, algorithm: str = BLAKE3) -> str:
    """The hash of some bytes, in hexadecimal.

    >>> digest(b"")[:16], digest(b"", SHA256)[:16]
    ('af1349b9f5f9a1a6', 'e3b0c44298fc1c14')
    """
    hashed = new(algorithm)
    hashed.update(data)
    return hashed.hexdigest()


ReadInto: TypeAlias = Callable[[memoryview, int], int]
"""Reads bytes of a file from a position on: how many, 0 at its end."""


def of(descriptor: int) -> ReadInto:
    """Those of an open file."""
    return lambda view, position: os.preadv(descriptor, [view], position)


def file_digests(path: Path, *algorithms: str) -> dict[str, str]:
    """The hashes of a file by their names. It is read once."""
    hashed = {algorithm: new(algorithm) for algorithm in algorithms}
    with os.fdopen(open_regular(path), "rb") as file, reading(path):
        for chunk in _read_through(of(file.fileno())):
            for each in hashed.values():
                each.update(chunk)
    return {algorithm: each.hexdigest() for algorithm, each in hashed.items()}


def region_digest(descriptor: int, begin: int, algorithm: str) -> str:
    """The hash of what an open file has from `begin` on."""
    hashed = new(algorithm)
    for chunk in _read_through(of(descriptor), begin):
        hashed.update(chunk)
    return hashed.hexdigest()


class FileHash:
    """The hash of a file that is read or written: of what others do of that, as long as it comes in order, and of the rest."""

    def __init__(self, read: ReadInto, algorithm: str = BLAKE3) -> None:
        self._read, self._digest, self._position = read, new(algorithm), 0
        self._lock = threading.Lock()

    def saw(self, begin: int, data: memoryview) -> None:
        """What the file has from `begin` on. It is taken in if it is what comes next, and no other thread is at it."""
        if begin <= self._position < begin + len(data) and self._lock.acquire(blocking=False):
            try:
                if begin <= self._position < begin + len(data):
                    self._digest.update(data[self._position - begin :])
                    self._position = begin + len(data)
            finally:
                self._lock.release()

    def hexdigest(self) -> str:
        """Of the whole file; what is missing is read."""
        with self._lock:
            for chunk in _read_through(self._read, self._position):
                self._digest.update(chunk)
                self._position += len(chunk)
            return self._digest.hexdigest()


def _read_through(read: ReadInto, position: int = 0) -> Iterator[memoryview]:
    """The bytes of a file from a position on, in pieces that are good until the next one."""
    buffer = memoryview(bytearray(min(FIRST, READ_AT_ONCE)))
    while count := read(buffer, position):
        yield buffer[:count]
        position += count
        if count == len(buffer) < READ_AT_ONCE:
            buffer = memoryview(bytearray(2 * count))
