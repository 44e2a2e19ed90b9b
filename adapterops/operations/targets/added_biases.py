"""The biases that LoRA trains (`lora_bias`) where the layers of a model have none: PEFT adds them to the outputs."""

from __future__ import annotations

from dataclasses import replace

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.formats.models.architectures import WEIGHT
from adapterops.formats.models.naming import BIAS
from adapterops.operations.targets.table import resolve
from adapterops.updates.layout import LORA_BIAS


def with_biases(adapter: Adapter, base: Checkpoint) -> Checkpoint:
    """The base with a bias in its header, as long as the outputs, next to each weight whose bias the adapter has. Headers
    only: there are no numbers, and names can be asked for, nothing else.

    Raises:
        IncompatibleError, UnsupportedError: as `resolve` does, of the weights.
    """
    owners = {module.removesuffix(BIAS) for module, each in adapter.layout.items() if each.kind == LORA_BIAS}
    if not owners:
        return base
    weights = {module: each for module, each in adapter.layout.items() if module in owners}
    layout = dict(base.layout)
    for tensor, edit in resolve(replace(adapter, layout=weights), base, only_updates=True).edits.items():
        spec = base.layout[edit.start or tensor]
        rows, columns = spec.matrix
        if tensor.endswith(WEIGHT):
            outputs = columns if edit.targets[0].transposed else rows
            layout.setdefault(tensor.removesuffix(WEIGHT) + BIAS, spec._replace(shape=(outputs,)))
    return replace(base, layout=layout)
