"""Which modules diffusers finds the weights of when a pipeline loads a file, by `conversions`, and by its own names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from adapterops.formats.diffusion.conversions import CONVERSIONS, GIVEN, IGNORED, LEFT, NEEDED, STOP, Conversion
from adapterops.formats.diffusion.families import is_of_authors
from adapterops.formats.diffusion.known_names import KOHYA, LYCORIS, ONE_TRAINER, PEFT, KnownNames
from adapterops.formats.diffusion.layers import is_layer, missing, without_lora
from adapterops.formats.diffusion.taken import BLOCK, IN_PIPELINE, Found, Module
from adapterops.regex import Regex

TAKEN, CHANGED = "taken", "changed"
"""What becomes of a module, besides what `conversions` says: it is loaded, or loaded as something else."""

FACTOR = Regex(r"[._]lora(?:\d|_linear_layer)?[._](?:down|up|[AB])(?:\.(?:[^.]+\.)?weight)?$|\.alpha$")
OTHER = Regex(r"[._]((?:hada|lokr)_\w+|lora_\w+\.bias|lora_magnitude_vector(?:\.weight)?|[^.]+)$")
"""How the names of tensors end."""

OF_KOHYA = (KOHYA, LYCORIS, ONE_TRAINER)
"""Before names that it has to convert, of which it loads none of a model that is not known."""


def by_diffusers(
    modules: Mapping[str, Module],
    known: Collection[KnownNames],
    there: Collection[str] = (),
    tensors: Mapping[str, Collection[str]] = {},
) -> Found:
    """What diffusers loads, of models that may be meant, and of a base with the names `there`; and whether it ends with an error.

    Args:
        tensors: the names of all tensors of a module; by default the one that is known of it.
    """
    tensors = {name: tensors.get(name, (each.spelled,)) for name, each in modules.items()}
    every = {names.model: _of_model(CONVERSIONS.get(names.model, ()), modules, there, tensors) for names in known}
    every = every or {"": _of_none(modules, there, tensors)}
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
    conversions: Sequence[Conversion],
    modules: Mapping[str, Module],
    there: Collection[str],
    tensors: Mapping[str, Collection[str]],
) -> dict[str, str]:
    """What becomes of every module, of one model."""
    every = [name for names in tensors.values() for name in names]
    usable = [each for each in conversions if any(re.search(each.needs, name) for name in every)]
    own, elsewhere = _layers(there)
    absent = missing({each.key for each in modules.values() if each.key not in own}) if elsewhere else None
    found = {}
    for name, module in modules.items():
        conversion = next(_fitting(usable, module), None)
        layer = module.key in own or (absent is not None and module.key not in absent)
        found[name] = _outcome(conversion, module, layer, tensors[name])
        if found[name] in (TAKEN, GIVEN) and without_lora(module.key):
            found[name] = STOP
        if conversion and found[name] == TAKEN and _incomplete(conversion, modules):
            found[name] = STOP
    none = TAKEN not in found.values() and CHANGED not in found.values()
    return {name: (STOP if none else LEFT) if each == GIVEN else each for name, each in found.items()}


def _layers(there: Collection[str]) -> tuple[Collection[str], bool]:
    """The names in a base that are those of layers of diffusers, and whether models may have others: a base by its authors'
    names has none of them, as it is converted when it is loaded, and one in the names of diffusers has all.

    >>> _layers(["layers_0_attention_qkv", "layers_0_attention_out", "layers_0_feed_forward_w1"])
    ((), True)
    >>> _layers(["layers_0_attn_to_q"])
    (['layers_0_attn_to_q'], False)
    """
    authors, own = (set(filter(known, there)) for known in (is_of_authors, is_layer))
    return ((), True) if len(authors) > len(own) else (there, not own or not authors <= own)


def _fitting(conversions: Sequence[Conversion], module: Module) -> Iterator[Conversion]:
    """The conversions of names that begin so, those first that have this one."""
    spelled = module.spelled.replace("lora_B", "lora_A").replace("lora_up", "lora_down")
    own = [each for each in conversions if module.prefix in each.starts and each.factors in spelled]
    yield from (each for each in own if re.fullmatch(f"{each.takes}|{each.left}|{each.changes}", module.key))
    yield from own


def _outcome(conversion: Conversion | None, module: Module, layer: bool, names: Collection[str]) -> str:
    if conversion is None:
        return _unconverted(module, layer, names)
    alpha = any(name.endswith(".alpha") for name in names)
    if (conversion.alpha == STOP and alpha) or (conversion.alpha == NEEDED and not alpha):
        return STOP
    if not all(re.fullmatch(conversion.also, end[1]) for end in _others(names)):
        return STOP
    if re.fullmatch(conversion.takes, module.key) or (conversion.layers and layer):
        return CHANGED if conversion.alpha == IGNORED and alpha else TAKEN
    if re.fullmatch(conversion.changes, module.key):
        return CHANGED
    return LEFT if re.fullmatch(conversion.left, module.key) else conversion.others


def _others(names: Collection[str]) -> Iterator[re.Match[str]]:
    """The ends of names of tensors that are no factors of LoRA, and no alpha."""
    yield from (found for name in names if not FACTOR.search(name) and (found := OTHER.search(name)))


def _unconverted(module: Module, layer: bool, names: Collection[str]) -> str:
    """What becomes of a name as it is: each has to have `lora` in it, but for lengths, which are left out before."""
    if any("lora" not in name and not name.endswith(".dora_scale") for name in names):
        return STOP
    if module.prefix in IN_PIPELINE:
        return STOP if ".lora_down." in module.spelled else TAKEN if layer else GIVEN
    return STOP if module.prefix.startswith(IN_PIPELINE) and module.prefix.endswith(PEFT) else LEFT


def _of_none(
    modules: Mapping[str, Module], there: Collection[str], tensors: Mapping[str, Collection[str]]
) -> dict[str, str]:
    """Of no model that is known; what is empty depends on it."""
    found = _of_model((), modules, there, tensors)
    named = bool(there) or missing({each.key for each in modules.values()}) is not None

    def settled(name: str, prefix: str) -> bool:
        own = prefix.startswith(IN_PIPELINE) and (named or prefix not in IN_PIPELINE)
        return (own or prefix in OF_KOHYA) and all(map(FACTOR.search, tensors[name]))

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
