"""GGUF files: a reader that trusts nothing, of tensors in F32, F16, BF16 and Q8_0, and of the bytes of all others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from adapterops.arrays.dtypes import WIDE
from adapterops.arrays.ggml import Blocks
from adapterops.arrays.scratch import Scratch
from adapterops.storage.gguf_header import Value, read_gguf
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.tensors import Entry

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array
    from adapterops.storage.gguf_header import Read

SUFFIX = ".gguf"


class GgufFile:
    """An open GGUF file. Tensors in Q8_0 are read as float32, which holds them exactly; of other blocks there are bytes.

    Attributes:
        fields: name → value, None for an array, which is not read.
        blocks: the types of the tensors in blocks.
        raw: the tensors as they are stored, blocks as rows of bytes.
        start: where the data begin in the file.
        described, alignment: see `GgufHeader`.

    Raises:
        InputError: it is no GGUF file, damaged, or breaks a rule of the format.
        UnsupportedError: it is of another version or byte order, or has a tensor of an unknown type.
    """

    fields: Mapping[str, Value]
    blocks: Mapping[str, Blocks]
    start: int
    described: Mapping[str, int]
    alignment: int

    def __init__(self, path: Path) -> None:
        self.raw = SafetensorsFile(path, header=self._header)
        self.path, self.identity, self.metadata = path, self.raw.identity, self.raw.metadata
        self.entries = {name: self._decoded(name, entry) for name, entry in self.raw.entries.items()}

    def _header(self, read: Read, size: int) -> tuple[dict[str, str], dict[str, Entry], int]:
        header = read_gguf(read, size)
        self.fields, self.blocks, self.start = header.fields, header.blocks, header.start
        self.described, self.alignment = header.described, header.alignment
        return {name: str(value) for name, value in self.fields.items()}, dict(header.entries), self.start

    def _wide(self, name: str) -> bool:
        return name in self.blocks and self.blocks[name].name == WIDE

    def _decoded(self, name: str, entry: Entry) -> Entry:
        return Entry("F32", self.shape(name), entry.begin, entry.end) if self._wide(name) else entry

    def shape(self, name: str) -> tuple[int, ...]:
        """Of the numbers that a tensor holds."""
        shape = self.raw.entries[name].shape
        if name not in self.blocks:
            return shape
        kind = self.blocks[name]
        return (*shape[:-1], shape[-1] // kind.bytes * kind.entries)

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray:
        if not self._wide(name):
            return self.raw.read(name, begin, end)
        return bytearray(self.array(name).tobytes()[begin:end])

    def chunks(self, name: str) -> Iterator[bytearray]:
        if self._wide(name):
            yield self.read(name)
        else:
            yield from self.raw.chunks(name)

    def array(self, name: str, rows: tuple[int, int] | None = None, memory: Scratch | None = None) -> Array:
        if not self._wide(name):
            return self.raw.array(name, rows, memory)
        from adapterops.arrays.q8 import decode

        whole = decode(self.raw.read(name)).reshape(self.shape(name))
        return whole if rows is None else whole.reshape(self.entries[name].spec.matrix)[rows[0] : rows[1]]
