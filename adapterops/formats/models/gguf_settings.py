"""The settings of a GGUF model as config.json has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adapterops.errors import UnsupportedError
from adapterops.formats.llama_cpp import CONSTANTS
from adapterops.storage.gguf import GgufFile

SHARED = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "embedding_length": "hidden_size",
    "rope.freq_base": "rope_theta",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.key_length": "head_dim",
}
GEMMA = {
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
KNOWN: Mapping[str, Mapping[str, str]] = {
    "llama": {"rope.dimension_count": "head_dim"},
    "qwen2": {},
    "qwen3": {},
    "gemma2": GEMMA,
    "gemma3": GEMMA,
    "phi3": {"attention.sliding_window": "sliding_window"},
}
"""Architecture → its further fields, where all that config.json has to say is known."""

CLASSES = {
    "llama": ("llama", "LlamaForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
    "gemma2": ("gemma2", "Gemma2ForCausalLM"),
    "gemma3": ("gemma3_text", "Gemma3ForCausalLM"),
    "phi3": ("phi3", "Phi3ForCausalLM"),
}
TOKENS = {"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id"}
LARGEST = {"gemma2": 46, "gemma3": 62}
"""Layers of the one size whose queries are scaled by the width of the model, not by that of a head."""


def config_of(architecture: str, files: Sequence[GgufFile]) -> dict[str, Any]:
    """What config.json would say, as far as the file does. `check_complete` tells whether that is all."""
    fields = {name: value for name, value in files[0].fields.items() if value is not None}
    embedding = [file.shape("token_embd.weight")[0] for file in files if "token_embd.weight" in file.raw.entries]
    kind, class_ = CLASSES.get(architecture, (architecture, None))
    config: dict[str, Any] = {"model_type": kind, "dtype": "bfloat16"}
    if class_:
        config["architectures"] = [class_]
    for field, name in {**SHARED, **KNOWN.get(architecture, {})}.items():
        if (value := fields.get(f"{architecture}.{field}")) is not None:
            config[name] = value
    if architecture in LARGEST and "head_dim" in config:
        wide = config.get("num_hidden_layers") == LARGEST[architecture]
        heads = config.get("num_attention_heads")
        config["query_pre_attn_scalar"] = config["hidden_size"] // heads if wide and heads else config["head_dim"]
    if embedding:
        config["vocab_size"] = embedding[0]
    for field, name in TOKENS.items():
        if (value := fields.get(f"tokenizer.ggml.{field}_token_id")) is not None:
            config[name] = value
    config["tie_word_embeddings"] = not any("output.weight" in file.raw.entries for file in files)
    return config


def check_complete(architecture: str, files: Sequence[GgufFile]) -> None:
    """Raise UnsupportedError for a model of which config.json would have to say what is not known here."""
    hint = "give the checkpoint that it was converted from; fuse into the file itself needs no config.json"
    fields = files[0].fields
    if architecture not in KNOWN:
        raise UnsupportedError(
            f"is of the architecture {architecture!r}, and config.json is known for {', '.join(KNOWN)}", hint=hint
        )
    scaling = fields.get(f"{architecture}.rope.scaling.type", "none")
    if scaling not in ("none", None):
        raise UnsupportedError(f"scales its positions ({scaling}), which is not written to config.json", hint=hint)
    for file in files:
        for name in CONSTANTS:
            if name in file.raw.entries:
                raise UnsupportedError(
                    "changes the frequencies of positions, which config.json has to say", tensor=name, hint=hint
                )
