"""An update with every entry its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adapterops.arrays.floats import numbers
from adapterops.errors import InputError
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.layout import DIFFERENCE, LORA_BIAS
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array, Linear, Part, change_by_rows, norm
from adapterops.updates.sums import added, added_to


@dataclass(frozen=True, eq=False)
class Dense:
    """A weight update that is in memory: ΔW = weight, (out, in), float32 or float64.

    `error` is a bound on ‖ΔW - exact‖_F, as for `LowRank`. `near` is an update whose leading directions are probably
    close to those of ΔW, where one is known: a search for them may start there. It decides how long the search takes,
    not what is true. `transpose_of` is the update that this one is the transpose of, where its entries are computed.
    """

    weight: Array
    error: float = 0.0
    near: LowRank | None = None
    transpose_of: Linear | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", numbers(self.weight)[0])

    @property
    def shape(self) -> tuple[int, int]:
        return self.weight.shape[0], self.weight.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.weight.dtype

    def lowrank(self) -> LowRank | None:
        """A single row, such as that of a bias, is 1 times itself; nothing else has factors until it is decomposed."""
        return LowRank(np.ones((1, 1), self.dtype), self.weight, error=self.error) if len(self.weight) == 1 else None

    def dense(self) -> Array:
        return self.weight

    change = change_by_rows

    def rows(self, part: Part, out: Array) -> Array:
        return self.weight[part].astype(out.dtype, copy=False)

    @property
    def T(self) -> Dense:
        """ΔWᵀ, for weights that are stored as (in, out)."""
        return Dense(self.weight.T, self.error, None if self.near is None else self.near.T)

    __add__, __radd__ = added, added_to

    def __mul__(self, factor: float) -> Dense:
        near = None if self.near is None else factor * self.near
        transpose_of = None if self.transpose_of is None else factor * self.transpose_of
        weight = np.multiply(self.weight, factor, dtype=self.dtype)
        return replace(self, weight=weight, error=abs(factor) * self.error, near=near, transpose_of=transpose_of)

    __rmul__ = __mul__

    def norm(self) -> float:
        return norm(self.weight)


def measured(shape: Shape) -> Measure:
    """That of a whole tensor. A vector has no dimensions after the first, and is told from a matrix of one row by that."""
    matrix = matrix_of(shape)
    stack = len(shape) == 3 and shape[0] == 1 < shape[1]
    return Measure(matrix, min(matrix), min(matrix), () if stack else shape[1:])


def matrix_of(shape: Shape) -> tuple[int, int]:
    """A tensor of any shape as a matrix: a vector is one row, of a kernel all dimensions but the first are one, and a
    first dimension of one in front of a matrix (`modulation` of Wan) is none.
    """
    if len(shape) < 2:
        return 1, math.prod(shape)
    return (shape[1], shape[2]) if len(shape) == 3 and shape[0] == 1 else (shape[0], math.prod(shape[1:]))


KINDS.add(
    "difference",
    Kind(
        DIFFERENCE,
        {"diff": ""},
        lambda shapes: measured(shapes["diff"]),
        lambda arrays, scale: Dense(arrays["diff"].reshape(matrix_of(arrays["diff"].shape))) * scale,
        peft_type=None,
        dense=True,
    ),
)

BIAS = "lora_bias"
"""What is added to the bias of a layer, times the scale of its LoRA (`lora_bias` of PEFT)."""


def _measure_bias(shapes: Mapping[str, Shape]) -> Measure:
    """Of a vector, as the matrix of one row that it is added to as."""
    if len(shapes[BIAS]) != 1:
        raise InputError(
            f"a bias has the shape {list(shapes[BIAS])}, expected one dimension",
            hint="save the adapter again",
            code="E-SHAPE",
        )
    return Measure((1, shapes[BIAS][0]), None, 1)


KINDS.add(
    "bias",
    Kind(
        LORA_BIAS,
        {BIAS: ".bias"},
        _measure_bias,
        lambda arrays, scale: Dense(np.atleast_2d(arrays[BIAS])) * scale,
        untrained=BIAS,
        dense=True,
    ),
)
