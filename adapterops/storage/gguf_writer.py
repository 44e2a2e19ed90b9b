"""Writing GGUF files: what `storage/gguf_header.py` reads, one tensor at a time."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from adapterops.arrays.ggml import Q8, Q8_NUMBER
from adapterops.storage.gguf_header import DTYPES, MAGIC, STRING
from adapterops.storage.tensors import Spec

if TYPE_CHECKING:
    from adapterops.arrays.floats import Array

VERSION, ALIGNED, FLOAT32 = 3, 32, 6
TYPES = {dtype: number for number, dtype in DTYPES.items()} | {"U8": Q8_NUMBER}

Fields = Mapping[str, str | float]


def write_gguf(
    path: Path,
    layout: Mapping[str, Spec],
    tensors: Iterable[tuple[str, Array]],
    fields: Fields,
    sync: Callable[[int], object] | None = None,
) -> None:
    """Stream `tensors`, numbers as they are stored, into a new file, in the order they come; all of the layout must come.

    Args:
        layout: dtype and largest shape of every tensor; one may turn out smaller. Rows of bytes (U8) are blocks of Q8_0.
        fields: texts, and numbers that are stored as float32.
        sync: called with the descriptor when all is written; by default what waits until the disk has it.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    start = len(_header(layout, {name: spec.shape for name, spec in layout.items()}, fields))
    with open(path, "xb") as file:
        file.seek(start)
        for name, tensor in tensors:
            _write(file, tensor)
            shapes[name] = tensor.shape
        header = _header(layout, shapes, fields)
        if len(header) != start:
            raise AssertionError(f"{path.name}: {sorted(layout.keys() - shapes.keys())[:1]} did not come")
        file.seek(0)
        file.write(header)
        file.flush()
        (sync or os.fsync)(file.fileno())


def _write(file: BinaryIO, tensor: Array) -> None:
    """The numbers of a tensor, and what fills up its last line; a few rows at a time where they are not one after the other."""
    size = 0
    for row in [tensor] if tensor.flags.c_contiguous else tensor:
        data = row.tobytes() if not row.flags.c_contiguous else row.reshape(-1).view("u1").data
        size += file.write(data)
    file.write(b"\0" * (-size % ALIGNED))


def _header(layout: Mapping[str, Spec], shapes: Mapping[str, tuple[int, ...]], fields: Fields) -> bytes:
    """All before the data. Its length depends on names and dimensions alone."""
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(shapes), len(fields))]
    for name, value in fields.items():
        parts.append(_text(name))
        if isinstance(value, str):
            parts += [struct.pack("<I", STRING), _text(value)]
        else:
            parts.append(struct.pack("<If", FLOAT32, value))
    position = 0
    for name, shape in shapes.items():
        spec = Spec(layout[name].dtype, shape)
        entries = (*shape[:-1], shape[-1] // Q8.bytes * Q8.entries) if spec.dtype == "U8" else shape
        sizes = struct.pack(f"<{len(shape)}Q", *entries[::-1])
        parts += [_text(name), struct.pack("<I", len(shape)), sizes, struct.pack("<IQ", TYPES[spec.dtype], position)]
        position += -(-spec.bytes // ALIGNED) * ALIGNED
    header = b"".join(parts)
    return header + b"\0" * (-len(header) % ALIGNED)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data
