"""Descriptors of files: as many stay open as the process may have; others are opened again whenever they are used."""

from __future__ import annotations

import os
import resource
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache


class Descriptor:
    """Of one file. It stays open until it is closed or given up, unless the process has many open already.

    Args:
        descriptor: of the file, open.
        again: opens it.
    """

    def __init__(self, descriptor: int, again: Callable[[], int]) -> None:
        self._again = again
        self._kept = (
            descriptor if descriptor < _room() else None
        )  # the lowest number that is free is given: so many are open
        self._closed = weakref.finalize(self, os.close, descriptor)  # takes no lock: a signal may come inside of it
        if self._kept is None:
            self.close()

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
def _room() -> int:
    """How many may stay open: half of what the process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
