"""Which base an adapter saw: how far a quantized model is from the one that it was made of, beside the update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.arrays.scratch import Scratch
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.rounding import check_views
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import IncompatibleError, at
from adapterops.operations.fusion import fuse
from adapterops.operations.quantization import viewed
from adapterops.updates.distance import Distance, distances


@dataclass(frozen=True)
class Bases:
    """By module: a quantized weight and the one that it was made of."""

    modules: Mapping[str, Distance]

    @property
    def total(self) -> Distance:
        return sum(self.modules.values(), Distance())

    def as_json(self) -> dict[str, Any]:
        return {**self.total.as_json(), "modules": {name: each.as_json() for name, each in self.modules.items()}}


def bases(adapter: Adapter, quantized: Checkpoint, original: Checkpoint, *, how: Execution = DEFAULT) -> Bases:
    """How far what the codes of a model stand for is from the model that was quantized, for every weight in codes that
    an adapter changes.

    Raises:
        IncompatibleError: the original is another model's, or the adapter changes nothing that is in codes.

    Cost: the adapted weights of both are read once; memory for a tile of each per worker.
    """
    fused = fuse(viewed(quantized, original), adapter)
    tensors = [tensor for tensor in fused.views if tensor in fused.edits]
    if not tensors:
        raise IncompatibleError(
            "none of the weights that the adapter changes is quantized",
            path=quantized.files.path if quantized.files else None,
            hint="name the quantized model with --base, and what it was made of with --original",
            code="E-QUANT",
        )
    check_views(fused)

    def measure(tensor: str) -> dict[str, Distance]:
        rows, stored, memory = fused.rows(tensor), fused.stored[tensor], Scratch()
        found: dict[str, Distance] = {}
        with at(tensor=tensor):
            for begin, end in fused.blocks(tensor):
                for module, each in distances(rows(begin, end), stored.rows(begin, end, memory)).items():
                    found[module] = found.get(module, Distance()) + each
        return found

    modules: dict[str, Distance] = {}
    for found in local.run(measure, tensors, needs_torch=lambda tensor: True, how=how.within(fused.working_memory)):
        modules |= found
    return Bases(dict(sorted(modules.items())))
