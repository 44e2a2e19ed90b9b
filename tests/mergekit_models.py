"""Tiny Llamas for recipes of mergekit, and numbers that stand for a merge of them: made by seeds, so that what mergekit
made of them once is known without it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

NAMES = ("base", "chat", "code")
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 24,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}
LAYER = {
    "self_attn.q_proj": (16, 16),
    "self_attn.k_proj": (8, 16),
    "self_attn.v_proj": (8, 16),
    "self_attn.o_proj": (16, 16),
    "mlp.gate_proj": (20, 16),
    "mlp.up_proj": (20, 16),
    "mlp.down_proj": (16, 20),
    "input_layernorm": (16,),
    "post_attention_layernorm": (16,),
}
SHAPES = {
    "model.embed_tokens.weight": (24, 16),
    **{f"model.layers.{layer}.{name}.weight": shape for layer in range(3) for name, shape in LAYER.items()},
    "model.norm.weight": (16,),
    "lm_head.weight": (24, 16),
}

Tensors = Mapping[str, np.ndarray]


def tensors(name: str) -> dict[str, np.ndarray]:
    """Those of one of the models: the base, and what was moved away from it by a fifth of its size."""
    base, random = np.random.default_rng(0), np.random.default_rng(NAMES.index(name))
    found = {}
    for tensor, shape in SHAPES.items():
        W, moved = base.standard_normal(shape), random.standard_normal(shape)
        found[tensor] = (W if name == "base" else W + 0.2 * moved).astype(np.float32)
    return found


def write(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True)
    save_file(tensors(name), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def digest(found: Mapping[str, Any]) -> list[float]:
    """One number for each tensor, which no other entries are likely to have: ⟨W, random⟩ / ‖random‖."""
    random = np.random.default_rng(7)
    numbers = []
    for tensor, shape in SHAPES.items():
        direction = random.standard_normal(shape)
        product = (np.asarray(found[tensor], np.float64) * direction).sum() / np.linalg.norm(direction)
        numbers.append(round(float(product), 5))
    return numbers
