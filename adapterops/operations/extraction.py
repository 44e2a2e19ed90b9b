"""The difference of two checkpoints as an adapter."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import Adapter
from adapterops.arrays.dtypes import FLOATS
from adapterops.arrays.finite import check_all_finite
from adapterops.arrays.scratch import Scratch
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.engine.plan import once
from adapterops.errors import (
    AdapterWarning,
    IncompatibleError,
    OptionError,
    UnsupportedError,
    at,
    check_opened,
    count,
    listed,
)
from adapterops.formats.models.architectures import CAUSAL, SHARED_LAYERS
from adapterops.formats.models.classifiers import is_head, task_of
from adapterops.formats.models.loading import Loading, loading
from adapterops.formats.models.naming import classes
from adapterops.formats.models.vocabulary import is_end
from adapterops.formats.peft.config import AdapterConfig
from adapterops.operations.pairing import SHOWN, full_tensors, heads_of, pair, unannounced
from adapterops.operations.targets.output_bias import output_biases, with_words
from adapterops.operations.targets.weights import ModelWeight, check_oriented, names_of, owners, weights
from adapterops.operations.task_vectors import subtracted
from adapterops.operations.truncation import check_cut, truncate
from adapterops.provenance.history import Source, Step
from adapterops.storage.lazy import Lazy
from adapterops.storage.tensors import Stored
from adapterops.updates.layout import TILE, Layout

if TYPE_CHECKING:
    from adapterops.updates.protocol import Linear

REST = ("keep", "drop", "refuse")
"""What may become of changes that are no update of a Linear layer: norms, biases, embeddings."""


def extract(
    tuned: Checkpoint,
    base: Checkpoint,
    rank: int | None = None,
    *,
    energy: float | None = None,
    budget: int | None = None,
    unit: str = "parameters",
    rest: str = "keep",
    exact: bool = False,
    how: Execution = DEFAULT,
) -> Adapter:
    """tuned - base as an adapter: for every Linear weight that changed, and of an image model every convolution, its best
    approximation of low rank.

    By randomized SVD with its error measured, or a full one with `exact`.

    Args:
        rank, energy, budget, unit: how much to keep, as in `truncate`.
        rest: what to do with changed norms, biases and embeddings: `keep` them in the adapter as full tensors (modules_to_save),
            `drop` them, or `refuse` to go on.

    Raises:
        IncompatibleError: the checkpoints differ in their tensors or shapes, or not at all, or in what was to be
            refused.

    Warns:
        AdapterWarning: tensors of the tuned model are the base's, rounded to their own dtype: these are no change.

    Cost: both are read once to find what changed, and what changed once more; one matrix in float32 at a time for each
        worker.
    """
    check_cut(rank, energy, budget)
    found = difference(tuned, base, rest=rest, how=how)
    return truncate(found, rank, energy=energy, budget=budget, unit=unit, exact=exact, how=how)


def difference(
    tuned: Checkpoint,
    base: Checkpoint,
    *,
    rest: str = "keep",
    parameters: bool = False,
    planning: bool = False,
    how: Execution = DEFAULT,
) -> Adapter:
    """tuned - base as an adapter of dense updates, one for each Linear weight that changed; see `extract`.

    Args:
        parameters: keep any tensor that changed, each by itself: PEFT, by default, has weights and biases of whole modules.
        planning: read headers only. Every Linear weight counts as changed, and nothing else does.
    """
    if rest not in REST:
        raise OptionError(f"the rest must be one of {', '.join(REST)}, got {rest!r}")
    for model in (tuned, base):
        check_opened(model, Checkpoint, "open_checkpoint")
        model.check_one("compared")
    pairs = pair(tuned, base, heads=True)
    heads = heads_of(tuned, base, pairs)
    known = {
        module: weight
        for module, weight in weights(tuned.layout, {**(base.config or {}), **(tuned.config or {})}).items()
        if all(_is_paired(each.tensor, pairs, tuned, base) for each in weight.pieces)
        and not any(_is_replaced(each.tensor, tuned) for each in weight.pieces)
    }
    if rest != "drop":
        way = "; if it is that, --rest drop leaves such tensors out" if known else ""
        _check_sizes([name for name, other in pairs.items() if _in_a_layer(other)], pairs, tuned, base, way)
    if planning:
        return _difference_of(heads, known, pairs, tuned, base, rest, parameters)

    def differs(name: str) -> tuple[str, bool] | None:
        with at(tensor=name):
            if not _differs(tuned, name, base, pairs[name]):
                return None
            return name, _is_rounded(tuned, name, base, pairs[name])

    step = Step("extract", {}, (tuned.history, base.history))
    found = once(partial(_found, pairs), lambda: list(filter(None, local.run(differs, pairs, how=how))), step, how=how)
    changed, rounded = ([name for name, only in found if only == which] for which in (False, True))
    if changed and rounded:
        warnings.warn(
            f"{count(len(rounded), 'tensor')} left out: what the tuned model has there is the base's, rounded to its dtype: "
            f"{listed(rounded, SHOWN)}",
            AdapterWarning,
            stacklevel=2,
        )
    if not changed and not heads:
        same = ", rounded to the dtype of the tuned one" if rounded else ""
        raise IncompatibleError(
            f"the two models hold the same numbers{same}: there is nothing to extract",
            hint="name the model that was trained: adapterops extract TUNED --base BASE",
            code="E-UNCHANGED",
        )
    owned = owners(known)
    modules = {module for name in changed for module in owned.get(name, ())}
    others = [*heads, *(name for name in changed if name not in owned)]
    adapted = {module: weight for module, weight in known.items() if module in modules}
    return _difference_of(others, adapted, pairs, tuned, base, rest, parameters)


def _is_paired(name: str, pairs: Mapping[str, str], tuned: Checkpoint, base: Checkpoint) -> bool:
    """Whether the base has a tensor in this shape."""
    return name in pairs and tuned.layout[name].shape == base.layout[pairs[name]].shape


def _is_replaced(name: str, tuned: Checkpoint) -> bool:
    """Whether a tensor is in the head of a classifier: for its task PEFT replaces that, and loads no LoRA on it."""
    return is_head(name) and any(map(task_of, classes(tuned.config or {})))


def _found(names: Collection[str], value: Any) -> bool:
    """Whether a value is what `extract` finds: tensors, and of each whether it was only rounded."""
    if not isinstance(value, list) or not all(isinstance(each, list | tuple) and len(each) == 2 for each in value):
        return False
    return all(isinstance(name, str) and name in names and type(only) is bool for name, only in value)


def _in_a_layer(name: str) -> bool:
    """Whether a tensor is in one of several layers alike, whose sizes no training changes, as it may that of a head.

    >>> _in_a_layer("model.layers.0.mlp.up_proj.weight"), _in_a_layer("score.weight"), _in_a_layer("class_embed.0.weight")
    (True, False, False)
    """
    parts = name.split(".")[:-1]
    return any(part.isdecimal() and not "".join(parts[at + 1 :]).isdecimal() for at, part in enumerate(parts[:-1]))


def _check_sizes(
    names: Collection[str], pairs: Mapping[str, str], tuned: Checkpoint, base: Checkpoint, way: str = ""
) -> None:
    """Raise IncompatibleError where tensors have other shapes in the base, beyond the size of the vocabulary.

    Args:
        way: another way on than another base.
    """
    for name in names:
        after, before = tuned.layout[name].shape, base.layout[pairs[name]].shape
        if after != before and not is_end(pairs[name]):
            raise IncompatibleError(
                f"is {list(after)}, and {list(before)} in the base: the models have different sizes",
                tensor=name,
                hint=f"give the base that the model was tuned from{way}",
                code="E-SHAPE",
            )


def _difference_of(
    others: list[str],
    found: Mapping[str, ModelWeight],
    pairs: Mapping[str, str],
    tuned: Checkpoint,
    base: Checkpoint,
    rest: str,
    parameters: bool,
) -> Adapter:
    """The difference of some weights, and of other tensors."""
    if not found and not parameters:
        _check_sizes([name for name in others if name in pairs], pairs, tuned, base)
        raise IncompatibleError(
            f"no weight that LoRA can hold changed, only {listed(others, SHOWN)}",
            hint="such a change is no LoRA adapter: use the tuned model itself",
            code="E-UNCHANGED",
        )
    full = _rest(others, tuned, rest, found, parameters)
    whole = set(full.values()) - set(others)
    found = {module: each for module, each in found.items() if whole.isdisjoint(piece.tensor for piece in each.pieces)}
    known = loading(tuned.config)
    for module, weight in found.items():
        _check_adaptable(module, weight, known)
    layout = {module: _layout(tuned, weight) for module, weight in sorted(found.items())}

    def compute(module: str) -> Linear:
        with at(tensor=module):
            return _delta(found[module], pairs, tuned, base)

    return Adapter(
        Lazy(layout, compute),
        layout,
        _config(tuned, base, found, full),
        Step("extract", {"rest": rest}, (tuned.history, base.history)),
        full={name: _plain(tuned, source) for name, source in full.items()},
    )


def _delta(weight: ModelWeight, pairs: Mapping[str, str], tuned: Checkpoint, base: Checkpoint) -> Linear:
    """What training made of one weight, of the rows of its tensors."""
    import numpy as np

    from adapterops.updates.dense import Dense

    changes = [subtracted(tuned, piece.tensor, base, pairs[piece.tensor]) for piece in weight.pieces]
    ends = list(accumulate(piece.end - piece.begin for piece in weight.pieces))
    delta = np.empty((ends[-1], changes[0].shape[1]), np.result_type(*(change.dtype for change in changes)))
    for piece, change, end in zip(weight.pieces, changes, ends, strict=True):
        part = slice(piece.begin, piece.end), slice(0, change.shape[1])
        change.rows(part, delta[end - piece.end + piece.begin : end])
    check_all_finite(delta, "one of the models has numbers that are NaN or infinite", hint="use another checkpoint")
    return Dense(delta.T if weight.transposed else delta)


def _check_adaptable(module: str, weight: ModelWeight, known: Loading) -> None:
    """Raise for a weight whose difference no adapter can hold, or whose orientation is not known."""
    if not SHARED_LAYERS.isdisjoint(module.split(".")):
        raise UnsupportedError(
            "is a layer that the model has at several depths, and an adapter on it would be used at one",
            tensor=module,
            hint="use the tuned model itself",
        )
    check_oriented(module, weight)
    if weight.parameter:
        _check_loaded(weight.parameter, known)


def _check_loaded(parameter: str, known: Loading) -> None:
    """Raise UnsupportedError for experts whose update PEFT would look for under another name, and so leave out."""
    if (loaded := known.loaded(parameter)) != parameter:
        raise UnsupportedError(
            f"changed, and cannot be in an adapter: PEFT renames it to {loaded} when it loads it, which the model does not have",
            tensor=parameter,
            hint="restore it in the tuned model first, or use the tuned model itself",
        )


def _differs(tuned: Checkpoint, name: str, base: Checkpoint, other: str) -> bool:
    if tuned.layout[name].shape != base.layout[other].shape:
        return not _follows(tuned, name, base, other)
    if tuned.layout[name] != base.layout[other]:
        return bool(subtracted(tuned, name, base, other).dense().any())
    return not tuned.stored[name].same_bytes(base.stored[other])


def _is_rounded(tuned: Checkpoint, name: str, base: Checkpoint, other: str) -> bool:
    """Whether a tensor is the base's, each number rounded to the dtype that it has: no training moved one of them."""
    import numpy as np

    from adapterops.arrays.floats import narrowed, widened

    after, before = tuned.layout[name], base.layout[other]
    if after.shape != before.shape or after.dtype == before.dtype or after.dtype not in FLOATS:
        return False
    both, memory = subtracted(tuned, name, base, other), Scratch()
    assert both.before is not None
    (height, width), group = both.shape, both.group
    step = max(1, TILE // max(1, width) // group) * group
    for begin in range(0, height, step):
        end = min(begin + step, height)
        expected = widened(narrowed(both.before(begin, end), after.dtype, memory), after.dtype, memory)
        if not np.array_equal(both.after(begin, end), expected):
            return False
    return True


def _follows(tuned: Checkpoint, name: str, base: Checkpoint, other: str) -> bool:
    """Whether a tensor of another shape is what becomes of the base's where the vocabulary gets another size, so that no
    adapter has to have it.
    """
    after, before = tuned.layout[name].shape, base.layout[other].shape
    if not (after and before and output_biases({name: base.layout[other]}, (before[-1], after[-1]))):
        return False
    words = after[-1]
    expected, found = with_words(base.used(other), words), tuned.used(name)
    return bool((expected(0, 1).values == found(0, 1).values).all())


def _plain(checkpoint: Checkpoint, name: str) -> Stored:
    stored = checkpoint.stored[name]
    if stored.scheme:
        raise UnsupportedError(
            f"changed, is stored as {stored.scheme.name}, and would go into the adapter as a full tensor",
            tensor=name,
            hint="dequantize the tuned model first, or leave it out with --rest drop",
        )
    return stored.parts[""]


def _layout(tuned: Checkpoint, weight: ModelWeight) -> Layout:
    out, into = reversed(weight.shape) if weight.transposed else weight.shape
    wide = any(tuned.layout[piece.tensor].dtype == "F64" for piece in weight.pieces)
    return Layout((out, into), min(out, into), "F64" if wide else "F32", dense=True, kernel=weight.kernel)


def _rest(
    others: list[str], tuned: Checkpoint, rest: str, adapted: Collection[str], parameters: bool
) -> dict[str, str]:
    """The full tensors that go into the adapter: their names there → in the tuned checkpoint."""
    if not others or rest == "drop":
        if others:
            warnings.warn(
                f"changed and dropped, with --rest drop: {listed(others, SHOWN)}",
                AdapterWarning,
                stacklevel=3,
            )
        return {}
    if rest == "refuse":
        raise IncompatibleError(
            f"{count(len(others), 'tensor')} changed outside of Linear layers: {listed(others, SHOWN)}",
            hint="keep them in the adapter as full tensors with --rest keep, or leave them out with --rest drop",
            code="E-REST",
        )
    if parameters:
        return {name: name for name in others}
    return full_tensors(others, adapted, tuned, loading(tuned.config, tuned.layout))


def _config(
    tuned: Checkpoint, base: Checkpoint, found: Mapping[str, ModelWeight], full: Mapping[str, str]
) -> AdapterConfig:
    config = {**(base.config or {}), **(tuned.config or {})}
    heads = sorted({name.partition(".")[0] for name in full if is_head(name)})
    tasks = ["CAUSAL_LM" if name.endswith(CAUSAL) else task_of(name) if heads else None for name in classes(config)]
    task = next(filter(None, tasks), None)
    remote = base.history.remote if isinstance(base.history, Source) else None
    path = str(base.files.path) if base.files else None
    return AdapterConfig(
        remote.reference if remote else path,
        remote.revision if remote else None,
        fields={"task_type": task} if task else {},
        targets=_targets([module for module, each in found.items() if not each.parameter], tuned),
        target_parameters=None,
        saved=tuple(heads),
        experts={each.parameter: each.experts for each in found.values() if each.parameter},
        unannounced=unannounced(full, tuned),
        model=config,
    )


def _targets(modules: Collection[str], tuned: Checkpoint) -> str | None:
    """An expression for these modules, where the name of another ends with that of one: PEFT would take that for it, too."""
    those = set(modules)
    names = {name.rpartition(".")[0] for each in names_of(tuned.layout, tuned.config).values() for name in each}
    parts = [name.split(".") for name in names]
    above = {".".join(each[:end]) for each in parts for end in range(1, len(each) + 1)} - those
    split = (name.split(".") for name in above)
    if those.isdisjoint(".".join(each[first:]) for each in split for first in range(1, len(each))):
        return None
    return "|".join(re.escape(module) for module in sorted(those))
