"""An opened adapter: module name → weight update, read when asked for. Mathematics and storage meet here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from adapterops import engine
from adapterops.dtypes import FLOATS
from adapterops.errors import IncompatibleError, InputError, OptionError, ShapeError, UnsupportedError, at
from adapterops.finite import all_finite
from adapterops.formats.adapter_files import CONFIG, WEIGHTS, read_files
from adapterops.formats.experts import check_alike
from adapterops.formats.peft import PREFIX
from adapterops.formats.peft_config import AdapterConfig, Scaling, combine, write_config
from adapterops.formats.stacks import keys, shapes, stacks, together
from adapterops.history import Source, Step, sources
from adapterops.manifest import described, write_bytes, write_json, write_manifest
from adapterops.memory import Scratch
from adapterops.storage.lazy import Lazy
from adapterops.storage.place import Place
from adapterops.storage.safetensors import Spec, Stored
from adapterops.storage.staging import check_output, staged
from adapterops.storage.writer import write_safetensors
from adapterops.updates.layout import Layout, widest

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.floats import Array
    from adapterops.updates.dense import Dense
    from adapterops.updates.factors import Factors
    from adapterops.updates.lowrank import LowRank

    Update: TypeAlias = LowRank | Dense


HELD = 8
"""How many B's of all experts of a parameter stay in memory, so that they are not read anew for each expert."""


class Factored(Lazy["Update"]):
    """Updates of low rank whose factors can also be had in numpy, without torch: `factors(module, dtype)`."""

    def __init__(self, keys: Iterable[str], compute: Callable[[str], Update], factors: Callable[[str, str], Factors]) -> None:
        super().__init__(keys, compute)
        self.factors = factors


@dataclass(frozen=True, eq=False)
class Adapter:
    """A mapping from module names to weight updates. `+`, `-` and scalar `*` are exact, and lazy.

    Attributes:
        updates: module name → update, computed on every access; a module that is missing is zero.
        layout: module name → shape, rank and dtype, known without reading any tensor.
        config: base model and whatever else is passed on.
        history: the inputs and operations it is made of.
        scalings: as found in the files, for an adapter as it was opened.
        replaced: whole tensors that take the place of the base's (trained norms, embeddings, biases), by their names in the
            model. They can be kept or fused, and neither scaled nor added.
    """

    updates: Mapping[str, Update]
    layout: Mapping[str, Layout]
    config: AdapterConfig = field(default_factory=AdapterConfig)
    history: Step | Source = field(default_factory=lambda: Step("memory"))
    scalings: Mapping[str, Scaling] = field(default_factory=dict)
    replaced: Mapping[str, Stored] = field(default_factory=dict)

    @classmethod
    def of(cls, updates: Mapping[str, Update], config: AdapterConfig | None = None) -> Adapter:
        """An adapter of updates that are in memory."""
        from adapterops.updates.lowrank import LowRank

        names = {f"torch.{long}": short for short, long in FLOATS.items()}
        layout = {
            module: Layout(update.shape, update.rank, widest([names[str(update.A.dtype)], names[str(update.B.dtype)]]))
            if isinstance(update, LowRank)
            else Layout(update.shape, min(update.shape), names[str(update.weight.dtype)], dense=True)
            for module, update in sorted(updates.items())
        }
        return cls(dict(sorted(updates.items())), layout, config or AdapterConfig())

    @property
    def light(self) -> bool:
        """Whether its updates can be computed without torch."""
        return isinstance(self.updates, Factored)

    def factors(self, module: str, dtype: str) -> Factors:
        """The update of a module in numpy, in float32 or float64, of a `light` adapter."""
        assert isinstance(self.updates, Factored)
        return self.updates.factors(module, dtype)

    def map(self, operation: Step, layout: Mapping[str, Layout], function: Callable[[str, Any], Any], *, linear: bool = False) -> Adapter:
        """The adapter whose update of each module in `layout` is `function` of this one's.

        Args:
            linear: the function does nothing but scale, which `Factors` can do as well.
        """

        def compute(module: str) -> Update:
            with at(tensor=module):
                update: Update = function(module, self.updates[module])
                return update

        updates: Mapping[str, Update] = Lazy(layout, compute)
        if linear and isinstance(self.updates, Factored):
            factors = self.updates.factors
            updates = Factored(layout, compute, lambda module, dtype: function(module, factors(module, dtype)))
        return replace(self, updates=updates, layout=layout, history=operation, scalings={})

    def __add__(self, other: Adapter) -> Adapter:
        """The sum of the updates; ranks add up."""
        return combined([self, other], Step("add", {}, (self.history, other.history)), sum_of, linear=True)

    def __mul__(self, factor: float) -> Adapter:
        factor = float(factor)
        if factor != 1:
            check_linear(self, "scaled")
        step = Step("scale", {"by": factor}, (self.history,))
        return self.map(step, self.layout, lambda _, update: factor * update, linear=True)

    __rmul__ = __mul__

    def __neg__(self) -> Adapter:
        return -1.0 * self

    def __sub__(self, other: Adapter) -> Adapter:
        return self + -other

    def __repr__(self) -> str:
        return f"<Adapter of {len(self.layout)} modules on {self.config.base_model or 'an unknown base'}>"


def sum_of(updates: Sequence[Any]) -> Any:
    first, *rest = updates
    for update in rest:
        first = first + update
    return first


def combined(
    adapters: Sequence[Adapter],
    step: Step,
    function: Callable[[list[Any]], Any],
    *,
    linear: bool = False,
    allow_base_mismatch: bool = False,
) -> Adapter:
    """The adapter whose update of each module is `function` of those that have it, over all modules of any.

    Args:
        linear: the function does nothing but scale and add, which `Factors` can do as well.
    """
    if len(adapters) > 1:
        for adapter in adapters:
            check_linear(adapter, "added")
    config = combine([a.config for a in adapters], [name(a) for a in adapters], allow_base_mismatch=allow_base_mismatch)
    for adapter in adapters:
        check_alike(name(adapter), adapter.layout, adapter.config.experts, config.experts)
    layout = {module: joint(adapters, module) for module in sorted({module for a in adapters for module in a.layout})}

    def compute(module: str) -> Update:
        with at(tensor=module):
            update: Update = function([adapter.updates[module] for adapter in adapters if module in adapter.layout])
            return update

    def factors(module: str, dtype: str) -> Factors:
        found: Factors = function([adapter.factors(module, dtype) for adapter in adapters if module in adapter.layout])
        return found

    light = linear and all(adapter.light for adapter in adapters)
    updates = Factored(layout, compute, factors) if light else Lazy(layout, compute)
    return Adapter(updates, layout, config, step, replaced=_common(adapters))


def check_linear(adapter: Adapter, what: str) -> None:
    """Raise UnsupportedError for an adapter that has more than updates, which alone can be `what`: added or scaled."""
    trained = [tensor for tensor in adapter.replaced if tensor not in _under_updates(adapter)]
    if trained:
        raise UnsupportedError(
            f"has whole trained tensors (modules_to_save or biases), which replace the base's and cannot be {what}",
            path=name(adapter),
            tensor=trained[0],
            hint="fuse it into its base by itself, or train without them",
        )


def _under_updates(adapter: Adapter) -> set[str]:
    """The weights in `replaced` that an update is added to: PEFT saves those of output embeddings, which are the base's."""
    return {tensor for tensor in adapter.replaced if tensor.removesuffix(".weight") in adapter.layout}


def _common(adapters: Sequence[Adapter]) -> dict[str, Stored]:
    """The whole tensors of all adapters, which have to be the same ones."""
    found = dict(adapters[0].replaced)
    for adapter in adapters[1:]:
        for tensor, stored in adapter.replaced.items():
            if not found.setdefault(tensor, stored).same_bytes(stored):
                raise UnsupportedError(
                    f"is whole in several adapters, and not the same in {name(adapter)}: only its update could be added",
                    tensor=tensor,
                    hint="the adapters were trained on different bases, or with new tokens",
                )
    return found


def joint(adapters: Sequence[Adapter], module: str) -> Layout:
    """The layout of a sum: the shape that all share, the sum of the ranks, the widest dtype.

    Raises:
        ShapeError: the shapes differ.
    """
    present = [(adapter, adapter.layout[module]) for adapter in adapters if module in adapter.layout]
    if len({layout.shape for _, layout in present}) > 1:
        places = "; ".join(f"{name(adapter)}: {list(layout.shape)}" for adapter, layout in present)
        raise ShapeError(f"the adapters have different shapes: {places}", tensor=module, hint="they were trained on different base models")
    layouts = [layout for _, layout in present]
    return Layout(
        layouts[0].shape,
        sum(layout.rank for layout in layouts),
        widest([layout.dtype for layout in layouts]),
        any(layout.dense for layout in layouts),
    )


def name(adapter: Adapter) -> str:
    """How messages call an adapter: by the path it was opened from."""
    history = adapter.history
    while isinstance(history, Step) and history.operation == "scale":
        history = history.inputs[0]
    return history.name if isinstance(history, Source) else f"({history.operation})"


def open_adapter(source: str | os.PathLike[str] = ".", *, alpha: float | None = None, allow_nonfinite: bool = False) -> Adapter:
    """The adapter in a folder or a safetensors file. Reads and checks the headers; tensors are read when asked for.

    Args:
        source: a folder that PEFT saved an adapter to, or one that holds such a folder, or a safetensors file.
        alpha: the lora_alpha of a file that does not say it.
        allow_nonfinite: take NaN and infinite numbers for what they are instead of refusing them.

    Raises:
        NotFoundError, InputError, UnsupportedError: as `read_files` does.
    """
    place = Place.of(source)
    files = read_files(place, alpha)
    layout = {module: files.layout(module) for module in files.pairs}

    dtypes = {name: entry.dtype for name, entry in files.file.entries.items()}

    def read(name: str, rows: tuple[int, int] | None = None) -> Array:
        return _finite(Stored(files.file, name), allow_nonfinite, rows)

    read_once = lru_cache(HELD)(read)

    def update(module: str, kind: Callable[[Any, Any, float], Any], number: Callable[[Array, str], Any]) -> Any:
        pair = files.pairs[module]
        if pair.experts == 1:
            B, A = read(pair.B), read(pair.A)
        else:
            B = read_once(pair.B)[:, pair.expert :: pair.experts].copy()
            A = read(pair.A, (pair.expert * pair.rank, (pair.expert + 1) * pair.rank))
        found = kind(number(B, dtypes[pair.B]), number(A, dtypes[pair.A]), files.scalings[module].scale)
        return found.T if pair.turned else found

    def compute(module: str) -> Update:
        from adapterops.floats import tensor
        from adapterops.updates.lowrank import LowRank

        found: Update = update(module, LowRank, tensor)
        return found

    def factors(module: str, dtype: str) -> Factors:
        from adapterops.floats import widened
        from adapterops.updates.factors import Factors

        found: Factors = update(module, Factors, lambda stored, name: widened(stored, name, Scratch()).astype(dtype, copy=False))
        return found

    return Adapter(
        Factored(layout, compute, factors),
        layout,
        files.config,
        Source(place.path, (files.file,), files.paths[1:], alpha, place.remote),
        files.scalings,
        {tensor: Stored(files.file, name) for tensor, name in files.replaced.items()},
    )


def _finite(tensor: Stored, allow: bool, rows: tuple[int, int] | None) -> Array:
    from adapterops.floats import finite

    values = tensor.file.array(tensor.name, rows)
    if not allow and not (fine := finite(values, tensor.spec.dtype)).all():
        raise InputError(
            f"has {fine.size - fine.sum()} numbers that are NaN or infinite",
            path=tensor.file.path,
            tensor=tensor.name,
            hint="the training diverged; use another checkpoint, or take them as they are with --allow-nonfinite",
            code="E-NONFINITE",
        )
    return values


@dataclass(frozen=True)
class Kept:
    """What was saved of one module: its rank, ‖ΔW‖_F, and the fraction of ‖ΔW‖_F² that was kept."""

    rank: int
    norm: float
    energy: float


@dataclass(frozen=True)
class Saved:
    """What `save_adapter` did. `dropped`: modules of which nothing was worth keeping."""

    path: Path
    modules: Mapping[str, Kept]
    dropped: tuple[str, ...]
    bytes: int
    energy: float
    """The fraction of Σ‖ΔW‖_F² over all modules that was kept."""


def save_adapter(
    adapter: Adapter,
    out: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    exact: bool = False,
    force: bool = False,
    command: Sequence[str] = (),
    extra: Mapping[str, bytes] | None = None,
    workers: int | None = None,
    progress: engine.Progress | None = None,
) -> Saved:
    """Write an adapter as a folder that PEFT loads: tensors, config, and the manifest. It appears whole, or not at all.

    A dense update is saved as its best approximation of the rank in the layout; what that loses is in the result. The experts
    of one parameter all get the largest rank among them, with zeros: PEFT has one for all.

    Args:
        dtype: F64, F32, F16 or BF16; by default the widest of the inputs.
        exact: approximate dense updates by a full SVD and not by a randomized one.
        force: replace an output of adapterops that is there.
        command: the command line to note in the manifest.
        extra: other files to write, name → content, asked for at the end.

    Raises:
        OutputExistsError, OptionError, ResourceError: as `staged` and `check_output` do.
        IncompatibleError: a number does not fit `dtype`.

    Cost: memory for the largest module per worker, and for the factors of all experts of one parameter.
    """
    out = Path(out)
    if not adapter.layout:
        raise OptionError("the adapter has no modules to save", path=out)
    if dtype is not None and dtype not in FLOATS:
        raise OptionError(f"--dtype must be one of {', '.join(FLOATS)}, got {dtype!r}")
    inputs = sources(adapter.history)
    check_output(out, [path for source in inputs for path in source.paths], force)
    for source in inputs:
        source.fetch()
    groups, experts, dtypes, plan = _plan(adapter, dtype)
    stack_of = {module: stack for stack, group in groups.items() for module in group}
    modules: dict[str, Kept] = {}
    ranks: dict[str, int] = {}
    errors: dict[str, float] = {}

    def factors(module: str) -> tuple[str, Tensor, Tensor, float, float]:
        with at(tensor=module):
            return _factors(module, adapter.updates[module], adapter.layout[module], dtypes[stack_of[module]], exact)

    with engine.background() as background, staged(out, force=force) as folder:
        hashes = background.submit(lambda: [source.as_json() for source in inputs])

        def tensors() -> Any:
            found: dict[str, tuple[Tensor, Tensor]] = {}
            for module, A, B, norm, error in engine.run(factors, chain(*groups.values()), workers=workers, progress=progress):
                errors[module] = error
                modules[module] = Kept(A.shape[0], norm, _energy(norm, error))
                found[module] = A, B
                stack = stack_of[module]
                if len(found) == len(groups[stack]):
                    *both, rank = together(stack, found, experts)
                    found = {}
                    if rank:
                        ranks[stack] = rank
                        yield from zip(keys(stack, experts), both, strict=True)

        write_safetensors(folder / WEIGHTS, plan, chain(tensors(), _whole(adapter)), {"format": "pt"})
        config = replace(adapter.config, experts=experts)
        if len(ranks) < len(groups):
            config = replace(config, targets=None, target_parameters=None)
        if not ranks:
            raise OptionError("nothing is left to save: every module has rank 0", path=out, hint="keep more")
        write_json(folder / CONFIG, write_config(config, ranks, adapter.replaced))
        saved = Saved(
            out,
            modules,
            tuple(module for module, kept in modules.items() if not kept.rank),
            (folder / WEIGHTS).stat().st_size,
            _energy(sum(k.norm**2 for k in modules.values()) ** 0.5, sum(error**2 for error in errors.values()) ** 0.5),
        )
        hashed = hashes.result()
        for file, data in (extra or {}).items():
            write_bytes(folder / file, data)
        outputs = {file: described(folder / file) for file in (WEIGHTS, CONFIG, *(extra or {}))}
        write_manifest(folder, adapter.history, hashed, command, _kept(adapter, saved, exact), outputs)
    return saved


class _Plan(NamedTuple):
    """How an adapter lies in its file: the modules of each stack, the stacks of experts, the dtype of each stack, and the tensors."""

    groups: Mapping[str, Sequence[str]]
    experts: Mapping[str, int]
    dtypes: Mapping[str, str]
    tensors: Mapping[str, Spec]


def _plan(adapter: Adapter, dtype: str | None) -> _Plan:
    groups = stacks(adapter.layout, adapter.config.experts)
    layouts = {stack: [adapter.layout[module] for module in group] for stack, group in groups.items()}
    experts = {stack: count for stack, count in adapter.config.experts.items() if any(each.rank for each in layouts.get(stack, ()))}
    dtypes = {stack: dtype or widest([each.dtype for each in layouts[stack]]) for stack in groups}
    tensors = {
        key: Spec(dtypes[stack], shape)
        for stack in groups
        for key, shape in zip(keys(stack, experts), shapes(stack, layouts[stack], experts), strict=True)
    }
    tensors |= {_saved_as(adapter, tensor): stored.spec for tensor, stored in adapter.replaced.items()}
    return _Plan(groups, experts, dtypes, tensors)


def _kept(adapter: Adapter, saved: Saved, exact: bool) -> dict[str, Any]:
    """What the manifest says was kept."""
    dense = any(layout.dense for layout in adapter.layout.values())
    return {
        **({"svd": "exact" if exact else "randomized"} if dense else {}),
        "energy_kept": saved.energy,
        "modules": {module: {"rank": each.rank, "energy_kept": each.energy} for module, each in saved.modules.items()},
    }


def _whole(adapter: Adapter) -> Iterator[tuple[str, Tensor]]:
    return ((_saved_as(adapter, tensor), stored.tensor()) for tensor, stored in adapter.replaced.items())


def _saved_as(adapter: Adapter, tensor: str) -> str:
    """PEFT's name of a whole tensor: the bias of an adapted module lies inside what wraps it."""
    module, _, role = tensor.rpartition(".")
    return f"{PREFIX}{module}.base_layer.{role}" if module in adapter.layout else PREFIX + tensor


def _energy(norm: float, error: float) -> float:
    return 1.0 if error == 0 else norm**2 / (norm**2 + error**2)


def _factors(module: str, update: Update, layout: Layout, dtype: str, exact: bool) -> tuple[str, Tensor, Tensor, float, float]:
    """The tensors to write, rounded once, with the norm of what they hold and the error it has."""
    import torch

    from adapterops.linalg.factor import factorize, truncate
    from adapterops.updates.dense import Dense

    if isinstance(update, Dense):
        update = factorize(update, layout.rank, exact=exact)
    elif update.rank > layout.rank:
        update = truncate(update, layout.rank)
    wide = torch.promote_types(update.B.dtype, torch.float32)
    target = getattr(torch, FLOATS[dtype])
    A, B = update.A.to(target), update.folded(wide).to(target)
    for role, before, after in (("A", update.A, A), ("B", update.B, B)):
        if not all_finite(after) and all_finite(before):
            raise IncompatibleError(f"{role} has numbers too large for {dtype}", hint="save it wider: --dtype F32", code="E-OVERFLOW")
    return module, A, B, update.norm(), update.error
