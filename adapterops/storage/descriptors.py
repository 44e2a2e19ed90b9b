"""Descriptors of files: as many stay open as the process may have; others are opened again whenever they are used."""

from __future__ import annotations

import os
import resource
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Semaphore


class Descriptor:
    """Of one file. It stays open until it is closed or given up, unless the process has many open already.

    Args:
        descriptor: of the file, open.
        again: opens it.
    """

    def __init__(self, descriptor: int, again: Callable[[], int]) -> None:
        self._again = again
        self._kept = descriptor if _room().acquire(blocking=False) else None
        if self._kept is None:
            os.close(descriptor)
        self._closed = weakref.finalize(self, _close, self._kept)

    @contextmanager
    def open(self) -> Iterator[int]:
        """The file, open."""
        if self._kept is not None:
            yield self._kept
            return
        descriptor = self._again()
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def close(self) -> None:
        self._closed()


@cache
def _room() -> Semaphore:
    """How many may stay open: half of what the process may have open."""
    return Semaphore(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
        _room().release()
