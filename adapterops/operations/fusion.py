"""Adapters into checkpoints and out of them again."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import name, under_updates
from adapterops.arrays.dtypes import FLOATS
from adapterops.arrays.finite import check_all_finite
from adapterops.checkpoints.checkpoint import Checkpoint, original
from adapterops.checkpoints.layouts import check_dtype
from adapterops.checkpoints.stored import StoredTensor
from adapterops.errors import AdapterWarning, IncompatibleError, OptionError, UnsupportedError, check_opened
from adapterops.formats.models.architectures import WEIGHT
from adapterops.formats.models.loading import is_of_type, loading
from adapterops.formats.models.naming import classes
from adapterops.formats.models.ties import untied
from adapterops.formats.models.vocabulary import with_vocabulary
from adapterops.formats.peft.convolutions import say_undilated
from adapterops.formats.peft.selection import say_dropped, uncovered
from adapterops.formats.registry import DEFAULT
from adapterops.operations.additions import Addition, Piece
from adapterops.operations.replication import of_its_layers, replicated
from adapterops.operations.targets.based import fitted, on_base
from adapterops.operations.targets.classifiers import made
from adapterops.operations.targets.full_tensors import counterparts
from adapterops.operations.targets.holders import without_holder
from adapterops.operations.targets.output_bias import with_words
from adapterops.operations.targets.table import resolve
from adapterops.operations.targets.target import Edit, Target, Targets
from adapterops.operations.targets.token_rows import with_rows
from adapterops.operations.targets.tokenizer import agreed_tokenizer
from adapterops.operations.task_vectors import placed
from adapterops.operations.views import Viewed
from adapterops.provenance.history import Step, sources, with_tokenizer
from adapterops.storage.lazy import Lazy
from adapterops.storage.spans import rows_of
from adapterops.storage.tensors import Spec

if TYPE_CHECKING:
    from adapterops.checkpoints.checkpoint import Rows
    from adapterops.storage.tensors import Stored
    from adapterops.updates.survival import Block

PRECISIONS = ("float32", "float64")

OF_UNFUSING = "use the base itself, which is what unfusing would give"
"""What goes on where nothing can be taken away again."""


def fuse(base: Checkpoint, adapter: Adapter, *, dtype: str | None = None, precision: str = "float32") -> Checkpoint:
    """W ← W + ΔW for every adapted weight; every other tensor passes through.

    ΔW and the sum are computed in `precision`, and rounded once, when they are saved. An adapted output embedding that
    the base shares with the input embedding becomes a tensor of its own, and the config says so. Full tensors may have
    another vocabulary, whose size the config gets then; a tokenizer next to the adapter goes along. Where the adapter is
    for replicated layers of the base, the result has these, each with weights of its own, and its config says how many.

    Args:
        dtype: of the adapted weights; by default that of W.
        precision: `float32` or `float64`; weights in float64 always have the latter.

    Raises:
        IncompatibleError, UnsupportedError: a module has no target in the base; see `targets.resolve`.

    Cost: lazy; one tile of a weight at a time, and the factors of its update, or all of an update that is dense.
    """
    check_opened(base, Checkpoint, "open_checkpoint")
    check_opened(adapter, Adapter, "open_adapter")
    if adapter.task_vector:
        return _fused(base, adapter, placed(adapter), {}, dtype, precision)
    _warn_of_unnamed(adapter, base)
    _warn_of_another_type(adapter, base)
    if adapter.config.format == DEFAULT:
        say_undilated(adapter.layout, base.config)
    base, adapter = replicated(base, [adapter]), of_its_layers(adapter)
    adapter = on_base(adapter, base)
    return _fused(base, adapter, resolve(adapter, base), agreed_tokenizer(adapter.history), dtype, precision)


def _warn_of_unnamed(adapter: Adapter, base: Checkpoint) -> None:
    """Say which modules PEFT drops when it loads the adapter, by their names here and in the model."""
    known, targets = loading(base.config), adapter.config.targets
    there = [module for module in adapter.config.unnamed if module in adapter.layout]
    say_dropped([module for module in there if not targets or uncovered(targets, [known.loaded(module)])])


def _warn_of_another_type(adapter: Adapter, base: Checkpoint) -> None:
    """Say that the model is of another type than the one that the adapter was trained on, by its config: names and shapes may
    be the same.
    """
    config, kind = base.config or {}, adapter.config.base_type
    if kind is None or "model_type" not in config or adapter.config.base_class in classes(config):
        return
    if not is_of_type(config, kind):
        warnings.warn(
            f"{name(adapter)}: was trained on a {adapter.config.base_class}, by its config, and the base is a "
            f"{' or '.join(classes(config)) or config['model_type']}: that names and shapes are the same does not make it the "
            "same model; give the base that the adapter was trained on",
            AdapterWarning,
            stacklevel=3,
        )


def _fused(
    base: Checkpoint,
    adapter: Adapter,
    targets: Targets,
    tokenizer: Mapping[str, Path],
    dtype: str | None,
    precision: str,
) -> Checkpoint:
    if dtype is not None:
        check_dtype(dtype)
    if precision not in PRECISIONS:
        raise OptionError(f"the precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    base = _with_new(base, adapter, targets)
    targets = replace(
        targets, edits={name: edit for name, edit in targets.edits.items() if not _is_copied(name, edit, base, adapter)}
    )
    added = {tensor: edit.targets for tensor, edit in targets.edits.items() if edit.targets}
    layout = {
        tensor: spec._replace(dtype=dtype) if dtype and tensor in added else spec
        for tensor, spec in base.layout.items()
    }

    def rows(tensor: str) -> Rows:
        edit = targets.edits.get(tensor)
        return base.edits[tensor] if edit is None else _edited(base, adapter, tensor, edit, precision)

    holding = {tensor: sum(adapter.layout[each.source].held for each in those) for tensor, those in added.items()}
    entire = [name for name, those in added.items() if any(each.seen or _reads_all(adapter, each) for each in those)]
    parameters = {"precision": precision, **({"dtype": dtype} if dtype else {})}
    return replace(
        base,
        layout=layout,
        edits=Lazy([*targets.edits, *(tensor for tensor in base.edits if tensor not in targets.edits)], rows),
        documents={**base.documents, **tokenizer},
        history=Step("fuse", parameters, (base.history, with_tokenizer(adapter.history, tokenizer))),
        holding={**base.holding, **holding},
        entire={*base.entire, *entire},
    )


def _edited(base: Checkpoint, adapter: Adapter, tensor: str, edit: Edit, precision: str) -> Rows:
    """The rows of one tensor: what it begins as, with rows and words that are new, and every update added."""
    start = _full(base, tensor, edit, adapter) if edit.full else base.used(edit.start or tensor)
    if edit.rows:
        start = with_rows(start, adapter.config.tokens[edit.rows], adapter.full[edit.rows])
    start = with_words(start, edit.words) if edit.words else start
    wide = "float64" if base.layout[tensor].dtype == "F64" else precision
    own, matrix = [Piece.of(adapter, each) for each in edit.targets], base.layout[tensor].matrix
    for seen in dict.fromkeys(piece.target.seen for piece in own):
        added = Addition(start, [piece for piece in own if piece.target.seen == seen], wide)
        start = Viewed(start, added, seen, matrix) if seen else added
    return start


def _with_new(base: Checkpoint, adapter: Adapter, targets: Targets) -> Checkpoint:
    """The base with the tensors and shapes that it does not have yet, new ones in its last file, and a config that says
    so.
    """
    if targets.classifier:
        base = made(base, targets.classifier)
    starts = {tensor: edit for tensor, edit in targets.edits.items() if tensor not in base.layout}
    shards = {file: list(tensors) for file, tensors in base.shards.items()}
    for tensor in starts:
        shards[next(reversed(shards))].append(tensor)
    new = {tensor: _start(base, adapter, edit) for tensor, edit in starts.items()}
    layout = {**base.layout, **{tensor: spec for tensor, (spec, _) in new.items()}}
    for tensor, edit in targets.edits.items():
        if edit.full and edit.first is None:
            shape = adapter.full[edit.full].spec.shape
            layout[tensor] = layout[tensor]._replace(shape=shape)
            if _is_copied(tensor, edit, base, adapter):
                layout[tensor], new[tensor] = (
                    adapter.full[edit.full].spec,
                    _start(base, adapter, replace(edit, start=None)),
                )
        if edit.words:
            layout[tensor] = layout[tensor]._replace(shape=(*layout[tensor].shape[:-1], edit.words))
    config = untied(base.config) if base.config and targets.untied else base.config
    return replace(
        base,
        layout=layout,
        stored={**base.stored, **{tensor: stored for tensor, (_, stored) in new.items()}},
        shards=shards,
        config=with_vocabulary(config, *targets.words) if config and targets.words else config,
    )


def _is_copied(tensor: str, edit: Edit, base: Checkpoint, adapter: Adapter) -> bool:
    """Whether a tensor becomes a full one of the adapter as that is stored, which the base has in no floats either: the number
    of batches that a BatchNorm has seen.
    """
    dtype = adapter.full[edit.full].spec.dtype if edit.full else "F32"
    return dtype not in FLOATS and tensor in base.layout and base.layout[tensor].dtype == dtype


def _start(base: Checkpoint, adapter: Adapter, edit: Edit) -> tuple[Spec, StoredTensor]:
    """What a new tensor begins as: another of the base, or a full one of the adapter, in the dtype of the base."""
    if edit.start:
        return base.layout[edit.start], base.stored[edit.start]
    assert edit.full
    stored = adapter.full[edit.full]
    like = next((spec for spec in base.layout.values() if spec.dtype in FLOATS), stored.spec)
    return like._replace(shape=stored.spec.shape), StoredTensor({"": stored}, stored.spec.shape)


def _full(base: Checkpoint, tensor: str, edit: Edit, adapter: Adapter) -> Rows:
    """The rows of the full tensor of an edit, which its copies have to have, too."""
    assert edit.full
    stored = adapter.full[edit.full]
    if edit.first is not None:
        stored = rows_of(stored, edit.first, base.layout[tensor].shape)
    trained = _trained(base, tensor, stored)
    others = {
        name: original(StoredTensor({"": each}, each.spec.shape))
        for name in edit.copies
        if (each := adapter.full[name])
    }

    def rows(begin: int, end: int) -> Block:
        block = trained(begin, end)
        for each, copy in others.items():
            if (copy(begin, end).values != block.values).any():
                raise IncompatibleError(
                    f"differs from {edit.full}, and both are {tensor} of the base",
                    path=adapter.full[each].file.path,
                    tensor=each,
                    hint="name the module that was trained in modules_to_save, or leave the other out of the adapter",
                    code="E-NAMES",
                )
        return block

    return rows if others else trained


def _trained(base: Checkpoint, tensor: str, stored: Stored) -> Rows:
    """The rows of a full tensor.
    Where it will be quantized, with what was trained as a change, so that it can be seen what is left.
    """
    from adapterops.updates.survival import Block, Change

    rows = original(StoredTensor({"": stored}, stored.spec.shape))
    before = original(base.views.get(tensor, base.stored[tensor])) if tensor in base.schemes else None

    def trained(begin: int, end: int) -> Block:
        block = rows(begin, end)
        hint = "use another checkpoint of the training"
        check_all_finite(block.values, hint=hint, path=stored.file.path, tensor=stored.name)
        if before is None:
            return block
        W = before(begin, end).values.astype(block.values.dtype, copy=False)
        every = slice(0, W.shape[0]), slice(0, W.shape[1])
        return Block(block.values.copy(), [Change(tensor.removesuffix(WEIGHT), every, W, block.values - W)])

    return trained


def without_copies(adapters: Sequence[Adapter], base: Checkpoint) -> list[Adapter]:
    """The adapters without those of their full tensors that are the base's, byte for byte; what one of them trained stays in
    all, so that it has a mean.

    PEFT saves the weight of an embedding with its factors; where it was not trained, the adapter can be scaled
    and added like any other. A module that the config names is kept whole, or left out whole, as PEFT loads it.
    """
    adapters = [without_holder(each, base) if each.full else each for each in adapters]
    places = [
        {full: tensor for full, (_, tensor) in counterparts(each, base.layout, base.config).items()}
        if each.full
        else {}
        for each in adapters
    ]

    def copied(stored: Stored, tensor: str | None) -> bool:
        return tensor is not None and StoredTensor({"": stored}, stored.spec.shape).same_bytes(base.stored[tensor])

    changed = [
        {full for full, stored in each.full.items() if not copied(stored, place.get(full))}
        for each, place in zip(adapters, places, strict=True)
    ]
    trained = {place.get(full) for place, those in zip(places, changed, strict=True) for full in those} - {None}
    found = []
    for each, place, those in zip(adapters, places, changed, strict=True):
        modules = {full: each.config.replaced(full) or full for full in each.full}
        kept = {modules[full] for full in each.full if full in those or place.get(full) in trained}
        found.append(replace(each, full={full: stored for full, stored in each.full.items() if modules[full] in kept}))
    return found


def _reads_all(adapter: Adapter, target: Target) -> bool:
    """Whether an update has to see all rows of its weight at a time.

    Raises:
        UnsupportedError: the base has them in several tensors, or in another order.
    """
    layout = adapter.layout[target.source]
    if layout.reads != ("rows" if target.transposed else "columns"):
        return False
    if target.shape != (layout.shape[::-1] if target.transposed else layout.shape):
        raise UnsupportedError(
            f"is {layout.kind}, which depends on all of the weight, and the base has its rows in several tensors, or in another order",
            path=name(adapter),
            tensor=target.module,
            hint="fuse it into a base that has the weight in one, as the one it was trained on",
        )
    return True


def check_replaces_nothing(adapter: Adapter) -> None:
    """Raise UnsupportedError for an adapter that cannot be taken out again; of each, as a mean of full tensors does not tell."""
    for tensor in sorted(adapter.full.keys() - under_updates(adapter)):
        raise UnsupportedError(
            "replaced the base's, and what that was is not known",
            path=sources(adapter.history)[0].name,
            tensor=tensor,
            hint=OF_UNFUSING,
        )


def unfuse(fused: Checkpoint, adapter: Adapter, *, dtype: str | None = None, precision: str = "float32") -> Checkpoint:
    """W ← W - ΔW: what `fuse` added is taken away again, up to the rounding of both.

    Raises:
        UnsupportedError: the adapter has full tensors; what the base had in their place is not known.
    """
    check_opened(fused, Checkpoint, "open_checkpoint")
    check_opened(adapter, Adapter, "open_adapter")
    if adapter.config.replication:
        raise UnsupportedError(
            "is for replicated layers of its base, which was another model",
            path=name(adapter),
            hint=OF_UNFUSING,
        )
    adapter = fitted(adapter, fused)
    check_replaces_nothing(adapter)
    negative = on_base(-replace(adapter, full={}), fused)
    return _fused(fused, negative, resolve(negative, fused), {}, dtype, precision)
