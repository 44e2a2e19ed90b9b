"""What is selected and scaled module by module is what PEFT adds, and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import peft
import torch
from peft_models import deltas, load
from strategies import entries
from torch import nn
from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

import adapterops as ao

Trained = Callable[[str], Path]
close = torch.testing.assert_close


def test_modules_that_are_left_out_are_not_adapted(trained: Trained, tmp_path: Path) -> None:
    full = deltas(load(trained("rslora")))
    adapter = ao.open_adapter(trained("rslora"))
    ao.save_adapter(ao.select(adapter, "*.self_attn.*", "*.1.mlp.up_proj"), tmp_path / "some")
    found = deltas(load(tmp_path / "some"))
    assert set(found) == {name for name in full if "self_attn" in name or name.endswith("1.mlp.up_proj")}
    for name, delta in found.items():
        close(delta, full[name])


def test_each_layer_has_a_factor_of_its_own(trained: Trained, tmp_path: Path) -> None:
    full = deltas(load(trained("all")))
    ao.save_adapter(
        ao.evaluate('scale(a, {"layers.0": 0.3, "*": -2})', a=ao.open_adapter(trained("all"))), tmp_path / "scaled"
    )
    found = deltas(load(tmp_path / "scaled"))
    assert set(found) == set(full)
    for name, delta in found.items():
        close(delta, (0.3 if ".0." in name else -2) * full[name])


def test_experts_are_modules_like_any_other(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    MixtralForCausalLM(MixtralConfig(**sizes, num_local_experts=4, vocab_size=32)).save_pretrained(tmp_path / "base")
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], target_parameters=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), config)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter)
        model.save_pretrained(tmp_path / "a")
    a = ao.open_adapter(tmp_path / "a")
    some = ao.evaluate('scale(select(a, "experts.1-2"), {"experts.1": 0.5, "*": 1})', a=a)
    ao.save_adapter(some, tmp_path / "some")
    again = ao.open_adapter(tmp_path / "some")
    for module, layout in a.layout.items():
        expert = module.split(".experts.")[-1][0]
        factor = {"1": 0.5, "2": 1.0}.get(expert, 0.0)
        found = entries(again.updates[module]) if module in again.layout else torch.zeros(layout.shape)
        close(found, factor * entries(a.updates[module]), atol=1e-6, rtol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = peft.PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "some"
        )
    adapted = {name for name, layer in loaded.named_modules() if "default" in getattr(layer, "lora_A", {})}
    assert adapted
    assert not any("q_proj" in name for name in adapted)
