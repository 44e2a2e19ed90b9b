"""What a base shares, output and input embedding mostly, where an adapter makes several tensors of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import UnsupportedError
from adapterops.formats.models.naming import Names
from adapterops.formats.models.ties import check_untied, shared_modules, ties_of
from adapterops.formats.peft.variants import CHANGING
from adapterops.operations.targets.target import Edit
from adapterops.storage.tensors import Spec
from adapterops.updates.layout import Layout


def new_ends(base: Checkpoint, modules: Mapping[str, tuple[int, int]]) -> dict[str, Spec]:
    """The tensors that a base gets by updates of what it has none of its own for: as those that they are until then."""
    names = Names(base.layout, base.config, modules, shared_modules(base.layout, base.config))
    found = [each for module in modules for each in names.candidates(module) if each.tensor != each.start]
    return {each.tensor: base.layout[each.start] for each in reversed(found)}


def kept_ends(
    changed: Mapping[str, Spec], layout: Mapping[str, Spec], config: Mapping[str, Any] | None
) -> dict[str, str]:
    """The ends that stay as they were → the tensor that each was until then, where one of what they share becomes a
    tensor of its own: then no end is another's any more.

    Args:
        changed: tensors of the base, or new ones, with what they start as.

    Raises:
        UnsupportedError: they are tied to others, and it is not known to which, or no config can say that they are not.
    """
    check_untied(changed, layout, config)
    missing = ties_of(layout, config).missing
    if not any(name not in layout or name in missing.values() for name in changed):
        return {}
    return {end: source for end, source in missing.items() if end not in changed}


def check_begun(edits: Mapping[str, Edit], layouts: Mapping[str, Layout]) -> None:
    """Raise UnsupportedError for an end whose training began by changing its weight, and so all that the weight is in the model."""
    for tensor, edit in edits.items():
        for target in edit.targets if edit.start != tensor else ():
            layout = layouts[target.source]
            if layout.kind in CHANGING and layout.needs_base:
                raise UnsupportedError(
                    f"is {layout.kind}, which begins by changing its weight, and that is {edit.start} in the base: so this changed, too, "
                    "and the adapter does not have what it became",
                    tensor=target.module,
                    hint="load it with PEFT next to its base; or train without it",
                )


def check_in_no_scheme(base: Checkpoint, replaced: Collection[str]) -> None:
    """Raise UnsupportedError for codes of which rows would have to become others, or more."""
    for tensor in replaced:
        if tensor in base.schemes:
            raise UnsupportedError(
                f"is stored as {base.schemes[tensor].name}, and the adapter replaces it by a tensor with another number of rows",
                tensor=tensor,
                hint="fuse into the 16-bit checkpoint that it was made from, or dequantize it first",
            )
