"""safetensors files: a reader that trusts nothing.

A file is an 8-byte little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, and the data,
without holes. What this reader accepts is a subset of what the safetensors library accepts.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from adapterops.arrays.dtypes import BITS, FLOATS
from adapterops.arrays.scratch import Scratch
from adapterops.errors import InputError, UnsupportedError, at, count
from adapterops.storage.checksums import BLAKE3, FileHash
from adapterops.storage.content import Content, OnDisk
from adapterops.storage.strict import parse_json, reading

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.arrays.floats import Array

HEADER_LIMIT = 25_000_000
TENSOR_LIMIT = 200_000
RANK_LIMIT = 8
NAME_LIMIT = 512
CHUNK = 1 << 20
"""Bytes that are copied at once."""

SMALL = 1 << 16
"""Up to this many bytes of a tensor are read without the rest of a file that is elsewhere."""

FOREIGN = [
    (
        b"version https://git-lfs",
        "a Git-LFS pointer, not the file it points to",
        "run `git lfs pull`, or download the file again",
    ),
    (b"<", "HTML or XML, probably an error page that was saved as the file", "download the file again"),
    (
        b"PK\x03\x04",
        "a zip archive, probably a PyTorch pickle",
        "load it with its own library and save it as safetensors",
    ),
    (b"\x80", "a Python pickle", "load it with its own library and save it as safetensors"),
    (b"GGUF", "a GGUF file", "an adapter of llama.cpp is read when its name ends in .gguf; a model is not"),
    (b"\x93NUMPY", "a NumPy array", "save its tensors as safetensors"),
    (b"\x1f\x8b", "gzip data", "decompress it first"),
    (b"{", "JSON text, probably an error message that was saved as the file", "download the file again"),
]


class Spec(NamedTuple):
    """What is known of a tensor before it is read: its dtype, as safetensors spells it, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """
        >>> Spec("BF16", (3, 4)).bytes, Spec("F32", ()).bytes
        (24, 4)
        """
        return math.prod(self.shape) * BITS[self.dtype] // 8

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns: all dimensions but the last taken for one, or of a kernel (out, in, height, width) and larger
        ones all but the first.

        >>> Spec("F32", (4, 3, 2)).matrix, Spec("F32", (5,)).matrix, Spec("F32", ()).matrix
        ((12, 2), (1, 5), (1, 1))
        >>> Spec("F32", (8, 4, 3, 3)).matrix
        (8, 36)
        """
        return matrix(self.shape)


def matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """A tensor as a matrix; see `Spec.matrix`."""
    if len(shape) > 3:
        return shape[0], math.prod(shape[1:])
    return math.prod(shape[:-1]), shape[-1] if shape else 1


@dataclass(frozen=True)
class Entry:
    """Where one tensor is stored: bytes [begin, end) of the data."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def spec(self) -> Spec:
        return Spec(self.dtype, self.shape)


ReadHeader: TypeAlias = (
    "Callable[[Callable[[int, int], bytes], int, int], tuple[dict[str, str], dict[str, Entry], int]]"
)
"""As `read_header` does: bytes from a position on, the size of the file, a limit → metadata, entries, where data begin."""


class Header(Protocol):
    """Tensors that are stored under these names: what is known of all of them, and the bytes of small ones."""

    path: Path
    metadata: dict[str, str]
    entries: dict[str, Entry]

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray: ...


class TensorFile(Header, Protocol):
    """A file of tensors that is open: what is known of all of them, and their bytes when asked for."""

    size: int

    @property
    def origin(self) -> tuple[int, ...]: ...
    def chunks(self, name: str) -> Iterator[bytearray]: ...
    def array(self, name: str, rows: tuple[int, int] | None = None, memory: Scratch | None = None) -> Array: ...
    def check_unchanged(self) -> None: ...
    def hash_as_read(self) -> None: ...
    def digest(self, algorithm: str = BLAKE3) -> str: ...
    def hashes(self) -> dict[str, str]: ...


@dataclass(frozen=True)
class Stored:
    """One tensor of a file."""

    file: TensorFile
    name: str

    @property
    def spec(self) -> Spec:
        return self.file.entries[self.name].spec

    def tensor(self, rows: tuple[int, int] | None = None) -> Tensor:
        """In memory of its own; or, with all dimensions but the last taken for one, its rows [begin, end)."""
        from adapterops.arrays.floats import tensor

        return tensor(self.file.array(self.name, rows), self.spec.dtype)

    def same_bytes(self, other: Stored) -> bool:
        """Whether the two hold the same bytes, of one dtype and shape.
        Stops at the first difference, and needs no torch.
        """
        chunks = zip_longest(self.file.chunks(self.name), other.file.chunks(other.name))
        return self.spec == other.spec and all(mine == theirs for mine, theirs in chunks)


class SafetensorsFile:
    """One open file: a validated header, and tensors read into memory of our own when asked for."""

    def __init__(
        self,
        path: Path,
        header_limit: int = HEADER_LIMIT,
        header: ReadHeader | None = None,
        content: Content | None = None,
    ) -> None:
        """
        Args:
            header: reads that of another format, whose tensors are stored in the same way.
            content: the bytes, where they are not on the disk under `path`.
        """
        self.path, self._content = path, OnDisk(path) if content is None else content
        self.size = self._content.size
        self._hashing: dict[str, FileHash] = {}
        self._digests: dict[str, str] = {}
        with at(path=path, hint=self._content.remedy):
            self.metadata, self.entries, self._start = (header or read_header)(self._bytes, self.size, header_limit)

    @property
    def origin(self) -> tuple[int, ...]:
        """What tells whether it was written to or replaced; see `Content`."""
        return self._content.origin

    def span(self, name: str, begin: int, count: int) -> bytearray:
        """Bytes of the file from a position on, wherever its tensors are; `name` is for messages."""
        buffer = bytearray(count)
        self._fill_from(memoryview(buffer), name, begin)
        return buffer

    def _bytes(self, begin: int, count: int) -> bytes:
        buffer = bytearray(max(0, min(count, self.size - begin)))
        with reading():
            return bytes(buffer[: self._content.read_into(memoryview(buffer), begin, alone=True)]) if buffer else b""

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray:
        """The bytes of one tensor, or those of it in [begin, end), as stored.

        Raises:
            InputError: the file changed since it was opened.
        """
        entry = self.entries[name]
        buffer = bytearray((entry.spec.bytes if end is None else end) - begin)
        self._read_into(buffer, name, begin, alone=len(buffer) <= SMALL)
        return buffer

    def _read_into(self, buffer: bytearray, name: str, begin: int, alone: bool = False) -> None:
        self._fill(memoryview(buffer), name, begin, alone)
        if self.entries[name].dtype == "BOOL" and buffer.strip(b"\x00\x01"):
            raise InputError("has a boolean that is neither 0 nor 1", path=self.path, tensor=name, code="E-ST-VALUE")

    def _fill(self, view: memoryview, name: str, begin: int, alone: bool = False) -> None:
        """The bytes of one tensor from `begin` on, as many as there is room for."""
        if begin < 0 or begin + len(view) > self.entries[name].spec.bytes:
            raise AssertionError(
                f"{name} has {self.entries[name].spec.bytes} bytes, not {begin} to {begin + len(view)}"
            )
        self._fill_from(view, name, self._start + self.entries[name].begin + begin, alone)

    def _fill_from(self, view: memoryview, name: str, position: int, alone: bool = False) -> None:
        whole, first = view, position
        while view:
            with at(path=self.path, tensor=name), reading():
                count = self._content.read_into(view, position, alone)
            if count == 0:
                raise InputError("the file shrank while it was read", path=self.path, tensor=name, code="E-CHANGED")
            view, position = view[count:], position + count
        for hashed in self._hashing.values():
            hashed.saw(first, whole)

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

    def check_unchanged(self) -> None:
        """Raise InputError if the file is no longer the one that was opened."""
        self._content.check_unchanged()

    def hash_as_read(self, *algorithms: str) -> None:
        """From now on, take in what is read of the file: these hashes, or those that identify it, will be asked for."""
        for algorithm in algorithms or self._content.algorithms:
            if algorithm not in self._hashing:
                hashed = FileHash(self._content.read_into, algorithm)
                with at(path=self.path):
                    hashed.saw(0, memoryview(self._bytes(0, self._start)))
                self._hashing = {**self._hashing, algorithm: hashed}  # anew: other threads may go through the old one

    def digest(self, algorithm: str = BLAKE3) -> str:
        """The hash of the whole file, every byte of which is read once: with its tensors, or now.

        Raises:
            InputError: the file changed since it was opened, or cannot be read.
        """
        if algorithm not in self._digests:
            self.hash_as_read(algorithm)
            with at(path=self.path), reading():
                found = self._hashing[algorithm].hexdigest()
            self.check_unchanged()
            self._digests[algorithm] = found
        return self._digests[algorithm]

    def hashes(self) -> dict[str, str]:
        """What identifies the file, by algorithm."""
        return {algorithm: self.digest(algorithm) for algorithm in self._content.algorithms}


def no_numbers(dtype: str, path: Path, name: str) -> UnsupportedError:
    return UnsupportedError(
        f"is stored as {dtype}, which is not a dtype for arithmetic",
        path=path,
        tensor=name,
        hint=f"convert it to one of {', '.join(FLOATS)}",
    )


def as_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor, without a copy."""
    import torch  # here, so that files can be copied without it

    flat = tensor.reshape(-1)  # a column may have any stride and count as contiguous
    return flat.view(torch.uint8).numpy().data.cast("B") if flat.numel() else memoryview(b"")


def read_header(
    read: Callable[[int, int], bytes], size: int, limit: int = HEADER_LIMIT
) -> tuple[dict[str, str], dict[str, Entry], int]:
    """Metadata and entries of a file of `size` bytes, and the position of its data.

    Args:
        read: the bytes from a position on, as many as asked for, or fewer where the file ends.

    Raises:
        InputError: it is not a safetensors file, or any rule of the format is broken.
    """
    start = read(0, 32)
    if not start:
        raise InputError("is empty", hint="download or save it again", code="E-ST-EMPTY")
    length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else -1
    if not 0 < length <= size - 8 or start[8:9] != b"{":
        raise _not_safetensors(start, length, size)
    if length > limit:
        raise InputError(f"its header takes {length} bytes, above the limit of {limit}", code="E-ST-HEADER")
    text = read(8, length)
    if len(text) != length:
        raise InputError(f"is cut off: its header ends after {len(text)} of {length} bytes", code="E-ST-TRUNCATED")
    metadata, entries = parse_header(text, size - 8 - length)
    return metadata, entries, 8 + length


def parse_header(text: bytes, data_size: int) -> tuple[dict[str, str], dict[str, Entry]]:
    """Metadata and entries of a header, checked against the number of data bytes that follow it.

    >>> parse_header(b'{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', 8)
    ({}, {'x': Entry(dtype='F32', shape=(2,), begin=0, end=8)})

    Raises:
        InputError: any rule of the format is broken.
    """
    try:
        header = parse_json(text)
    except InputError as error:
        error.message, error.code = f"the header {error.message}", "E-ST-HEADER"
        raise
    if not isinstance(header, dict):
        raise InputError(f"the header is a {type(header).__name__}, not an object", code="E-ST-HEADER")
    metadata = header.pop("__metadata__", None)
    if metadata is None:  # MLX writes null for none, and the library takes it
        metadata = {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputError("the metadata is not a mapping of strings to strings", code="E-ST-HEADER")
    if not header:
        raise InputError("has no tensors", code="E-ST-EMPTY")
    if len(header) > TENSOR_LIMIT:
        raise InputError(f"has {count(len(header), 'tensor')}, above the limit of {TENSOR_LIMIT}", code="E-ST-HEADER")
    entries = {}
    for name, fields in header.items():
        check_name(name)
        with at(tensor=name):
            entries[name] = _entry(fields)
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            what = "overlaps the tensor before it" if entry.begin < position else "leaves a hole before it"
            raise InputError(
                f"{what}: begins at byte {entry.begin}, expected {position}", tensor=name, code="E-ST-OFFSET"
            )
        position = entry.end
    if position > data_size:
        raise InputError(
            f"is cut off: expected {position} bytes of tensors, found {data_size}",
            hint="download it again",
            code="E-ST-TRUNCATED",
        )
    if position < data_size:
        raise InputError(
            f"has {data_size - position} bytes after its last tensor", hint="download it again", code="E-ST-TRAILING"
        )
    return metadata, entries


def check_name(name: str) -> None:
    """Raise InputError for a tensor name that could be taken for a path, or not be shown."""
    parts = name.replace("\\", "/").split("/")
    if not 1 <= len(name) <= NAME_LIMIT or not name.isprintable() or ".." in parts or name.startswith(("/", "\\")):
        raise InputError(f"the tensor name {name[:80]!r} is unsafe", code="E-ST-NAME")


def _entry(fields: Any) -> Entry:
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise InputError("is not described by exactly dtype, shape and data_offsets", code="E-ST-HEADER")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise InputError(f"has the unsupported dtype {dtype!r}", code="E-ST-DTYPE")
    if not _counts(shape) or len(shape) > RANK_LIMIT or math.prod(size for size in shape if size) >= 1 << 63:
        raise InputError(f"has the impossible shape {str(shape)[:80]}", code="E-ST-SHAPE")
    if not _counts(offsets) or len(offsets) != 2 or offsets[1] < offsets[0]:
        raise InputError(f"has the impossible offsets {str(offsets)[:80]}", code="E-ST-OFFSET")
    bits = math.prod(shape) * BITS[dtype]
    if bits % 8 or bits // 8 != offsets[1] - offsets[0]:
        raise InputError(
            f"shape {shape} of {dtype} takes {bits / 8:g} bytes, found {offsets[1] - offsets[0]}", code="E-ST-SHAPE"
        )
    return Entry(dtype, tuple(shape), offsets[0], offsets[1])


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)


def _not_safetensors(start: bytes, length: int, size: int) -> InputError:
    for magic, what, hint in FOREIGN:
        if start.lstrip()[: len(magic)] == magic:
            return InputError(f"is not a safetensors file: this is {what}", hint=hint, code="E-ST-FOREIGN")
    if length > size - 8:
        return InputError(
            f"is not a safetensors file, or truncated: its header would take {length} bytes, the file has {size}",
            hint="download it again",
            code="E-ST-TRUNCATED",
        )
    return InputError("is not a safetensors file: no JSON header", code="E-ST-HEADER")
