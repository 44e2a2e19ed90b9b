"""Experts that have no gates, which Nemotron-H has: up and down are parameters of all experts in memory, and weights of each in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from expert_files import on_single_experts
from expert_models import (
    SIZES,
    assert_answers_alike,
    assert_saved_as,
    deltas,
    load,
    trained,
    unmerged,
)
from safetensors.torch import load_file, save_file
from transformers import NemotronHConfig, NemotronHForCausalLM
from turns import in_turn

import adapterops as ao
from adapterops.cli.main import run

HOW_STORED = ["each by itself", "all in one"]
BOTH = ["mixer.experts.up_proj", "mixer.experts.down_proj"]
CASES: dict[str, dict[str, Any]] = {
    "both, and q_proj": {"r": 4, "lora_alpha": 10, "target_modules": ["q_proj"], "target_parameters": BOTH},
    "both in the other order": {"r": 2, "target_modules": [], "target_parameters": BOTH[::-1]},
    "up_proj": {"r": 2, "lora_alpha": 3, "target_modules": [], "target_parameters": ["experts.up_proj"]},
    "down_proj": {"r": 3, "lora_alpha": 9, "target_modules": ["q_proj"], "target_parameters": ["experts.down_proj"]},
}


def base(folder: Path, stored: str = "all in one", intermediate: int = 20) -> Path:
    torch.manual_seed(0)
    fields = {name: value for name, value in SIZES.items() if name != "num_hidden_layers"}
    moe = {"n_routed_experts": 4, "moe_intermediate_size": intermediate, "moe_shared_expert_intermediate_size": 12}
    config = NemotronHConfig(**fields, **moe, layers_block_type=["full_attention", "moe", "moe"], intermediate_size=40)
    model = NemotronHForCausalLM(config).eval()
    model.save_pretrained(folder, save_original_format=stored == "each by itself")
    return folder


@pytest.mark.parametrize(("case", "stored", "intermediate"), in_turn(CASES, HOW_STORED, [20, 32], times=2))
def test_a_fused_model_answers_as_peft_does(tmp_path: Path, case: str, stored: str, intermediate: int) -> None:
    model = base(tmp_path / "base", stored, intermediate)
    adapter = trained(model, tmp_path / "adapter", **CASES[case])
    assert run(["fuse", str(model), str(adapter), "-o", str(tmp_path / "out")]) == 0
    assert_answers_alike(load(tmp_path / "out"), unmerged(model, adapter), model)
    assert run(["verify", str(tmp_path / "out"), "--base", str(model), "--adapter", str(adapter)]) == 0
    assert_saved_as(ao.open_adapter(adapter), deltas(unmerged(model, adapter)), model, tmp_path / "saved")


@pytest.mark.parametrize(
    ("left_out", "stored", "intermediate"), in_turn(["", "up_proj", "down_proj"], HOW_STORED, [20, 32])
)
def test_lora_on_single_experts(tmp_path: Path, left_out: str, stored: str, intermediate: int) -> None:
    """Fused, and written as the parameter that PEFT adapts: it loads nothing of LoRA on each."""
    single = base(tmp_path / "single", "each by itself", intermediate)
    model = base(tmp_path / "base", stored, intermediate)
    adapter, changed = on_single_experts(single, tmp_path, left_out)
    expected = load(changed)
    assert run(["fuse", str(model), str(adapter), "-o", str(tmp_path / "out")]) == 0
    assert_answers_alike(load(tmp_path / "out"), expected, model)
    assert run(["verify", str(tmp_path / "out"), "--base", str(model), "--adapter", str(adapter)]) == 0
    assert run(["truncate", str(adapter), "--rank", "4", "--base", str(model), "-o", str(tmp_path / "named")]) == 0
    assert_answers_alike(unmerged(model, tmp_path / "named"), expected, model)


@pytest.mark.parametrize("stored", HOW_STORED)
def test_what_was_changed_is_extracted(tmp_path: Path, stored: str) -> None:
    model = base(tmp_path / "base", stored)
    torch.manual_seed(1)
    weights = load_file(model / "model.safetensors")
    for name in [name for name in weights if ".experts." in name]:
        left, right = (
            torch.randn(*weights[name].shape[:-1], 2),
            torch.randn(*weights[name].shape[:-2], 2, weights[name].shape[-1]),
        )
        weights[name] += left @ right / 5
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    save_file(weights, tuned / "model.safetensors", {"format": "pt"})
    (tuned / "config.json").write_bytes((model / "config.json").read_bytes())
    assert run(["extract", str(tuned), "--base", str(model), "--rank", "2", "-o", str(tmp_path / "out")]) == 0
    fields = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert sorted({each.rpartition(".")[2] for each in fields["target_parameters"]}) == ["down_proj", "up_proj"]
    assert_answers_alike(unmerged(model, tmp_path / "out"), load(tuned), model)


def test_the_sides_of_both_are_not_known_of_older_versions_of_peft(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has the sides of the other the other way round, and PEFT before 0.19 took them so."""
    adapter = trained(base(tmp_path / "base"), tmp_path / "adapter", **CASES["both, and q_proj"])
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "peft_version": "0.18.1"}))
    assert run(["fuse", str(tmp_path / "base"), str(adapter), "-o", str(tmp_path / "out")]) == 4
    assert "peft_version" in capsys.readouterr().err
