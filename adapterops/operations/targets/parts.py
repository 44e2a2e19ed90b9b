"""An adapter by the parts of its updates that a base stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import Adapter, sum_of
from adapterops.operations.targets.target import Targets
from adapterops.storage.lazy import Lazy

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array, Linear


def by_part(adapter: Adapter, targets: Targets) -> Adapter:
    """The adapter with a module for each target: for each half of a gate_up_proj, where a base stores them as two tensors."""
    found = (target for edit in targets.edits.values() for target in edit.targets)
    parts = {target.module: target for target in found if target.module != target.source}
    if not parts:
        return adapter
    split = {target.source for target in parts.values()}
    layout = {module: each for module, each in adapter.layout.items() if module not in split}
    layout |= {module: replace(adapter.layout[target.source], shape=target.shape) for module, target in parts.items()}

    def compute(module: str) -> Linear:
        if module not in parts:
            update: Linear = adapter.updates[module]
            return update
        target = parts[module]
        update = adapter.updates[target.source]
        part: Linear = rows_of(
            update.T if target.transposed else update, slice(target.first, target.first + target.shape[0])
        )
        return part

    return replace(adapter, updates=Lazy(layout, compute), layout=layout)


def rows_of(update: Any, rows: slice) -> Any:
    """Some rows of an update, as an update: no further from what it stands for than all of them are. Of DoRA by outputs
    each row has a length of its own.
    """
    from adapterops.updates.dense import Dense
    from adapterops.updates.magnitude import Magnitude
    from adapterops.updates.replacement import Replacement

    if (rows.start, rows.stop) == (0, update.shape[0]):
        return update
    if isinstance(update, Replacement):
        return Replacement(update.weight[rows])
    if isinstance(update, Magnitude):
        return replace(update, direction=rows_of(update.direction, rows), magnitude=update.magnitude[rows])
    factors = update.lowrank()
    return Dense(update.dense()[rows], update.error) if factors is None else replace(factors, B=factors.B[rows])


def placed(update: Any, first: int, height: int, step: int = 1) -> Any:
    """An update as some rows of a higher one, every `step`th from `first` on, whose other rows are zero. Of DoRA by outputs
    these rows have no length yet; see `update_of_parts`.
    """
    import numpy as np

    from adapterops.updates.dense import Dense
    from adapterops.updates.magnitude import Magnitude
    from adapterops.updates.replacement import Replacement

    def spread(array: Array) -> Array:
        higher = np.zeros((height, *array.shape[1:]), array.dtype)
        higher[first : first + step * len(array) : step] = array
        return higher

    if update.shape[0] == height:
        return update
    if isinstance(update, Replacement):
        return Replacement(spread(update.weight))
    if isinstance(update, Magnitude):
        direction = placed(update.direction, first, height, step)
        return replace(update, direction=direction, magnitude=spread(update.magnitude))
    factors = update.lowrank()
    return Dense(spread(update.dense()), update.error) if factors is None else replace(factors, B=spread(factors.B))


def update_of_parts(updates: Sequence[Any]) -> Any:
    """The update of a weight that has these as its parts: their sum. Those of DoRA by outputs have all rows together, each
    once, and so their lengths; and so have replacements.
    """
    from adapterops.updates.magnitude import Magnitude
    from adapterops.updates.replacement import Replacement

    if len(updates) == 1:
        return sum_of(updates)
    if isinstance(updates[0], Replacement):
        return Replacement(sum(each.weight for each in updates))
    if not isinstance(updates[0], Magnitude):
        return sum_of(updates)
    direction = sum_of([each.direction for each in updates])
    return replace(updates[0], direction=direction, magnitude=sum_of([each.magnitude for each in updates]))
