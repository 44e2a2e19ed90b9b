"""The output embedding of a base that ties it to its input embedding, where an adapter makes two of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import UnsupportedError
from adapterops.formats.architectures import HEAD
from adapterops.formats.naming import Names, check_untied, head_of, last
from adapterops.formats.vocabulary import is_input
from adapterops.storage.safetensors import Spec


def new_head(base: Checkpoint, modules: Mapping[str, tuple[int, int]]) -> dict[str, Spec]:
    """The output embedding that a base gets by an update of it, where it has none of its own."""
    names = Names(base.layout, base.config, modules)
    found = [each for module in modules if last(module) == HEAD for each in names.candidates(module)]
    return {each.tensor: base.layout[each.start] for each in found}


def kept_head(
    adapted: Iterable[str], layout: Mapping[str, Spec], config: Mapping[str, Any] | None
) -> tuple[str, str] | None:
    """The output embedding that stays as it was, and the input embedding that it was tied to, where that is adapted.

    Raises:
        UnsupportedError: the input embedding is tied to others, and it is not known to which.
    """
    inputs = {tensor: layout[tensor] for tensor in adapted if is_input(tensor)}
    check_untied(inputs, layout, config)
    head = head_of(layout, config)
    return head if head and head[1] in inputs else None


def check_in_no_scheme(base: Checkpoint, replaced: Collection[str]) -> None:
    """Raise UnsupportedError for codes of which rows would have to become others, or more."""
    for tensor in replaced:
        if tensor in base.schemes:
            raise UnsupportedError(
                f"is stored as {base.schemes[tensor].name}, and the adapter has other rows in its place",
                tensor=tensor,
                hint="fuse into the 16-bit checkpoint that it was made from, or dequantize it first",
            )
