"""The weighted mean of full tensors, as a tensor of a file that is computed when it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from adapterops.arrays.dtypes import FLOATS
from adapterops.arrays.scratch import Scratch
from adapterops.errors import IncompatibleError, OptionError, at
from adapterops.storage.tensors import Entry, Stored, no_numbers
from adapterops.updates.layout import widest

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array


def mean(tensors: Sequence[Stored], weights: Sequence[float]) -> Stored:
    """Σ wᵢ Tᵢ / Σ wᵢ, in float64, rounded once to the widest of their dtypes. Of tensors that are the same, the first.

    Raises:
        OptionError: the weights add up to zero.
        IncompatibleError: the shapes differ.
        UnsupportedError: one holds no numbers.
    """
    first, *rest = tensors
    if all(first.same_bytes(each) for each in rest):
        return first
    if not sum(weights):
        raise OptionError("the weights add up to 0, so full tensors have no weighted mean", hint="give other weights")
    for each in tensors:
        if each.spec.dtype not in FLOATS:
            raise no_numbers(each.spec.dtype, each.file.path, each.name)
        if each.spec.shape != first.spec.shape:
            raise IncompatibleError(
                f"is {list(each.spec.shape)}, and {list(first.spec.shape)} in {first.file.path}: tensors of different shapes have no mean",
                path=each.file.path,
                tensor=each.name,
                hint="give adapters that trained it in the same shape",
                code="E-SHAPE",
            )
    return Stored(Mean(tensors, weights), first.name)


class Mean:
    """A file of one tensor, under the name that it has in the first of the files it is computed from."""

    def __init__(self, tensors: Sequence[Stored], weights: Sequence[float]) -> None:
        first = tensors[0]
        spec = first.spec._replace(dtype=widest([each.spec.dtype for each in tensors]))
        self.path, self.identity, self.metadata = first.file.path, first.file.identity, dict[str, str]()
        self.entries = {first.name: Entry(*spec, 0, spec.bytes)}
        self._tensors, self._weights = tensors, weights

    def array(self, name: str, rows: tuple[int, int] | None = None, memory: Scratch | None = None) -> Array:
        import numpy as np

        from adapterops.arrays.floats import checked, widened

        dtype, total, scale = self.entries[name].dtype, None, sum(self._weights)
        for stored, weight in zip(self._tensors, self._weights, strict=True):
            values = widened(stored.file.array(stored.name, rows), stored.spec.dtype, Scratch())
            part = np.multiply(values, weight / scale, dtype=np.float64)
            total = part if total is None else np.add(total, part, out=total)
        assert total is not None
        with at(tensor=name):
            return checked(total, dtype, Scratch())

    def read(self, name: str, begin: int = 0, end: int | None = None) -> bytearray:
        return bytearray(self.array(name).tobytes()[begin:end])

    def chunks(self, name: str) -> Iterator[bytearray]:
        yield self.read(name)
