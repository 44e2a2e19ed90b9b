"""Tensors of parts that see or hear, next to a config of a model for words alone."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from adapterops.errors import AdapterWarning, count
from adapterops.formats.models.architectures import CAUSAL, SENSES
from adapterops.formats.models.naming import classes
from adapterops.regex import Regex

OF_WORDS = (*CAUSAL, "TextModel")
"""How the names of classes end that are for words alone, where their config has no part for anything else."""

OTHER_PARTS = Regex(r"vision|visual|image|vq|audio|speech|sound|encoder")
"""What is in the names of the parts of a config that are of what sees or hears."""


def of_senses(names: Iterable[str]) -> list[str]:
    """Those that are of a part that sees or hears, or leads from that to the words.

    >>> of_senses(["model.visual.blocks.0.attn.qkv", "model.language_model.layers.0.mlp.up_proj"])
    ['model.visual.blocks.0.attn.qkv']
    """
    return [name for name in names if not SENSES.isdisjoint(name.split("."))]


def unstated(names: Collection[str], config: Mapping[str, Any] | None) -> list[str]:
    """The tensors that are of parts that see or hear by their names, where a config tells of a model for words alone.

    >>> config = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
    >>> unstated(["visual.blocks.0.attn.qkv.weight", "lm_head.weight"], config)
    ['visual.blocks.0.attn.qkv.weight']
    >>> unstated(["visual.blocks.0.attn.qkv.weight"], {**config, "vision_config": {}})
    []
    """
    config = config or {}
    stated = classes(config)
    if not stated or not all(each.endswith(OF_WORDS) for each in stated) or "auto_map" in config:
        return []
    if any(isinstance(part, Mapping) and OTHER_PARTS.search(name) for name, part in config.items()):
        return []
    return of_senses(names)


def say_unstated(model: Path, names: Collection[str], config: Mapping[str, Any] | None) -> None:
    """Warn of tensors that are `unstated` by the config of a model that is written."""
    if found := unstated(names, config):
        warnings.warn(
            f"{model}: config.json is that of {classes(config or {})[0]}, which is for words alone, and {count(len(found), 'tensor')} "
            f"are of what sees or hears, such as {found[0]}: what loads the model by this config leaves them out, and may find "
            "nothing; put the config.json of the whole model there",
            AdapterWarning,
            stacklevel=4,
        )
