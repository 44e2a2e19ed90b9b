"""Tiny models of several families that transformers saves, and adapters of them that PEFT saves."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

TOKENS = torch.arange(20).reshape(2, 10)


def qwen(folder: Path, dtype: torch.dtype = torch.float32, tied: bool = False, seed: int = 0) -> Path:
    """A tiny Qwen2, which has biases, saved in several files."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=96,
        hidden_size=64,
        intermediate_size=112,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
        max_position_embeddings=64,
    )
    return save(Qwen2ForCausalLM(config).to(dtype), folder)


def gpt2(folder: Path, dtype: torch.dtype = torch.float32, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=96, n_embd=64, n_layer=2, n_head=4, n_positions=64)
    return save(GPT2LMHeadModel(config).to(dtype), folder)


def save(model: nn.Module, folder: Path) -> Path:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    model.save_pretrained(folder, max_shard_size="100kB")
    return folder


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def adapted(base: Path, folder: Path, dtype: torch.dtype = torch.float32, **config: Any) -> Path:
    """An adapter that PEFT saves, with all that it trains moved away from where it starts."""
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(
            load(base, dtype), peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, **config)
        )
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad and "lora_A" not in name:
                    parameter.add_(0.05 * torch.randn_like(parameter))
        model.save_pretrained(folder)
    return folder
