"""Rows of a tensor as a tensor of their own: one expert of the parameter that holds all of a layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from adapterops.arrays.scratch import Scratch
from adapterops.storage.safetensors import CHUNK
from adapterops.storage.tensors import Entry, Spec, Stored

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array


class RowsFile:
    """Rows of one tensor of an open file, under the name of that tensor.

    Args:
        begin: the first of these rows, all dimensions of the tensor but the last taken for one.
        shape: of the result, whose last dimension is that of the tensor.
    """

    def __init__(self, whole: Stored, begin: int, shape: tuple[int, ...]) -> None:
        self.path, self.identity, self.metadata = whole.file.path, whole.file.identity, whole.file.metadata
        self._whole, self._begin = whole, begin
        entry, spec = whole.file.entries[whole.name], Spec(whole.spec.dtype, shape)
        self._skipped = begin * Spec(spec.dtype, shape[-1:]).bytes
        first = entry.begin + self._skipped
        self.entries = {whole.name: Entry(spec.dtype, shape, first, first + spec.bytes)}

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray:
        end = self.entries[name].spec.bytes if end is None else end
        return self._whole.file.read(name, self._skipped + begin, self._skipped + end)

    def chunks(self, name: str) -> Iterator[bytearray]:
        size = self.entries[name].spec.bytes
        for begin in range(0, size, CHUNK):
            yield self.read(name, begin, min(begin + CHUNK, size))

    def array(self, name: str, rows: tuple[int, int] | None = None, memory: Scratch | None = None) -> Array:
        spec = self.entries[name].spec
        begin, end = rows or (0, spec.matrix[0])
        found = self._whole.file.array(name, (self._begin + begin, self._begin + end), memory)
        return found if rows else found.reshape(spec.shape)


def rows_of(whole: Stored, begin: int, shape: tuple[int, ...]) -> Stored:
    """Rows of a tensor, from `begin` on, as a tensor of this shape. Nothing is read."""
    return Stored(RowsFile(whole, begin, shape), whole.name)
