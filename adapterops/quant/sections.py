"""What config.json says of how one module is quantized, where modules of a model differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from adapterops.quant.checks import foreign
from adapterops.quant.header import WEIGHT, Header
from adapterops.regex import Regex

LINEAR, EMBEDDING = "Linear", "Embedding"
EMBEDDINGS = Regex(r"(.+\.)?(\w*embed(ding|dings|_tokens|_positions)?|wte|wpe|tok_embeddings)")
"""Modules that are embeddings, by their names."""

PATTERN = "re:"


def compressed_weights(header: Header, tensor: str) -> Mapping[str, Any] | None:
    """How compressed-tensors has the weights of the module of a tensor: `weights` of the group that it falls under.

    Its name decides, then a pattern that its name begins with, then the class: that of a quantized module which no
    other target names is `Embedding` where it is called so, and `Linear` otherwise. Where all groups say the same of
    weights, that is the answer. None where the config does not tell.

    Differs: compressed-tensors asks the class of the module, which a file does not hold.
    """
    groups: Any = header.section.get("config_groups")
    if header.section.get("quant_method") != "compressed-tensors" or not isinstance(groups, dict):
        return None
    found: list[dict[str, Any]] = [
        each for each in groups.values() if isinstance(each, dict) and isinstance(each.get("weights"), dict)
    ]
    weights: list[dict[str, Any]] = [each["weights"] for each in found]
    if weights and all(each == weights[0] for each in weights):
        return weights[0]
    module = tensor.removesuffix(WEIGHT)
    kind = EMBEDDING if EMBEDDINGS.fullmatch(module) else LINEAR
    for fits in (module.__eq__, lambda target: _begins(target, module), kind.__eq__):
        fitting = [each["weights"] for each in found if any(fits(target) is True for target in _targets(each))]
        if fitting:
            return fitting[0] if all(each == fitting[0] for each in fitting) else None
    return None


def check_inputs(section: Mapping[str, Any]) -> None:
    """Raise UnsupportedError where compressed-tensors rotates what modules take in or give out: the weights that are
    stored are then not those that a model without these rotations has. Rotations of the weights alone are in their
    numbers already.
    """
    transforms = section.get("transform_config")
    groups = transforms.get("config_groups") if isinstance(transforms, dict) else None
    for each in groups.values() if isinstance(groups, dict) else ():
        for applied in each.get("apply") or () if isinstance(each, dict) else ():
            location = applied.get("location") if isinstance(applied, dict) else None
            if location not in ("weight_input", "weight_output"):
                raise foreign(f"a transform_config that changes more than weights (location {location!r})")


AUTO_ROUND = ("auto-round", "intel/auto-round")
"""What configs call models of AutoRound, which stores codes as GPTQ or AWQ does."""

PACKINGS = {"auto_round:auto_gptq": "gptq", "auto_round:auto_awq": "awq"}


def auto_round_section(header: Header, tensor: str) -> Mapping[str, Any]:
    """The section of a config of AutoRound as GPTQ or AWQ would have it for the module of a tensor; any other as it is.

    `extra_config` has what differs for single modules, by their names, or by patterns that are found anywhere in them.

    Raises:
        UnsupportedError: codes are not integers, or are packed in a way of its own; or patterns that fit say several things.
    """
    section = header.section
    if section.get("quant_method") not in AUTO_ROUND:
        return section
    section = {**section, **_extra(section.get("extra_config"), tensor)}
    packing, kind = section.get("packing_format"), section.get("data_type", "int")
    if packing not in PACKINGS or kind != "int":
        known = " and ".join(PACKINGS)
        raise foreign(f"AutoRound in another way ({kind!r} packed as {packing!r}; known is 'int' as {known})", tensor)
    sizes = {name: section.get(name) for name in ("bits", "group_size")}
    zeros = header.part(tensor, "qzeros") is not None
    return {"quant_method": PACKINGS[packing], **sizes, "zero_point": zeros}


def _extra(extra: Any, tensor: str) -> Mapping[str, Any]:
    """What an `extra_config` says of the module of a tensor: what has its name, else what has a pattern for it."""
    module, entries = tensor.removesuffix(WEIGHT), extra if isinstance(extra, dict) else {}
    found = {name: each for name, each in entries.items() if isinstance(each, dict)}
    if module in found:
        return found[module]
    fitting = [name for name in found if SPECIAL & set(name) and _fits(re.search, name, module)]
    if any(found[name] != found[fitting[0]] for name in fitting):
        raise foreign(
            f"AutoRound, whose extra_config has several patterns for this module ({', '.join(fitting)})", tensor
        )
    return found[fitting[0]] if fitting else {}


SPECIAL = frozenset("*+?^$()[]{}|\\")
"""What a pattern of AutoRound has at least one of, and a name none."""


def gptq_section(header: Header, tensor: str) -> Mapping[str, Any]:
    """The section of the config as it is for the module of a tensor, by GPTQModel's `dynamic` or for AutoRound.

    Its keys are patterns that the name begins with, after `+:`; the first that fits has the fields that differ. One
    after `-:` is for modules that are not quantized.
    """
    if header.section.get("quant_method") in AUTO_ROUND:
        return auto_round_section(header, tensor)
    dynamic = header.section.get("dynamic")
    module = tensor.removesuffix(WEIGHT)
    for pattern, fields in dynamic.items() if isinstance(dynamic, dict) else ():
        if isinstance(fields, dict) and _begins(PATTERN + pattern.removeprefix("+:"), module):
            return {**header.section, **fields}
    return header.section


def block_size(header: Header, tensor: str) -> Any:
    """Rows and columns of the blocks of a weight in 8 bits that share a scale, as the config has it; None where it does
    not say.

    modelopt's FP8_PB_WO is in blocks of 128 x 128, and MXFP8, modelopt's or that of transformers, in groups of 32 by
    definition.
    """
    if header.section.get("weight_block_size"):
        return header.section["weight_block_size"]
    if header.section.get("quant_method") == "mxfp8":
        return [1, 32]
    weights = compressed_weights(header, tensor)
    if weights and weights.get("strategy") == "block":
        size = weights.get("block_structure")
        return [int(each) for each in size.split("x")] if isinstance(size, str) and _sizes(size) else size
    if weights and weights.get("strategy") == "group":
        return [1, weights.get("group_size")]
    return {"FP8_PB_WO": [128, 128], "MXFP8": [1, 32]}.get(str(header.section.get("quant_algo")).upper())


def _sizes(text: str) -> bool:
    return re.fullmatch(r"\d{1,9}x\d{1,9}", text) is not None


def _targets(group: Mapping[str, Any]) -> list[Any]:
    targets = group.get("targets")
    return targets if isinstance(targets, list) else []


def _begins(target: Any, module: str) -> bool:
    if not isinstance(target, str) or not target.startswith(PATTERN):
        return False
    return _fits(re.match, target.removeprefix(PATTERN), module)


def _fits(how: Callable[[str, str], Any], pattern: str, module: str) -> bool:
    try:
        return how(pattern, module) is not None
    except re.error:
        return False
