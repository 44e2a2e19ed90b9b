"""PyTorch's pickles, for those who ask for them: tensors by name, and nothing else.

torch's restricted unpickler says where each tensor is stored, and reads none. They are read here, like those of
safetensors files: never memory-mapped, so that a file that shrinks is an error and does not kill the process.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from adapterops.arrays.dtypes import BITS, FLOATS
from adapterops.arrays.floats import STORED, Array
from adapterops.arrays.scratch import Scratch
from adapterops.errors import AdapterOpsError, InputError, UnsupportedError, at
from adapterops.regex import Regex
from adapterops.storage.header import check_name
from adapterops.storage.pickled import ARCHIVE, BEFORE_ARCHIVES, FIRST, check_pickle
from adapterops.storage.safetensors import CHUNK, SafetensorsFile
from adapterops.storage.tensors import Entry, no_numbers

SAFE_SINCE = (2, 10)
"""Before this version of torch, files can break out of its restricted loader (CVE-2026-24747)."""

DTYPES = {
    **{getattr(torch, long): short for short, long in FLOATS.items()},
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip

OTHER = Regex(r"unsupported GLOBAL (\S+)|Unsupported global: GLOBAL (\S+)")
"""How torch names what a file holds that its restricted loader does not load."""

ONLY_TENSORS = "save its tensors by name in a file of their own, and nothing else"
INNER = "save what it holds in a file of its own, by name"

Read = Callable[[int, int], bytes]
"""The bytes of a file from a position on."""


class Strided(NamedTuple):
    """A tensor that is not stored in its own order: where its first entry is, its shape, and its strides in bytes."""

    begin: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def extent(self, item: int) -> int:
        """Bytes from its first entry to the end of its last."""
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        return last + item if math.prod(self.shape) else 0


class PickleFile:
    """An open pickle of tensors by name.

    Raises:
        InputError: it is damaged, holds something other than tensors, or tensors larger than their data.
        UnsupportedError: this torch is too old to read it safely.
    """

    def __init__(self, path: Path) -> None:
        if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_SINCE:
            raise UnsupportedError(
                f"torch {torch.__version__} does not load pickles safely",
                path=path,
                hint="update torch to 2.10 or newer",
            )
        self._strided: dict[str, Strided] = {}
        self._file = SafetensorsFile(path, header=self._header)
        self.path, self.identity = path, self._file.identity
        self.metadata, self.entries = self._file.metadata, self._file.entries

    def _header(self, read: Read, size: int) -> tuple[dict[str, str], dict[str, Entry], int]:
        """Where the tensors are."""
        check_pickle(start := read(0, FIRST))
        if start.startswith(BEFORE_ARCHIVES):
            hint = "load it with torch, and save it again: torch.save(torch.load(FILE, weights_only=True), NEW)"
            raise InputError("is as torch before 1.6 saves, which is not read", hint=hint, code="E-PICKLE")
        if not start.startswith(ARCHIVE):
            raise InputError("is a pickle, and not as torch.save writes one", hint=ONLY_TENSORS, code="E-PICKLE")
        records, entries = _records(read, size), {}
        for name, tensor in _content(read, size).items():
            if not isinstance(name, str):
                raise InputError(f"has the name {name!r}, which is not text", code="E-PICKLE")
            check_name(name)
            with at(tensor=name):
                place = _place(tensor, records)
                dtype, item = DTYPES[tensor.dtype], tensor.element_size()
                entries[name] = Entry(dtype, place.shape, place.begin, place.begin + math.prod(place.shape) * item)
                if not tensor.is_contiguous():
                    self._strided[name] = place
        return {"format": "pt"}, entries, 0

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray:
        if name not in self._strided:
            return self._file.read(name, begin, end)
        return bytearray(self._gathered(name).tobytes()[begin:end])

    def chunks(self, name: str) -> Iterator[bytearray]:
        if name not in self._strided:
            yield from self._file.chunks(name)
            return
        data = self.read(name)
        for begin in range(0, len(data), CHUNK):
            yield data[begin : begin + CHUNK]

    def array(self, name: str, rows: tuple[int, int] | None = None, memory: Scratch | None = None) -> Array:
        entry = self.entries[name]
        if name not in self._strided or entry.dtype not in STORED:
            if entry.dtype not in FLOATS:
                raise no_numbers(entry.dtype, self.path, name)
            return self._file.array(name, rows, memory)
        whole = self._gathered(name).view(STORED[entry.dtype]).reshape(entry.shape)
        return whole if rows is None else whole.reshape(entry.spec.matrix)[rows[0] : rows[1]]

    def _gathered(self, name: str) -> Array:
        """The bytes of a tensor that is not stored in its own order, in that."""
        place, item = self._strided[name], BITS[self.entries[name].dtype] // 8
        data = np.frombuffer(self._file.span(name, place.begin, place.extent(item)), f"V{item}")
        strided = np.lib.stride_tricks.as_strided(data, place.shape, place.strides, writeable=False)
        return np.ascontiguousarray(strided)


class _Stream(io.RawIOBase):
    """The bytes of a file as torch and zipfile want them."""

    def __init__(self, read: Read, size: int) -> None:
        self._read, self._size, self._position = read, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if position < 0:
            raise ValueError("before the start of the file")
        self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        data = self._read(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _content(read: Read, size: int) -> Mapping[str, Any]:
    """Tensors without their data, by name."""
    try:
        with io.BufferedReader(_Stream(read, size)) as stream:
            content = torch.load(stream, map_location="meta", weights_only=True)
    except AdapterOpsError:
        raise
    except Exception as error:  # of a damaged file torch raises whatever it stumbles over
        raise _not_read(str(error)) from None
    if not isinstance(content, dict):
        raise InputError(f"holds a {type(content).__name__}, expected tensors by name", code="E-PICKLE")
    if not content:
        raise InputError("has no tensors", code="E-PICKLE")
    return content


def _not_read(error: str) -> InputError:
    """What torch says of a file, without its advice to load it with whatever code is in it."""
    if other := OTHER.search(error):
        return InputError(f"holds more than tensors: {other[1] or other[2]}", hint=ONLY_TENSORS, code="E-PICKLE")
    reason = error.strip().partition("\n")[0].partition(". ")[0][:200]
    return InputError(f"is not read: {reason}", hint="it is damaged, old, or holds more than tensors", code="E-PICKLE")


def _records(read: Read, size: int) -> dict[int, int]:
    """Where the records of the archive begin that are stored as they are, and their sizes."""
    found: dict[int, int] = {}
    try:
        with io.BufferedReader(_Stream(read, size)) as stream, zipfile.ZipFile(stream) as archive:
            for info in archive.infolist():
                if info.compress_type == zipfile.ZIP_STORED:
                    local = read(info.header_offset, 30)
                    names = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
                    begin = info.header_offset + 30 + names
                    if begin + info.file_size <= size:
                        found[begin] = max(info.file_size, found.get(begin, 0))
    except AdapterOpsError:
        raise
    except Exception:  # of a damaged archive zipfile raises whatever it stumbles over
        raise _not_read("its archive is cut off, or damaged") from None
    return found


def _place(tensor: Any, records: Mapping[int, int]) -> Strided:
    """Where a tensor is stored."""
    if isinstance(tensor, Mapping):
        raise InputError(f"is a dictionary of {len(tensor)}, and no tensor", hint=INNER, code="E-PICKLE")
    if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.dtype not in DTYPES:
        raise InputError("is not a plain tensor", hint=ONLY_TENSORS, code="E-PICKLE")
    record = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    if record is None:
        raise InputError("is not a plain tensor", hint=ONLY_TENSORS, code="E-PICKLE")
    item = tensor.element_size()
    inside = tensor.storage_offset() * item
    place = Strided(record + inside, tuple(tensor.shape), tuple(stride * item for stride in tensor.stride()))
    if tensor.nbytes > tensor.untyped_storage().nbytes():
        raise InputError("is larger than its data: its entries overlap", code="E-PICKLE")
    if inside + place.extent(item) > records.get(record, 0):
        raise InputError("is larger than its data, or that is compressed", code="E-PICKLE")
    return place
