"""safetensors files: a reader that trusts nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from adapterops.arrays.scratch import Scratch
from adapterops.errors import InputError, at
from adapterops.storage.content import Content, OnDisk
from adapterops.storage.header import read_header
from adapterops.storage.identity import Identity
from adapterops.storage.strict import reading
from adapterops.storage.tensors import Entry, no_numbers

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array

CHUNK = 1 << 20
"""Bytes that are copied at once."""

SMALL = 1 << 16
"""Up to this many bytes of a tensor are read without the rest of a file that is elsewhere."""

ReadHeader: TypeAlias = "Callable[[Callable[[int, int], bytes], int], tuple[dict[str, str], dict[str, Entry], int]]"
"""As `read_header` does: bytes from a position on, the size of the file → metadata, entries, where data begin."""


class SafetensorsFile:
    """One open file: a validated header, and tensors read into memory of our own when asked for."""

    def __init__(self, path: Path, header: ReadHeader | None = None, content: Content | None = None) -> None:
        """
        Args:
            header: reads that of another format, whose tensors are stored in the same way.
            content: the bytes, where they are not on the disk under `path`.
        """
        self.path = path
        self._content: Content = OnDisk(path) if content is None else content
        with at(path=path, hint=self._content.remedy):
            found = (header or read_header)(self._bytes, self._content.size)
        self.metadata, self.entries, self._start = found
        self.identity = Identity(path, self._content, self._start)

    def span(self, name: str, begin: int, count: int) -> bytearray:
        """Bytes of the file from a position on, wherever its tensors are; `name` is for messages."""
        buffer = bytearray(count)
        self._fill_from(memoryview(buffer), name, begin)
        return buffer

    def _bytes(self, begin: int, count: int) -> bytes:
        buffer = bytearray(max(0, min(count, self._content.size - begin)))
        with reading():
            return bytes(buffer[: self._content.read_into(memoryview(buffer), begin, single=True)]) if buffer else b""

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray:
        """The bytes of one tensor, or those of it in [begin, end), as stored.

        Raises:
            InputError: the file changed since it was opened.
        """
        entry = self.entries[name]
        buffer = bytearray((entry.spec.bytes if end is None else end) - begin)
        self._read_into(buffer, name, begin, single=len(buffer) <= SMALL)
        return buffer

    def _read_into(self, buffer: bytearray, name: str, begin: int, single: bool = False) -> None:
        self._fill(memoryview(buffer), name, begin, single)
        if self.entries[name].dtype == "BOOL" and buffer.strip(b"\x00\x01"):
            raise InputError("has a boolean that is neither 0 nor 1", path=self.path, tensor=name, code="E-ST-VALUE")

    def _fill(self, view: memoryview, name: str, begin: int, single: bool = False) -> None:
        """The bytes of one tensor from `begin` on, as many as there is room for."""
        if begin < 0 or begin + len(view) > self.entries[name].spec.bytes:
            raise AssertionError(
                f"{name} has {self.entries[name].spec.bytes} bytes, not {begin} to {begin + len(view)}"
            )
        self._fill_from(view, name, self._start + self.entries[name].begin + begin, single)

    def _fill_from(self, view: memoryview, name: str, position: int, single: bool = False) -> None:
        whole, first = view, position
        while view:
            with at(path=self.path, tensor=name), reading():
                count = self._content.read_into(view, position, single)
            if count == 0:
                raise InputError("the file shrank while it was read", path=self.path, tensor=name, code="E-CHANGED")
            view, position = view[count:], position + count
        self.identity.saw(first, whole)

    def chunks(self, name: str) -> Iterator[bytearray]:
        """The bytes of one tensor, in pieces of at most `CHUNK` bytes,
        each of which is good until the next one is asked for.
        """
        size = self.entries[name].spec.bytes
        buffer = bytearray(min(CHUNK, size))
        for begin in range(0, size, CHUNK):
            del buffer[size - begin :]
            self._read_into(buffer, name, begin)
            yield buffer

    def array(self, name: str, rows: tuple[int, int] | None = None, memory: Scratch | None = None) -> Array:
        """One tensor as it is stored; or, with all dimensions but the last taken for one, its rows [begin, end).

        In memory of its own, or in scratch memory, if there is any.
        """
        from adapterops.arrays.floats import STORED  # here, so that headers can be read without numpy

        entry = self.entries[name]
        if entry.dtype not in STORED:
            raise no_numbers(entry.dtype, self.path, name)
        shape = entry.shape if rows is None else (rows[1] - rows[0], entry.spec.matrix[1])
        values = (memory or Scratch()).array("read", shape, STORED[entry.dtype])
        if values.size:
            begin = rows[0] * values.nbytes // shape[0] if rows else 0
            self._fill(values.data.cast("B"), name, begin)
        return values
