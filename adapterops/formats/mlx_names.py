"""What MLX-LM calls the modules of a language model that is a part of one that sees or hears."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from adapterops.errors import UnsupportedError
from adapterops.regex import Regex

OUTER = (
    *("gemma3", "gemma4", "gemma4_unified", "kimi_k25", "kimi_k3", "kimi_vl", "lfm2-vl", "llama4", "llava"),
    *("minimax_m3_vl", "mistral3", "pixtral", "qwen2_5_vl", "qwen2_vl", "qwen3_5", "qwen3_5_moe", "qwen3_vl"),
    "qwen3_vl_moe",
)
"""The types of models in which MLX-LM has a whole language model, head and all."""

INNER = ("gemma3n",)
"""Those in which it has the layers alone as a part, as transformers has."""

LAYERS = Regex(r"(?:model\.language_model|language_model\.model|model)\.(?=layers\.)")
HEAD = Regex(r"(?:language_model\.)?lm_head")


def in_mlx(module: str, config: Mapping[str, Any] | None) -> str:
    """The name of a module in MLX-LM, of a model with such a config.json.

    >>> in_mlx("model.language_model.layers.0.mlp.up_proj", {"model_type": "gemma3"}), in_mlx("lm_head", {"model_type": "gemma3"})
    ('language_model.model.layers.0.mlp.up_proj', 'language_model.lm_head')
    >>> in_mlx("model.layers.0.mlp.up_proj", {"model_type": "llama"})
    'model.layers.0.mlp.up_proj'
    """
    known = (config or {}).get("model_type")
    if known in OUTER:
        return (
            HEAD.sub("language_model.lm_head", module)
            if HEAD.fullmatch(module)
            else _of(module, "language_model.model.")
        )
    return _of(module, "model.language_model.") if known in INNER else module


def _of(module: str, start: str) -> str:
    return LAYERS.sub(start, module) if LAYERS.match(module) else module


def check_named(modules: Iterable[str], config: Mapping[str, Any] | None) -> None:
    """Raise UnsupportedError for a name of which only the model shows what MLX-LM has."""
    inner = next((module for module in modules if module.startswith("model.language_model.")), None)
    if inner and config is None:
        raise UnsupportedError(
            "is in a part of a model that sees or hears, which MLX-LM calls otherwise in most models, and it ends with an error at a "
            "name that it does not have",
            tensor=inner,
            hint="name the model with --base",
        )
