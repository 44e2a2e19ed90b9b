"""Checksums of files: sha256, and CRC-32 of pieces that come in any order."""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from collections.abc import Iterable, Iterator
from functools import cache

POLYNOMIAL = 0xEDB88320
"""x³² + x²⁶ + … + 1 over GF(2), as CRC-32 has it: the highest bit of a number is its constant term."""

ONE = 1 << 31
READ_AT_ONCE = 1 << 22


class Sha256:
    """The sha256 of an open file: of what others read of it, as long as that comes in order, and of the rest."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._digest, self._position = descriptor, hashlib.sha256(), 0
        self._lock = threading.Lock()

    def saw(self, begin: int, data: memoryview) -> None:
        """What was read from `begin` on. It is taken in if it is what comes next, and no other thread is at it."""
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
            for chunk in _read_through(self._descriptor, self._position):
                self._digest.update(chunk)
                self._position += len(chunk)
            return self._digest.hexdigest()


def crc32(descriptor: int) -> str:
    """The CRC-32 of an open file: it finds damage as surely as sha256, but not malice, at twice the speed."""
    value = 0
    for chunk in _read_through(descriptor):
        value = zlib.crc32(chunk, value)
    return f"{value:08x}"


def combined(pieces: Iterable[tuple[int, int]]) -> str:
    """The CRC-32 of pieces in a row, of each of which the CRC-32 and the number of bytes are known.

    To append n bytes is to multiply by x⁸ⁿ modulo the polynomial and to add.

    >>> combined([(zlib.crc32(b"adapter"), 7), (zlib.crc32(b"ops"), 3)]) == f"{zlib.crc32(b'adapterops'):08x}"
    True
    """
    value = 0
    for crc, size in pieces:
        value = _product(_power(8 * size), value) ^ crc
    return f"{value:08x}"


def _product(a: int, b: int) -> int:
    """a · b modulo the polynomial."""
    result = 0
    while a:
        if a & ONE:
            result ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ (POLYNOMIAL if b & 1 else 0)
    return result


@cache
def _power(n: int) -> int:
    """xⁿ modulo the polynomial."""
    if n == 0:
        return ONE
    root = _power(n // 2)
    square = _product(root, root)
    return _product(square, ONE >> 1) if n % 2 else square


def _read_through(descriptor: int, position: int = 0) -> Iterator[memoryview]:
    """The bytes of a file from a position on, in pieces that are good until the next one."""
    buffer = bytearray(max(1, min(READ_AT_ONCE, os.fstat(descriptor).st_size - position + 1)))
    while count := os.preadv(descriptor, [buffer], position):
        yield memoryview(buffer)[:count]
        position += count
