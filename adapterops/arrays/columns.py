"""Columns of a matrix of bytes whose rows are in a file: read in bands, for they are far apart there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray

BAND = 1 << 23
"""Bytes that are read at a time, or one column."""

BANDS = 6
"""Matrices whose last bands a thread keeps: codes, scales and zeros of two weights."""


class Columns:
    """Columns [begin, end) of a matrix of bytes, of rows that follow one another.

    A matrix of up to `BAND` bytes is read at once, and a larger one in bands of columns of so many, a row at a time. The
    last band is kept.

    Args:
        read: bytes [begin, end) of the matrix.
        height, width: rows, and bytes of each.

    Cost: each byte is read once where columns are asked for in their order; memory for a band.
    """

    def __init__(self, read: Callable[[int, int], Any], height: int, width: int) -> None:
        self.read, self.height, self.width = read, height, width
        self._first = self._last = 0
        self._band: NDArray[uint8] | None = None

    def __call__(self, begin: int, end: int) -> NDArray[uint8]:
        """(height, end - begin); not to be written to."""
        if self._band is None or begin < self._first or end > self._last:
            step = max(1, BAND // max(1, self.height))
            self._first = begin // step * step
            self._last = max(end, min(self._first + step, self.width))
            self._band = self._bytes(self._first, self._last)
        return self._band[:, begin - self._first : end - self._first]

    def _bytes(self, first: int, last: int) -> NDArray[uint8]:
        import numpy as np

        if last - first == self.width:
            return np.frombuffer(self.read(0, self.height * self.width), np.uint8).reshape(self.height, self.width)
        found = np.empty((self.height, last - first), np.uint8)
        for row in range(self.height):
            at = row * self.width
            found[row] = np.frombuffer(self.read(at + first, at + last), np.uint8)
        return found


class _Own(threading.local):
    def __init__(self) -> None:
        self.kept: list[tuple[object, Columns]] = []


_OWN = _Own()


def kept(key: object, make: Callable[[], Columns]) -> Columns:
    """The columns that this thread has by a key, of which it keeps the last `BANDS`, until its work ends."""
    found = next((columns for known, columns in _OWN.kept if known == key), None)
    if found is None:
        found = make()
        _OWN.kept[:] = [(key, found), *_OWN.kept[: BANDS - 1]]
    return found


def forget() -> None:
    """Keep none of them: the work of this thread has ended."""
    _OWN.kept.clear()
