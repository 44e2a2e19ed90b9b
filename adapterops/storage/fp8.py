"""Files of tensors some of which are floats in 8 bits without scales: these are read as float32, which holds them exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from adapterops.arrays.dtypes import EIGHTH
from adapterops.arrays.scratch import Scratch
from adapterops.storage.tensors import Entry, TensorFile

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array


def in_floats(file: TensorFile) -> TensorFile:
    """The file, in which every tensor in 8 bits is one in float32. For adapters: a weight of a model in FP8 has scales."""
    return Fp8File(file) if any(entry.dtype in EIGHTH for entry in file.entries.values()) else file


class Fp8File:
    """An open file. Tensors in F8_E4M3 and F8_E5M2 are float32, and all others as they are stored.

    Attributes:
        raw: the file with its tensors as they are stored.
    """

    def __init__(self, raw: TensorFile) -> None:
        self.raw = raw
        self.path, self.identity, self.metadata = raw.path, raw.identity, raw.metadata
        self.entries = {
            name: Entry("F32", entry.shape, entry.begin, entry.end) if entry.dtype in EIGHTH else entry
            for name, entry in raw.entries.items()
        }

    def _narrow(self, name: str) -> bool:
        return self.raw.entries[name].dtype in EIGHTH

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray:
        if not self._narrow(name):
            return self.raw.read(name, begin, end)
        return bytearray(self.array(name).tobytes()[begin:end])

    def chunks(self, name: str) -> Iterator[bytearray]:
        if self._narrow(name):
            yield self.read(name)
        else:
            yield from self.raw.chunks(name)

    def array(self, name: str, rows: tuple[int, int] | None = None, memory: Scratch | None = None) -> Array:
        if not self._narrow(name):
            return self.raw.array(name, rows, memory)
        from adapterops.arrays.fp8 import decode

        entry = self.raw.entries[name]
        if rows is None:
            return decode(self.raw.read(name), entry.dtype).reshape(entry.shape)
        width = entry.spec.matrix[1]
        return decode(self.raw.read(name, rows[0] * width, rows[1] * width), entry.dtype).reshape(-1, width)
