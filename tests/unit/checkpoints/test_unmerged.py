from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adapterops.checkpoints.unmerged import open_unmerged
from adapterops.errors import InputError, OptionError

Q = "base_model.model.layers.0.q_proj"


def unmerged(folder: Path, rank: int = 2) -> Path:
    """One layer with LoRA in it, and a norm."""
    folder.mkdir(parents=True)
    shapes = {"base_layer.weight": (8, 6), "lora_A.default.weight": (rank, 6), "lora_B.default.weight": (8, rank)}
    tensors = {f"{Q}.{end}": torch.randn(shape) for end, shape in shapes.items()}
    save_file({**tensors, "base_model.model.norm.weight": torch.ones(6)}, folder / "model.safetensors")
    return folder


def test_names_are_those_of_a_base_and_of_an_adapter(tmp_path: Path) -> None:
    found = open_unmerged(unmerged(tmp_path / "model"), alpha=3)
    assert sorted(found.base.layout) == ["layers.0.q_proj.weight", "norm.weight"]
    assert sorted(found.tensors) == [f"{Q}.lora_A.weight", f"{Q}.lora_B.weight"]
    assert found.modules == {"layers.0.q_proj": 2}
    assert (found.config["lora_alpha"], found.config["r"], found.config["target_modules"]) == (
        3,
        2,
        ["layers.0.q_proj"],
    )


@pytest.mark.parametrize("alpha", [None, 0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_is_never_guessed(tmp_path: Path, alpha: float | None) -> None:
    with pytest.raises(InputError, match="alpha"):
        open_unmerged(unmerged(tmp_path / "model"), alpha=alpha)


def test_the_config_that_is_there_says_the_scale(tmp_path: Path) -> None:
    folder = unmerged(tmp_path / "model")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 32, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    assert open_unmerged(folder).config == config
    with pytest.raises(OptionError, match="leave it out"):
        open_unmerged(folder, alpha=16)


def test_a_config_of_another_adapter_is_refused(tmp_path: Path) -> None:
    folder = unmerged(tmp_path / "model")
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 32, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="rank 8, the tensors have rank 2"):
        open_unmerged(folder)


def test_a_model_without_an_adapter(tmp_path: Path) -> None:
    save_file({"q.weight": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="has no adapter in it"):
        open_unmerged(tmp_path, alpha=1)
