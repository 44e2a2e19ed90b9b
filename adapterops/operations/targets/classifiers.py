"""A classifier made of the language model, or the encoder, that it was trained from: with the head that an adapter has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import name
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.models.classifiers import (
    TASKS,
    as_classifier,
    classifier,
    generates,
    is_head,
    is_other_head,
    labels_of,
    missing,
)
from adapterops.formats.models.naming import canonical, namesakes


@dataclass(frozen=True)
class Classifier:
    """The class of a model, how many labels it tells apart, and the tensors of the base that it has not."""

    name: str
    labels: int
    dropped: frozenset[str]


def classifier_of(adapter: Adapter, base: Checkpoint) -> Classifier | None:
    """What a base becomes, if an adapter has a head of a classifier that the base lacks, or has for other labels.

    Raises:
        IncompatibleError: what the classifier needs, or its head, is neither in the base nor in the adapter.
        UnsupportedError: the base is quantized.
    """
    heads = {full: stored.spec.shape for full, stored in adapter.full.items() if is_head(full)}
    there = {full: same_head(full, names) for full, names in namesakes(heads, base.layout).items()}
    same = all(len(there[full]) == 1 and base.layout[there[full][0]].shape == shape for full, shape in heads.items())
    found = None if same else classifier(base.config, adapter.config.fields)
    if found is None:
        return None
    labels, lacks = labels_of(heads), missing(base.config or {}, found, [*base.layout, *adapter.full])
    if labels is None or lacks:
        what = f"a module {lacks!r}, which" if lacks else "a weight with a row for each label, which"
        raise IncompatibleError(
            f"was trained on {found}, and that has {what} neither the base nor the adapter has",
            path=name(adapter),
            tensor=next(iter(heads)),
            hint="fuse it into a checkpoint of that class: save the model that was trained, or its base, as one",
            code="E-NAMES",
        )
    if base.schemes:
        raise UnsupportedError(
            f"is a head of {found}, and the base is quantized: its config says which modules are, and the head is new",
            path=name(adapter),
            tensor=next(iter(heads)),
            hint="fuse into the 16-bit checkpoint that it was made from, and quantize the result",
        )
    kept = {tensor for names in there.values() for tensor in names}
    dropped = frozenset(tensor for tensor in base.layout if is_other_head(tensor) and tensor not in kept)
    return Classifier(found, labels, dropped)


def same_head(full: str, names: Sequence[str]) -> list[str]:
    """Those of the namesakes of a full tensor that are no head of another task, where it is one of a classifier's head.

    >>> same_head("classifier.weight", ["sop_classifier.classifier.weight"]), same_head("score.weight", ["model.score.weight"])
    ([], ['model.score.weight'])
    """
    return [each for each in names if not is_head(full) or is_head(canonical(each))]


def check_has_head(adapter: Adapter, base: Checkpoint) -> None:
    """Raise IncompatibleError where an adapter without a head was trained for a task that a base has no head for."""
    trained = adapter.config.base_class or ""
    ends = [TASKS.get(str(adapter.config.fields.get("task_type"))), *filter(trained.endswith, TASKS.values())]
    end = next(filter(None, ends), None)
    if end and generates(base.config) and not any(map(is_head, [*adapter.full, *base.layout])):
        raise IncompatibleError(
            f"was trained on a class that ends with {end}, and has no head; the base, which is a "
            f"{(base.config or {})['architectures'][0]}, has none either",
            path=name(adapter),
            hint="fuse it into a checkpoint of that class: save the base of the training as one, or name the head in "
            "modules_to_save when you train",
            code="E-NAMES",
        )


def made(base: Checkpoint, found: Classifier) -> Checkpoint:
    """The base without the heads of other tasks, and with the config of the classifier."""
    shards = {file: [each for each in tensors if each not in found.dropped] for file, tensors in base.shards.items()}
    config = as_classifier(base.config, found.name, found.labels) if base.config else None
    return replace(
        base,
        layout={tensor: spec for tensor, spec in base.layout.items() if tensor not in found.dropped},
        stored={tensor: each for tensor, each in base.stored.items() if tensor not in found.dropped},
        shards={file: tensors for file, tensors in shards.items() if tensors},
        config=config,
    )
