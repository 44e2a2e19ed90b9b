"""Writing safetensors files: the header is known before the tensors, or at least how large it can get."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from adapterops.errors import AdapterOpsError, at
from adapterops.storage.checksums import BLAKE3, SHA256, new, region_digest
from adapterops.storage.output import OutputFile, preallocate
from adapterops.storage.strict import json_text
from adapterops.storage.tensors import Spec

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array


SYNCED = 1 << 25
"""Bytes of a file that is streamed after which the disk is given what there is."""


class SafetensorsWriter:
    """A new file whose tensors are all known by name, dtype and shape. Their bytes may come in any order, from several
    threads.

    Raises:
        ResourceError: the disk has no room for it.
    """

    def __init__(self, path: Path, layout: Mapping[str, Spec], metadata: Mapping[str, str]) -> None:
        self._path, self._layout, self._metadata = path, layout, metadata
        text = header_text(layout, metadata, 0)
        self._begin: dict[str, int] = {}
        position = 8 + len(text)
        for name, spec in layout.items():
            self._begin[name] = position
            position += spec.bytes
        self.size = position
        self._file = OutputFile(path, self.size)
        try:
            self._file.put(struct.pack("<Q", len(text)) + text, 0)
        except BaseException:
            self.close()
            raise

    def write(self, name: str, data: bytes | bytearray | memoryview, offset: int = 0) -> None:
        """Bytes of one tensor, from `offset` on."""
        self._file.put(data, self._begin[name] + offset)

    def sync(self) -> None:
        """See `OutputFile`."""
        self._file.sync()

    def blake3(self) -> str:
        """See `OutputFile`."""
        return self._file.blake3()

    def check(self) -> None:
        """Raise AdapterOpsError if the file, now that it is written, is not what was planned: see `check_written`."""
        check_written(self._path, self._layout, self._metadata)

    def close(self) -> None:
        self._file.close()


def file_size(layout: Mapping[str, Spec], metadata: Mapping[str, str]) -> int:
    """The bytes of a file of these tensors.

    >>> file_size({"x": Spec("F32", (2,))}, {})
    72
    """
    return 8 + len(header_text(layout, metadata, 0)) + sum(spec.bytes for spec in layout.values())


@dataclass(frozen=True)
class Tensors:
    """The tensors of a new file that has no header yet.

    Attributes:
        begin: where the first one begins in the file.
        layout: name → dtype and shape, in the order in which they are stored.
    """

    descriptor: int
    begin: int
    layout: Mapping[str, Spec]

    def sha256(self) -> str:
        """The hash of all that comes after the header."""
        return region_digest(self.descriptor, self.begin, SHA256)

    def read(self, name: str) -> bytes:
        """The bytes of one."""
        position = self.begin
        for each, spec in self.layout.items():
            if each == name:
                return os.pread(self.descriptor, spec.bytes, position)
            position += spec.bytes
        raise KeyError(name)


Metadata: TypeAlias = Mapping[str, str] | Callable[[Tensors], Mapping[str, str]]
"""The entries of a header, or what makes them of the tensors that were written."""


def write_safetensors(
    path: Path,
    layout: Mapping[str, Spec],
    tensors: Iterable[tuple[str, Array]],
    metadata: Metadata,
    room: int = 0,
    sync: Callable[[int], object] | None = None,
) -> str | None:
    """Stream `tensors`, numbers as they are stored, into a new file, one at a time, in the order they come.

    `layout` gives for every name its dtype and its largest possible shape. Tensors may turn out smaller, come in another
    order, or not at all; the header is written last, into space reserved for the largest, so that the bytes depend on the content alone.

    Args:
        room: bytes that are reserved for entries of the header which are made of the tensors.
        sync: called with the descriptor when all is written, and whenever `SYNCED` bytes more are, so that the disk is
            not idle until then; by default what waits until the disk has all, once.

    Returns:
        The BLAKE3 of the file, taken of the bytes as they were written; None where its header was known too late for that,
        because tensors are smaller than they may be, or entries are made of them.

    Raises:
        ResourceError: the disk is full; nothing is left of the file's preallocation by then but the file itself.
    """
    known = {} if callable(metadata) else metadata
    expected = header_text(layout, known, 0)
    longest = dict(sorted(layout.items(), key=lambda each: each[1].bytes, reverse=True))  # positions of most digits
    reserved = len(header_text(longest, known, 0)) + -(-room // 8) * 8
    hashed = None if callable(metadata) else new(BLAKE3)
    if hashed:
        hashed.update(struct.pack("<Q", reserved) + expected.ljust(reserved))
    needed = 8 + reserved + sum(spec.bytes for spec in layout.values())
    written: dict[str, Spec] = {}
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "r+b") as file:
        preallocate(descriptor, needed, path)
        file.seek(8 + reserved)
        synced = file.tell()
        for name, tensor in tensors:
            dtype, largest = layout[name]
            if tensor.ndim != len(largest) or any(
                size > most for size, most in zip(tensor.shape, largest, strict=True)
            ):
                raise AssertionError(f"{name}: {tuple(tensor.shape)} does not fit the planned {largest}")
            data = rows_of(tensor).reshape(-1).view("u1").data
            file.write(data)
            if hashed:
                hashed.update(data)
            if sync and file.tell() - synced >= SYNCED:
                file.flush()
                sync(descriptor)
                synced = file.tell()
            written[name] = Spec(dtype, tuple(tensor.shape))
        file.truncate(file.tell())
        if callable(metadata):
            file.flush()
            known = metadata(Tensors(descriptor, 8 + reserved, written))
        text = header_text(written, known, reserved)
        if len(text) != reserved:
            raise AssertionError(f"the header takes {len(text)} B, and {reserved} B were reserved for it")
        file.seek(0)
        file.write(struct.pack("<Q", reserved) + text)
        file.flush()
        (sync or os.fsync)(descriptor)
    check_written(path, written, known)
    return hashed.hexdigest() if hashed and text == expected.ljust(reserved) else None


def rows_of(tensor: Array) -> Array:
    """The same numbers, in the order in which they are stored."""
    from adapterops.arrays.floats import transposed

    if tensor.flags.c_contiguous:
        return tensor
    return transposed(tensor.T) if tensor.ndim == 2 else tensor.copy()


def check_written(path: Path, layout: Mapping[str, Spec], metadata: Mapping[str, str]) -> None:
    """Open a finished file as everybody else will, with the safetensors library, and compare its header with the plan.

    The library checks the header, and that its offsets cover the file; names, dtypes, shapes and metadata are compared.
    No tensor is read.

    Raises:
        AdapterOpsError: the library refuses the file, or finds something else in it. That is a bug of ours.

    Cost: 0.2 ms for a hundred tensors; the library maps the file, and touches its header alone.
    """
    from safetensors import SafetensorError, safe_open  # here: what is only read needs no library

    with at(path=path.name):
        try:
            with safe_open(path, framework="numpy") as file:
                names, found_metadata = set(file.keys()), file.metadata() or {}
                slices = {name: file.get_slice(name) for name in layout if name in names}
                found = {name: Spec(each.get_dtype(), tuple(each.get_shape())) for name, each in slices.items()}
        except SafetensorError as error:
            raise _not_as_planned(f"the safetensors library refuses the file that was written: {error}") from error
        for name in sorted(names ^ layout.keys()):
            raise _not_as_planned("was planned and is missing" if name in layout else "was not planned", name)
        for name, spec in found.items():
            if spec != layout[name]:
                raise _not_as_planned(f"was written as {_shown(spec)}, expected {_shown(layout[name])}", name)
        if found_metadata != metadata:
            raise _not_as_planned(f"was written with the metadata {found_metadata}, expected {dict(metadata)}")


@contextmanager
def read_back() -> Iterator[None]:
    """For reading an output before it has its name: what our own readers refuse must not be left to be found later."""
    try:
        yield
    except AdapterOpsError as error:
        raise _not_as_planned(f"cannot be read again: {error.path or ''}: {error.message}", error.tensor) from error


def _not_as_planned(fact: str, tensor: str | None = None) -> AdapterOpsError:
    hint = "this is a bug in adapterops: nothing was written, and another run would fail in the same way"
    return AdapterOpsError(fact, tensor=tensor, hint=hint, code="E-WRITTEN")


def _shown(spec: Spec) -> str:
    return f"{spec.dtype} {list(spec.shape)}"


def header_text(layout: Mapping[str, Spec], metadata: Mapping[str, str], length: int) -> bytes:
    """The header, padded with spaces to `length` bytes, or to a multiple of 8."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    position = 0
    for name, spec in layout.items():
        end = position + spec.bytes
        header[name] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": [position, end]}
        position = end
    text = json_text(header, separators=(",", ":"))
    return text.ljust(max(length, -(-len(text) // 8) * 8))
