"""DoRA: the sum of weight and update, with rows of a length of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapterops.errors import InputError, UnsupportedError
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.lowrank import LORA, LowRank, measure
from adapterops.updates.protocol import Array, Part

VECTOR = "lora_magnitude_vector"


@dataclass(frozen=True, eq=False)
class Magnitude:
    """W' = diag(m / ‖V‖) V with V = W + ΔW and one norm for each row, an output of the layer.

    It depends on W: it can neither be scaled nor added, and what it was applied to cannot be found from what it made.

    Source: Liu et al. 2024, arXiv:2402.09353.
    """

    direction: LowRank
    magnitude: Array

    @property
    def shape(self) -> tuple[int, int]:
        return self.direction.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.direction.dtype

    @property
    def T(self) -> Transposed:
        return Transposed(self)

    def lowrank(self) -> None:
        return None

    def change(self, part: Part, W: Array, out: Array) -> Array:
        """The rows must be whole ones. Cost: that of ΔW, and three passes over the entries."""
        self.direction.rows(part, out)
        with np.errstate(all="ignore"):  # what is not finite is found when it is stored
            np.add(out, W, out=out)
            length = np.linalg.norm(out, axis=1)
            np.multiply(out, (self.magnitude[part[0]].astype(out.dtype) / length)[:, None], out=out)
            return np.subtract(out, W, out=out)

    def __mul__(self, factor: float) -> Magnitude:
        if factor != 1:
            raise UnsupportedError("is DoRA, which cannot be scaled", hint="fuse it into its base by itself")
        return self

    __rmul__ = __mul__


@dataclass(frozen=True, eq=False)
class Transposed:
    """DoRA of a weight that is stored as (in, out): a column is an output of the layer, and all of it has to be there."""

    T: Magnitude

    @property
    def shape(self) -> tuple[int, int]:
        return self.T.shape[::-1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.T.dtype

    def lowrank(self) -> None:
        return None

    def change(self, part: Part, W: Array, out: Array) -> Array:
        """The columns must be whole ones. Cost: as for the weight itself."""
        return self.T.change(part[::-1], W.T, out.T).T

    def __mul__(self, factor: float) -> Transposed:
        return Transposed(factor * self.T)

    __rmul__ = __mul__


def _measure(shapes: Mapping[str, Shape]) -> Measure:
    found = measure(shapes)
    stated = shapes[VECTOR]
    if stated[:1] != found.shape[:1] or math.prod(stated) != found.shape[0]:
        if stated[:1] == (1,) and len(stated) == 4:
            raise UnsupportedError(
                f"is DoRA of a convolution, with lengths of the shape {list(stated)}, which is not handled",
                hint="merge it with the tool that trained it",
            )
        if stated[:1] == (1,) and math.prod(stated[:2]) == found.shape[1]:
            raise UnsupportedError(
                "is DoRA with a length for each input, which is not handled",
                hint="merge it with the tool that trained it",
            )
        raise InputError(f"{VECTOR} has the shape {list(stated)}, expected {[found.shape[0]]}", code="E-SHAPE")
    return found


def _build(arrays: Mapping[str, Array], scale: float) -> Magnitude:
    return Magnitude(LowRank(arrays["lora_B"], arrays["lora_A"], scale), arrays[VECTOR].reshape(-1))


KINDS.add("DoRA", Kind("DoRA", {**LORA, VECTOR: ""}, _measure, _build, needs_base=True, flag="use_dora"))
