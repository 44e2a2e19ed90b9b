"""A tensor as it is stored in files: as one tensor, or quantized, in several component tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapterops.arrays.scratch import Scratch
from adapterops.errors import at
from adapterops.quant.checks import check_decoded
from adapterops.quant.scheme import Scheme
from adapterops.storage.tensors import Stored

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.arrays.floats import Array


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as it is stored in files: as one, or quantized, in several parts.

    Attributes:
        parts: by their roles; a whole tensor has one, of role "".
        shape: when used.
        scheme: None for a whole tensor.
    """

    parts: Mapping[str, Stored]
    shape: tuple[int, ...]
    scheme: Scheme | None = None

    @property
    def dtype(self) -> str:
        """When used."""
        return self.scheme.dtype if self.scheme else self.parts[""].spec.dtype

    def stored(self, begin: int, end: int, memory: Scratch | None = None) -> Array:
        """Rows [begin, end) of a whole tensor as they are stored, all dimensions but the last taken for one."""
        return self.parts[""].file.array(self.parts[""].name, (begin, end), memory)

    def rows(self, begin: int, end: int, memory: Scratch) -> Array:
        """Rows [begin, end) in float32, or float64 where that is stored; in scratch memory.

        Raises:
            InputError: codes stand for NaN or infinity.
        """
        if self.scheme is None:
            from adapterops.arrays.floats import widened

            return widened(self.stored(begin, end, memory), self.dtype, memory)
        import torch

        decoded = self.scheme.decode(self.shape, self.read, begin, end)
        wide = memory.array("wide", decoded.shape, "float32")
        with at(path=next(iter(self.parts.values())).file.path):
            check_decoded(torch.from_numpy(wide).copy_(decoded))
        return wide

    def read(self, role: str, begin: int, end: int) -> Tensor:
        """Bytes of a part."""
        import torch

        data = self.parts[role].file.read(self.parts[role].name, begin, end)
        return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)

    def same_bytes(self, other: StoredTensor) -> bool:
        """Whether the two are stored as the same bytes."""
        return self.parts.keys() == other.parts.keys() and all(
            part.same_bytes(other.parts[role]) for role, part in self.parts.items()
        )
