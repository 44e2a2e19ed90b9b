"""How an adapter becomes files that PEFT loads: whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adapterops import engine
from adapterops.adapter import Adapter
from adapterops.dtypes import FLOATS
from adapterops.errors import IncompatibleError, OptionError, at
from adapterops.formats.adapter_files import CONFIG, WEIGHTS
from adapterops.formats.peft import PREFIX
from adapterops.formats.peft_config import write_config
from adapterops.formats.stacks import keys, shapes, stacks, together
from adapterops.history import sources
from adapterops.manifest import described, write_bytes, write_json, write_manifest
from adapterops.memory import Scratch
from adapterops.storage.safetensors import Spec
from adapterops.storage.staging import check_output, staged
from adapterops.storage.writer import write_safetensors
from adapterops.updates.layout import Layout, widest

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array, Linear


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

    def factors(module: str) -> tuple[str, Array, Array, float, float]:
        with at(tensor=module):
            return _factors(module, adapter.updates[module], adapter.layout[module], dtypes[stack_of[module]], exact)

    with engine.background() as background, staged(out, force=force) as folder:
        hashes = background.submit(lambda: [source.as_json() for source in inputs])

        def tensors() -> Any:
            found: dict[str, tuple[Array, Array]] = {}
            for module, A, B, norm, error in results:
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

        with closing(engine.run(factors, chain(*groups.values()), workers=workers, progress=progress)) as results:
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
        write_manifest(folder, adapter.history, hashed, command, _kept(adapter, saved, exact), outputs, torch=False)
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


def _whole(adapter: Adapter) -> Iterator[tuple[str, Array]]:
    return ((_saved_as(adapter, tensor), stored.file.array(stored.name)) for tensor, stored in adapter.replaced.items())


def _saved_as(adapter: Adapter, tensor: str) -> str:
    """PEFT's name of a whole tensor: the bias of an adapted module lies inside what wraps it."""
    module, _, role = tensor.rpartition(".")
    return f"{PREFIX}{module}.base_layer.{role}" if module in adapter.layout else PREFIX + tensor


def _energy(norm: float, error: float) -> float:
    return 1.0 if error == 0 else norm**2 / (norm**2 + error**2)


def _factors(module: str, update: Linear, layout: Layout, dtype: str, exact: bool) -> tuple[str, Array, Array, float, float]:
    """The tensors to write, rounded once, with the norm of what they hold and the error it has."""
    from adapterops.floats import checked
    from adapterops.linalg.factor import reduced

    found = reduced(update, layout.rank, exact)
    stored = []
    for role, factor in (("A", found.A), ("B", found.folded())):
        try:
            stored.append(checked(factor, dtype, Scratch()))
        except IncompatibleError as error:
            raise IncompatibleError(f"{role}: {error.message}", hint="save it wider: --dtype F32", code="E-OVERFLOW") from None
    return module, stored[0], stored[1], found.norm(), found.error
