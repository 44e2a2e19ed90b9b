"""How far two versions of a base are from each other, in what an adapter reads of them."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import Any

from adapterops.arrays.floats import Array
from adapterops.updates.survival import Block, square, within


@dataclass(frozen=True)
class Distance:
    """A weight W and another version V of it, with an update ΔW, over some rows: ‖W‖², ‖ΔW‖², ‖V - W‖², ‖(V - W) Q‖².

    Q has orthonormal columns that span the rows of the update. What an adapter changes at an input is a sum of those
    directions, and so is what the other version changes there. Where the update is not of low rank, Q is all directions.
    """

    base: float = 0.0
    delta: float = 0.0
    between: float = 0.0
    inside: float = 0.0

    def __add__(self, other: Distance) -> Distance:
        return Distance(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    @property
    def of_weights(self) -> float:
        """‖V - W‖ / ‖W‖"""
        return math.sqrt(self.between / self.base) if self.base else 0.0

    @property
    def of_update(self) -> float:
        """‖(V - W) Q‖ / ‖ΔW‖"""
        return math.sqrt(self.inside / self.delta) if self.delta else 0.0

    def as_json(self) -> dict[str, Any]:
        return {"of_weights": self.of_weights, "of_update": self.of_update}


def distances(block: Block, other: Array) -> dict[str, Distance]:
    """Of each module that changes a block, whose values are not rounded yet; `other` is the other version of its rows."""
    found = {}
    for module, part, W, delta, basis in block.changes:
        difference, Q = within(other, part) - W, basis()
        inside = square(difference if Q is None else difference @ Q)
        found[module] = Distance(square(W), square(delta), square(difference), inside)
    return found
