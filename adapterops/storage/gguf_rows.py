"""The weights of a GGUF model by the names of another program, and with their rows in its order; written the same way.

llama.cpp keeps the rows of some weights in pairs: row j of the first half of an attention head, row j of the second;
and the weights of all experts of a layer in one tensor. A row is stored as whole blocks, so that rows of bytes change
places as rows of numbers do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from adapterops.arrays.scratch import Scratch
from adapterops.storage.gguf import GgufFile
from adapterops.storage.safetensors import CHUNK
from adapterops.storage.tensors import Entry, Spec, matrix

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array


class Span(NamedTuple):
    """A weight in a tensor of a file: rows of that, all dimensions but the last taken for one.

    Attributes:
        first: the first of these rows.
        shape: of the weight, blocks as bytes.
    """

    stored: str
    first: int
    shape: tuple[int, ...]


class GgufRows:
    """An open GGUF file, blocks as rows of bytes.

    Attributes:
        spans: name here → where that is in the file.
        heads: name here → of how many heads its rows are, where they are stored in pairs.
    """

    def __init__(self, file: GgufFile, spans: Mapping[str, Span], heads: Mapping[str, int]) -> None:
        self.file, self.spans, self.heads = file, spans, heads
        self.path, self.identity, self.metadata = file.path, file.identity, file.metadata
        self.entries = self.placed(file.raw.entries)

    def placed(self, stored: Mapping[str, Entry]) -> dict[str, Entry]:
        """Where the weights are, with the tensors of the file at these places and in these dtypes."""
        return {name: _entry(stored[span.stored], span) for name, span in self.spans.items()}

    def row(self, name: str) -> int:
        """Bytes of a row: of all dimensions but the first."""
        entry = self.entries[name]
        return (entry.end - entry.begin) // entry.shape[0]

    def head(self, name: str) -> int:
        """Bytes of a head."""
        entry = self.entries[name]
        return (entry.end - entry.begin) // self.heads[name]

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray:
        end = self.entries[name].spec.bytes if end is None else end
        if name not in self.heads:
            return self._stored(name, begin, end)
        import numpy as np

        head, row = self.head(name), self.row(name)
        first = begin // head * head
        data = self._stored(name, first, -(-end // head) * head)
        pairs = np.frombuffer(data, np.uint8).reshape(-1, head // row // 2, 2, row)
        return bytearray(pairs.swapaxes(1, 2).tobytes()[begin - first : end - first])

    def _stored(self, name: str, begin: int, end: int) -> bytearray:
        """Bytes in the order of the file."""
        stored, raw = self.spans[name].stored, self.file.raw
        before = self.entries[name].begin - raw.entries[stored].begin
        return raw.read(stored, before + begin, before + end)

    def chunks(self, name: str) -> Iterator[bytearray]:
        unit = self.head(name) if name in self.heads else 1
        size, step = self.entries[name].spec.bytes, max(1, CHUNK // unit) * unit
        for begin in range(0, size, step):
            yield self.read(name, begin, min(begin + step, size))

    def array(self, name: str, rows: tuple[int, int] | None = None, memory: Scratch | None = None) -> Array:
        import numpy as np

        from adapterops.arrays.floats import STORED

        spec, span = self.entries[name].spec, self.spans[name]
        begin, end = rows or (0, spec.matrix[0])
        shape = spec.shape if rows is None else (end - begin, spec.matrix[1])
        if name not in self.heads:
            stored = self.file.raw.array(span.stored, (span.first + begin, span.first + end), memory)
            return stored.reshape(shape)
        width = spec.bytes // spec.matrix[0]
        found: Array = np.frombuffer(self.read(name, begin * width, end * width), STORED[spec.dtype])
        return found.reshape(shape)


def _entry(stored: Entry, span: Span) -> Entry:
    """Where a weight is in the file."""
    shape = (*span.shape[:-1], stored.shape[-1])
    size = Spec(stored.dtype, shape).bytes
    begin = stored.begin + span.first * (size // matrix(shape)[0])
    return Entry(stored.dtype, shape, begin, begin + size)
