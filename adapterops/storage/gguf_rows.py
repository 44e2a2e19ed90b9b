"""The weights of a GGUF model by the names of another program, and with their rows in its order; written the same way.

llama.cpp keeps the rows of some weights in pairs: row j of the first half of an attention head, row j of the second;
and the weights of all experts of a layer in one tensor. A row is stored as whole blocks, so that rows of bytes change
places as rows of numbers do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from adapterops.arrays.scratch import Scratch
from adapterops.errors import AdapterOpsError
from adapterops.storage.gguf import GgufFile
from adapterops.storage.output import OutputFile
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
        self.entries = {name: _entry(file.raw.entries[span.stored], span) for name, span in spans.items()}

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
    size = Spec(stored.dtype, span.shape).bytes
    begin = stored.begin + span.first * (size // matrix(span.shape)[0])
    return Entry(stored.dtype, span.shape, begin, begin + size)


class GgufCopy:
    """A new GGUF file with the header of another, whose tensors come in any order and from several threads, by names and
    in rows as that one has them here. All that is no tensor is copied.
    """

    def __init__(self, path: Path, like: GgufRows) -> None:
        self._path, self._like, self.size = path, like, like.identity.size
        self._start = like.file.start
        self._file = OutputFile(path, like.identity.size)
        try:
            position = 0
            for entry in sorted(like.entries.values(), key=lambda entry: entry.begin):
                self._copy(position, self._start + entry.begin)
                position = self._start + entry.end
            self._copy(position, like.identity.size)
        except BaseException:
            self.close()
            raise

    def _copy(self, begin: int, end: int) -> None:
        """What is no tensor: the header, and what fills up to the next one."""
        for position in range(begin, end, CHUNK):
            data = self._like.file.raw.span("", position, min(CHUNK, end - position))
            self._file.put(data, position)

    def write(self, name: str, data: bytes | bytearray | memoryview, offset: int = 0) -> None:
        """Bytes of one tensor, from `offset` on; of one whose rows are stored in pairs, whole rows."""
        like, begin = self._like, self._start + self._like.entries[name].begin
        if name not in like.heads:
            self._file.put(data, begin + offset)
            return
        row, head, view = like.row(name), like.head(name), memoryview(data).cast("B")
        rows = head // row
        for index in range(offset // row, (offset + len(view)) // row):
            half, place = divmod(index % rows, rows // 2)
            piece = index * row - offset
            self._file.put(view[piece : piece + row], begin + index // rows * head + (2 * place + half) * row)

    def sync(self) -> None:
        self._file.sync()

    def blake3(self) -> str:
        return self._file.blake3()

    def check(self) -> None:
        """Raise AdapterOpsError if the file, read again, has another header. That is a bug of ours."""
        found = GgufFile(self._path)
        if (found.raw.entries, found.fields) != (self._like.file.raw.entries, self._like.file.fields):
            raise AdapterOpsError("was written with another header than it was to have", path=self._path.name)

    def close(self) -> None:
        self._file.close()
