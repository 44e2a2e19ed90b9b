"""What a model in memory calls a tensor that a file has under an older name: PEFT loads by the names in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEXT = "model.language_model."
OWN = {"layers", "embed_tokens", "norm"}
"""What a language model consists of."""

RENAMED = {
    **dict.fromkeys(("mixtral", "minimax", "minimax_m2", "phimoe", "kimi_linear"), ((".block_sparse_moe.", ".mlp."),)),
    "gpt_neox": (("embed_out", "lm_head"),),
}
"""Types of models → what is called otherwise in memory."""


def in_memory(name: str, config: Mapping[str, Any] | None) -> str:
    """The name of a module or tensor in the model that transformers makes of a checkpoint.

    >>> config = {"architectures": ["LlavaForConditionalGeneration"], "text_config": {}, "vision_config": {}}
    >>> in_memory("language_model.model.layers.0.mlp.up_proj", config), in_memory("language_model.lm_head", config)
    ('model.language_model.layers.0.mlp.up_proj', 'lm_head')
    >>> in_memory("model.layers.0.mlp.up_proj", {"architectures": ["LlamaForCausalLM"]})
    'model.layers.0.mlp.up_proj'
    """
    config = config or {}
    for before, after in RENAMED.get(str(config.get("model_type")), ()):
        name = name.replace(before, after)
    named = config.get("architectures")
    several = "text_config" in config and ("vision_config" in config or "audio_config" in config)
    if (
        not several
        or not isinstance(named, list)
        or not str(next(iter(named), "")).endswith("ForConditionalGeneration")
    ):
        return name
    for prefix in ("language_model.model.", "model."):
        rest = name.removeprefix(prefix)
        if rest != name and rest.partition(".")[0] in OWN:
            return TEXT + rest
    if name.startswith("language_model.lm_head"):
        return name.removeprefix("language_model.")
    name = name.replace("vision_tower.vision_model.", "vision_tower.")
    if name.startswith(("model.", "lm_head")):
        return name
    return f"model.{name}"
