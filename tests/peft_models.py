"""A tiny Llama, and adapters for it that the real PEFT makes, saves and loads."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM


def base(dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=112,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=128,
    )
    return LlamaForCausalLM(config).to(dtype)


def make(folder: Path, seed: int, name: str = "default", dtype: torch.dtype = torch.float32, **config: Any) -> Path:
    """An adapter with a B that is not zero, as training leaves it."""
    torch.manual_seed(seed)
    fields = peft.LoraConfig(task_type="CAUSAL_LM", base_model_name_or_path="tiny", **config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the base has no repository in which PEFT could look for its config
        model = peft.get_peft_model(
            base(dtype), fields, adapter_name=name, autocast_adapter_dtype=dtype == torch.float32
        )
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                nn.init.normal_(parameter, std=0.02)
        model.peft_config[name].base_model_name_or_path = "tiny"
        model.save_pretrained(folder)
    return folder


def load(folder: Path, dtype: torch.dtype = torch.float32, **options: Any) -> peft.PeftModel:
    """The base with an adapter, loaded without any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, about PEFT's use of it
        return peft.PeftModel.from_pretrained(base(dtype), folder, **options).eval()


def deltas(model: peft.PeftModel, name: str = "default") -> dict[str, torch.Tensor]:
    """Module name → what PEFT adds to its weight."""
    layers = {
        key.removeprefix("base_model.model."): layer
        for key, layer in model.named_modules()
        if name in getattr(layer, "lora_A", {})
    }
    return {key: layer.get_delta_weight(name).detach() for key, layer in layers.items()}


CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj", "down_proj"]},
    "rslora": {
        "r": 4,
        "lora_alpha": 7.5,
        "use_rslora": True,
        "target_modules": ["q_proj", "up_proj", "down_proj"],
        "rank_pattern": {"down_proj": 6, "layers.1.self_attn.q_proj": 3},
        "alpha_pattern": {".*layers\\.0.*q_proj": 3, "^model.layers.1.mlp.up_proj": 5},
    },
    "all": {"r": 4, "lora_alpha": 4, "target_modules": "all-linear"},
    "regex": {"r": 5, "lora_alpha": 2, "target_modules": r".*layers\.0\..*(q|k)_proj"},
    "layer": {"r": 3, "lora_alpha": 9, "target_modules": ["q_proj"], "layers_to_transform": [1]},
}
