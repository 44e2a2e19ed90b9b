"""What takes the place of tensors of a base, as what is added to them: files of image models hold differences."""

from __future__ import annotations

from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import name
from adapterops.checkpoints.checkpoint import Checkpoint, original
from adapterops.checkpoints.stored import StoredTensor
from adapterops.errors import UnsupportedError, at
from adapterops.formats.models.architectures import IN_OUT_PARAMETERS, WEIGHT
from adapterops.formats.models.naming import last
from adapterops.operations.targets.based import Start, weight_of
from adapterops.operations.targets.full_tensors import counterparts
from adapterops.operations.targets.table import resolve
from adapterops.operations.views import rows_of_view
from adapterops.storage.lazy import Lazy
from adapterops.updates.dense import measured
from adapterops.updates.layout import DIFFERENCE, REPLACEMENT, Layout, widest

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array, Update


def as_differences(adapter: Adapter, base: Checkpoint, *, full: bool = True) -> Adapter:
    """The adapter by the names of a base, in which tensors that replace the base's are V - W: what is added to W. Headers only.

    Args:
        full: the full tensors of PEFT, too.

    Raises:
        UnsupportedError: the base has no tensor of that shape.

    Cost: lazy; a tile of two tensors at a time, of one that is written all of it.
    """
    replaced = [module for module, each in adapter.layout.items() if each.kind == REPLACEMENT]
    whole = adapter.full if full else {}
    if not whole and not replaced:
        return adapter
    layout = {module: each for module, each in adapter.layout.items() if module not in replaced}
    places: dict[str, list[Start]] = {module: [] for module in replaced}
    for tensor, edit in resolve(adapter, base, only_updates=True).edits.items() if replaced else ():
        for target in edit.targets:
            if target.source in places:
                places[target.source].append((edit.start or tensor, target))
    layout |= {module: replace(adapter.layout[module], kind=DIFFERENCE, reads="") for module in replaced}
    trained = {}
    for tensor, (_, start) in counterparts(adapter, base.layout, base.config).items() if whole else ():
        spec, module = whole[tensor].spec, tensor.removesuffix(WEIGHT)
        if start is None or base.layout[start].shape != spec.shape:
            raise UnsupportedError(
                f"is a full tensor of shape {list(spec.shape)}, and the base has {_there(start, base)}: it is no difference of that",
                path=name(adapter),
                tensor=tensor,
                hint=f"fuse it into its base: adapterops fuse BASE {quote(name(adapter))} -o fused",
            )
        trained[module] = tensor, start
        shape, _, rank, kernel = measured(spec.shape[::-1] if last(start) in IN_OUT_PARAMETERS else spec.shape)
        layout[module] = Layout(
            shape, rank, widest([spec.dtype, base.layout[start].dtype]), True, DIFFERENCE, kernel=kernel
        )

    def compute(module: str) -> Update:
        with at(tensor=module):
            if module in trained:
                tensor, start = trained[module]
                stored = whole[tensor]
                return _difference(layout[module], StoredTensor({"": stored}, stored.spec.shape), base, start)
            update: Any = adapter.updates[module]
            return _minus(update, weight_of(places[module], base)) if module in places else update

    return replace(
        adapter,
        updates=Lazy(sorted(layout), compute),
        layout=dict(sorted(layout.items())),
        full={} if full else adapter.full,
    )


def _there(start: str | None, base: Checkpoint) -> str:
    return f"{start} {list(base.layout[start].shape)}" if start else "no tensor in its place"


def _difference(layout: Layout, after: StoredTensor, base: Checkpoint, start: str) -> Update:
    import numpy as np

    from adapterops.updates.difference import Difference

    dtype, stored = np.dtype(np.float64 if layout.dtype == "F64" else np.float32), base.layout[start].matrix
    transposed = last(start) in IN_OUT_PARAMETERS
    shape = layout.shape[::-1] if transposed else layout.shape
    trained, before = (rows_of_view(rows, stored, shape) for rows in (original(after), base.used(start)))
    found = Difference(shape, dtype, trained, before, base.group(start))
    return found.T if transposed else found


def _minus(update: Any, W: Array) -> Update:
    """V - W of a replacement V."""
    import numpy as np

    from adapterops.updates.dense import Dense

    return Dense(np.subtract(update.weight, W.astype(update.dtype)))
