"""Tiny GGUF models, named by gguf's own tables and written by the library that owns the format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from torch import nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from adapterops.quant.ggml_blocks import KINDS, Fields, join

CODED = [Type[name] for name in KINDS]
WIDTH = 256
"""Of every row: K-quants have blocks of 256."""

SHARED = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "max_position_embeddings": 64,
    "head_dim": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CHOSEN = {"num_experts_per_tok": 2, "tie_word_embeddings": False}
SIZES = {"moe_intermediate_size": 256}
MODELS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"rope_theta": 5000.0, "tie_word_embeddings": False}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"tie_word_embeddings": False, "head_dim": 128}),
    "gemma2": ("Gemma2", {"sliding_window": 16, "head_dim": 256}),
    "gemma3": ("Gemma3", {"sliding_window": 16, "head_dim": 256}),
    "phi3": ("Phi3", {"tie_word_embeddings": False, "sliding_window": 32}),
    "qwen2moe": ("Qwen2Moe", {"num_experts": 3, **CHOSEN, **SIZES, "shared_expert_intermediate_size": 512}),
    "qwen3moe": ("Qwen3Moe", {"num_experts": 3, **CHOSEN, **SIZES, "norm_topk_prob": True}),
}
"""Those that transformers reads from GGUF, too."""
UNREAD: Mapping[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("Mixtral", {"num_local_experts": 3, **CHOSEN}),
    "olmoe": ("Olmoe", {"num_experts": 3, **CHOSEN}),
}
ROUTED = ["qwen2moe", "qwen3moe", *UNREAD]
"""Those with experts."""
INTERLEAVED = ("llama", "mixtral")
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
"""What the config of Llama 3.2 says of positions."""


def model(architecture: str) -> nn.Module:
    """A tiny model of transformers, with norms and biases that are not what they start as."""
    torch.manual_seed(0)
    name, more = {**MODELS, **UNREAD}[architecture]
    config = getattr(transformers, f"{name}TextConfig" if name == "Gemma3" else f"{name}Config")(**{**SHARED, **more})
    built: nn.Module = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return built


def called(architecture: str) -> str:
    """What llama.cpp calls it."""
    return {"mixtral": "llama"}.get(architecture, architecture)


def stored(architecture: str, built: nn.Module, joined: bool = False) -> dict[str, np.ndarray]:
    """llama.cpp's name → the tensor as its converter stores it; with gate and up of all experts in one, if `joined`."""
    config: Any = built.config
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == called(architecture))
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    found = {}
    for key, parameter in built.named_parameters():
        if ".experts." in key:
            found |= experts(key, parameter.detach().numpy(), joined)
            continue
        module, _, end = key.rpartition(".")
        values, name = parameter.detach().numpy(), f"{names.get_name(module)}.{end}"
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name.split(".")[-2])
        if architecture in INTERLEAVED and heads:
            values = values.reshape(heads, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
        if architecture.startswith("gemma") and key.endswith("norm.weight"):
            values = values + 1
        if "ffn_gate_inp_shexp" in name:
            values = values[0]
        found[name] = np.ascontiguousarray(values)
    return found


def experts(key: str, values: np.ndarray, joined: bool) -> dict[str, np.ndarray]:
    """Tensors of the experts in a parameter of transformers."""
    layer, half = key.split(".")[2], values.shape[1] // 2
    if key.endswith("down_proj") or joined:
        return {f"blk.{layer}.ffn_{'down' if key.endswith('down_proj') else 'gate_up'}_exps.weight": values}
    parts = {"gate": values[:, :half], "up": values[:, half:]}
    return {f"blk.{layer}.ffn_{name}_exps.weight": np.ascontiguousarray(each) for name, each in parts.items()}


def coded(values: np.ndarray, type_: Type) -> np.ndarray:
    """Rows in blocks: by gguf where it can, K-quants by scales that fit the largest numbers."""
    kind = KINDS.get(type_.name)
    if kind is None or (kind.scales is None and not kind.table):
        return gguf.quantize(values, type_)
    groups = values.reshape(-1, kind.groups, (256 if kind.scales else 32) // kind.groups).astype(np.float32)
    most = kind.scales.largest if kind.scales else 1
    dmin = minimum = None
    if kind.low < 0:
        largest = np.take_along_axis(groups, np.abs(groups).argmax(axis=2)[..., None], 2)[..., 0]
        step = largest / kind.low
        d = (np.abs(step).max(axis=1) / most).astype(np.float16)
        scale = np.clip(np.rint(step / d[:, None].astype(np.float32)), -most, most)
    else:
        below = np.maximum(-groups.min(axis=2), 1e-4)
        step = (np.maximum(groups.max(axis=2), 1e-4) + below) / kind.high
        d, dmin = ((each.max(axis=1) / most).astype(np.float16) for each in (step, below))
        scale = np.clip(np.rint(step / d[:, None].astype(np.float32)), 1, most)
        minimum = np.clip(np.rint(below / dmin[:, None].astype(np.float32)), 1, most).astype(np.int16)
    fields = Fields(d, scale.astype(np.int16), dmin, minimum, np.zeros(groups.shape, np.int16))
    steps, lowest = fields.steps()
    with np.errstate(all="ignore"):
        exact = np.nan_to_num(np.clip((groups + lowest) / steps, kind.low, kind.high))
    codes = np.rint(exact).astype(np.int16)
    if kind.table:
        table = np.array(kind.table)
        codes = table[np.searchsorted((table[1:] + table[:-1]) / 2, exact)].astype(np.int16)
    return join(kind, fields._replace(codes=codes)).reshape(len(values), -1)


def write(
    path: Path,
    architecture: str = "llama",
    type_: Type | Callable[[str], Type] = Type.F32,
    alter: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    joined: bool = False,
    **options: Any,
) -> Path:
    """A GGUF file of `model`: matrices in a type, or in that which a function of their names says; all else in F32.

    Args:
        options: of the writer, such as `split_max_tensors`.
    """
    built = model(architecture)
    config: Any = built.config
    writer = gguf.GGUFWriter(str(path), called(architecture), **options)
    writer.add_type("model")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(
        float((config.rope_parameters.get("full_attention") or config.rope_parameters)["rope_theta"])
    )
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if architecture in ROUTED:
        writer.add_expert_count(getattr(config, "num_experts", None) or config.num_local_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if architecture in ("qwen2moe", "qwen3moe"):
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    if architecture == "qwen2moe":
        writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    writer.add_array("tokenizer.ggml.tokens", [f"t{index}" for index in range(config.vocab_size)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    alter(writer)
    for name, values in stored(architecture, built, joined).items():
        chosen = type_ if isinstance(type_, Type) else type_(name)
        if values.ndim == 1 or chosen == Type.F32 or "ffn_gate_inp" in name:
            writer.add_tensor(name, values.astype(np.float32))
        else:
            data = coded(values.reshape(-1, values.shape[-1]), chosen)
            writer.add_tensor(name, data.reshape(*values.shape[:-1], -1), raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def mixed(name: str) -> Type:
    """As Q4_K_M mixes types, and one more each."""
    ends = {
        "ffn_down": Type.Q6_K,
        "attn_v": Type.Q5_K,
        "attn_output": Type.Q8_0,
        "attn_k": Type.F16,
        "ffn_up": Type.Q4_1,
    }
    return next((found for end, found in ends.items() if end in name), Type.Q4_K)


def frequencies(factor: float) -> np.ndarray:
    """What llama.cpp's converter stores for Llama 3.1: by how much a frequency is divided, from transformers' own."""
    fields = {"rope_theta": 5000.0, "head_dim": 64, "max_position_embeddings": 131072}
    scaled = transformers.LlamaConfig(**fields, rope_scaling={**LLAMA3, "factor": factor})
    found, _ = ROPE_INIT_FUNCTIONS["llama3"](scaled, torch.device("cpu"))
    plain = 5000.0 ** (-torch.arange(0, 64, 2, dtype=torch.float64) / 64)
    return (plain / found).float().numpy()
