"""The difference of two checkpoints as an adapter."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import Adapter
from adapterops.arrays.finite import all_finite
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.errors import AdapterWarning, IncompatibleError, InputError, OptionError, UnsupportedError, at
from adapterops.formats.naming import classes
from adapterops.formats.peft.config import AdapterConfig
from adapterops.operations.algebra import check_cut, truncate
from adapterops.operations.pairing import SHOWN, Pair, full_tensors, pair
from adapterops.provenance.history import Source, Step
from adapterops.storage.lazy import Lazy
from adapterops.storage.safetensors import Spec, Stored
from adapterops.updates.layout import Layout

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array, Linear

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
    """tuned - base as an adapter: for every Linear weight that changed, its best approximation of low rank.

    By randomized SVD with its error measured, or a full one with `exact`.

    Args:
        rank, energy, budget, unit: how much to keep, as in `truncate`.
        rest: what to do with changed norms, biases and embeddings: `keep` them in the adapter as full tensors (modules_to_save),
            `drop` them, or `refuse` to go on.

    Raises:
        IncompatibleError: the checkpoints differ in their tensors or shapes, or not at all, or in what was to be
            refused.

    Cost: both are read once to find what changed, and what changed once more; one matrix in float32 at a time for each
        worker.
    """
    check_cut(rank, energy, budget)
    found = difference(tuned, base, rest=rest, how=how)
    return truncate(found, rank, energy=energy, budget=budget, unit=unit, exact=exact, how=how)


def difference(
    tuned: Checkpoint, base: Checkpoint, *, rest: str = "keep", planning: bool = False, how: Execution = DEFAULT
) -> Adapter:
    """tuned - base as an adapter of dense updates, one for each Linear weight that changed; see `extract`.

    Args:
        planning: read headers only. Every Linear weight counts as changed, and nothing else does.
    """
    if rest not in REST:
        raise OptionError(f"the rest must be one of {', '.join(REST)}, got {rest!r}")
    pairs = pair(tuned, base)
    if planning:
        return _difference_of([name for name, each in pairs.items() if each.module], pairs, tuned, base, rest)

    def differs(name: str) -> str | None:
        with at(tensor=name):
            return name if _differs(tuned, name, base, pairs[name].before) else None

    changed = [name for name in local.run(differs, pairs, how=how) if name]
    if not changed:
        raise IncompatibleError(
            "the two checkpoints hold the same numbers: there is nothing to extract", code="E-UNCHANGED"
        )
    return _difference_of(changed, pairs, tuned, base, rest)


def _difference_of(
    changed: list[str], pairs: Mapping[str, Pair], tuned: Checkpoint, base: Checkpoint, rest: str
) -> Adapter:
    """The difference of the tensors that changed."""
    linear = {module: name for name in changed if (module := pairs[name].module)}
    others = [name for name in changed if not pairs[name].module]
    if not linear:
        raise IncompatibleError(
            f"no weight of a Linear layer changed, only {', '.join(others[:SHOWN])}", code="E-UNCHANGED"
        )
    full = _rest(others, tuned, rest, linear)
    transposed = {module for module, name in linear.items() if _is_transposed(module, pairs[name])}
    layout = {module: _layout(tuned.layout[name], module in transposed) for module, name in linear.items()}

    def compute(module: str) -> Linear:
        from adapterops.updates.dense import Dense

        with at(tensor=module):
            delta = _subtracted(tuned, linear[module], base, pairs[linear[module]].before)
            if not all_finite(delta):
                raise InputError("one of the checkpoints has numbers that are NaN or infinite", code="E-NONFINITE")
            return Dense(delta.T if module in transposed else delta)

    return Adapter(
        Lazy(layout, compute),
        layout,
        _config(base, {**(base.config or {}), **(tuned.config or {})}),
        Step("extract", {"rest": rest}, (tuned.history, base.history)),
        full={name: _plain(tuned, source) for name, source in full.items()},
    )


def _differs(tuned: Checkpoint, name: str, base: Checkpoint, other: str) -> bool:
    if tuned.layout[name].shape != base.layout[other].shape:
        return True
    if tuned.layout[name] != base.layout[other]:
        return bool((_subtracted(tuned, name, base, other) != 0).any())
    return not tuned.stored[name].same_bytes(base.stored[other])


def _subtracted(tuned: Checkpoint, name: str, base: Checkpoint, other: str) -> Array:
    """One tensor minus another of its shape, in float32, or float64 where one is;
    all dimensions but the last taken for one.
    """
    import numpy as np

    spec = tuned.layout[name]
    result = np.empty(spec.matrix, np.float64 if "F64" in (spec.dtype, base.layout[other].dtype) else np.float32)
    after, before = tuned.rows(name), base.rows(other)
    with np.errstate(all="ignore"):
        for begin, end in tuned.blocks(name):
            np.subtract(after(begin, end).values, before(begin, end).values, out=result[begin:end])
    return result


def _plain(checkpoint: Checkpoint, name: str) -> Stored:
    stored = checkpoint.stored[name]
    if stored.scheme:
        raise UnsupportedError(
            f"changed, is stored as {stored.scheme.name}, and would go into the adapter as a full tensor",
            tensor=name,
            hint="dequantize the tuned model first, or leave it out with --rest drop",
        )
    return stored.parts[""]


def _is_transposed(module: str, found: Pair) -> bool:
    if found.transposed is None:
        raise IncompatibleError(
            "may be stored as (in, out): is it?",
            tensor=module,
            hint="say what the model is: put its model_type, such as gpt2, into config.json of the base",
            code="E-ORIENTATION",
        )
    return found.transposed


def _layout(spec: Spec, transposed: bool) -> Layout:
    out, into = reversed(spec.shape) if transposed else spec.shape
    return Layout((out, into), min(out, into), "F64" if spec.dtype == "F64" else "F32", dense=True)


def _rest(others: list[str], tuned: Checkpoint, rest: str, adapted: Collection[str]) -> dict[str, str]:
    """The full tensors that go into the adapter: their names there → in the tuned checkpoint."""
    if not others or rest == "drop":
        if others:
            warnings.warn(
                f"{len(others)} changed tensors are dropped: {', '.join(others[:SHOWN])}", AdapterWarning, stacklevel=3
            )
        return {}
    if rest == "refuse":
        raise IncompatibleError(
            f"{len(others)} tensors changed that are no weights of Linear layers: {', '.join(others[:SHOWN])}",
            hint="keep them in the adapter as full tensors with --rest keep, or leave them out with --rest drop",
            code="E-REST",
        )
    return full_tensors(others, adapted, tuned)


def _config(base: Checkpoint, config: Mapping[str, Any]) -> AdapterConfig:
    causal = any(name.endswith("ForCausalLM") for name in classes(config))
    fields = {"task_type": "CAUSAL_LM"} if causal else {}
    if isinstance(base.history, Source) and base.history.remote:
        return AdapterConfig(base.history.remote.reference, base.history.remote.revision, fields=fields)
    return AdapterConfig(str(base.files.path) if base.files else None, fields=fields)
