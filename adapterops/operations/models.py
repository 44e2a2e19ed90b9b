"""What is inside a checkpoint, from its headers alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.formats.models.architectures import WEIGHT
from adapterops.formats.models.unstated import unstated
from adapterops.formats.others import other
from adapterops.operations.comparing.kinds import kinds
from adapterops.provenance.history import Source
from adapterops.storage.grams import holds_grams


@dataclass(frozen=True)
class TensorKind:
    """The tensors of one kind, such as all `q_proj`, that have one shape and are stored in one way."""

    kind: str
    count: int
    shape: tuple[int, ...]
    stored: str
    parameters: int
    bytes: int


@dataclass(frozen=True)
class ModelInspection:
    """What `inspect_model` found.

    Attributes:
        parameters: the entries of all tensors as they are used.
        bytes: what they take.
        components: of a pipeline its models, by the names of their folders → their classes.
        what: what it is called where no config says its type: its class in diffusers, or what its header shows.
        left: files of weights in its folder that no index names.
        unstated: tensors of what sees or hears, where the config is one for words alone.
    """

    path: str | None
    model_type: str | None
    files: int
    tensors: int
    parameters: int
    bytes: int
    quantized: int
    kinds: tuple[TensorKind, ...]
    components: Mapping[str, str] = field(default_factory=dict)
    what: str | None = None
    left: tuple[str, ...] = ()
    unstated: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        kinds = [{**kind.__dict__, "shape": list(kind.shape)} for kind in self.kinds]
        return {**self.__dict__, "kinds": kinds, "left": list(self.left), "unstated": list(self.unstated)}


def inspect_model(checkpoint: Checkpoint) -> ModelInspection:
    """Model type, files, tensors by kind, how each is stored, and how large. Reads nothing beyond the headers."""
    groups: dict[tuple[str, tuple[int, ...], str], list[str]] = {}
    modules = {name: name.removesuffix(WEIGHT) for name in checkpoint.layout}
    components = checkpoint.files.components if checkpoint.files else {}
    model_type = (checkpoint.config or {}).get("model_type")
    named = kinds(modules.values())
    for name, spec in checkpoint.layout.items():
        component = f"{name.partition('.')[0]}: " if components else ""
        groups.setdefault((component + named[modules[name]], spec.shape, stored(checkpoint, name)), []).append(name)
    found = tuple(
        TensorKind(kind, len(names), shape, stored, len(names) * math.prod(shape), sum(map(checkpoint.bytes, names)))
        for (kind, shape, stored), names in groups.items()
    )
    return ModelInspection(
        checkpoint.history.name if isinstance(checkpoint.history, Source) else None,
        model_type,
        len(checkpoint.shards),
        len(checkpoint.layout),
        sum(kind.parameters for kind in found),
        sum(kind.bytes for kind in found),
        len(checkpoint.schemes),
        found,
        components,
        None if model_type or components else _called(checkpoint),
        checkpoint.files.left if checkpoint.files else (),
        tuple(unstated(checkpoint.layout, checkpoint.config)),
    )


def _called(checkpoint: Checkpoint) -> str | None:
    if isinstance(checkpoint.history, Source) and holds_grams(checkpoint.history.path):
        return "Gram matrices of inputs"
    if isinstance(named := (checkpoint.config or {}).get("_class_name"), str):
        return named
    known = other(checkpoint.layout)
    return known[0].what if known else None


def stored(checkpoint: Checkpoint, name: str) -> str:
    """How a tensor is stored:
    its dtype, or its scheme and the bits that an entry takes with its share of the scales.
    """
    scheme = checkpoint.schemes.get(name)
    return f"{scheme.name} ({scheme.bits:.3g} bits)" if scheme else checkpoint.layout[name].dtype
