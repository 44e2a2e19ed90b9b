"""What `normalize` and `convert` write computes what PEFT's own model does with the adapter that it was made of."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import gguf_files
import numpy as np
import peft
import pytest
import torch
from peft_models import CONFIGS, base, load, make
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM

import adapterops as ao
from adapterops.cli.main import run

TOKENS = torch.arange(24).reshape(2, 12)


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(TOKENS).logits
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_the_normalized_adapter_computes_the_same(name: str, tmp_path: Path) -> None:
    source = make(tmp_path / "a", 1, **CONFIGS[name])
    assert run(["normalize", str(source), "-o", str(tmp_path / "out")]) == 0
    plain, expected, found = logits(base().eval()), logits(load(source)), logits(load(tmp_path / "out"))
    assert not torch.allclose(plain, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("format", ["mlx", "kohya"])
def test_there_and_back_computes_the_same(format: str, tmp_path: Path) -> None:
    source = make(tmp_path / "a", 1, **CONFIGS["rslora"])
    base().save_pretrained(tmp_path / "base")
    if format == "kohya":  # of a language model it is refused
        fields = json.loads((source / "adapter_config.json").read_text())
        (source / "adapter_config.json").write_text(json.dumps({**fields, "task_type": None}))
    assert run(["convert", str(source), "--to", format, "-o", str(tmp_path / "there")]) == 0
    line = ["convert", str(tmp_path / "there"), "--to", "peft", "--base", str(tmp_path / "base")]
    assert run([*line, "-o", str(tmp_path / "back")]) == 0
    torch.testing.assert_close(logits(load(tmp_path / "back")), logits(load(source)), rtol=1e-4, atol=1e-5)


def test_experts_are_filled_up_inside_each(tmp_path: Path) -> None:
    """Ranks 2 and 3 of two parameters: rows of zeros at the end of A would mix experts."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = MixtralConfig(
        **sizes, vocab_size=64, intermediate_size=20, num_local_experts=3, num_experts_per_tok=2, initializer_range=0.2
    )
    MixtralForCausalLM(config).save_pretrained(tmp_path / "base")

    def model() -> nn.Module:
        return MixtralForCausalLM.from_pretrained(tmp_path / "base").eval()

    targets = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    fields = peft.LoraConfig(
        r=2,
        lora_alpha=6,
        use_rslora=True,
        target_modules=["q_proj"],
        target_parameters=targets,
        rank_pattern={"q_proj": 3},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained = peft.get_peft_model(model(), fields)
        for key, parameter in trained.named_parameters():
            if "lora_B" in key:
                nn.init.normal_(parameter, std=0.2)
        trained.save_pretrained(tmp_path / "a")
        assert run(["normalize", str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 0
        assert json.loads((tmp_path / "out/adapter_config.json").read_text())["rank_pattern"] == {}
        found = logits(peft.PeftModel.from_pretrained(model(), tmp_path / "out").eval())
    torch.testing.assert_close(found, logits(trained.eval()), rtol=1e-4, atol=1e-5)


def test_an_adapter_of_llama_cpp_computes_what_its_factors_say(tmp_path: Path) -> None:
    """On a Llama whose weights have the factors added by hand, in transformers' order of rows."""
    gguf_files.write(tmp_path / "a.gguf", alpha=8.0)
    base().save_pretrained(tmp_path / "base")
    line = ["convert", str(tmp_path / "a.gguf"), "--to", "peft", "--base", str(tmp_path / "base")]
    assert run([*line, "-o", str(tmp_path / "out")]) == 0
    expected = base().eval()
    for module, (A, B) in gguf_files.factors().items():
        expected.get_submodule(module).weight.data += torch.from_numpy((8.0 / 4 * B @ A).astype(np.float32))
    torch.testing.assert_close(logits(load(tmp_path / "out")), logits(expected), rtol=1e-3, atol=1e-3)
    assert ao.open_adapter(tmp_path / "out").layout.keys() == gguf_files.factors().keys()
