"""`convert`: there and back is the same update, and what a format cannot hold is refused with a way out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import PREFIX, config, factors, write_adapter
from safetensors.torch import load_file, save_file

import adapterops as ao
from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_adapter(tmp_path / "a", fields=config(2, use_rslora=True))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("format", ["peft", "mlx", "comfy"])
def test_there_and_back_is_the_same_update(format: str) -> None:
    assert run(["convert", "a", "--to", format]) == 0
    assert run(["convert", f"a-{format}", "--to", "peft", "-o", "back"]) == 0
    before, after = ao.open_adapter("a"), ao.open_adapter("back")
    assert after.layout.keys() == before.layout.keys()
    for module in before.layout:
        np.testing.assert_allclose(after.updates[module].dense(), before.updates[module].dense(), rtol=1e-5, atol=1e-6)


def test_it_is_one_request(capsys: Capture) -> None:
    assert run(["convert", "a", "--to", "mlx", "--rank", "1", "-o", "out"]) == 0
    request = json.loads(Path("out/adapterops.json").read_text())["request"]
    assert request["output"] == {
        "adapter": False, "exact": False, "format": "mlx", "normalize": False, "rank": 1
    }  # fmt: skip
    assert run(["convert", "a"]) == 2
    assert "--to" in capsys.readouterr().err


def test_names_without_dots_need_a_base(capsys: Capture) -> None:
    A, B = torch.randn(2, 8), torch.randn(12, 2)
    save_file(
        {"lora_unet_layers_0_q_proj.lora_down.weight": A, "lora_unet_layers_0_q_proj.lora_up.weight": B},
        "kohya.safetensors",
    )
    for format, message in (("peft", "--base"), ("comfy", "--base"), ("mlx", "MLX-LM runs models of language")):
        assert run(["convert", "kohya.safetensors", "--to", format, "-o", "out"]) == 4
        assert message in capsys.readouterr().err
    Path("base").mkdir()
    save_file({"layers.0.q_proj.weight": torch.ones(12, 8)}, "base/model.safetensors", {"format": "pt"})
    assert run(["convert", "kohya.safetensors", "--to", "peft", "--base", "base", "-o", "out"]) == 0
    torch.testing.assert_close(load_file("out/adapter_model.safetensors")[f"{PREFIX}layers.0.q_proj.lora_A.weight"], A)


REFUSED = {
    "a full tensor": ({f"{PREFIX}norm.weight": torch.ones(8)}, {"modules_to_save": ["norm"]}),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("format", ["mlx", "kohya", "comfy"])
def test_what_a_format_cannot_hold_is_refused(kind: str, format: str, capsys: Capture) -> None:
    more, fields = REFUSED[kind]
    write_adapter(Path("b"), {**factors(["layers.0.q_proj"]), **more}, config(2, **fields))
    assert run(["convert", "b", "--to", format, "-o", "out"]) == 4
    shown = capsys.readouterr().err
    assert kind in shown
    assert "fuse" in shown
    assert not Path("out").exists()


def test_a_convolution_is_not_written_for_mlx(capsys: Capture) -> None:
    A, B = torch.randn(2, 4, 3, 3), torch.randn(6, 2, 1, 1)
    save_file(
        {"diffusion_model.conv_in.lora_A.weight": A, "diffusion_model.conv_in.lora_B.weight": B}, "conv.safetensors"
    )
    assert run(["convert", "conv.safetensors", "--to", "mlx", "-o", "out"]) == 4
    assert "a convolution" in capsys.readouterr().err
