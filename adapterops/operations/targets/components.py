"""An adapter for a pipeline of several models: which component each of its modules is in.

diffusers puts the component first (`unet.down_blocks...`); an adapter of one component alone begins inside of that. Names
that say their part in another way (`lora_te_text_model...`) are found in the whole of the pipeline.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import name
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import IncompatibleError, OptionError, count
from adapterops.formats.diffusion.flat import DENOISER, flat, without_part
from adapterops.formats.diffusion.spellings import is_underscored
from adapterops.formats.models.architectures import WEIGHT
from adapterops.formats.models.naming import Names
from adapterops.operations.targets.families import elsewhere
from adapterops.storage.lazy import Lazy
from adapterops.storage.strict import read_json
from adapterops.storage.tensors import Spec, kernel


def in_components(adapter: Adapter, base: Checkpoint, component: str | None = None) -> Adapter:
    """The adapter by the names that a pipeline has for its modules; by its own, where the base is a single model.

    Args:
        component: the one that modules are in whose names do not say it; by default the only one that has all of them.

    Raises:
        OptionError: there is no such component, or the base is no pipeline.
        IncompatibleError: the modules may be in several components, or are in none; or they are of a transformer, of which
            there are several, and `component` is none of these.
    """
    there = list(base.files.components) if base.files else []
    if component is not None and component not in there:
        found = f"it is a pipeline of {', '.join(there)}" if there else "it is a single model"
        raise OptionError(
            f"the base has no component {component!r}: {found}", hint="leave --component out" if not there else None
        )
    if not there:
        return adapter
    parts = {each: _part(base, each) for each in there}
    placed = {module for module in adapter.layout if module.partition(".")[0] in there}
    parted = {module: flat(module).part for module in adapter.layout if module not in placed}
    denoised = _of_one_denoiser(
        {module for module, part in parted.items() if part == DENOISER}, there, component, adapter
    )
    known = {module for module, part in parted.items() if part and module not in denoised}
    bare = {module: adapter.layout[module].shape for module, part in parted.items() if not part}
    if bare and component is None:
        component = _only(bare, parts, adapter)
    names = {module: module for module in known} | {
        module: f"{component}.{module if is_underscored(module) else without_part(module)}" for module in denoised
    }
    for each, part in parts.items():
        own = {module.removeprefix(f"{each}."): module for module in adapter.layout if module.startswith(f"{each}.")}
        own |= {module: module for module in bare if each == component}
        tensors = _tensors({inner: adapter.layout[module].shape for inner, module in own.items()}, part)
        names |= {module: f"{each}.{tensors.get(inner, inner)}" for inner, module in own.items()}
    modules = {new: old for old, new in names.items()}
    inside = {new.partition(".")[0] for new in modules} & parts.keys()
    layout = {new: adapter.layout[old] for new, old in sorted(modules.items())}
    return replace(
        adapter,
        updates=Lazy(layout, lambda module: adapter.updates[modules[module]]),
        layout=layout,
        scalings={names[module]: each for module, each in adapter.scalings.items()},
        full={
            tensor if tensor.partition(".")[0] in there else f"{component}.{tensor}": stored
            for tensor, stored in adapter.full.items()
        },
        config=replace(adapter.config, components=tuple(sorted(inside))),
    )


def _of_one_denoiser(
    modules: Collection[str], components: Collection[str], component: str | None, adapter: Adapter
) -> Collection[str]:
    """The modules that are in `component` because that is one of several transformers, as those of Wan 2.2 for the first and
    the last steps are, and their names (`diffusion_model.`, `lora_unet_`) say no more than that they are of one.

    Raises:
        IncompatibleError: there are several, and none is named.
    """
    denoisers = [each for each in components if flat(f"{each}.x").part.startswith(DENOISER)]
    if not modules or len(denoisers) < 2:
        return ()
    if component in denoisers:
        return modules
    raise IncompatibleError(
        f"names no component, and the pipeline has {' and '.join(denoisers)}, which are alike",
        path=name(adapter),
        tensor=min(modules),
        hint=f"name the one it was trained on: --component {denoisers[0]}, or --component {denoisers[1]}",
        code="E-NAMES",
    )


def _part(base: Checkpoint, component: str) -> tuple[Mapping[str, Spec], Mapping[str, Any] | None]:
    """The tensors of a component by its own names, and its config."""
    prefix = f"{component}."
    layout = {tensor.removeprefix(prefix): spec for tensor, spec in base.layout.items() if tensor.startswith(prefix)}
    assert base.files
    path = base.files.path / component / "config.json"
    config = read_json(path) if path in base.files.others and path.exists() else None
    return layout, config if isinstance(config, dict) else None


def _tensors(
    modules: Mapping[str, tuple[int, int]], part: tuple[Mapping[str, Spec], Mapping[str, Any] | None]
) -> dict[str, str]:
    """Module → the module of a component that it is, where there is exactly one of its shape."""
    layout, config = part
    names = Names(layout, config, modules)
    found = {
        module: [each.tensor for each in names.candidates(module) if each.start == each.tensor] for module in modules
    }
    return {
        module: tensors[0].removesuffix(WEIGHT)
        for module, tensors in found.items()
        if len(tensors) == 1 and _fits(layout[tensors[0]].shape, modules[module])
    }


def _count(modules: Mapping[str, tuple[int, int]], part: tuple[Mapping[str, Spec], Mapping[str, Any] | None]) -> int:
    """How many modules a component has, by its own names or by another program's."""
    names, found = Names(*part, modules), _tensors(modules, part)
    rows = {flat(module).key: shape[0] for module, shape in modules.items()}
    others = 0
    for module in modules.keys() - found.keys():
        with suppress(IncompatibleError):  # which has it, and in another size
            others += bool(elsewhere(module, modules[module], rows, names))
    return len(found) + others


def _fits(stored: tuple[int, ...], shape: tuple[int, int]) -> bool:
    """Whether a weight, which may be a kernel, is of the shape of a module, either way round."""
    return sorted(kernel(stored) if len(stored) > 2 else stored) == sorted(shape)


def _only(
    modules: Mapping[str, tuple[int, int]],
    parts: Mapping[str, tuple[Mapping[str, Spec], Mapping[str, Any] | None]],
    adapter: Adapter,
) -> str:
    """The component that has all of these modules."""
    counts = {component: _count(modules, part) for component, part in parts.items()}
    whole = [component for component, found in counts.items() if found == len(modules)]
    if len(whole) == 1:
        return whole[0]
    shown = ", ".join(f"{component} {found}" for component, found in counts.items())
    raise IncompatibleError(
        f"names no component, and {' and '.join(whole)} have modules of these names and shapes"
        if whole
        else f"names no component, and none has all of its {count(len(modules), 'module')}: {shown}",
        path=name(adapter),
        tensor=next(iter(modules)),
        hint=f"name the one it was trained on: --component {whole[0] if whole else max(counts, key=lambda each: counts[each])}",
        code="E-NAMES",
    )
