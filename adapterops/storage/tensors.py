"""Tensors of files: what is known of one before it is read, and what a file of them offers, whatever its format."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from adapterops.arrays.dtypes import BITS, CARRIED, FLOATS
from adapterops.arrays.scratch import Scratch
from adapterops.errors import UnsupportedError
from adapterops.storage.identity import Identity

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.arrays.floats import Array


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


def kernel(shape: tuple[int, ...]) -> tuple[int, int]:
    """The weight of a convolution as LoRA has it: its outputs, and all other dimensions as one.

    >>> kernel((8, 4, 3))
    (8, 12)
    """
    return shape[0], math.prod(shape[1:])


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


class TensorHeader(Protocol):
    """Tensors that are stored under these names: what is known of all of them, and the bytes of small ones."""

    path: Path
    metadata: dict[str, str]
    entries: dict[str, Entry]

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray: ...


class TensorFile(TensorHeader, Protocol):
    """A file of tensors that is open: what is known of all of them, and their bytes when asked for."""

    identity: Identity

    def chunks(self, name: str) -> Iterator[bytearray]: ...
    def array(self, name: str, rows: tuple[int, int] | None = None, memory: Scratch | None = None) -> Array: ...


@dataclass(frozen=True)
class Stored:
    """One tensor of a file."""

    file: TensorFile
    name: str

    @property
    def spec(self) -> Spec:
        return self.file.entries[self.name].spec

    def tensor(self, rows: tuple[int, int] | None = None) -> Tensor:
        """In memory of its own; or, with all dimensions but the last taken for one, its rows [begin, end) if it has floats.

        Raises:
            UnsupportedError: torch has no dtype for its numbers.
        """
        from adapterops.arrays.floats import carried, tensor

        if rows is None and self.spec.dtype in CARRIED:
            return carried(self.file.read(self.name), *self.spec)
        return tensor(self.file.array(self.name, rows), self.spec.dtype)

    def array(self) -> Array:
        """As it is stored, in memory of its own; of what numpy has no numbers for, or are no weights, each as its bytes."""
        if self.spec.dtype in FLOATS or BITS[self.spec.dtype] % 8:
            return self.file.array(self.name)
        import numpy as np

        each = f"V{BITS[self.spec.dtype] // 8}"
        return np.frombuffer(self.file.read(self.name), each).reshape(self.spec.shape)

    def same_bytes(self, other: Stored) -> bool:
        """Whether the two hold the same bytes, of one dtype and shape.
        Stops at the first difference, and needs no torch.
        """
        chunks = zip_longest(self.file.chunks(self.name), other.file.chunks(other.name))
        return self.spec == other.spec and all(mine == theirs for mine, theirs in chunks)


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
