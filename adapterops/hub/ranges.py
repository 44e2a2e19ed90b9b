"""A safetensors file on the Hub:
its header by one request for a few bytes, and all of it once its tensors are asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adapterops.arrays.scratch import Scratch
from adapterops.errors import InputError, at
from adapterops.storage.checksums import BLAKE3
from adapterops.storage.safetensors import SafetensorsFile, read_header

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array

FIRST = 1 << 17
"""Bytes that the first request asks for: the header of nearly every file fits."""

SMALL = 1 << 16
"""Up to this many bytes of a tensor are read without the rest of the file."""


class HubFile:
    """A `TensorFile`. Where it is not here, its path is where it will be.

    Args:
        origin: what tells it from any other file.
        read: bytes of it, from a position on.
        fetch: brings it here.
        algorithms: the hashes that identify it: BLAKE3, and what the Hub states.
    """

    def __init__(
        self,
        path: Path,
        size: int,
        origin: tuple[int, ...],
        read: Callable[[int, int], bytes],
        fetch: Callable[[], None],
        algorithms: Sequence[str] = (BLAKE3,),
    ) -> None:
        self.path, self.size, self.origin, self._algorithms = path, size, origin, algorithms
        self._read, self._fetch, self._lock = read, fetch, threading.Lock()
        self._hashing = False
        self._file = SafetensorsFile(path) if path.exists() else None
        if self._file is not None:
            self.metadata, self.entries, self._start, self.size = (
                self._file.metadata,
                self._file.entries,
                0,
                self._file.size,
            )
            return
        with at(path=path):
            first = read(0, min(size, FIRST))

            def header(begin: int, count: int) -> bytes:
                return (
                    first[begin : begin + count]
                    if begin + count <= len(first)
                    else read(begin, min(count, size - begin))
                )

            with at(hint="look at the file on the Hub: it is damaged there, or of another kind"):
                self.metadata, self.entries, self._start = read_header(header, size)

    def _local(self) -> SafetensorsFile:
        with self._lock:
            if self._file is None:
                self._fetch()
                file = SafetensorsFile(self.path)
                if file.entries != self.entries:
                    raise InputError(
                        "is not the file whose header the Hub sent",
                        path=self.path,
                        hint="run it again",
                        code="E-CHANGED",
                    )
                if self._hashing:
                    self._hash_as_read(file)
                self._file = file
            return self._file

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray:
        """The bytes of one tensor, or those of it in [begin, end), as stored."""
        entry = self.entries[name]
        end = entry.spec.bytes if end is None else end
        if self._file is None and end - begin <= SMALL:
            data = self._read(self._start + entry.begin + begin, end - begin) if end > begin else b""
            if len(data) != end - begin:
                raise InputError(
                    f"the Hub sent {len(data)} of {end - begin} bytes",
                    path=self.path,
                    tensor=name,
                    code="E-HUB-INCOMPLETE",
                )
            return bytearray(data)
        return self._local().read(name, begin, end)

    def chunks(self, name: str) -> Iterator[bytearray]:
        """The bytes of one tensor, in pieces."""
        return self._local().chunks(name)

    def array(self, name: str, rows: tuple[int, int] | None = None, memory: Scratch | None = None) -> Array:
        """One tensor, or rows of it."""
        return self._local().array(name, rows, memory)

    def check_unchanged(self) -> None:
        """Raise InputError if the file is no longer the one that was opened. A commit does not change."""
        if self._file is not None:
            self._file.check_unchanged()

    def hash_as_read(self) -> None:
        """Take in what is read of it, once it is here."""
        with self._lock:
            self._hashing = True
            if self._file is not None:
                self._hash_as_read(self._file)

    def _hash_as_read(self, file: SafetensorsFile) -> None:
        for algorithm in self._algorithms:
            file.hash_as_read(algorithm)

    def digest(self, algorithm: str = BLAKE3) -> str:
        """The hash of the whole file."""
        return self._local().digest(algorithm)

    def hashes(self) -> dict[str, str]:
        """What identifies the file, by algorithm: BLAKE3, and sha256 where the Hub states it, to be compared."""
        return {algorithm: self.digest(algorithm) for algorithm in self._algorithms}
