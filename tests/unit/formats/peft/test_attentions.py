"""LoRA on a MultiheadAttention of torch, as PEFT's forward pass has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from adapterops.cli.main import run


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(16, 4, batch_first=True)
        self.lin = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.lin(self.attn(x, x, x, need_weights=False)[0])
        return found


INPUTS = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """A base and an adapter with a rank and an alpha of its own for the attention; what PEFT computes."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    plain = Attending()
    (tmp_path / "base").mkdir()
    save_file(plain.state_dict(), tmp_path / "base/model.safetensors")
    config = peft.LoraConfig(
        r=3, lora_alpha=5, target_modules=["attn", "lin"], rank_pattern={"attn": 2}, alpha_pattern={"attn": 7}
    )
    model = peft.get_peft_model(plain, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn(parameter.shape)
    model.eval().save_pretrained("adapter")
    with torch.no_grad():
        found: torch.Tensor = model(INPUTS)
        return found


def computed(folder: Path) -> torch.Tensor:
    model = Attending()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    with torch.no_grad():
        found: torch.Tensor = model.eval()(INPUTS)
        return found


def stated(version: Any) -> None:
    path = Path("adapter/adapter_config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"peft_version": version}))


def test_twice(expected: torch.Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 0
    assert "is added twice, as PEFT 0.21.2 does" in capsys.readouterr().err
    torch.testing.assert_close(computed(tmp_path / "fused"), expected, atol=1e-6, rtol=1e-5)
    assert run(["verify", "fused"]) == 0
    assert run(["diagnose", "fused", "--base", "base", "--adapter", "adapter"]) == 0


@pytest.mark.filterwarnings("ignore")
def test_once(expected: torch.Tensor, tmp_path: Path) -> None:
    formula = 'scale(a, {"attn.out_proj": 0.5})'
    assert run(["calc", formula, "a=adapter", "--format", "comfy", "-o", "once"]) == 0
    assert run(["fuse", "base", "once", "-o", "fused"]) == 0
    base, found = (load_file(tmp_path / each / "model.safetensors") for each in ("base", "fused"))
    stored = load_file(tmp_path / "adapter/adapter_model.safetensors")
    A, B = (stored[f"base_model.model.attn.base_layer.out_proj.lora_{each}.weight"] for each in "AB")
    torch.testing.assert_close(found["attn.out_proj.weight"], base["attn.out_proj.weight"] + 7 / 2 * B @ A)


@pytest.mark.parametrize("version", ["0.22.0", "0.17.1", None])
def test_a_version_of_which_it_is_not_known(
    expected: torch.Tensor, capsys: pytest.CaptureFixture[str], version: str | None
) -> None:
    stated(version)
    assert run(["fuse", "base", "adapter", "-o", "fused"]) == 4
    assert "which does not say how often" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_it_is_not_written_for_peft(expected: torch.Tensor, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["normalize", "adapter", "-o", "out"]) == 4
    assert "it is not written for PEFT" in capsys.readouterr().err
    assert run(["check", "adapter", "--for", "vllm"]) == 8
    shown = capsys.readouterr().out
    assert "LoRA on a MultiheadAttention of torch" in shown
    assert "alpha_pattern (14" not in shown


def test_an_output_alone(expected: torch.Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "adapter/adapter_model.safetensors"
    save_file({name: each for name, each in load_file(path).items() if ".attn.lora" not in name}, path)
    assert run(["show", "adapter"]) == 3
    assert "has an out_proj of a MultiheadAttention and no in_proj" in capsys.readouterr().err
