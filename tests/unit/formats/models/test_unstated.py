"""A config of the language model next to the weights of a model that sees or hears."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import adapterops as ao
from adapterops.cli.main import run
from adapterops.formats.models.unstated import unstated

SEEN = "model.visual.blocks.0.attn.qkv.weight"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"architectures": ["Qwen2_5_VLTextModel"]}, True),
        ({"architectures": ["Qwen2_5_VLForConditionalGeneration"]}, False),
        ({"architectures": ["Phi4MultimodalForCausalLM"], "vision_config": {"depth": 1}}, False),
        ({"architectures": ["QWenLMHeadModel"], "auto_map": {"AutoModel": "modeling_qwen.QWen"}}, False),
        ({}, False),
    ],
    ids=["words", "both", "a part", "own code", "nothing stated"],
)
def test_what_a_config_says_nothing_of(config: dict[str, Any], told: bool) -> None:
    assert unstated([SEEN, "lm_head.weight"], config) == ([SEEN] if told else [])


def test_it_is_told_when_the_model_is_written(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    save_file({SEEN: torch.ones(2, 2), "lm_head.weight": torch.ones(2, 2)}, base / "model.safetensors")
    (base / "config.json").write_text(json.dumps({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}))
    with pytest.warns(ao.AdapterWarning, match=f"such as {SEEN}"):
        ao.save_checkpoint(ao.open_checkpoint(base), tmp_path / "out")


def test_show_tells_it_and_what_is_no_part_of_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({SEEN: torch.ones(2, 2), "lm_head.weight": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}))
    (tmp_path / "mtp.safetensors").touch()
    assert run(["show", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert f"1 tensor of what sees or hears, such as {SEEN}" in shown
    assert "that no index names: mtp.safetensors" in shown
