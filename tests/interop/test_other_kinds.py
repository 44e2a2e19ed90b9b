"""Kinds of update beside plain LoRA, as PEFT trains and saves them: fused and judged by PEFT's own forward pass, and
where they are linear written as LoRA again, which PEFT loads.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from adapterops.cli.main import run

TARGETS = ["q_proj", "v_proj"]
CONV1D = ["c_attn", "c_proj"]
IDS = torch.arange(24).reshape(2, 12)


def llama() -> Any:
    """With biases, and with two widths of input."""
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            intermediate_size=56,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=64,
            attention_bias=True,
        )
    )


def gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=64, n_positions=32))


MODELS: dict[str, Callable[[], Any]] = {"llama": llama, "gpt2": gpt2}
LINEAR: dict[str, tuple[str, Callable[[], Any]]] = {
    "lora_bias": ("llama", lambda: peft.LoraConfig(r=3, lora_alpha=7, target_modules=TARGETS, lora_bias=True)),
    "lora_bias, rslora": (
        "llama",
        lambda: peft.LoraConfig(r=3, lora_alpha=7, target_modules=TARGETS, lora_bias=True, use_rslora=True),
    ),
    "lora_bias of Conv1D": ("gpt2", lambda: peft.LoraConfig(r=3, target_modules=CONV1D, lora_bias=True)),
}


def made(folder: Path, name: str, config: Any) -> torch.Tensor:
    """A base and an adapter with random numbers; the logits are those of PEFT after loading both."""
    torch.manual_seed(0)
    plain = MODELS[name]()
    for parameter in plain.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.05 * torch.randn(parameter.shape)
    plain.save_pretrained(folder / "base")
    adapted = peft.get_peft_model(plain, config)
    for key, parameter in adapted.named_parameters():
        if parameter.requires_grad or "lora_E" in key:
            parameter.data += 0.05 * torch.randn(parameter.shape)
    adapted.save_pretrained(folder / "adapter")
    return loaded(folder, folder / "adapter")


def loaded(folder: Path, adapter: Path) -> torch.Tensor:
    plain = AutoModelForCausalLM.from_pretrained(folder / "base")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        return logits(peft.PeftModel.from_pretrained(plain, adapter))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(IDS).logits
        return found


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.filterwarnings("ignore")
def test_fused_and_verified(tmp_path: Path, kind: str) -> None:
    name, config = LINEAR[kind]
    expected = made(tmp_path, name, config())
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 0
    close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "fused")), expected)
    assert float((logits(AutoModelForCausalLM.from_pretrained(tmp_path / "base")) - expected).abs().max()) > 1e-3
    assert run(["verify", "fused"]) == 0


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.filterwarnings("ignore")
def test_what_is_linear_is_written_as_lora(tmp_path: Path, kind: str) -> None:
    name, config = LINEAR[kind]
    expected = made(tmp_path, name, config())
    for command in (
        ["convert", "adapter", "--to", "peft"],
        ["merge", "adapter", "adapter", "-w", "0.25", "-w", "0.75"],
        ["truncate", "adapter", "--rank", "32"],
    ):
        assert run([*command, "-o", "out", "--force"]) == 0
        close(loaded(tmp_path, tmp_path / "out"), expected)


@pytest.mark.filterwarnings("ignore")
def test_biases_are_not_normalized(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, *[part() if callable(part) else part for part in LINEAR["lora_bias"]])
    assert run(["normalize", "adapter", "-o", "out"]) == 4
    assert "is a bias (lora_bias)" in capsys.readouterr().err
    assert run(["check", "adapter", "--for", "vllm"]) == 8
    assert "trained biases" in capsys.readouterr().out
