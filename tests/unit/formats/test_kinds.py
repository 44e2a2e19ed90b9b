"""What only adapters have, by the names of their tensors: the kind is named before the file that holds it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adapterops.cli.main import run
from adapterops.formats.kinds import are_of_adapter, is_of_adapter
from adapterops.formats.peft.types import TYPES

MODULE = "down_blocks_0_attn1_to_q"
NAMED = {
    "VeRA": ["vera_lambda_b", "vera_lambda_d"],
    "AdaLoRA": ["lora_A", "lora_B", "lora_E"],
    "(IA)3": ["ia3_l"],
    "OFT": ["oft_blocks"],
    "BOFT": ["boft_R", "boft_s"],
    "VB-LoRA": ["vblora_logits_A", "vblora_logits_B"],
    "FourierFT": ["fourierft_spectrum"],
    "LayerNorm tuning": ["ln_tuning_layers.weight"],
    "HRA": ["hra_u"],
    "Bone": ["bone_block"],
    "MiSS": ["miss_block"],
    "SHiRA": ["shira_weight"],
    "C3A": ["c3a_kernel"],
    "RandLoRA": ["randlora_lambda", "randlora_gamma"],
    "RoAd": ["road_theta", "road_alpha"],
    "WaveFT": ["waveft_spectrum"],
    "DeLoRA": ["delora_A", "delora_B", "delora_lambda"],
    "GraLoRA": ["gralora_A", "gralora_B"],
    "HiRA": ["hira_A", "hira_B"],
    "GLoRA": ["a1.weight", "a2.weight", "b1.weight", "b2.weight"],
    "X-LoRA": ["xlora_classifier.weight"],
    "MonteCLoRA": ["lora_monteclora_sampler.weight"],
    "trained token rows": ["trainable_tokens_delta"],
}


@pytest.mark.parametrize("start", [f"lora_unet_{MODULE}", "diffusion_model.down_blocks.0.attn1.to_q"])
@pytest.mark.parametrize("kind", NAMED)
def test_the_kind_is_named(kind: str, start: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.safetensors"
    save_file({f"{start}.{role}": torch.ones(2, 4, 4) for role in NAMED[kind]}, path)
    assert run(["show", str(path)]) == 4
    shown = capsys.readouterr().err
    assert f"belongs to {kind}" in shown
    assert "merge" in shown


def test_every_type_of_peft_is_known_by_its_arrays() -> None:
    for each in TYPES.values():
        assert is_of_adapter(f"x.{each.begins}weight") or each.begins == "prompt_"


def test_a_module_that_is_called_as_an_array_begins() -> None:
    """It has LoRA: the end of the name says so."""
    assert not is_of_adapter("blocks.0.road_proj.alpha")
    assert are_of_adapter(["blocks.0.road_proj.alpha", "blocks.0.road_proj.lora_A.weight"])


@pytest.mark.parametrize("name", ["model.layers.0.mlp.up_proj.weight", "prompt_encoder.weight", "decoder.snake.alpha"])
def test_what_a_model_has(name: str) -> None:
    assert not are_of_adapter(["model.norm.weight", name])
