"""Magnitude vectors of DoRA in the formats that have one of its outputs for every module, or for none."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from adapterops.errors import UnsupportedError
from adapterops.updates.layout import BY_INPUTS, Layout, magnitudes_of

IN_BASE = "fuse it, and extract the change as LoRA: adapterops extract fused --base BASE --rank 32 -o lora"


def of_outputs(
    layout: Mapping[str, Layout], embeddings: Collection[str] = ()
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Each magnitude vector → the module that it belongs to, and its shape: (out,), of a convolution (1, out, 1, ...).

    Args:
        embeddings: modules whose outputs are the columns of the weight.

    Raises:
        UnsupportedError: some modules have none, or one of inputs.
    """
    found = magnitudes_of(layout)
    for module in sorted(layout.keys() - found.keys() - set(found.values())) if found else ():
        raise UnsupportedError(
            "has no magnitude vector of DoRA, and other modules have: this format has one for each",
            tensor=module,
            hint=IN_BASE,
        )
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, module in found.items():
        if name.endswith(BY_INPUTS) and module not in embeddings:
            raise UnsupportedError(
                "is DoRA by inputs, and this format has DoRA by outputs only", tensor=module, hint=IN_BASE
            )
        count, ones = layout[name].shape[1], layout[name].kernel
        shapes[name] = module, (1, count, *ones) if ones else (count,)
    return shapes
