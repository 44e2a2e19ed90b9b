"""Gate and up of experts as the one weight that a base has of both, whose rows are theirs in turn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import Adapter, sum_of
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.formats.models.architectures import INTERLEAVED, SPLIT
from adapterops.formats.models.naming import Names, expert, model_types
from adapterops.formats.stacks import GATE_UP
from adapterops.operations.targets.parts import placed
from adapterops.storage.lazy import Lazy
from adapterops.updates.layout import Layout, widest, working

if TYPE_CHECKING:
    from adapterops.updates.protocol import Linear

PARTS = SPLIT[GATE_UP]


def joined_in_turn(adapter: Adapter, base: Checkpoint) -> Adapter:
    """The adapter with gate and up of each expert in one module, where the base has their rows in turn. Lazy.

    What depends on its weight is left as it is.
    """
    if INTERLEAVED.isdisjoint(model_types(base.config or {})):
        return adapter
    names, pairs = Names(base.layout, base.config), dict[str, dict[str, int]]()
    for module, each in adapter.layout.items():
        found = expert(module)
        if found and found.projection in PARTS and not each.needs_base and names.of(f"{found.parent}.{GATE_UP}"):
            whole = f"{module.rpartition('.')[0]}.{GATE_UP}"
            pairs.setdefault(whole, {})[module] = PARTS.index(found.projection)
    halves = {module: whole for whole, pair in pairs.items() for module in pair}
    if any(
        whole in adapter.layout or len({adapter.layout[each].shape for each in pair}) > 1
        for whole, pair in pairs.items()
    ):
        return adapter  # which is refused where its names are settled
    layout = {halves.get(module, module): each for module, each in adapter.layout.items()}
    layout |= {whole: _layout([adapter.layout[each] for each in pair]) for whole, pair in pairs.items()}

    def compute(module: str) -> Any:
        pair = pairs.get(module, {})
        parts: list[Linear] = [
            placed(adapter.updates[each], first, layout[module].shape[0], len(PARTS)) for each, first in pair.items()
        ]
        return sum_of(parts) if parts else adapter.updates[module]

    return replace(adapter, updates=Lazy(layout, compute), layout=layout)


def _layout(halves: list[Layout]) -> Layout:
    """Of all rows of gate and up, of which one may be missing."""
    height, width = halves[0].shape
    shape = len(PARTS) * height, width
    rank = min(sum(each.rank for each in halves), *shape)
    dtype, dense = widest([each.dtype for each in halves]), any(each.dense for each in halves)
    return Layout(shape, rank, dtype, dense, working=working(halves))
