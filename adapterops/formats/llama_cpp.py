"""What llama.cpp calls the tensors and the settings of models, and how it stores them otherwise than transformers does.

Source: convert_hf_to_gguf.py of llama.cpp, and gguf-py's tensor_mapping and constants.
"""

from __future__ import annotations

import re

from adapterops.formats.models.architectures import WEIGHT

BLOCK = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""llama.cpp's name of a module of a layer → that of transformers."""

FUSED = {
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_up": "mlp.gate_up_proj",
    "ffn_down": "mlp.down_proj",
}
INTERLEAVED = ("llama", "granite", "smollm3", "arcee")
"""Architectures whose rows of q and k are stored in pairs, for rotating neighbouring ones."""

ARCHITECTURES = {
    **dict.fromkeys(INTERLEAVED, BLOCK),
    **dict.fromkeys(("qwen2", "qwen3", "gemma", "gemma2", "gemma3", "olmo2"), BLOCK),
    "phi3": FUSED,
}
"""Architecture → the names of its modules."""

BEFORE = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
AFTER = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
AROUND = {"attn_norm": "input_layernorm", "ffn_norm": "pre_feedforward_layernorm", **AFTER}
HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
NORMS = {
    **dict.fromkeys(ARCHITECTURES, BEFORE),
    "qwen3": BEFORE | HEAD_NORMS,
    "gemma2": AROUND,
    "gemma3": AROUND | HEAD_NORMS,
    "olmo2": AFTER | HEAD_NORMS,
}
"""Architecture → the names of the norms of a layer."""

ENDS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
CONSTANTS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors that transformers computes from config.json, and has none of."""

ONE_ADDED = ("gemma", "gemma2", "gemma3")
"""Architectures whose norms are stored as 1 + w."""

ADAPTER = "adapter.gguf"
"""What an adapter is written as."""

HEADS = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
"""The modules whose rows are in another order → the field of config.json that says how many heads they are of."""

QUERY = "num_attention_heads"
MODEL_TYPES = {"mistral": "llama", "gemma3_text": "gemma3"}
"""Types of models that llama.cpp calls otherwise."""

TENSOR = re.compile(r"(?:blk\.(?P<layer>\d+)\.)?(?P<inner>[a-z0-9_]+)(?P<end>\.weight|\.bias)")


def named(tensor: str, architecture: str) -> str | None:
    """What transformers calls a tensor of a model; None for one of which that is not known.

    >>> named("blk.3.attn_q.weight", "llama"), named("blk.0.ffn_norm.weight", "gemma2"), named("output_norm.weight", "qwen3")
    ('model.layers.3.self_attn.q_proj.weight', 'model.layers.0.pre_feedforward_layernorm.weight', 'model.norm.weight')
    """
    match = TENSOR.fullmatch(tensor)
    if tensor in CONSTANTS or match is None:
        return tensor if match else None
    if match["layer"] is None:
        module = ENDS.get(match["inner"])
        return module and module + match["end"]
    module = {**ARCHITECTURES[architecture], **NORMS[architecture]}.get(match["inner"])
    return module and f"model.layers.{int(match['layer'])}.{module}{match['end']}"


def field_of_heads(tensor: str, architecture: str) -> str | None:
    """The field that says of how many heads the rows of a tensor are, where they are stored in pairs."""
    match = TENSOR.fullmatch(tensor)
    return HEADS.get(match["inner"]) if match and match["layer"] and architecture in INTERLEAVED else None


def one_added(tensor: str, architecture: str) -> bool:
    """Whether a tensor is stored as 1 + w."""
    return architecture in ONE_ADDED and tensor.endswith(f"norm{WEIGHT}")
