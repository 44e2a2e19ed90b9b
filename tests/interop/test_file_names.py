"""Adapters whose modules have the names of files, where the model in memory has others: what PEFT loads, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import TOKENS, adapted, load, save
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]


def neox(folder: Path) -> Path:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4
    )
    return save(GPTNeoXForCausalLM(config), folder)


def logits(base: Path, adapter: Path) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = peft.PeftModel.from_pretrained(load(base), adapter).eval()(input_ids=TOKENS).logits
    return found


def test_a_module_that_target_modules_do_not_name_is_said_and_settled_by_the_base(
    tmp_path: Path, capsys: Capture
) -> None:
    base = neox(tmp_path / "base")
    adapter = adapted(base, tmp_path / "a", target_modules=["query_key_value", "lm_head"])
    expected = logits(base, adapter)
    path = adapter / "adapter_model.safetensors"
    save_file({key.replace("lm_head", "embed_out"): each for key, each in load_file(path).items()}, path)
    assert run(["truncate", str(adapter), "--rank", "4", "-o", str(tmp_path / "out")]) == 0
    assert "target_modules do not name embed_out" in capsys.readouterr().err
    merged = ["merge", str(adapter), str(adapter), "-w", "0.5", "-w", "0.5", "--base", str(base)]
    assert run([*merged, "-o", str(tmp_path / "settled")]) == 0
    assert "target_modules" not in capsys.readouterr().err
    config = json.loads((tmp_path / "settled/adapter_config.json").read_text())
    assert config["target_modules"] == ["lm_head", "query_key_value"]
    torch.testing.assert_close(logits(base, tmp_path / "settled"), expected, rtol=1e-4, atol=1e-5)
