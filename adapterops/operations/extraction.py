"""The difference of two checkpoints as an adapter."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adapterops import engine
from adapterops.adapter import Adapter
from adapterops.checkpoint import Checkpoint
from adapterops.errors import AdapterWarning, IncompatibleError, InputError, OptionError, UnsupportedError, at
from adapterops.finite import all_finite
from adapterops.formats.naming import CONV1D_MODULES, EMBEDDINGS, WEIGHT, architectures, canonical, check_untied, conv1d, head_of
from adapterops.formats.peft_config import AdapterConfig
from adapterops.history import Source, Step
from adapterops.operations.algebra import check_cut, truncate
from adapterops.storage.lazy import Lazy
from adapterops.storage.safetensors import Spec, Stored
from adapterops.updates.layout import Layout

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array, Linear

REST = ("keep", "drop", "refuse")
"""What may become of changes that are no update of a Linear layer: norms, biases, embeddings."""

NOT_LINEAR = {
    *EMBEDDINGS,
    *("shared", "tok_embeddings", "embeddings", "wpe", "embed_positions", "position_embedding", "position_embeddings"),
    *("token_type_embeddings", "relative_attention_bias", "gate", "router"),
}
"""Last names of modules that have a matrix and are not Linear layers."""

SHOWN = 5


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
    workers: int | None = None,
    progress: engine.Progress | None = None,
) -> Adapter:
    """tuned - base as an adapter: for every Linear weight that changed, its best approximation of low rank.

    By randomized SVD with its error measured, or a full one with `exact`.

    Args:
        rank, energy, budget, unit: how much to keep, as in `truncate`.
        rest: what to do with changed norms, biases and embeddings: `keep` them whole in the adapter (modules_to_save), `drop`
            them, or `refuse` to go on.

    Raises:
        IncompatibleError: the checkpoints differ in their tensors or shapes, or not at all, or in what was to be refused.

    Cost: both are read once to find what changed, and what changed once more; one matrix in float32 at a time for each worker.
    """
    check_cut(rank, energy, budget)
    if rest not in REST:
        raise OptionError(f"the rest must be one of {', '.join(REST)}, got {rest!r}")
    pairs = _pairs(tuned, base)

    def differs(name: str) -> str | None:
        with at(tensor=name):
            return name if _differs(tuned, name, base, pairs[name]) else None

    changed = [name for name in engine.run(differs, pairs, workers=workers, progress=progress) if name]
    if not changed:
        raise IncompatibleError("the two checkpoints hold the same numbers: there is nothing to extract", code="E-UNCHANGED")
    linear = {name.removesuffix(WEIGHT): name for name in changed if _is_linear(name, tuned.layout[name], base.layout[pairs[name]])}
    others = [name for name in changed if name.removesuffix(WEIGHT) not in linear]
    if not linear:
        raise IncompatibleError(f"no weight of a Linear layer changed, only {', '.join(others[:SHOWN])}", code="E-UNCHANGED")
    whole = _rest(others, tuned, base, rest, set(linear))
    config = {**(base.config or {}), **(tuned.config or {})}
    transposed = {module for module in linear if _is_transposed(module, config)}
    layout = {module: _layout(tuned.layout[name], module in transposed) for module, name in linear.items()}

    def compute(module: str) -> Linear:
        from adapterops.updates.dense import Dense

        with at(tensor=module):
            delta = _difference(tuned, linear[module], base, pairs[linear[module]])
            if not all_finite(delta):
                raise InputError("one of the checkpoints has numbers that are NaN or infinite", code="E-NONFINITE")
            return Dense(delta.T if module in transposed else delta)

    adapter = Adapter(
        Lazy(layout, compute),
        layout,
        _config(base, config),
        Step("extract", {"rest": rest}, (tuned.history, base.history)),
        replaced={name: _plain(tuned, source) for name, source in whole.items()},
    )
    return truncate(adapter, rank, energy=energy, budget=budget, unit=unit, exact=exact, workers=workers, progress=progress)


def _pairs(tuned: Checkpoint, base: Checkpoint) -> dict[str, str]:
    """Tensors of `tuned` → their counterparts in the base. Names may differ in the prefixes of transformers' versions."""
    index: dict[str, list[str]] = {}
    for name in base.layout:
        index.setdefault(canonical(name), []).append(name)
    tied = head_of(base.layout, base.config)
    found, alone = {}, []
    for name in tuned.layout:
        names = [name] if name in base.layout else index.get(canonical(name), [])
        if not names and tied and canonical(name) == canonical(tied[0]):
            names = [tied[1]]
        if len(names) == 1:
            found[name] = names[0]
        else:
            alone.append(name)
    missing = [name for name in base.layout if name not in set(found.values())]
    if alone or missing:
        raise IncompatibleError(
            f"the checkpoints have different tensors: {len(alone)} only in the tuned one ({', '.join(alone[:SHOWN])}), "
            f"{len(missing)} only in the base ({', '.join(missing[:SHOWN])})",
            hint="give the base that the model was tuned from",
            code="E-NAMES",
        )
    return found


def _differs(tuned: Checkpoint, name: str, base: Checkpoint, other: str) -> bool:
    if tuned.layout[name].shape != base.layout[other].shape:
        return True
    if tuned.layout[name] != base.layout[other]:
        return bool((_difference(tuned, name, base, other) != 0).any())
    return not tuned.stored[name].same_bytes(base.stored[other])


def _difference(tuned: Checkpoint, name: str, base: Checkpoint, other: str) -> Array:
    """One tensor minus another of its shape, in float32, or float64 where one is; all dimensions but the last taken for one."""
    import numpy as np

    spec = tuned.layout[name]
    result = np.empty(spec.matrix, np.float64 if "F64" in (spec.dtype, base.layout[other].dtype) else np.float32)
    after, before = tuned.rows(name), base.rows(other)
    with np.errstate(all="ignore"):
        for begin, end in tuned.blocks(name):
            np.subtract(after(begin, end).values, before(begin, end).values, out=result[begin:end])
    return result


def _plain(checkpoint: Checkpoint, name: str) -> Stored:
    lies = checkpoint.stored[name]
    if lies.scheme:
        raise UnsupportedError(
            f"changed, is stored as {lies.scheme.name}, and would go into the adapter whole",
            tensor=name,
            hint="dequantize the tuned model first, or leave it out with --rest drop",
        )
    return lies.parts[""]


def _is_linear(name: str, spec: Spec, other: Spec) -> bool:
    last = name.removesuffix(WEIGHT).rpartition(".")[2]
    return name.endswith(WEIGHT) and len(spec.shape) == 2 and spec.shape == other.shape and last not in NOT_LINEAR


def _is_transposed(module: str, config: Mapping[str, Any]) -> bool:
    """Whether a weight is stored as (in, out).

    Raises:
        IncompatibleError: its name is one of those that may be, and the model is not known.
    """
    if module.rpartition(".")[2] in CONV1D_MODULES and not config.get("model_type"):
        raise IncompatibleError(
            "may be stored as (in, out): is it?",
            tensor=module,
            hint="say what the model is: put its model_type, such as gpt2, into config.json of the base",
            code="E-ORIENTATION",
        )
    return conv1d(module, config)


def _layout(spec: Spec, transposed: bool) -> Layout:
    out, into = reversed(spec.shape) if transposed else spec.shape
    return Layout((out, into), min(out, into), "F64" if spec.dtype == "F64" else "F32", dense=True)


def _rest(others: list[str], tuned: Checkpoint, base: Checkpoint, rest: str, adapted: set[str]) -> dict[str, str]:
    """The whole tensors that go into the adapter: their names there → in the tuned checkpoint."""
    if not others or rest == "drop":
        if others:
            warnings.warn(f"{len(others)} changed tensors are dropped: {', '.join(others[:SHOWN])}", AdapterWarning, stacklevel=3)
        return {}
    if rest == "refuse":
        raise IncompatibleError(
            f"{len(others)} tensors changed that are no weights of Linear layers: {', '.join(others[:SHOWN])}",
            hint="keep them whole in the adapter with --rest keep, or leave them out with --rest drop",
            code="E-REST",
        )
    for name in others:
        if not name.endswith((WEIGHT, ".bias")):
            raise IncompatibleError(
                "changed, and is a parameter that no adapter can hold", tensor=name, hint="leave it out with --rest drop", code="E-REST"
            )
    modules = {name.rpartition(".")[0] for name in others}
    whole = {
        name: name
        for name in tuned.layout
        if name in others or (name.rpartition(".")[0] in modules - adapted and name.endswith((WEIGHT, ".bias")))
    }
    check_untied({name: tuned.layout[name] for name in whole}, tuned.layout, tuned.config)
    tied = head_of(tuned.layout, tuned.config)
    if tied and tied[1] in whole:
        whole[tied[0]] = tied[1]
    return whole


def _config(base: Checkpoint, config: Mapping[str, Any]) -> AdapterConfig:
    causal = any(name.endswith("ForCausalLM") for name in architectures(config))
    fields = {"task_type": "CAUSAL_LM"} if causal else {}
    if isinstance(base.history, Source) and base.history.remote:
        return AdapterConfig(base.history.remote.reference, base.history.remote.revision, fields=fields)
    return AdapterConfig(str(base.files.path) if base.files else None, fields=fields)
