"""The layers that an adapter is for, where these are ranges of the layers of its base (PEFT's `layer_replication`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import check_replicated_alike, name
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import IncompatibleError, OptionError
from adapterops.formats.peft.config import REPLICATION
from adapterops.operations.stacking import Slice, stack


def replicated(base: Checkpoint, adapters: Sequence[Adapter]) -> Checkpoint:
    """The model that adapters have in memory: the base, or where they say so ranges of its layers, one above the other.

    For the ranges [[0, 2], [1, 3]] the layers 0, 1, 1, 2. PEFT's copies share their weights, and each has an update of its own:
    of those, layers of their own are made. Headers only.

    Raises:
        IncompatibleError: adapters say different ranges, or the base has not these layers.
        UnsupportedError: the layers of the base cannot be stacked; see `stack`.
    """
    check_replicated_alike(adapters)
    ranges = adapters[0].config.replication if adapters else ()
    if not ranges:
        return base
    try:
        return stack([Slice(base, first, end) for first, end in ranges])
    except OptionError as error:
        raise IncompatibleError(
            f"its {REPLICATION} is {[list(each) for each in ranges]}: {error.message}",
            path=name(adapters[0]),
            hint="give the base that the adapter was trained on",
        ) from None


def of_its_layers(adapter: Adapter) -> Adapter:
    """The adapter for the model of `replicated`, which has these layers already."""
    fields = {key: value for key, value in adapter.config.fields.items() if key != REPLICATION}
    return replace(adapter, config=replace(adapter.config, fields=fields)) if adapter.config.replication else adapter
