"""Of which class the model is that adapters of a base are for: that of the base, or another one that is made of its files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.formats.models.architectures import WEIGHT
from adapterops.formats.models.bare import is_of_words, with_class
from adapterops.formats.models.loading import Loading, loading
from adapterops.formats.models.naming import classes, expert
from adapterops.operations.targets.table import resolve

Model = tuple[dict[str, Any], Loading]
"""A config with the class of a model, and how transformers loads the files of the base as that."""

UNSAID = "FEATURE_EXTRACTION"
"""A task that models of every class are trained for."""

LANGUAGE_MODEL = "language_model."
"""What the names of a model for words have in one with another part."""


def model_of(adapters: Sequence[Adapter], base: Checkpoint) -> Model:
    """The model that all of some adapters are for: of the class that they state, or of the base's where they state several whose
    names differ; where they state none, with or without a head, whichever has more of their names.
    """
    own = dict(base.config or {})
    stated = [(each.config.base_class, each.config.fields.get("task_type")) for each in adapters]
    stated_classes = [with_class(own, name, task) for name, task in stated if name or task not in (None, UNSAID)]
    found = [(config, loading(config, base.layout)) for config in stated_classes]
    if found:
        alike = all(known == found[0][1] for _, known in found)
        return found[0] if alike else (own, loading(own, base.layout))
    open_ = any(task == UNSAID for _, task in stated)
    config = with_class(own, None, UNSAID) if open_ else own
    known = loading(config, base.layout)
    return config, _as_named(known, adapters, base) if open_ else known


def _as_named(known: Loading, adapters: Iterable[Adapter], base: Checkpoint) -> Loading:
    """A model with a head, or the one in it, whichever has more of the names; of two that have as many the first."""
    own = {name for each in adapters for name in (*(module + WEIGHT for module in each.layout), *each.full)}

    def shared(each: Loading) -> int:
        parts = chain.from_iterable(map(each.parts, base.layout)) if each.divided else ()
        return len(own.intersection(chain(map(each.name, base.layout), parts)))

    others = [replace(known, inner=replace(known.inner, headed=headed)) for headed in (True, False)]
    return known if shared(known) == len(own) else max(known, *others, key=shared)


def are_of_words(adapters: Sequence[Adapter], base: Checkpoint) -> bool:
    """Whether some adapters are for the class for words alone that is made of the files of a model with other parts, and have
    the names of that.

    Raises:
        IncompatibleError, UnsupportedError: as `resolve` does.
    """
    return all(_is_of_words(each, base) for each in adapters)


def _is_of_words(adapter: Adapter, base: Checkpoint) -> bool:
    stated, task = adapter.config.base_class, adapter.config.fields.get("task_type")
    whole = classes(base.config or {})
    if not (stated or task == "CAUSAL_LM") or not any(is_of_words(stated, each) for each in whole):
        return False
    known = loading(base.config)
    if any(expert(module) or known.renamed(module + WEIGHT) != module + WEIGHT for module in adapter.layout):
        return False  # which has names of older files
    edits = resolve(adapter, base, only_updates=True).edits
    called = [(known.name(tensor), each.source + WEIGHT) for tensor, edit in edits.items() for each in edit.targets]
    return all(name.replace(LANGUAGE_MODEL, "", 1) == module != name for name, module in called)
