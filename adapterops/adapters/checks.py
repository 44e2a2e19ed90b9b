"""What adapters are refused for: sums of what is not linear, of what needs its base, of what is not alike."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING

from adapterops.errors import AdapterWarning, IncompatibleError, UnsupportedError, count
from adapterops.formats.spelling import check_spelled
from adapterops.provenance.history import Source, Step
from adapterops.updates.layout import REPLACEMENT

if TYPE_CHECKING:
    from adapterops.adapters.adapter import Adapter


def check_named(adapters: Sequence[Adapter]) -> None:
    """Raise IncompatibleError where modules of adapters may be one module under two names, or in two orders."""
    check_replicated_alike(adapters)
    for adapter in adapters:
        check_ordered(adapter)
    shapes = [{module: each.shape for module, each in adapter.layout.items()} for adapter in adapters]
    check_spelled(shapes, [name(adapter) for adapter in adapters])


def check_replicated_alike(adapters: Sequence[Adapter]) -> None:
    """Raise IncompatibleError where adapters are for different layers of a base: one name is then not one weight."""
    for adapter in adapters[1:]:
        if adapter.config.replication != adapters[0].config.replication:
            stated = [[list(pair) for pair in each.config.replication] or "not set" for each in (adapter, adapters[0])]
            raise IncompatibleError(
                f"its layer_replication is {stated[0]}, and that of {name(adapters[0])} {stated[1]}: layers of one number are "
                "different ones",
                path=name(adapter),
                hint="fuse each by itself",
                code="E-NAMES",
            )


def check_same_kind(adapters: Sequence[Adapter]) -> None:
    """Raise IncompatibleError where some are task vectors of whole models, and others adapters."""
    if len({adapter.task_vector for adapter in adapters}) > 1:
        vector, other = (next(each for each in adapters if each.task_vector == kind) for kind in (True, False))
        raise IncompatibleError(
            f"is a whole model, and {name(other)} is an adapter: their modules have different names, so they cannot be merged",
            path=name(vector),
            hint=f"fuse the adapter first: adapterops fuse BASE {quote(name(other))} -o fused; and merge --tuned fused",
        )


def check_ordered(adapter: Adapter) -> None:
    """Raise IncompatibleError for an adapter whose rows are in llama.cpp's order."""
    for module in adapter.interleaved:
        raise IncompatibleError(
            "its rows are in llama.cpp's order, which depends on the number of attention heads, which the adapter does not state",
            path=name(adapter),
            tensor=module,
            hint="name the model that it is for with --base; in Python with named_as",
            code="E-HEADS",
        )


def check_linear(adapter: Adapter, what: str) -> None:
    """Raise UnsupportedError for an adapter that has more than linear updates, which alone can be `what`: added or scaled.

    Full tensors of a sum or a merge of several are those that all have: they take the place of the base's whatever the
    weights, and so whatever the sum is multiplied by.

    Warns:
        AdapterWarning: there are such tensors beside the updates.
    """
    check_needs_no_base(adapter, what, of_base(what))
    trained = [tensor for tensor in adapter.full if tensor not in under_updates(adapter)]
    if trained and _of_several(adapter.history):
        are = "is kept as it is" if len(trained) == 1 else "are kept as they are"
        warnings.warn(
            f"{count(len(trained), 'full tensor')} {are}, and not {what}: what all adapters have in place of the base's, "
            f"such as {trained[0]}",
            AdapterWarning,
            stacklevel=2,
        )
    elif trained:
        raise UnsupportedError(
            f"has full tensors (modules_to_save or biases), which replace the base's and cannot be {what}",
            path=name(adapter),
            tensor=trained[0],
            hint=f"fuse it into its base by itself: adapterops fuse BASE {quote(name(adapter))} -o fused",
        )


def _of_several(history: Step | Source) -> bool:
    """Whether it is of a sum or a merge of several, whatever was done to that since."""
    while isinstance(history, Step) and len(history.inputs) == 1:
        history = history.inputs[0]
    if isinstance(history, Source):
        return False
    return history.operation == "add" or (history.operation == "merge" and len(history.parameters["weights"]) > 1)


AS_DIFFERENCE = "name the model with --base: what is added is then the difference from its tensor"
"""What goes on where a replaced tensor is to be an update."""


CHANGE = ", and --rank 32 for the best LoRA of that rank of what it changes there"
"""What else is named for an update that has no factors."""


def check_needs_no_base(adapter: Adapter, what: str, hint: str | None = None, replaced: str = AS_DIFFERENCE) -> None:
    """Raise UnsupportedError for an adapter with an update that depends on the weight,
    and cannot be `what` without it.

    Args:
        hint: what goes on, where no --base is taken.
        replaced: what goes on for replaced tensors, where a --base makes no differences of them.
    """
    for module, layout in adapter.layout.items():
        if layout.needs_base:
            named = "name the model with --base" + (CHANGE if layout.reads not in ("weight", "shape") else "")
            if layout.kind == REPLACEMENT:
                named = replaced
            raise UnsupportedError(
                f"is {layout.kind}, which depends on the weight that it is applied to, and cannot be {what}",
                path=name(adapter),
                tensor=module,
                hint=hint or named,
            )


def of_base(what: str) -> str:
    """What goes on where a --base is taken, and makes an update of what depends on its weight."""
    return f"name the model with --base: what it changes there can be {what}"


def extracted(adapter: Adapter) -> str:
    """How LoRA is made of any adapter."""
    return (
        f"fuse it, and extract the change as LoRA: adapterops fuse BASE {quote(name(adapter))} -o fused; "
        "adapterops extract fused --base BASE --rank 32 -o lora"
    )


def under_updates(adapter: Adapter) -> set[str]:
    """The weights in `full` that an update is added to:
    PEFT saves those of output embeddings, which are the base's.
    """
    return {tensor for tensor in adapter.full if tensor.removesuffix(".weight") in adapter.layout}


def name(adapter: Adapter) -> str:
    """How messages call an adapter: by the path it was opened from, whatever was made of it alone."""
    history = adapter.history
    while isinstance(history, Step) and len(history.inputs) == 1:
        history = history.inputs[0]
    return history.name if isinstance(history, Source) else f"({history.operation})"
