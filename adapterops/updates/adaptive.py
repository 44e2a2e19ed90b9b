"""AdaLoRA: LoRA with a diagonal between its factors, of which training has cut what mattered least."""

from __future__ import annotations

from collections.abc import Mapping

from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.lowrank import LowRank, measure
from adapterops.updates.protocol import Array
from adapterops.updates.started import check_diagonal

DIAGONAL = "lora_E"


def _measure(shapes: Mapping[str, Shape]) -> Measure:
    """A (r, in), B (out, r) and the diagonal (r, 1); of some modules nothing may be left, and r is 0."""
    found = measure(shapes)
    check_diagonal(DIAGONAL, shapes[DIAGONAL], found.bound)
    return found


def _build(arrays: Mapping[str, Array], scale: float) -> LowRank:
    return LowRank(arrays["lora_B"], arrays[DIAGONAL].reshape(-1, 1) * arrays["lora_A"], scale)


KINDS.add(
    "AdaLoRA",
    Kind(
        "AdaLoRA",
        {"lora_A": "", "lora_B": "", DIAGONAL: ""},
        _measure,
        _build,
        untrained=DIAGONAL,
        peft_type="ADALORA",
        fields=(
            "target_r", "init_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step"
        ),
    ),
)  # fmt: skip
"""Source: Zhang et al. 2023, arXiv:2303.10512."""
