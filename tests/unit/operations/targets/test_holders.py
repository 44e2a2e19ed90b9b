"""What a program calls the model that it holds, in the names of modules, full tensors and rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import adapterops as ao
from adapterops.operations.targets.holders import without_holder

PREFIX = "base_model.model."
Q, HEAD, EMBEDDING = "model.layers.0.self_attn.q_proj", "lm_head", "model.embed_tokens"
ROWS = f"{EMBEDDING}.token_adapter.trainable_tokens_delta"


@pytest.fixture
def base(tmp_path: Path) -> ao.Checkpoint:
    folder = tmp_path / "base"
    folder.mkdir()
    tensors = {f"{module}.weight": np.zeros((4, 4), np.float32) for module in (Q, HEAD, EMBEDDING)}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    return ao.open_checkpoint(folder)


def adapter(folder: Path, holder: str) -> ao.Adapter:
    folder.mkdir()
    ones = np.ones((4, 4), np.float32)
    tensors = {f"{Q}.lora_A.weight": ones, f"{Q}.lora_B.weight": ones, f"{HEAD}.weight": ones, ROWS: ones[:2]}
    save_file({f"{PREFIX}{holder}{name}": each for name, each in tensors.items()}, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 4,
        "target_modules": ["q_proj"],
        "modules_to_save": ["lm_head"],
        "trainable_token_indices": {"embed_tokens": [1, 2]},
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return ao.open_adapter(folder)


@pytest.mark.parametrize("holder", ["my_wrapper.", "my.own.wrapper."])
def test_every_name_is_that_of_the_model_itself(holder: str, base: ao.Checkpoint, tmp_path: Path) -> None:
    found = without_holder(adapter(tmp_path / "a", holder), base)
    assert set(found.layout) == {Q}
    assert set(found.updates) == {Q}
    assert set(found.scalings) == {Q}
    assert set(found.full) == {f"{HEAD}.weight", ROWS}
    assert set(found.config.tokens) == {ROWS}
    np.testing.assert_allclose(found.updates[Q].dense(), 4)


@pytest.mark.parametrize("holder", ["", "model.", "decoder.", "bert."])
def test_what_the_base_knows_or_models_have_stays(holder: str, base: ao.Checkpoint, tmp_path: Path) -> None:
    given = adapter(tmp_path / "a", holder)
    assert without_holder(given, base) is given
