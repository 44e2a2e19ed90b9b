"""What llama.cpp calls the tensors and the settings of models, and how it stores them otherwise than transformers does.

Source: convert_hf_to_gguf.py of llama.cpp, and gguf-py's tensor_mapping and constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterops.formats.models.architectures import WEIGHT
from adapterops.regex import Regex

ATTENTION = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
BLOCK = ATTENTION | {
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
EXPERTS: Mapping[str, tuple[str, ...]] = {
    "ffn_gate_exps": ("mlp.experts.{}.gate_proj",),
    "ffn_up_exps": ("mlp.experts.{}.up_proj",),
    "ffn_down_exps": ("mlp.experts.{}.down_proj",),
    "ffn_gate_up_exps": ("mlp.experts.{}.gate_proj", "mlp.experts.{}.up_proj"),
}
MIXTRAL: Mapping[str, tuple[str, ...]] = {
    "ffn_gate_exps": ("block_sparse_moe.experts.{}.w1",),
    "ffn_up_exps": ("block_sparse_moe.experts.{}.w3",),
    "ffn_down_exps": ("block_sparse_moe.experts.{}.w2",),
    "ffn_gate_up_exps": ("block_sparse_moe.experts.{}.w1", "block_sparse_moe.experts.{}.w3"),
}
STACKED = {"llama": MIXTRAL, **dict.fromkeys(("qwen2moe", "qwen3moe", "olmoe", "glm4moe", "deepseek2"), EXPERTS)}
"""Architecture → tensors of all experts of a layer → the modules whose rows each expert has in it, one after the other."""

ROUTED = ATTENTION | {"ffn_gate_inp": "mlp.gate"}
SHARED = {
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
}
GPT_OSS = ATTENTION | {
    "attn_sinks": "self_attn.sinks",
    "ffn_gate_inp": "mlp.router",
    "ffn_gate_exps": "mlp.experts.gate_exps",
    "ffn_up_exps": "mlp.experts.up_exps",
    "ffn_down_exps": "mlp.experts.down_exps",
}
"""Of its experts transformers has the rows in another order, and transposed: they keep names that no adapter has."""

SHARED_EXPERTS = {
    "ffn_gate_inp": "mlp.gate",
    "exp_probs_b": "mlp.gate.e_score_correction",
    "ffn_gate_shexp": "mlp.shared_experts.gate_proj",
    "ffn_up_shexp": "mlp.shared_experts.up_proj",
    "ffn_down_shexp": "mlp.shared_experts.down_proj",
}
LATENT = {
    "attn_q_a": "self_attn.q_a_proj",
    "attn_q_b": "self_attn.q_b_proj",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_b": "self_attn.kv_b_proj",
    "attn_k_b": "self_attn.k_b_proj",
    "attn_v_b": "self_attn.v_b_proj",
}
"""Attention of DeepSeek. Files since May 2025 have `kv_b_proj` as `k_b`, which is transposed within each head, and `v_b`,
which keep names that no adapter has.
"""
LLAMA4 = ATTENTION | {
    "ffn_gate": "feed_forward.gate_proj",
    "ffn_up": "feed_forward.up_proj",
    "ffn_down": "feed_forward.down_proj",
    "ffn_gate_inp": "feed_forward.router",
    "ffn_gate_shexp": "feed_forward.shared_expert.gate_proj",
    "ffn_up_shexp": "feed_forward.shared_expert.up_proj",
    "ffn_down_shexp": "feed_forward.shared_expert.down_proj",
    "ffn_gate_exps": "feed_forward.experts.gate_exps",
    "ffn_up_exps": "feed_forward.experts.up_exps",
    "ffn_down_exps": "feed_forward.experts.down_exps",
}
"""Of its experts transformers has the parameters transposed, and adapters of them in two ways: they keep names that no
adapter has.
"""
NEXT = {
    f"nextn.{name}": module
    for name, module in {
        "eh_proj": "eh_proj",
        "embed_tokens": "embed_tokens",
        "enorm": "enorm",
        "hnorm": "hnorm",
        "shared_head_head": "shared_head.head",
        "shared_head_norm": "shared_head.norm",
    }.items()
}
"""Of layers that predict further tokens, which transformers leaves out."""

SECTIONS = {"glm4": "rope.dimension_sections"}
"""Architecture → a setting of files whose q and k have their rows in an order of their own: GLM-4V."""

ONE_ROW = "ffn_gate_inp_shexp.weight"
"""What llama.cpp stores as a vector, and transformers as a matrix of one row."""

INTERLEAVED = ("llama", "granite", "smollm3", "arcee")
"""Architectures whose rows of q and k are stored in pairs, for rotating neighbouring ones."""

ARCHITECTURES = {
    **dict.fromkeys(INTERLEAVED, BLOCK),
    **dict.fromkeys(("qwen2", "qwen3", "gemma", "gemma2", "gemma3", "olmo2"), BLOCK),
    "phi3": FUSED,
    "llama": BLOCK | {"ffn_gate_inp": "block_sparse_moe.gate"},
    **dict.fromkeys(("qwen3moe", "olmoe"), ROUTED),
    "qwen2moe": ROUTED | SHARED,
    "gpt-oss": GPT_OSS,
    **dict.fromkeys(("seed_oss", "exaone4", "hunyuan-dense", "ernie4_5"), BLOCK),
    "cohere2": BLOCK,
    "glm4": ATTENTION | {"ffn_up": "mlp.gate_up_proj", "ffn_down": "mlp.down_proj"} | NEXT,
    "glm4moe": BLOCK | SHARED_EXPERTS | NEXT,
    "deepseek2": BLOCK | SHARED_EXPERTS | LATENT,
    "llama4": LLAMA4,
    "starcoder2": ATTENTION | {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
}
"""Architecture → the names of its modules, but of routed experts."""

BEFORE = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
AFTER = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
AROUND = {"attn_norm": "input_layernorm", "ffn_norm": "pre_feedforward_layernorm", **AFTER}
LATER = {"attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm"}
HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
NORMS = {
    **dict.fromkeys(ARCHITECTURES, BEFORE),
    **dict.fromkeys(("qwen3", "qwen3moe", "olmoe"), BEFORE | HEAD_NORMS),
    "gemma2": AROUND,
    "gemma3": AROUND | HEAD_NORMS,
    "olmo2": AFTER | HEAD_NORMS,
    "gpt-oss": LATER,
    "seed_oss": LATER,
    "exaone4": AFTER | HEAD_NORMS,
    "cohere2": {"attn_norm": "input_layernorm"},
    "glm4": BEFORE | {"post_attention_norm": "post_self_attn_layernorm", "post_ffw_norm": "post_mlp_layernorm"},
    "glm4moe": LATER | HEAD_NORMS,
    "deepseek2": BEFORE | {"attn_q_a_norm": "self_attn.q_a_layernorm", "attn_kv_a_norm": "self_attn.kv_a_layernorm"},
    "hunyuan-dense": BEFORE | {"attn_q_norm": "self_attn.query_layernorm", "attn_k_norm": "self_attn.key_layernorm"},
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
EMBEDDING, HEAD = "token_embd", "output"
UNAPPLIED = {"deepseek2": {*LATENT, "attn_q", HEAD}}
"""Architecture → weights that llama.cpp multiplies by without a look at adapters, of which it loads LoRA all the same."""

MODEL_TYPES = {
    "mistral": "llama",
    "mixtral": "llama",
    "gemma3_text": "gemma3",
    "llama4_text": "llama4",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
    "gpt_oss": "gpt-oss",
    "hunyuan_v1_dense": "hunyuan-dense",
    "glm4_moe": "glm4moe",
    "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2",
}
"""Types of models that llama.cpp calls otherwise."""

TENSOR = Regex(
    r"(?:blk\.(?P<layer>\d+)\.)?(?P<inner>(?:nextn\.)?[a-z0-9_]+)(?:\.(?P<expert>\d+))?(?P<end>\.weight|\.bias)"
)
SEVERAL = "{}"


def architecture_of(config: Mapping[str, Any]) -> str:
    """What llama.cpp calls the type of a model that config.json states."""
    stated = str(config.get("model_type"))
    return MODEL_TYPES.get(stated, stated)


def named(tensor: str, architecture: str) -> tuple[str, ...]:
    """What transformers calls the weights in a tensor of a model; none for one of which that is not known.

    Those of experts are stored expert after expert, with the number of each in place of `SEVERAL`.

    >>> named("blk.3.attn_q.weight", "llama"), named("blk.0.ffn_norm.weight", "gemma2"), named("output_norm.weight", "qwen3")
    (('model.layers.3.self_attn.q_proj.weight',), ('model.layers.0.pre_feedforward_layernorm.weight',), ('model.norm.weight',))
    >>> named("blk.3.ffn_down_exps.weight", "qwen3moe"), named("blk.3.ffn_down.7.weight", "llama")
    (('model.layers.3.mlp.experts.{}.down_proj.weight',), ('model.layers.3.block_sparse_moe.experts.7.w2.weight',))
    """
    match = TENSOR.fullmatch(tensor)
    if tensor in CONSTANTS or match is None:
        return (tensor,) if match else ()
    inner, layer, expert = match["inner"], match["layer"], match["expert"]
    stacked = STACKED.get(architecture, {})
    modules: tuple[str, ...]
    if layer is None:
        above, modules = "", tuple(ENDS[each] for each in [inner] if each in ENDS and expert is None)
    else:
        above, one = f"model.layers.{int(layer)}.", {**ARCHITECTURES[architecture], **NORMS[architecture]}
        modules = stacked.get(inner) or tuple(one[each] for each in [inner] if each in one)
        if expert is not None:  # as llama.cpp wrote them first, each by itself
            modules = tuple(each.format(int(expert)) for each in stacked.get(f"{inner}_exps", ()))
    end = "_bias" if inner == "exp_probs_b" else match["end"]
    return tuple(above + module + end for module in modules)


def field_of_heads(tensor: str, architecture: str) -> str | None:
    """The field that says of how many heads the rows of a tensor are, where they are stored in pairs."""
    match = TENSOR.fullmatch(tensor)
    return HEADS.get(match["inner"]) if match and match["layer"] and architecture in INTERLEAVED else None


def one_added(tensor: str, architecture: str) -> bool:
    """Whether a tensor is stored as 1 + w."""
    return architecture in ONE_ADDED and tensor.endswith(f"norm{WEIGHT}")
