"""Trained copies whose names in the file of an adapter do not show whether a word in them is that of an adapter or of a layer."""

from __future__ import annotations

from dataclasses import replace

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import name
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import IncompatibleError
from adapterops.formats.models.classifiers import is_of_head
from adapterops.formats.models.loading import loading
from adapterops.formats.models.naming import namesakes


def with_copies_named(adapter: Adapter, base: Checkpoint) -> Adapter:
    """The adapter with every trained copy under the name that the base has for it, or that the head of a classifier has which
    the base is made into. Headers only.

    Raises:
        IncompatibleError: the base has neither of two names, or both.
    """
    doubtful = adapter.config.doubtful
    if not doubtful:
        return adapter
    there = namesakes([*doubtful, *doubtful.values()], base.layout, loading(base.config).renamed)
    names = {}
    for tensor, other in doubtful.items():
        both = tensor, other
        found = [each for each in both if there[each]] or [each for each in both if is_of_head(each)]
        if len(found) != 1:
            raise IncompatibleError(
                f"may be {tensor} or {other} of the model, and the base has {'both' if found else 'neither'}",
                path=name(adapter),
                tensor=tensor,
                hint="give the base that the adapter was trained on; or save the adapter with save_pretrained, whose names have "
                "no modules_to_save in them",
                code="E-NAMES",
            )
        names[tensor] = found[0]
    full = {names.get(tensor, tensor): each for tensor, each in adapter.full.items()}
    return replace(adapter, full=full, config=replace(adapter.config, doubtful={}))
