"""The bytes of a file on the Hub: brought here once more than a few are asked for, or read as they pass, and not kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TypeAlias

from adapterops.errors import InputError
from adapterops.hub.client import ask
from adapterops.storage.checksums import BLAKE3
from adapterops.storage.content import OnDisk

FIRST = 1 << 17
"""Bytes that the first request asks for: the header of nearly every file fits."""

STREAMS = 4
"""Answers of the Hub that are open at a time: a worker reads one tensor, and the next one goes on where it ends."""

REMEDY = "look at the file on the Hub: it is damaged there, or of another kind"

Part: TypeAlias = Callable[[int, int], bytes]
"""Bytes of the file, from a position on: as many as are asked for, or the file ends there."""

Pieces: TypeAlias = Callable[[int], AbstractContextManager[Iterator[bytes]]]
"""All of the file from a position on, as it comes."""


class Fetched:
    """The `Content` of a file that comes here once it is read. Its header, and small tensors, come by themselves.

    Args:
        path: where it is, or will be.
        fetch: brings it here.
        algorithms: the hashes that identify it: BLAKE3, and what the Hub states.
    """

    remedy = REMEDY

    def __init__(
        self,
        path: Path,
        size: int,
        origin: tuple[int, ...],
        part: Part,
        fetch: Callable[[], None],
        algorithms: Sequence[str] = (BLAKE3,),
    ) -> None:
        self.size, self.origin, self.algorithms = size, origin, algorithms
        self._path, self._part, self._fetch, self._lock = path, part, fetch, threading.Lock()
        self._disk = OnDisk(path) if path.exists() else None
        if self._disk is not None:
            self.size, self.remedy = self._disk.size, self._disk.remedy
        self._first = b"" if self._disk else part(0, min(size, FIRST))

    def read_into(self, view: memoryview, position: int, single: bool = False) -> int:
        if self._disk is not None or not single:
            return self._local().read_into(view, position)
        return _given(view, _part(self._first, self._part, position, len(view), self._path))

    def _local(self) -> OnDisk:
        with self._lock:
            if self._disk is None:
                self._fetch()
                disk = OnDisk(self._path)
                first = bytearray(len(self._first))
                if disk.size != self.size or disk.read_into(memoryview(first), 0) != len(first) or first != self._first:
                    raise InputError(
                        "is not the file whose header the Hub sent",
                        path=self._path,
                        hint="run it again",
                        code="E-CHANGED",
                    )
                self._disk = disk
            return self._disk

    def check_unchanged(self) -> None:
        """A commit does not change; the file that is here may."""
        if self._disk is not None:
            self._disk.check_unchanged()


class Streamed:
    """The `Content` of a file that is read as it comes, and not kept: what is read in order comes by one request.

    Args:
        what: how messages call it.
        pieces: asks for all from a position on.

    Cost: no disk; memory for what the network holds. What is read twice comes twice.
    """

    remedy = REMEDY

    def __init__(
        self,
        path: Path,
        what: str,
        size: int,
        origin: tuple[int, ...],
        part: Part,
        pieces: Pieces,
        algorithms: Sequence[str] = (BLAKE3,),
    ) -> None:
        self.size, self.origin, self.algorithms = size, origin, algorithms
        self._path, self._what, self._part, self._pieces = path, what, part, pieces
        self._first, self._lock = part(0, min(size, FIRST)), threading.Lock()
        self._streams: dict[int, _Stream] = {}
        """By the position that each is at."""

    def read_into(self, view: memoryview, position: int, single: bool = False) -> int:
        if single or position + len(view) <= len(self._first):
            return _given(view, _part(self._first, self._part, position, len(view), self._path))
        return ask(self._what, lambda: self._next(view, position)) if position < self.size else 0

    def _next(self, view: memoryview, position: int) -> int:
        """What comes next. What fails is closed, so that another try is another request."""
        stream = self._taken(position)
        try:
            count = stream.read_into(view)
            if not count:
                fact = f"the Hub sent {position} of {self.size} bytes"
                raise InputError(fact, path=self._path, hint="run it again", code="E-HUB-INCOMPLETE")
        except BaseException:
            stream.close()
            raise
        self._put_back(stream, position + count)
        return count

    def _taken(self, position: int) -> _Stream:
        with self._lock:
            found = self._streams.pop(position, None)
        return found or _Stream(self._pieces, position)

    def _put_back(self, stream: _Stream, position: int) -> None:
        with self._lock:
            old = [self._streams.pop(position, None)]
            if position < self.size:
                self._streams[position] = stream
            else:
                old.append(stream)
            if len(self._streams) > STREAMS:
                old.append(self._streams.pop(next(iter(self._streams))))
        for each in filter(None, old):
            each.close()

    def check_unchanged(self) -> None:
        """A commit does not change."""


class _Stream:
    """One answer of the Hub, read piece by piece."""

    def __init__(self, pieces: Pieces, position: int) -> None:
        self._open, self._rest = ExitStack(), memoryview(b"")
        self._coming = self._open.enter_context(pieces(position))

    def read_into(self, view: memoryview) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._coming, b""))
        count = _given(view, self._rest)
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        self._open.close()


def _part(first: bytes, part: Part, position: int, count: int, path: Path) -> bytes:
    """Bytes of a file whose first ones are known."""
    if position + count <= len(first):
        return first[position : position + count]
    data = part(position, count)
    if len(data) != count:
        raise InputError(f"the Hub sent {len(data)} of {count} bytes", path=path, code="E-HUB-INCOMPLETE")
    return data


def _given(view: memoryview, data: bytes | memoryview) -> int:
    count = min(len(view), len(data))
    view[:count] = data[:count]
    return count
