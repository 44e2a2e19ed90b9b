"""Files that hold one thing together, as one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from adapterops.arrays.scratch import Scratch
from adapterops.storage.tensors import TensorFile

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array


class SeveralFiles:
    """The tensors of several files, no two of which have the same name. Path, metadata and identity are the first one's.

    Attributes:
        files: all of them, in their order.
        holder: tensor → the file that it is in.
    """

    def __init__(self, files: Sequence[TensorFile]) -> None:
        first, self.files = files[0], tuple(files)
        self.path, self.metadata, self.identity = first.path, first.metadata, first.identity
        self.holder = {name: file for file in files for name in file.entries}
        self.entries = {name: file.entries[name] for name, file in self.holder.items()}

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray:
        return self.holder[name].read(name, begin, end)

    def chunks(self, name: str) -> Iterator[bytearray]:
        return self.holder[name].chunks(name)

    def array(self, name: str, rows: tuple[int, int] | None = None, memory: Scratch | None = None) -> Array:
        return self.holder[name].array(name, rows, memory)
