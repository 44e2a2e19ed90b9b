"""Tensors on their way into a file whose header is known when all of them are: they wait on the disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from adapterops.storage.safetensors import CHUNK
from adapterops.storage.tensors import Spec
from adapterops.storage.writer import SafetensorsWriter

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array


class Spool:
    """A new file of the bytes of tensors, one after the other, in the order in which they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "r+b")
        self._layout: dict[str, Spec] = {}

    def add(self, name: str, dtype: str, array: Array) -> None:
        """One more tensor, as it is stored."""
        self._layout[name] = Spec(dtype, tuple(array.shape))
        self._file.write(array.tobytes())

    def into(self, path: Path, metadata: Mapping[str, str], sync: bool = True) -> None:
        """Write the file of all tensors, and remove the spool.

        Raises:
            ResourceError: the disk has no room for it.
        """
        writer = SafetensorsWriter(path, self._layout, metadata)
        self._file.seek(0)
        with closing(writer), closing(self):
            for name, spec in self._layout.items():
                for begin in range(0, spec.bytes, CHUNK):
                    writer.write(name, self._file.read(min(CHUNK, spec.bytes - begin)), begin)
            if sync:
                writer.sync()
            writer.check()
        os.unlink(self._path)

    def close(self) -> None:
        self._file.close()
