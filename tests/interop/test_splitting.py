"""Models that were saved with PEFT's layers in them, divided: transformers loads the base and PEFT the adapter, and both
together answer as the model did.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import small_models
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

import adapterops as ao
from adapterops.cli.main import run

Q, V = "q_proj", "v_proj"


def mixtral(folder: Path) -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 4}
    heads = {"num_key_value_heads": 2, "head_dim": 8, "vocab_size": 64, "num_local_experts": 3}
    return small_models.save(MixtralForCausalLM(MixtralConfig(**sizes, **heads)), folder)


MODELS: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "plain": (small_models.qwen, {"target_modules": [Q, V], "lora_alpha": 6}),
    "ranks": (small_models.qwen, {"target_modules": [Q, V, "down_proj"], "rank_pattern": {V: 2}}),
    "DoRA": (small_models.qwen, {"target_modules": [Q], "use_dora": True}),
    "DoRA of words": (small_models.qwen, {"target_modules": [Q, "embed_tokens"], "use_dora": True}),
    "full": (small_models.qwen, {"target_modules": [Q], "modules_to_save": ["lm_head", "embed_tokens"]}),
    "norms and biases": (small_models.qwen, {"target_modules": [Q], "modules_to_save": ["norm"], "bias": "all"}),
    "tied": (lambda folder: small_models.qwen(folder, tied=True), {"target_modules": "all-linear"}),
    "Conv1D": (small_models.gpt2, {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
}
EXPERTS = {
    "target_modules": [Q],
    "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj", "gate.weight"],
}


def trained(base: Path, **config: Any) -> Any:
    torch.manual_seed(5)
    fields = peft.LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "lora_alpha": 8, **config})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(small_models.load(base), fields)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "lora_A" not in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def answers(model: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(small_models.TOKENS).logits
    return found


def assert_together(parts: Path, expected: Tensor, base: Path) -> None:
    loaded, found = AutoModelForCausalLM.from_pretrained(parts / "base", output_loading_info=True)
    assert not any(found.values()), found
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, about PEFT's use of it
        warnings.filterwarnings("ignore", r"The following (rank|alpha)_pattern keys|fan_in_fan_out is set to False")
        both = peft.PeftModel.from_pretrained(loaded.eval(), parts / "adapter")
    assert torch.equal(answers(both.eval()), expected)
    assert not torch.allclose(answers(small_models.load(base)), expected, atol=1e-3)


@pytest.mark.parametrize("how", ["save_pretrained", "state_dict"])
@pytest.mark.parametrize("case", MODELS)
def test_base_and_adapter_answer_as_the_model_did(tmp_path: Path, case: str, how: str) -> None:
    """Of what transformers saves of the model in PEFT's, and of what a trainer saves of PEFT's."""
    make, config = MODELS[case]
    base = make(tmp_path / "base")
    model, unmerged = trained(base, **config), tmp_path / "unmerged"
    if how == "save_pretrained":
        model.base_model.model.save_pretrained(unmerged, max_shard_size="60kB")
    else:
        unmerged.mkdir()
        tensors = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
        if case == "tied":  # which a file has once
            del tensors["base_model.model.lm_head.weight"]
        save_file(tensors, unmerged / "model.safetensors")
        (unmerged / "config.json").write_text((base / "config.json").read_text())
    alpha = str(config.get("lora_alpha", 8))
    assert run(["split", str(unmerged), "--alpha", alpha, "-o", str(tmp_path / "parts")]) == 0
    assert_together(tmp_path / "parts", answers(model), base)


def test_what_wrappers_left_in_the_names(tmp_path: Path) -> None:
    base = small_models.qwen(tmp_path / "base")
    model = trained(base, target_modules=[Q], modules_to_save=["lm_head"])
    wrapped = {
        f"module.{name}".replace("layers.1.", "layers.1._fsdp_wrapped_module._checkpoint_wrapped_module."): tensor
        for name, tensor in model.state_dict().items()
    }
    (tmp_path / "unmerged").mkdir()
    save_file({name: tensor.clone() for name, tensor in wrapped.items()}, tmp_path / "unmerged/model.safetensors")
    (tmp_path / "unmerged/config.json").write_text((base / "config.json").read_text())
    ao.split(tmp_path / "unmerged", tmp_path / "parts", alpha=8)
    assert_together(tmp_path / "parts", answers(model), base)
    assert load_file(tmp_path / "parts/base/model.safetensors").keys() == small_models.load(base).state_dict().keys()


def test_experts_by_the_config_of_the_training(tmp_path: Path) -> None:
    """Which parameter factors belong to stands in the config alone; it is passed on word for word."""
    base = mixtral(tmp_path / "base")
    model, unmerged = trained(base, **EXPERTS), tmp_path / "unmerged"
    unmerged.mkdir()
    save_file({name: tensor.clone() for name, tensor in model.state_dict().items()}, unmerged / "model.safetensors")
    (unmerged / "config.json").write_text((base / "config.json").read_text())
    assert run(["split", str(unmerged), "--alpha", "8", "-o", str(tmp_path / "parts")]) == 4
    model.save_pretrained(tmp_path / "adapter")
    config = (tmp_path / "adapter/adapter_config.json").read_text()
    (unmerged / "adapter_config.json").write_text(config)
    assert run(["split", str(unmerged), "-o", str(tmp_path / "parts")]) == 0
    assert_together(tmp_path / "parts", answers(model), base)
    assert json.loads((tmp_path / "parts/adapter/adapter_config.json").read_text()) == json.loads(config)
    assert run(["fuse", str(tmp_path / "parts/base"), str(tmp_path / "parts/adapter"), "-o", str(tmp_path / "f")]) == 0
    torch.testing.assert_close(answers(small_models.load(tmp_path / "f")), answers(model), atol=1e-5, rtol=1e-4)
