"""Writing a GGUF model: the file that was read, with other numbers, and some of its tensors in other types."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adapterops.errors import AdapterOpsError
from adapterops.storage.gguf import GgufFile
from adapterops.storage.gguf_header import DESCRIPTION, NUMBERED, stored_as
from adapterops.storage.gguf_rows import GgufRows
from adapterops.storage.output import OutputFile
from adapterops.storage.safetensors import CHUNK
from adapterops.storage.tensors import Entry, Spec


def retyped(file: GgufFile, types: Mapping[str, str]) -> dict[str, Entry]:
    """Where the tensors of a file are when some are in other types: tensor of the file → name of a type of ggml."""
    found: dict[str, Entry] = {}
    position = 0
    for name, entry in file.raw.entries.items():
        spec = Spec(*stored_as(types[name], file.shape(name))) if name in types else entry.spec
        found[name] = Entry(spec.dtype, spec.shape, position, position + spec.bytes)
        position = -(-found[name].end // file.alignment) * file.alignment
    return found


class GgufCopy:
    """A new GGUF file with the header of another, whose tensors come in any order and from several threads, by names and
    in rows as that one has them here. All that is no tensor is copied, but for the types that are to be others and where
    tensors begin then.
    """

    def __init__(self, path: Path, like: GgufRows, types: Mapping[str, str] | None = None) -> None:
        self._path, self._like, self._types = path, like, types or {}
        self._start, self._raw = like.file.start, retyped(like.file, self._types)
        self._entries = like.placed(self._raw)
        end = self._start + max((entry.end for entry in self._raw.values()), default=0)
        self.size = -(-end // like.file.alignment) * like.file.alignment if self._types else like.identity.size
        self._file = OutputFile(path, self.size)
        try:
            self._file.put(self._header(), 0)
            position = self._start
            for name, entry in like.file.raw.entries.items():
                self._fill(position, self._start + self._raw[name].begin, self._start + entry.begin)
                position = self._start + self._raw[name].end
            self._fill(position, self.size, like.identity.size)
        except BaseException:
            self.close()
            raise

    def _header(self) -> bytes:
        """All before the data, with the types and the offsets that are other ones."""
        header = bytearray(self._like.file.raw.span("", 0, self._start))
        for name, place in self._like.file.described.items() if self._types else ():
            number, _ = DESCRIPTION.unpack_from(header, place)
            number = NUMBERED[self._types[name]] if name in self._types else number
            DESCRIPTION.pack_into(header, place, number, self._raw[name].begin)
        return bytes(header)

    def _fill(self, begin: int, end: int, before: int) -> None:
        """What fills up to the next tensor: as there, where it ends at `before`, or zeros where types are other ones."""
        for position in range(begin, end, CHUNK):
            size = min(CHUNK, end - position)
            data = bytes(size) if self._types else self._like.file.raw.span("", before - (end - position), size)
            self._file.put(data, position)

    def write(self, name: str, data: bytes | bytearray | memoryview, offset: int = 0) -> None:
        """Bytes of one tensor, from `offset` on; of one whose rows are stored in pairs, whole rows."""
        entry = self._entries[name]
        begin = self._start + entry.begin
        if name not in self._like.heads:
            self._file.put(data, begin + offset)
            return
        size, view = entry.end - entry.begin, memoryview(data).cast("B")
        row, head = size // entry.shape[0], size // self._like.heads[name]
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
        kinds = {name: kind.name for name, kind in self._like.file.blocks.items()} | dict(self._types)
        blocks = {name: kind for name, kind in kinds.items() if self._raw[name].dtype == "U8"}
        same = {name: kind.name for name, kind in found.blocks.items()} == blocks
        if not same or (found.raw.entries, found.fields) != (self._raw, self._like.file.fields):
            raise AdapterOpsError("was written with another header than it was to have", path=self._path.name)

    def close(self) -> None:
        self._file.close()
