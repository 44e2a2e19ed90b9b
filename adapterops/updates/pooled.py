"""QA-LoRA: LoRA of inputs that were pooled in groups, as a weight of GPTQ has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from adapterops.errors import IncompatibleError, InputError, UnsupportedError, in_json
from adapterops.updates.kinds import KINDS, Kind, Measure, Shape
from adapterops.updates.lowrank import LORA, LowRank, measure
from adapterops.updates.protocol import Array
from adapterops.updates.unfitted import Unfitted

FLAG, SIZE = "use_qalora", "qalora_group_size"


def _stated(fields: Mapping[str, Any]) -> Kind:
    """That of the groups which the config of PEFT has."""
    group = fields.get(SIZE)
    if type(group) is not int or group < 1:
        raise InputError(
            f"{SIZE} is {in_json(group)}, expected a number of inputs",
            hint="write there what it was trained with",
            code="E-CONFIG",
        )
    if group == 1:
        raise UnsupportedError(
            f"{FLAG} is set with groups of one input: PEFT multiplies the update of a weight of GPTQ by the number of inputs "
            "then, and no other, and nothing says which it was",
            hint="load it with PEFT and the base that it was trained on",
        )
    return _kind(group)


def _kind(group: int) -> Kind:
    def build(arrays: Mapping[str, Array], scale: float) -> Unfitted:
        """ΔW = scale · (in / g) / g · B A', where A' has every column of A (r, in / g) g times: A sees the means of groups
        of g neighbouring inputs, times the number of groups. PEFT trains it on weights of GPTQ, and plain LoRA on others:
        the width of the weight says which it is.
        """
        A, B = arrays["lora_A"], arrays["lora_B"]
        pools = A.shape[1]

        def on(inputs: int) -> LowRank:
            if inputs == pools:
                return LowRank(B, A, scale)
            if inputs != pools * group:
                raise IncompatibleError(
                    f"is QA-LoRA of {pools} groups of {group} inputs, and the weight has {inputs}",
                    hint="give the base that it was trained on",
                    code="E-SHAPE",
                )
            return LowRank(B, np.repeat(A, group, axis=1), scale * pools / group)

        return Unfitted(on, len(B), A.dtype, "QA-LoRA", {**arrays, "scale": scale, "group": group})

    return Kind("QA-LoRA", LORA, _measure, build, reads="shape", stated=_stated)


def _measure(shapes: Mapping[str, Shape]) -> Measure:
    found = measure(shapes)
    return found._replace(shape=(found.shape[0], 0))


KINDS.add("QA-LoRA", _kind(1))
"""Source: QALoraLinearVariant.forward of PEFT, which has no way to merge it; Xu et al. 2023, arXiv:2309.14717."""
