"""DoRA in a comparison: the update inside of it, which is linear, and how much it changes a base."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import at
from adapterops.operations.fusion import fuse
from adapterops.provenance.history import Step
from adapterops.updates.layout import DORA

if TYPE_CHECKING:
    from adapterops.adapters.adapter import Adapter
    from adapterops.checkpoints.checkpoint import Checkpoint


def dora(adapter: Adapter) -> tuple[str, ...]:
    """The modules that are DoRA."""
    return tuple(module for module, each in adapter.layout.items() if each.kind == DORA)


def without_magnitudes(adapter: Adapter) -> Adapter:
    """The adapter with ΔW in the place of each DoRA, W' = m (W + ΔW) / ‖W + ΔW‖: what can be measured without W.

    Its magnitudes m are left out, so that it is another adapter, to look at and not to use. Others come back as they are.
    """
    modules = dora(adapter)
    if not modules:
        return adapter
    layout = {
        **adapter.layout,
        **{module: replace(adapter.layout[module], kind="LoRA", reads="") for module in modules},
    }

    def inside(module: str, update: Any) -> Any:
        return update.direction if module in modules else update

    found = adapter.map(Step("without magnitudes", {}, (adapter.history,)), layout, inside)
    return replace(found, history=adapter.history)


def changes(adapter: Adapter, base: Checkpoint, *, how: Execution = DEFAULT) -> dict[str, tuple[float, float]]:
    """Module → (‖W' - W‖_F, ‖W‖_F), for every weight that the adapter changes, by whatever kind of update.

    Computed as `fuse` does, in float32, and summed in float64; nothing is rounded to the dtype of the base.

    Cost: reading each adapted weight once, and computing its update.
    """
    import numpy as np

    fused = fuse(base, replace(adapter, full={}))

    def one(tensor: str) -> dict[str, list[float]]:
        rows, sums = fused.rows(tensor), dict[str, list[float]]()
        with at(path=base.files.path if base.files else None, tensor=tensor):
            for begin, end in fused.blocks(tensor):
                for change in rows(begin, end).changes:
                    squares = sums.setdefault(change.module, [0.0, 0.0])
                    for place, values in enumerate((change.delta, change.W)):
                        squares[place] += float(np.sum(np.square(values, dtype="float64")))
        return sums

    how = how.within(fused.working_memory)
    found = list(local.run(one, fused.changed, how=how))
    return {module: (math.sqrt(delta), math.sqrt(W)) for sums in found for module, (delta, W) in sums.items()}
