"""PyTorch's pickles, for those who ask for them:
tensors by name, and nothing else, through torch's restricted unpickler.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from adapterops.arrays.dtypes import FLOATS
from adapterops.arrays.floats import Array, array
from adapterops.arrays.scratch import Scratch
from adapterops.errors import InputError, UnsupportedError, at
from adapterops.storage.checksums import BLAKE3, file_digests
from adapterops.storage.safetensors import CHUNK, Entry, as_bytes, check_name, no_numbers
from adapterops.storage.strict import open_regular

SAFE_SINCE = (2, 10)
"""Before this version of torch, files can break out of its restricted loader (CVE-2026-24747)."""

DTYPES = {
    **{getattr(torch, long): short for short, long in FLOATS.items()},
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


class PickleFile:
    """An open pickle of tensors by name, memory-mapped by torch.

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
        os.close(open_regular(path))
        self.path, self.metadata = path, {"format": "pt"}
        self._identity = self._stat()
        self._digests: dict[str, str] = {}
        self.size = self._identity[0]
        self._tensors = self._load()
        self.entries: dict[str, Entry] = {}
        position = 0
        for name, tensor in self._tensors.items():
            self.entries[name] = Entry(DTYPES[tensor.dtype], tuple(tensor.shape), position, position + tensor.nbytes)
            position += tensor.nbytes

    def _load(self) -> dict[str, Tensor]:
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise InputError(
                f"is not read: {reason}",
                path=self.path,
                hint="it is damaged, old, or holds more than tensors",
                code="E-PICKLE",
            ) from None
        if not isinstance(content, dict):
            raise InputError(
                f"holds a {type(content).__name__}, expected tensors by name", path=self.path, code="E-PICKLE"
            )
        if not content:
            raise InputError("has no tensors", path=self.path, code="E-PICKLE")
        for name, tensor in content.items():
            with at(path=self.path):
                check_name(str(name))
            if (
                getattr(tensor, "is_meta", False)
                or not isinstance(name, str)
                or not isinstance(tensor, Tensor)
                or tensor.layout != torch.strided
                or tensor.dtype not in DTYPES
            ):
                raise InputError("is not a plain tensor", path=self.path, tensor=str(name)[:80], code="E-PICKLE")
            if tensor.nbytes > tensor.untyped_storage().nbytes():
                raise InputError(
                    "is larger than its data: its entries overlap", path=self.path, tensor=name, code="E-PICKLE"
                )
        return content

    def _stat(self) -> tuple[int, int]:
        status = os.stat(self.path)
        return status.st_size, status.st_mtime_ns

    @property
    def origin(self) -> tuple[int, ...]:
        status = os.stat(self.path)
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray:
        data = bytearray(as_bytes(self._tensors[name].contiguous())[begin:end])
        self.check_unchanged()
        return data

    def chunks(self, name: str) -> Iterator[bytearray]:
        size = self._tensors[name].nbytes
        for begin in range(0, size, CHUNK):
            yield self.read(name, begin, min(begin + CHUNK, size))

    def array(self, name: str, rows: tuple[int, int] | None = None, memory: Scratch | None = None) -> Array:
        tensor = self._tensors[name]
        if self.entries[name].dtype not in FLOATS:
            raise no_numbers(self.entries[name].dtype, self.path, name)
        part = tensor if rows is None else tensor.reshape(self.entries[name].spec.matrix)[rows[0] : rows[1]]
        return array(part.clone(memory_format=torch.contiguous_format))

    def check_unchanged(self) -> None:
        if self._stat() != self._identity:
            raise InputError(
                "changed while it was read",
                path=self.path,
                hint="run again when nothing writes to it",
                code="E-CHANGED",
            )

    def hash_as_read(self) -> None:
        pass  # it was read whole when it was opened

    def digest(self, algorithm: str = BLAKE3) -> str:
        if algorithm not in self._digests:
            self._digests |= file_digests(self.path, algorithm)
        return self._digests[algorithm]

    def hashes(self) -> dict[str, str]:
        return {BLAKE3: self.digest()}
