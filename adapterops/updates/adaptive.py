"""AdaLoRA: LoRA with a diagonal between its factors, of which training has cut what mattered least."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from adapterops.errors import InputError
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.lowrank import LowRank, measure
from adapterops.updates.protocol import Array

DIAGONAL = "lora_E"


def measured_with(diagonal: str) -> Callable[[Mapping[str, Shape]], Measure]:
    """What measures A (r, in), B (out, r) and a diagonal (r,) or (r, 1); of some modules nothing may be left, and r is 0.

    Raises:
        InputError: when it measures, for a diagonal that has not r numbers.
    """

    def measured(shapes: Mapping[str, Shape]) -> Measure:
        found, shape = measure(shapes), shapes[diagonal]
        if shape[:1] != (found.bound,) or math.prod(shape) != found.bound:
            raise InputError(
                f"{diagonal} has the shape {list(shape)}, expected {[found.bound]}",
                hint="save the adapter again",
                code="E-SHAPE",
            )
        return found

    return measured


def with_diagonal(arrays: Mapping[str, Array], scale: float, diagonal: str = DIAGONAL) -> LowRank:
    """scale · B diag(d) A"""
    return LowRank(arrays["lora_B"], arrays[diagonal].reshape(-1, 1) * arrays["lora_A"], scale)


KINDS.add(
    "AdaLoRA",
    Kind(
        "AdaLoRA",
        {"lora_A": "", "lora_B": "", DIAGONAL: ""},
        measured_with(DIAGONAL),
        with_diagonal,
        untrained=DIAGONAL,
        peft_type="ADALORA",
        fields=(
            "target_r", "init_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step"
        ),
    ),
)  # fmt: skip
"""Source: Zhang et al. 2023, arXiv:2303.10512."""
