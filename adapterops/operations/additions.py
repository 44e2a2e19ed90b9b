"""What is added to a weight: the updates of its modules, for some of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapterops.arrays.scratch import Scratch
from adapterops.errors import at
from adapterops.operations.targets.target import Target

if TYPE_CHECKING:
    from adapterops.adapters.adapter import Adapter
    from adapterops.checkpoints.checkpoint import Rows
    from adapterops.updates.protocol import Array, Update
    from adapterops.updates.survival import Block


@dataclass(frozen=True, eq=False)
class Piece:
    """The update of one target, oriented as the tensor that it is added to."""

    target: Target
    update: Update
    _basis: list[Array | None] = field(default_factory=list, init=False, repr=False)

    @classmethod
    def of(cls, adapter: Adapter, target: Target) -> Piece:
        with at(tensor=target.module):
            update = adapter.updates[target.source]
            return cls(target, update.T if target.transposed else update)

    def basis(self) -> Array | None:
        """Orthonormal columns that span the rows of the update, where it is of low rank; computed once."""
        if not self._basis:
            from adapterops.linalg.qr import orthonormal

            factors = self.update.lowrank()
            self._basis.append(
                None if factors is None else orthonormal(factors.A.T.astype("float64"))[0].astype("float32")
            )
        return self._basis[0]


@dataclass(frozen=True, eq=False)
class Addition:
    """The rows of a weight with the updates of its modules added, as a function of two row numbers.

    A block is good until the next one is asked for.
    """

    base: Rows
    pieces: Sequence[Piece]
    dtype: str
    scratch: Scratch = field(default_factory=Scratch)

    def __call__(self, begin: int, end: int) -> Block:
        import numpy as np

        from adapterops.updates.survival import Block, Change, within

        before = self.base(begin, end)
        values, changes = before.values, list(before.changes)
        own = self.scratch.array("sum", values.shape, self.dtype)
        for piece in self.pieces:
            part, module = piece.target.within(begin, end), piece.target.module
            if part is None:
                continue
            W = within(values, part)
            if values is own or W.dtype != self.dtype:
                kept = self.scratch.array(f"W of {module}", W.shape, self.dtype)
                np.copyto(kept, W)
                W = kept
            delta = self.scratch.array(f"update of {module}", W.shape, self.dtype)
            with at(tensor=module):
                delta = piece.update.change(piece.target.own(begin, part), W, delta)
            if values is not own:
                if W.shape != values.shape:
                    np.copyto(own, values)
                values = own
            if whole := getattr(piece.update, "instead", None):
                np.copyto(within(values, part), whole(piece.target.own(begin, part)))
            else:
                with np.errstate(all="ignore"):  # what is not finite is found when it is stored
                    np.add(W, delta, out=within(values, part))
            changes.append(Change(module, part, W, delta, piece.basis))
        return Block(values, changes)
