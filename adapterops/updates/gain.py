"""(IA)³: each output of a layer, or each input, times a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adapterops.errors import UnsupportedError
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.protocol import Array, Part, no_factors, unscaled

ROLE = "ia3_l"


@dataclass(frozen=True, eq=False)
class Gain:
    """W' = diag(l) W, or W diag(l) `by_inputs`. A bias is a weight of one row, with an output in each column.

    Source: Liu et al. 2022, arXiv:2205.05638.
    """

    factors: Array
    by_inputs: bool
    shape: tuple[int, int]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.factors.dtype

    @property
    def T(self) -> Gain:
        return replace(self, by_inputs=not self.by_inputs, shape=self.shape[::-1])

    lowrank = no_factors

    def change(self, part: Part, W: Array, out: Array) -> Array:
        one = self.factors[part[int(self.by_inputs)]].astype(out.dtype) - 1
        with np.errstate(all="ignore"):  # what is not finite is found when it is stored
            found: Array = np.multiply(W, one if self.by_inputs else one[:, None], out=out)
            return found

    __mul__ = __rmul__ = unscaled("(IA)³")


def _measure(shapes: Mapping[str, Shape]) -> Measure:
    """(out, 1) or (1, in): the other dimension only the weight says."""
    shape = shapes[ROLE]
    if len(shape) != 2 or min(shape) != 1:
        raise UnsupportedError(
            f"is (IA)³ of the shape {list(shape)}, and only that of linear layers is handled",
            hint="merge it into its base with PEFT: merge_and_unload",
        )
    out, into = shape
    return Measure((0, into) if out == 1 else (out, 0), None, 1)


def _build(arrays: Mapping[str, Array], scale: float) -> Gain:
    stated = arrays[ROLE]
    by_inputs = stated.shape[0] == 1
    return Gain(stated.reshape(-1), by_inputs, (0, stated.size) if by_inputs else (stated.size, 0))


_IA3 = Kind(
    "(IA)³",
    {ROLE: ""},
    _measure,
    _build,
    reads="entries",
    peft_type="IA3",
    alpha=None,
    fields=("feedforward_modules", "init_ia3_weights"),
)
KINDS.add("(IA)³", _IA3)
KINDS.add(
    "(IA)³ of a bias",  # of a layer whose outputs are multiplied, if it has one
    replace(
        _IA3,
        measure=lambda shapes: Measure((1, shapes[ROLE][0]), None, 1),
        build=lambda arrays, scale: Gain(arrays[ROLE].reshape(-1), True, (1, arrays[ROLE].size)),
    ),
)
