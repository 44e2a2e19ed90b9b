"""Which modules diffusers finds the weights of when a pipeline loads a file, by `conversions`, and by its own names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from adapterops.formats.diffusion.conversions import CONVERSIONS, GIVEN, IGNORED, LEFT, NEEDED, STOP, Conversion
from adapterops.formats.diffusion.known_names import KOHYA, LYCORIS, ONE_TRAINER, PEFT, KnownNames
from adapterops.formats.diffusion.layers import missing
from adapterops.formats.diffusion.taken import BLOCK, IN_PIPELINE, Found, Module

TAKEN, CHANGED = "taken", "changed"
"""What becomes of a module, besides what `conversions` says: it is loaded, or loaded as something else."""

OF_KOHYA = (KOHYA, LYCORIS, ONE_TRAINER)
"""Before names that it has to convert, of which it loads none of a model that is not known."""


def by_diffusers(
    modules: Mapping[str, Module],
    known: Collection[KnownNames],
    there: Collection[str] = (),
    alphas: Collection[str] = (),
) -> Found:
    """What diffusers loads, of models that may be meant, and of a base with the names `there`; and whether it ends with an error.

    Args:
        alphas: the modules that have one.
    """
    every = {names.model: _of_model(CONVERSIONS.get(names.model, ()), modules, there, alphas) for names in known}
    every = every or {"": _of_none(modules, there, alphas)}
    judged = {module: {found[module] for found in every.values()} for module in modules}
    stops = all(STOP in found.values() for found in every.values())
    unsure = tuple(module for module, found in judged.items() if len(found) > 1 or "" in found)
    shown = tuple(every) if unsure and known else ()
    if stops:
        return Found(tuple(module for module, found in judged.items() if STOP in found), (), (), stops=True)
    if any(STOP in found.values() for found in every.values()):  # all of it is refused, or not
        return Found((), tuple(modules), shown)
    left, changed = (tuple(m for m, found in judged.items() if found == {each}) for each in (LEFT, CHANGED))
    return Found(left, unsure, shown, changed=changed)


def _of_model(
    conversions: Sequence[Conversion], modules: Mapping[str, Module], there: Collection[str], alphas: Collection[str]
) -> dict[str, str]:
    """What becomes of every module, of one model."""
    spelled = [each.spelled for each in modules.values()] + [f"{each}.alpha" for each in alphas]
    usable = [each for each in conversions if any(re.search(each.needs, name) for name in spelled)]
    absent = missing({each.key for each in modules.values() if each.key not in there})
    found = {}
    for name, module in modules.items():
        conversion = next(_fitting(usable, module), None)
        layer = module.key in there or (absent is not None and module.key not in absent)
        found[name] = _outcome(conversion, module, layer, name in alphas)
        if conversion and found[name] == TAKEN and _incomplete(conversion, modules):
            found[name] = STOP
    none = TAKEN not in found.values() and CHANGED not in found.values()
    return {name: (STOP if none else LEFT) if each == GIVEN else each for name, each in found.items()}


def _fitting(conversions: Sequence[Conversion], module: Module) -> Iterator[Conversion]:
    """The conversions of names that begin so, those first that have this one."""
    own = [each for each in conversions if module.prefix in each.starts and each.factors in module.spelled]
    yield from (each for each in own if re.fullmatch(f"{each.takes}|{each.left}|{each.changes}", module.key))
    yield from own


def _outcome(conversion: Conversion | None, module: Module, layer: bool, alpha: bool) -> str:
    if conversion is None:
        return _unconverted(module, layer, alpha)
    if (conversion.alpha == STOP and alpha) or (conversion.alpha == NEEDED and not alpha):
        return STOP
    if re.fullmatch(conversion.takes, module.key) or (conversion.layers and layer):
        return CHANGED if conversion.alpha == IGNORED and alpha else TAKEN
    if re.fullmatch(conversion.changes, module.key):
        return CHANGED
    return LEFT if re.fullmatch(conversion.left, module.key) else conversion.others


def _unconverted(module: Module, layer: bool, alpha: bool) -> str:
    """What becomes of a name as it is: each has to have `lora` in it."""
    if alpha and "lora" not in module.prefix:
        return STOP
    if module.prefix in IN_PIPELINE:
        return STOP if ".lora_down." in module.spelled else TAKEN if layer else GIVEN
    return STOP if module.prefix.startswith(IN_PIPELINE) and module.prefix.endswith(PEFT) else LEFT


def _of_none(modules: Mapping[str, Module], there: Collection[str], alphas: Collection[str]) -> dict[str, str]:
    """Of no model that is known; what is empty depends on it."""
    found = _of_model((), modules, there, alphas)
    named = bool(there) or missing({each.key for each in modules.values()}) is not None

    def settled(name: str, prefix: str) -> bool:
        own = prefix.startswith(IN_PIPELINE) and (named or prefix not in IN_PIPELINE)
        return name not in alphas and (own or prefix in OF_KOHYA)

    return {name: each if settled(name, modules[name].prefix) else "" for name, each in found.items()}


def _incomplete(conversion: Conversion, modules: Mapping[str, Module]) -> bool:
    """Whether a block, from the first to the last, lacks something that has to be there."""
    keys = {module.key for module in modules.values()}
    last: dict[str, int] = {}
    for block in filter(None, map(BLOCK.match, keys)):
        last[block["root"]] = max(last.get(block["root"], 0), int(block["number"]))
    return any(
        f"{root}_{number}_{each}" not in keys
        for root, names in conversion.every.items()
        for number in range(last.get(root, -1) + 1)
        for each in names
    )
