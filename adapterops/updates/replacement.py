"""A tensor that takes the place of the base's, whatever that is: `set` of ComfyUI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from adapterops.arrays.floats import numbers
from adapterops.updates.dense import matrix_of, measured
from adapterops.updates.kinds import KINDS, Kind
from adapterops.updates.layout import REPLACEMENT
from adapterops.updates.protocol import Array, Part, no_factors, unscaled

ROLE = "set_weight"


@dataclass(frozen=True, eq=False)
class Replacement:
    """W' = V, so that ΔW = V - W. V is (out, in), as a difference of that tensor is.

    It depends on W: it can neither be scaled nor added. ComfyUI sets it at any strength.
    """

    weight: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", numbers(self.weight)[0])

    @property
    def shape(self) -> tuple[int, int]:
        return self.weight.shape[0], self.weight.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.weight.dtype

    @property
    def T(self) -> Replacement:
        return Replacement(self.weight.T)

    lowrank = no_factors

    def change(self, part: Part, W: Array, out: Array) -> Array:
        with np.errstate(all="ignore"):  # what is not finite is found when it is stored
            found: Array = np.subtract(self.weight[part].astype(out.dtype, copy=False), W, out=out)
            return found

    def instead(self, part: Part) -> Array:
        """What is stored: V itself, which W + ΔW is only up to rounding."""
        found: Array = self.weight[part]
        return found

    __mul__ = __rmul__ = unscaled(REPLACEMENT)


KINDS.add(
    "replacement",
    Kind(
        REPLACEMENT,
        {ROLE: ""},
        lambda shapes: measured(shapes[ROLE]),
        lambda arrays, scale: Replacement(arrays[ROLE].reshape(matrix_of(arrays[ROLE].shape))),
        reads="entries",
        peft_type=None,
        alpha=None,
        dense=True,
    ),
)
