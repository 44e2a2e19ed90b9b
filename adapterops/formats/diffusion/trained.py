"""What a header says of training that the scales in a file do not have: every loader reads such modules weaker."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from adapterops.errors import AdapterWarning, InputError, count
from adapterops.formats.peft.parts import Parts
from adapterops.storage.strict import parse_json
from adapterops.storage.tensors import TensorFile

SPLIT = {"qkv": 3, "linear1": 4}
"""How many parts kohya trains of a joined weight with split_qkv, by the end of its name."""

WHOLE = {"lokr_w1", "lokr_w2"}
"""The roles of LoKr of two whole matrices."""


def warn_of_training(file: TensorFile, modules: Mapping[str, Parts]) -> None:
    """Warn of modules that were trained with another scale than that which is stored, and every loader takes."""
    options = _options(file.metadata)
    for option, warned in (("split_qkv", _of_split), ("rs_lora", _of_rs_lora)):
        if str(options.get(option)).lower() == "true":
            for text in warned(modules, file.metadata):
                warnings.warn(f"{file.path.name}: {text}", AdapterWarning, stacklevel=2)


def _options(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """What the trainer was told of the network."""
    try:
        found = parse_json(metadata.get("ss_network_args", "{}").encode())
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}


def _of_split(modules: Mapping[str, Parts], metadata: Mapping[str, str]) -> Iterator[str]:
    """kohya trains the parts of a joined weight by themselves, and stores the alpha of one."""
    parts = {module: several for module in modules for end, several in SPLIT.items() if module.endswith(end)}
    if parts:
        shown = " and ".join(f"1/{several}" for several in sorted(set(parts.values())))
        yield (
            "trained with split_qkv, whose alpha is divided by the rank of all parts: the scale that is stored, and that every"
            f" loader takes, is {shown} of the one it was trained with ({_named(parts)})"
        )


def _of_rs_lora(modules: Mapping[str, Parts], metadata: Mapping[str, str]) -> Iterator[str]:
    """LyCORIS trains LoKr of two whole matrices with the square root of the dimension then, and loads it with 1."""
    whole = [module for module, parts in modules.items() if parts.tensors.keys() >= WHOLE]
    if whole:
        size = metadata.get("ss_network_dim", "")
        factor = f", {math.sqrt(int(size)):g}," if size.isdecimal() else ""
        yield (
            "trained with rs_lora, of which LoKr of two whole matrices keeps nothing: every loader takes a scale of 1, and"
            f" training had the square root of the dimension{factor} in its place ({_named(whole)})"
        )


def _named(modules: Collection[str]) -> str:
    return f"{count(len(modules), 'module')}, such as {next(iter(modules))}"
