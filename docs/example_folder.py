"""The folder in which every block of these pages runs: a small Llama `base`, and adapters of it that PEFT saved."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}


def make(folder: Path) -> None:
    """Write `base`, its adapters `style`, `domain` and `sft`, and `dpo`, which names `tuned` as its base, into a folder."""
    torch.manual_seed(0)
    config = LlamaConfig(num_attention_heads=4, **SIZES)
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder / "base")
    for seed, (name, named) in enumerate({"style": "base", "domain": "base", "sft": "base", "dpo": "tuned"}.items()):
        _adapter(folder, name, named, seed)


def _adapter(folder: Path, name: str, named: str, seed: int) -> None:
    """An adapter as training leaves one: B is not zero any more. Its config says that it is of the model `named`."""
    torch.manual_seed(seed)
    model = get_peft_model(
        LlamaForCausalLM.from_pretrained(folder / "base", dtype=torch.float32),
        LoraConfig(r=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"),
    )
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(folder / name)
    saved = folder / name / "adapter_config.json"
    saved.write_text(saved.read_text().replace(str(folder / "base"), named))
