"""GGUF files: a reader that trusts nothing, of fields and of tensors in F32, F16, BF16 and Q8_0.

A file is the magic, a version, two counts, fields (name, type, value), tensors (name, dimensions from the fastest on,
type, offset), and from the next multiple of the alignment on the data, each tensor of them padded to that.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adapterops.arrays.scratch import Scratch
from adapterops.errors import InputError, UnsupportedError, at
from adapterops.storage.checksums import BLAKE3
from adapterops.storage.header import HEADER_LIMIT, TENSOR_LIMIT, check_name
from adapterops.storage.safetensors import SafetensorsFile
from adapterops.storage.tensors import Entry

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array

SUFFIX = ".gguf"
MAGIC = b"GGUF"
VERSIONS = (2, 3)
NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
TRUTH, STRING, ARRAY = 7, 8, 9
DTYPES = {0: "F32", 1: "F16", 30: "BF16"}
Q8_0, BLOCK, BLOCK_BYTES = 8, 32, 34
"""Blocks of 32 entries: a float16 and 32 signed bytes, whose product the entries are."""

ALIGNMENT = "general.alignment"
FIELD_LIMIT, DIMENSIONS, AHEAD = 100_000, 4, 1 << 16

Read = Callable[[int, int], bytes]
"""The bytes of a file from a position on, fewer where it ends."""

Value = int | float | str | bool | None
Header = tuple[dict[str, Value], dict[str, Entry], dict[str, tuple[int, ...]], int]
"""Fields; where the bytes of each tensor are; the shapes of those in Q8_0; and where the data begin."""


class GgufFile:
    """An open GGUF file. Tensors in Q8_0 are read as float32, which holds them exactly.

    Attributes:
        fields: name → value, None for an array, which is not read.

    Raises:
        InputError: it is no GGUF file, damaged, or breaks a rule of the format.
        UnsupportedError: it is of another version or byte order, or has a tensor of another type.
    """

    def __init__(self, path: Path) -> None:
        self.fields: dict[str, Value] = {}
        self._blocks: dict[str, tuple[int, ...]] = {}
        self._file = SafetensorsFile(path, header=self._header)
        self.path, self.size, self.metadata = path, self._file.size, self._file.metadata
        coded = {name: Entry("F32", shape, *_range(self._file.entries[name])) for name, shape in self._blocks.items()}
        self.entries = self._file.entries | coded

    def _header(self, read: Read, size: int, limit: int) -> tuple[dict[str, str], dict[str, Entry], int]:
        self.fields, entries, self._blocks, start = read_gguf(read, size, limit)
        return {name: str(value) for name, value in self.fields.items()}, entries, start

    @property
    def origin(self) -> tuple[int, ...]:
        return self._file.origin

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray:
        if name not in self._blocks:
            return self._file.read(name, begin, end)
        return bytearray(self.array(name).tobytes()[begin:end])

    def chunks(self, name: str) -> Iterator[bytearray]:
        if name in self._blocks:
            yield self.read(name)
        else:
            yield from self._file.chunks(name)

    def array(self, name: str, rows: tuple[int, int] | None = None, memory: Scratch | None = None) -> Array:
        if name not in self._blocks:
            return self._file.array(name, rows, memory)
        import numpy as np

        blocks = np.frombuffer(self._file.read(name), np.dtype([("scale", "<f2"), ("codes", "i1", BLOCK)]))
        values = blocks["scale"].astype(np.float32)[:, None] * blocks["codes"].astype(np.float32)
        whole: Array = values.reshape(self._blocks[name])
        return whole if rows is None else whole.reshape(self.entries[name].spec.matrix)[rows[0] : rows[1]]

    def check_unchanged(self) -> None:
        self._file.check_unchanged()

    def hash_as_read(self) -> None:
        self._file.hash_as_read()

    def digest(self, algorithm: str = BLAKE3) -> str:
        return self._file.digest(algorithm)

    def hashes(self) -> dict[str, str]:
        return self._file.hashes()

    def note(self, hashes: Mapping[str, str]) -> None:
        self._file.note(hashes)


def _range(entry: Entry) -> tuple[int, int]:
    return entry.begin, entry.end


def read_gguf(read: Read, size: int, limit: int = HEADER_LIMIT) -> Header:
    """The header of a file of `size` bytes, at most `limit` of which it may take.

    Raises:
        InputError, UnsupportedError: as `GgufFile` does.
    """
    cursor = _Cursor(read, size, limit)
    if cursor.take(4) != MAGIC:
        raise InputError("is not a GGUF file: it does not begin with GGUF", code="E-GGUF")
    version = int(cursor.number("<I"))
    if version not in VERSIONS:
        raise UnsupportedError(f"is GGUF of version {version}, and {' and '.join(map(str, VERSIONS))} are read")
    tensors, count = cursor.count(TENSOR_LIMIT, "tensors"), cursor.count(FIELD_LIMIT, "fields")
    fields = _fields(cursor, count)
    alignment = fields.get(ALIGNMENT, 32)
    if type(alignment) is not int or not 8 <= alignment <= 1 << 20 or alignment & (alignment - 1):
        raise InputError(f"{ALIGNMENT} is {alignment!r}, expected a power of two from 8 on", code="E-GGUF")
    entries: dict[str, Entry] = {}
    blocks: dict[str, tuple[int, ...]] = {}
    position = 0
    for _ in range(tensors):
        name = cursor.text("the name of a tensor")
        check_name(name)
        with at(tensor=name):
            if name in entries:
                raise InputError("is there twice", code="E-GGUF")
            shape, stored, entry = _tensor(cursor, position)
            entries[name] = entry
            if stored == Q8_0:
                blocks[name] = shape
            position = -(-entry.end // alignment) * alignment
    start = -(-cursor.position // alignment) * alignment
    end = max((entry.end for entry in entries.values()), default=0)
    if start + end > size:
        raise InputError(
            f"is cut off: expected {start + end} bytes, found {size}", hint="download it again", code="E-GGUF"
        )
    if size > start + position:
        raise InputError(f"has {size - start - position} bytes after its last tensor", code="E-GGUF")
    return fields, entries, blocks, start


def _fields(cursor: _Cursor, count: int) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for _ in range(count):
        name = cursor.text("the name of a field")
        if name in found:
            raise InputError(f"the field {name[:80]!r} is there twice", code="E-GGUF")
        with at(tensor=f"field {name[:80]!r}"):
            found[name] = cursor.value(int(cursor.number("<I")))
    return found


def _tensor(cursor: _Cursor, position: int) -> tuple[tuple[int, ...], int, Entry]:
    """Shape, type and entry of the tensor that is described next, whose data are expected at a position."""
    dimensions = int(cursor.number("<I"))
    if not 1 <= dimensions <= DIMENSIONS:
        raise InputError(f"has {dimensions} dimensions, expected 1 to {DIMENSIONS}", code="E-GGUF")
    shape = tuple(int(cursor.number("<Q")) for _ in range(dimensions))[::-1]
    stored, offset = int(cursor.number("<I")), int(cursor.number("<Q"))
    entries = math.prod(shape)
    if not 0 < entries < 1 << 60:
        raise InputError(f"has the impossible shape {list(shape)}", code="E-GGUF")
    if stored == Q8_0:
        if shape[-1] % BLOCK:
            raise InputError(f"is in Q8_0, and its rows of {shape[-1]} are no blocks of {BLOCK}", code="E-GGUF")
        entry = Entry("U8", (entries // BLOCK * BLOCK_BYTES,), position, position + entries // BLOCK * BLOCK_BYTES)
    elif stored in DTYPES:
        item = 4 if stored == 0 else 2
        entry = Entry(DTYPES[stored], shape, position, position + entries * item)
    else:
        raise UnsupportedError(
            f"is stored in type {stored} of ggml, and only F32, F16, BF16 and Q8_0 are read",
            hint="GGUF is read for adapters alone; for a model give the checkpoint that it was converted from",
        )
    if offset != position:
        raise InputError(f"begins at byte {offset}, expected {position}", code="E-GGUF")
    return shape, stored, entry


@dataclass
class _Cursor:
    """Reads a header from its start on, a piece at a time, and never past its limit or the end of the file."""

    read: Read
    size: int
    limit: int
    position: int = 0
    _first: int = 0
    _piece: bytes = b""

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > self.size:
            raise InputError(
                f"is cut off in its header: expected {end} bytes, found {self.size}",
                hint="download it again",
                code="E-GGUF",
            )
        if end > self.limit:
            raise InputError(f"its header takes more than {self.limit} bytes", code="E-GGUF")
        if end > self._first + len(self._piece):
            self._first, self._piece = self.position, self.read(self.position, max(count, AHEAD))
        begin = self.position - self._first
        found = self._piece[begin : begin + count]
        if len(found) != count:
            raise InputError("shrank while it was read", code="E-CHANGED")
        self.position = end
        return found

    def number(self, code: str) -> int | float:
        value: int | float = struct.unpack(code, self.take(struct.calcsize(code)))[0]
        return value

    def count(self, most: int, what: str) -> int:
        found = int(self.number("<Q"))
        if found > most:
            raise InputError(f"states {found} {what}, and at most {most} are read", code="E-GGUF")
        return found

    def text(self, what: str) -> str:
        length = int(self.number("<Q"))
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise InputError(f"{what} is not UTF-8", code="E-GGUF") from None

    def value(self, kind: int) -> Value:
        """A number or a text; None for an array, which is passed over."""
        if kind == TRUTH:
            byte = self.take(1)
            if byte not in (b"\0", b"\1"):
                raise InputError("is a truth value that is neither 0 nor 1", code="E-GGUF")
            return byte == b"\1"
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == STRING:
            return self.text("a text")
        if kind != ARRAY:
            raise InputError(f"is of type {kind}, which GGUF does not have", code="E-GGUF")
        inner, length = int(self.number("<I")), int(self.number("<Q"))
        if inner in NUMBERS:
            self.skip(length * struct.calcsize(NUMBERS[inner]))
        elif inner == STRING:
            if length > self.size // 8:
                raise InputError(f"is {length} texts, more than the file has room for", code="E-GGUF")
            for _ in range(length):
                self.skip(int(self.number("<Q")))
        else:
            raise InputError(f"is an array of type {inner}, which is not read", code="E-GGUF")
        return None

    def skip(self, count: int) -> None:
        if self.position + count > min(self.size, self.limit):
            raise InputError("is cut off in its header, or its header is too large", code="E-GGUF")
        self.position += count
