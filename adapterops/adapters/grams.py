"""What the modules of an adapter take in: their Gram matrices, read when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapterops.arrays.scratch import Scratch
from adapterops.errors import at
from adapterops.provenance.history import Source, Step
from adapterops.storage.grams import ADAPTER, check_gram
from adapterops.storage.lazy import Lazy

if TYPE_CHECKING:
    from adapterops.checkpoints.checkpoint import Checkpoint
    from adapterops.updates.protocol import Array


@dataclass(frozen=True, eq=False)
class Grams:
    """Module → the mean of x xᵀ over the inputs of a task, by names that the model has for it in memory.

    Attributes:
        matrices: (n, n) for a module that takes in n numbers, read on every access.
        shapes: of each, known without reading any.
        adapter: by what the adapter is known whose inputs these are, where the file says it: see `provenance.history.key`.
    """

    matrices: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]
    history: Step | Source = field(default_factory=lambda: Step("memory"))
    adapter: str | None = None

    @classmethod
    def of(cls, matrices: Mapping[str, Array]) -> Grams:
        """Matrices that are in memory."""
        return cls(matrices, {name: each.shape for name, each in matrices.items()})


def grams_in(file: Checkpoint) -> Grams:
    """The matrices in a file that `adapterops gram` wrote. Nothing is read yet.

    Raises:
        InputError: when one is read, it is no Gram matrix; see `check_gram`.
    """

    def read(name: str) -> Array:
        found = file.stored[name].rows(0, file.layout[name].shape[0], Scratch())
        with at(tensor=name, path=file.files.path if file.files else None):
            check_gram(found)
        return found

    stated = [part.file.metadata.get(ADAPTER) for each in file.stored.values() for part in each.parts.values()]
    shapes = {name: spec.shape for name, spec in file.layout.items()}
    return Grams(Lazy(file.layout, read), shapes, file.history, next(iter(stated), None))
