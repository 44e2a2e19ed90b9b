"""Task vectors: the difference of a whole model and the base that it was tuned from, tensor by tensor, of any number of
dimensions, read tile by tile.

Source: Ilharco et al. 2023, arXiv:2212.04089.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import Adapter
from adapterops.arrays.dtypes import FLOATS
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import AdapterWarning, IncompatibleError, at, listed
from adapterops.formats.models.architectures import WEIGHT
from adapterops.formats.models.vocabulary import is_end
from adapterops.operations.pairing import SHOWN, pair
from adapterops.operations.targets.target import Edit, Target, Targets
from adapterops.operations.targets.tokenizer import check_vocabulary
from adapterops.operations.targets.weights import is_linear
from adapterops.provenance.history import Source, Step
from adapterops.storage.lazy import Lazy
from adapterops.updates.layout import TILE, Layout, widest
from adapterops.verification.settings import differences
from adapterops.verification.unloaded import copied

if TYPE_CHECKING:
    from adapterops.updates.difference import Difference
    from adapterops.updates.protocol import Array

KEPT = 24 * TILE
"""Bytes that reading a difference keeps: tiles of two tensors, as they are stored and in float32."""

IDLE = ("token_id", "dropout", "initializer", "pretrain", "transformers", "name_or_path")
"""Parts of the names of fields in a config that change no number of the model."""


def task_vector(tuned: Checkpoint, base: Checkpoint) -> Adapter:
    """tuned - base, of every tensor of floats: an adapter whose modules are the tensors of the base, by their names there.

    Norms, biases, embeddings and kernels are in it. It is merged as any adapter, and fused with that base alone.

    Raises:
        IncompatibleError: the models differ in their type, their tensors, shapes or words; or in numbers that are no
            floats.

    Warns:
        AdapterWarning: fields of their configs differ: the result has those of the base.

    Cost: lazy; a tile of two tensors at a time.
    """
    for model in (tuned, base):
        model.check_one("compared")
    check_configs(tuned, base)
    pairs = _pairs(tuned, base)
    check_vocabulary(tuned, base)
    layout = {name: _layout(tuned, other, base, name) for name, other in pairs.items()}

    def compute(name: str) -> Difference:
        with at(tensor=name):
            return subtracted(tuned, pairs[name], base, name)

    return Adapter(Lazy(layout, compute), layout, history=tuned.history, task_vector=True)


def subtracted(tuned: Checkpoint, name: str, base: Checkpoint, other: str) -> Difference:
    """One tensor minus another of its shape, in float32, or float64 where one is; as a matrix."""
    import numpy as np

    from adapterops.updates.difference import Difference

    def reader(model: Checkpoint, tensor: str) -> Any:
        rows = model.used(tensor)

        def read(begin: int, end: int) -> Array:
            with at(path=_path(model), tensor=tensor):
                return rows(begin, end).values

        return read

    wide = "F64" in (tuned.layout[name].dtype, base.layout[other].dtype)
    group = math.lcm(tuned.group(name), base.group(other))
    read = reader(tuned, name), reader(base, other)
    return Difference(tuned.layout[name].matrix, np.dtype(np.float64 if wide else np.float32), *read, group)


def placed(vector: Adapter) -> Targets:
    """Where a task vector goes: each module is the tensor of its name, all of it."""
    return Targets(
        {name: Edit(name, targets=(Target(name, name, name, layout.shape),)) for name, layout in vector.layout.items()}
    )


def _pairs(tuned: Checkpoint, base: Checkpoint) -> dict[str, str]:
    """Tensor of the base → the one of the tuned model, of those that hold floats; what holds others is the same in both.

    Raises:
        IncompatibleError: shapes differ, or what is one tensor of the base is two in the tuned model.
    """
    found: dict[str, str] = {}
    for name, other in pair(tuned, base).items():
        after, before = tuned.layout[name], base.layout[other]
        if after.shape != before.shape:
            words = "the vocabularies have different sizes" if is_end(other) else "the models have different sizes"
            raise IncompatibleError(
                f"is {list(after.shape)}, and {list(before.shape)} in the base: {words}",
                path=_path(tuned),
                tensor=name,
                hint="merge models that were tuned from this base"
                + (", or resize the embeddings of all to one vocabulary first" if is_end(other) else ""),
                code="E-SHAPE",
            )
        if after.dtype in FLOATS and before.dtype in FLOATS:
            if other in found and not tuned.stored[name].same_bytes(tuned.stored[found[other]]):
                raise IncompatibleError(
                    f"and {found[other]} are one tensor in the base, and differ here",
                    path=_path(tuned),
                    tensor=name,
                    hint="give a base that has both, or tie them in the tuned model",
                    code="E-NAMES",
                )
            found.setdefault(other, name)
        elif not tuned.stored[name].same_bytes(base.stored[other]):
            raise IncompatibleError(
                f"is stored as {after.dtype}, {before.dtype} in the base, and differs: only floats are merged",
                path=_path(tuned),
                tensor=name,
                hint="merge models in which this tensor is the same",
                code="E-NAMES",
            )
    copies = {name: copied(base, name, found) for name in base.layout if name not in found}
    found |= {name: found[source] for name, source in copies.items() if source}
    return {name: found[name] for name in base.layout if name in found}


def _layout(tuned: Checkpoint, name: str, base: Checkpoint, other: str) -> Layout:
    spec, before = tuned.layout[name], base.layout[other]
    module = other.removesuffix(WEIGHT)
    linear = len(spec.shape) == 2 and other.endswith(WEIGHT) and is_linear(module, base.config) and not is_end(other)
    return Layout(
        spec.matrix,
        min(spec.matrix),
        widest([spec.dtype, before.dtype, "F32"]),
        dense=True,
        kind="a task vector",
        kernel=tuple(spec.shape[1:]),
        matrix=linear,
        working=KEPT,
    )


def check_configs(tuned: Checkpoint, base: Checkpoint) -> None:
    """Raise IncompatibleError for another type of model; warn of other fields that differ."""
    one, other = tuned.config, base.config
    if one is None or other is None:
        return
    if one.get("model_type") != other.get("model_type"):
        raise IncompatibleError(
            f"is a model of type {one.get('model_type')}, and the base is {other.get('model_type')}",
            path=_path(tuned),
            hint="give the base that the model was tuned from",
            code="E-NAMES",
        )
    if differ := list(_differing(one, other)):
        warnings.warn(
            f"config.json of {_path(tuned)} differs from the base's, which the result has: {listed(differ, SHOWN)}",
            AdapterWarning,
            stacklevel=3,
        )


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    for each in differences(one, other):
        if not any(part in each.field for part in IDLE):
            yield f"{each.field} is {each.found!r:.60}, {each.expected!r:.60} there"


def _path(model: Checkpoint) -> str | None:
    history: Source | Step = model.history
    return history.name if isinstance(history, Source) else None
