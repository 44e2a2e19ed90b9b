"""DoRA: the sum of weight and update, with rows or columns of a length of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from adapterops.errors import InputError
from adapterops.registry import import_modules
from adapterops.updates import lowrank
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.layout import BY_INPUTS, BY_OUTPUTS, DORA
from adapterops.updates.protocol import Array, Linear, Part, TransposedUpdate, no_factors, unscaled


@dataclass(frozen=True, eq=False)
class Magnitude:
    """W' = V with lengths of its own, V = W + ΔW: those of its rows, the outputs of the layer, or of its columns.

    W'[i, j] = m[i] V[i, j] / ‖V[i, :]‖, or m[j] V[i, j] / ‖V[:, j]‖, where the columns of one input of a convolution,
    `width` of them, have one length together. It depends on W: it can neither be scaled nor added, and what it was
    applied to cannot be found from what it made.

    Source: Liu et al. 2024, arXiv:2402.09353; by inputs: LyCORIS (wd_on_output=False), OneTrainer, embeddings of PEFT.
    """

    direction: Linear
    magnitude: Array
    by_inputs: bool = False
    width: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        return self.direction.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.direction.dtype

    @property
    def T(self) -> TransposedUpdate:
        return TransposedUpdate(self)

    lowrank = no_factors

    def change(self, part: Part, W: Array, out: Array) -> Array:
        """The rows must be whole ones, or the columns. Cost: that of ΔW, and three passes over the entries."""
        self.direction.rows(part, out)
        with np.errstate(all="ignore"):  # what is not finite is found when it is stored
            np.add(out, W, out=out)
            stated = self.magnitude.astype(out.dtype)
            if self.by_inputs:
                lengths = np.linalg.norm(out.reshape(len(out), -1, self.width), axis=(0, 2))
                np.multiply(out, np.repeat(stated / lengths, self.width), out=out)
            else:
                np.multiply(out, (stated[part[0]] / np.linalg.norm(out, axis=1))[:, None], out=out)
            return np.subtract(out, W, out=out)

    __mul__ = __rmul__ = unscaled("DoRA")


def _outputs(found: Measure, stated: Shape, kind: Kind) -> int:
    """How many lengths (out,), (out, 1, ...), or of PEFT's convolutions (1, out, 1, ...), there have to be."""
    count = found.shape[int(kind.embedding)]
    return count if stated[:1] == (count,) or (len(stated) > 2 and stated[1] == count) else 0


def _inputs(found: Measure, stated: Shape, kind: Kind) -> int:
    """How many lengths (1, in), of a convolution (1, in, 1, ...), there have to be."""
    count, columns = stated[1], found.shape[1]
    inputs = found.kernel[0] if found.kernel else count if len(stated) > 2 and columns % count == 0 else columns
    return count if count == inputs else 0


def _dora(kind: Kind, role: str) -> Kind:
    """The kind whose updates are V - W, with V the sum of the weight and an update of `kind`. PEFT has it of LoRA."""
    of, by_inputs = (_inputs if role == BY_INPUTS else _outputs), role == BY_INPUTS or kind.embedding
    known = kind.peft_type == "LORA" and role == BY_OUTPUTS

    def measured(shapes: Mapping[str, Shape]) -> Measure:
        found, stated = kind.measure(shapes), shapes[role]
        if not stated or math.prod(stated) != of(found, stated, kind):
            expected = found.shape[int(by_inputs)]
            raise InputError(
                f"{role} has the shape {list(stated)}, expected {[expected]}",
                hint="save the adapter again",
                code="E-SHAPE",
            )
        return found

    def built(arrays: Mapping[str, Array], scale: float) -> Magnitude:
        direction: Any = kind.build({name: array for name, array in arrays.items() if name != role}, scale)
        lengths = arrays[role].reshape(-1)
        return Magnitude(direction, lengths, by_inputs, direction.shape[1] // len(lengths) if by_inputs else 1)

    return Kind(
        DORA,
        {**kind.roles, role: ""},
        measured,
        built,
        reads="columns" if by_inputs else "rows",
        peft_type="LORA" if known else None,
        flag="use_dora" if known else None,
        embedding=kind.embedding,
    )


import_modules("adapterops.updates")  # every kind that it is of, whichever is imported first
_LINEAR = [
    kind
    for kind in KINDS.registered()
    if kind.build.__module__.startswith("adapterops.updates.") and not (kind.dense or kind.reads)
]
for _kind, _role in product(_LINEAR, (BY_OUTPUTS, BY_INPUTS)):
    _plain = _role == BY_OUTPUTS and _kind.roles == lowrank.LORA
    KINDS.add(DORA if _plain else f"DoRA of {', '.join((*_kind.roles, _role))}", _dora(_kind, _role))
