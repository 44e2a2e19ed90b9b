"""LoRA on a MultiheadAttention of torch: PEFT calls its joined q, k and v by the name of the module, and wraps the output
projection inside of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from adapterops.errors import AdapterWarning, InputError, UnsupportedError
from adapterops.formats.peft.config import is_at_least
from adapterops.formats.peft.parts import Parts
from adapterops.formats.peft.scaling import Scaling

WRAPPED = ".base_layer.out_proj"
JOINED, OUTPUT = ".in_proj_weight", ".out_proj"

STATED, LATER = (0, 18), (0, 22)
"""The version of PEFT since which configs state it, and the first of which it is not known how often it adds `out_proj`."""


def taken_out(found: dict[str, Parts]) -> dict[str, Parts]:
    """The output projections, by the name of their attention; they are taken out of `found`.

    Raises:
        InputError: the attention itself is not there.
    """
    outputs = {name.removesuffix(WRAPPED): found.pop(name) for name in list(found) if name.endswith(WRAPPED)}
    for name in outputs.keys() - found.keys():
        raise InputError(
            "has an out_proj of a MultiheadAttention and no in_proj", tensor=name, hint="save the adapter again"
        )
    return outputs


def in_model(
    modules: Mapping[str, Parts], scalings: Mapping[str, Scaling], outputs: Mapping[str, Parts], fields: Any
) -> tuple[dict[str, Parts], dict[str, Scaling]]:
    """Modules and their scalings, attentions by the names of their tensors in a model. The scale of an output projection is
    twice that of its attention: PEFT up to 0.21 adds it twice whenever it computes anything, in training, too.

    Raises:
        UnsupportedError: the config does not state such a version.

    Warns:
        AdapterWarning: it does, and which scale is taken.
    """
    parts, scales = dict(modules), dict(scalings)
    if not outputs:
        return parts, scales
    version = fields.get("peft_version") if isinstance(fields, dict) else None
    if not is_at_least(fields, STATED) or is_at_least(fields, LATER):
        raise UnsupportedError(
            "is LoRA on a MultiheadAttention of torch, whose out_proj PEFT 0.21 and before adds twice, in training, too: "
            f"peft_version is {version!r}, which does not say how often",
            tensor=min(outputs),
            hint='state the version that trained it, "peft_version": "0.21.2" for twice, in adapter_config.json',
        )
    for name, output in outputs.items():
        parts[f"{name}{JOINED}"], parts[f"{name}{OUTPUT}"] = parts.pop(name), output
        scale = scales[f"{name}{JOINED}"] = scales.pop(name)
        scales[f"{name}{OUTPUT}"] = replace(scale, alpha=2 * scale.alpha)
    first = f"{min(outputs)}{OUTPUT}"
    warnings.warn(
        f"{first}: LoRA on a MultiheadAttention of torch is added twice, as PEFT {version} does in training and in use; "
        f"for once: adapterops calc 'scale(a, {{\"{first}\": 0.5}})' a=ADAPTER --format comfy -o once",
        AdapterWarning,
        stacklevel=2,
    )
    return parts, scales


def doubled(modules: Collection[str]) -> set[str]:
    """The output projections among modules of a model, whose scale is twice that of their config."""
    return {f"{name.removesuffix(JOINED)}{OUTPUT}" for name in modules if name.endswith(JOINED)} & set(modules)


def check_written(modules: Mapping[str, Any]) -> None:
    """Raise UnsupportedError for what PEFT has inside of a MultiheadAttention."""
    for name in modules:
        if name.endswith(JOINED):
            raise UnsupportedError(
                "is in a MultiheadAttention of torch, whose out_proj PEFT adds twice: it is not written for PEFT",
                tensor=name,
                hint="fuse the adapter into its base",
            )
