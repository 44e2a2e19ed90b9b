"""Headers of safetensors files, from strangers: every rule of the format is checked.

A file is an 8-byte little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, and the data,
without holes. What is accepted is a subset of what the safetensors library accepts.
"""

from __future__ import annotations

import math
import re
import string
import struct
from collections.abc import Callable
from typing import Any

from adapterops.arrays.dtypes import BITS
from adapterops.errors import InputError, at, count
from adapterops.storage.strict import parse_json
from adapterops.storage.tensors import Entry

HEADER_LIMIT = 25_000_000
TENSOR_LIMIT = 200_000
RANK_LIMIT = 8
NAME_LIMIT = 512

TEXT = string.printable.encode()
FOREIGN = [
    (
        b"version https://git-lfs",
        "a Git-LFS pointer, not the file it points to",
        "run `git lfs pull`, or download the file again",
    ),
    (b"<", "HTML or XML, probably an error page that was saved as the file", "download the file again"),
    (b"PK\x03\x04", "a zip archive", "unpack it, and name the folder that is then there"),
    (b"\x80", "a Python pickle", "load it with its own library and save it as safetensors"),
    (b"GGUF", "a GGUF file", "it is read when its name ends in .gguf"),
    (b"\x93NUMPY", "a NumPy array", "save its tensors as safetensors"),
    (b"\x1f\x8b", "gzip data", "unpack it, and name the file or the folder that is then there"),
    (
        b"{",
        "JSON text: a config, or an error message that was saved",
        "for a config name the folder that it is in; anything else has to be downloaded again",
    ),
]


def read_header(read: Callable[[int, int], bytes], size: int) -> tuple[dict[str, str], dict[str, Entry], int]:
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
        raise _not_safetensors(read(0, 512), length, size)
    if length > HEADER_LIMIT:
        raise InputError(f"its header takes {length} bytes, above the limit of {HEADER_LIMIT}", code="E-ST-HEADER")
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


def foreign(start: bytes) -> tuple[str, str] | None:
    """What a file is that begins so, and what goes on; None where that is not known.

    >>> foreign(b"version https://git-lfs.github.com/spec/v1")
    ('a Git-LFS pointer, not the file it points to', 'run `git lfs pull`, or download the file again')
    """
    return next(((what, hint) for magic, what, hint in FOREIGN if start.lstrip().startswith(magic)), None)


def _not_safetensors(start: bytes, length: int, size: int) -> InputError:
    if re.match(rb"PK\x03\x04.{26}[^\0]*/data\.pkl", start, re.DOTALL):  # the first file of an archive of torch.save
        hint = "rename it to adapter_model.bin, or pytorch_model.bin for a model, and read it with --allow-pickle"
        return InputError("is not a safetensors file: this is a PyTorch pickle", hint=hint, code="E-ST-FOREIGN")
    if known := foreign(start):
        what, hint = known
        return InputError(f"is not a safetensors file: this is {what}", hint=hint, code="E-ST-FOREIGN")
    if all(byte in TEXT for byte in start[:32]):
        hint = "adapterops run carries out a recipe; otherwise name a folder or a .safetensors file"
        return InputError("is not a safetensors file: this is text", hint=hint, code="E-ST-FOREIGN")
    if length > size - 8:
        return InputError(
            f"is not a safetensors file, or truncated: its header would take {length} bytes, the file has {size}",
            hint="name a folder or a .safetensors file; if this is one, download it again",
            code="E-ST-TRUNCATED",
        )
    return InputError("is not a safetensors file: no JSON header", code="E-ST-HEADER")
