"""Headers of GGUF files, from strangers: every rule of the format is checked.

A file is the magic, a version, two counts, fields (name, type, value), tensors (name, dimensions from the fastest on,
type, offset), and from the next multiple of the alignment on the data, each tensor of them padded to that.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adapterops.arrays.ggml import BLOCKS, Blocks
from adapterops.errors import InputError, UnsupportedError, at
from adapterops.storage.header import HEADER_LIMIT, TENSOR_LIMIT, check_name
from adapterops.storage.tensors import Entry

MAGIC = b"GGUF"
VERSIONS = (2, 3)
NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
TRUTH, STRING, ARRAY = 7, 8, 9
DTYPES = {0: "F32", 1: "F16", 30: "BF16"}
NUMBERED = {kind.name: number for number, kind in BLOCKS.items()} | {dtype: number for number, dtype in DTYPES.items()}
"""The number of every type by its name."""

DESCRIPTION = struct.Struct("<IQ")
"""The type and the offset of a tensor, which its description ends with."""

ALIGNMENT = "general.alignment"
FIELD_LIMIT, DIMENSIONS, AHEAD = 100_000, 4, 1 << 16

Read = Callable[[int, int], bytes]
"""The bytes of a file from a position on, fewer where it ends."""

Value = int | float | str | bool | None


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says before its data.

    Attributes:
        fields: name → value, None for an array, which is not read.
        entries: where the bytes of each tensor are; of one in blocks, rows of bytes.
        blocks: the types of those in blocks.
        start: where the data begin.
        described: tensor → the byte at which its type stands, and after that its offset.
        alignment: tensors begin at multiples of it.
    """

    fields: Mapping[str, Value]
    entries: Mapping[str, Entry]
    blocks: Mapping[str, Blocks]
    start: int
    described: Mapping[str, int]
    alignment: int


def read_gguf(read: Read, size: int) -> GgufHeader:
    """The header of a file of `size` bytes, at most `HEADER_LIMIT` of which it may take.

    Raises:
        InputError, UnsupportedError: as `GgufFile` does.
    """
    cursor = _Cursor(read, size)
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
    blocks: dict[str, Blocks] = {}
    described: dict[str, int] = {}
    position = 0
    for _ in range(tensors):
        name = cursor.text("the name of a tensor")
        check_name(name)
        with at(tensor=name):
            if name in entries:
                raise InputError("is there twice", code="E-GGUF")
            stored, entry = _tensor(cursor, position)
            entries[name], described[name] = entry, cursor.position - DESCRIPTION.size
            if stored in BLOCKS:
                blocks[name] = BLOCKS[stored]
            position = -(-entry.end // alignment) * alignment
    start = -(-cursor.position // alignment) * alignment
    end = max((entry.end for entry in entries.values()), default=0)
    if start + end > size:
        raise InputError(
            f"is cut off: expected {start + end} bytes, found {size}", hint="download it again", code="E-GGUF"
        )
    if size > start + position:
        raise InputError(f"has {size - start - position} bytes after its last tensor", code="E-GGUF")
    return GgufHeader(fields, entries, blocks, start, described, alignment)


def stored_as(kind: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Dtype and shape of what is stored of a tensor of numbers in a type; blocks are rows of bytes.

    >>> stored_as("Q8_0", (2, 64)), stored_as("F16", (2, 64))
    (('U8', (2, 68)), ('F16', (2, 64)))
    """
    if kind in DTYPES.values():
        return kind, shape
    blocks = BLOCKS[NUMBERED[kind]]
    return "U8", (*shape[:-1], shape[-1] // blocks.entries * blocks.bytes)


def _fields(cursor: _Cursor, count: int) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for _ in range(count):
        name = cursor.text("the name of a field")
        if name in found:
            raise InputError(f"the field {name[:80]!r} is there twice", code="E-GGUF")
        with at(tensor=f"field {name[:80]!r}"):
            found[name] = cursor.value(int(cursor.number("<I")))
    return found


def _tensor(cursor: _Cursor, position: int) -> tuple[int, Entry]:
    """Type and entry of the tensor that is described next, whose data are expected at a position."""
    dimensions = int(cursor.number("<I"))
    if not 1 <= dimensions <= DIMENSIONS:
        raise InputError(f"has {dimensions} dimensions, expected 1 to {DIMENSIONS}", code="E-GGUF")
    shape = tuple(int(cursor.number("<Q")) for _ in range(dimensions))[::-1]
    stored, offset = int(cursor.number("<I")), int(cursor.number("<Q"))
    entries = math.prod(shape)
    if not 0 < entries < 1 << 60:
        raise InputError(f"has the impossible shape {list(shape)}", code="E-GGUF")
    if stored in BLOCKS:
        kind, width = BLOCKS[stored], shape[-1]
        if width % kind.entries:
            raise InputError(
                f"is in {kind.name}, and its rows of {width} are not whole blocks of {kind.entries}", code="E-GGUF"
            )
        shape = (*shape[:-1], width // kind.entries * kind.bytes)
        entry = Entry("U8", shape, position, position + math.prod(shape))
    elif stored in DTYPES:
        item = 4 if stored == 0 else 2
        entry = Entry(DTYPES[stored], shape, position, position + entries * item)
    else:
        raise UnsupportedError(
            f"is stored in type {stored} of ggml, which is not known here",
            hint="give the checkpoint that the file was converted from",
        )
    if offset != position:
        raise InputError(f"begins at byte {offset}, expected {position}", code="E-GGUF")
    return stored, entry


@dataclass
class _Cursor:
    """Reads a header from its start on, a piece at a time, and never past its limit or the end of the file."""

    read: Read
    size: int
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
        if end > HEADER_LIMIT:
            raise InputError(f"its header takes more than {HEADER_LIMIT} bytes", code="E-GGUF")
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
        if self.position + count > min(self.size, HEADER_LIMIT):
            raise InputError("is cut off in its header, or its header is too large", code="E-GGUF")
        self.position += count
