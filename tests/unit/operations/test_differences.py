"""What replaces tensors of a base, as ComfyUI's `set` and PEFT's modules_to_save do, becomes what is added to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import adapterops as ao
from adapterops.cli.main import run
from adapterops.errors import UnsupportedError
from adapterops.operations.differences import as_differences

EXACT = ("--dtype", "float32", "--precision", "float64")


def as_fused(folder: Path, base: str, adapter: str) -> dict[str, torch.Tensor]:
    out = folder / f"{Path(adapter).stem}-fused"
    assert run(["fuse", base, adapter, *EXACT, "-o", str(out)]) == 0
    (file,) = out.glob("*.safetensors")
    return load_file(file)


@pytest.mark.parametrize(("form", "end"), [("kohya", "diff"), ("comfy", "diff"), ("diffusers", "lora_A.weight")])
def test_set_is_written_as_a_difference(
    tmp_path: Path, form: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    base = {
        "transformer_blocks.0.attn.to_q.weight": torch.randn(8, 8),
        "transformer_blocks.0.attn.to_q.bias": torch.randn(8),
    }
    save_file(base, tmp_path / "base.safetensors")
    stated = {f"transformer.{name}": torch.randn(each.shape) for name, each in base.items()}
    kept = {name: each for name, each in stated.items() if form != "diffusers" or each.ndim > 1}
    save_file(
        {f"{name.removesuffix('.weight')}.set_weight": each for name, each in kept.items()}, tmp_path / "a.safetensors"
    )
    given, out = str(tmp_path / "base.safetensors"), str(tmp_path / "out.safetensors")
    line = ["convert", str(tmp_path / "a.safetensors"), "--to", form, "-o", out]
    if form != "comfy":
        assert run(line) == 4
        assert "name the model with --base" in capsys.readouterr().err
    assert run([*line, "--base", given]) == 0
    assert any(name.endswith(end) for name in load_file(out))
    assert not any(name.endswith("set_weight") for name in load_file(out))
    found = as_fused(tmp_path, given, out)
    for name, each in base.items():
        torch.testing.assert_close(found[name], kept.get(f"transformer.{name}", each))


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("compare a.safetensors b.safetensors", "name the model with --base"),
        ("report a.safetensors -o r.html", "adapterops convert a.safetensors --base BASE --to comfy"),
        ("compress a.safetensors b.safetensors -o c", "adapterops convert a.safetensors --base BASE --to peft"),
        ("truncate a.safetensors --rank 2 -o c", "name the model with --base"),
        ("normalize a.safetensors -o c", "name the model with --base"),
        ("calc 0.5*a a=a.safetensors -o c", "name the model with --base"),
    ],
)
def test_what_makes_an_update_of_a_replaced_tensor_works(
    tmp_path: Path, line: str, hint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    layer = "layers.0.fc"
    save_file({f"{layer}.weight": torch.randn(8, 8)}, "base.safetensors")
    save_file({f"{layer}.set_weight": torch.randn(8, 8)}, "a.safetensors")
    save_file({f"{layer}.set_weight": torch.randn(8, 8)}, "b.safetensors")
    assert run(line.split()) == 4
    assert hint in capsys.readouterr().err
    if "convert" in hint:
        for name in "ab" if "b.safetensors" in line else "a":
            hinted = hint.replace("BASE", "base.safetensors").replace("a.safetensors", f"{name}.safetensors", 1)
            out = f"{name}{'' if 'peft' in hint else '-difference.safetensors'}"
            assert run([*hinted.split()[1:], "-o", out]) == 0
            line = line.replace(f"{name}.safetensors", out)
        assert run(line.split()) == 0
    else:
        assert run([*line.split(), "--base", "base.safetensors"]) == 0


class Tiny(nn.Module):
    """What the denoiser of a pipeline is made of, as PEFT sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer_blocks = nn.ModuleList([nn.Module()])
        self.transformer_blocks[0].attn = nn.Module()
        self.transformer_blocks[0].attn.to_q = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.proj_out = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.proj_out(self.norm(self.transformer_blocks[0].attn.to_q(x)))
        return found


KERNELS = [(8, 4), (8, 4, 1), (8, 4, 3), (8, 4, 3, 3), (1, 4, 6), (8,)]


@pytest.mark.parametrize("shape", KERNELS, ids=str)
@pytest.mark.parametrize("full", [False, True], ids=["set", "modules_to_save"])
def test_what_is_added_to_a_tensor_of_any_shape(tmp_path: Path, shape: tuple[int, ...], full: bool) -> None:
    """Of a kernel it is told from the tensor's own matrix what its rows are."""
    torch.manual_seed(0)
    name = "proj_in.bias" if len(shape) == 1 else "proj_in.weight"
    if shape[0] == 1:
        name = "blocks.0.modulation" if not full else "modulation.weight"
    W, V = torch.randn(shape), torch.randn(shape)
    save_file({name: W}, tmp_path / "base.safetensors")
    if full:
        (tmp_path / "a").mkdir()
        save_file({f"base_model.model.{name}": V}, tmp_path / "a/adapter_model.safetensors")
        fields = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": []}
        fields |= {"modules_to_save": [name.partition(".")[0]]}
        (tmp_path / "a/adapter_config.json").write_text(json.dumps(fields))
    else:
        save_file({f"diffusion_model.{name.removesuffix('.weight')}.set_weight": V}, tmp_path / "a.safetensors")
    adapter = ao.open_adapter(tmp_path / ("a" if full else "a.safetensors"))
    found = as_differences(adapter, ao.open_checkpoint(tmp_path / "base.safetensors"))
    (module,) = found.layout
    update: Any = found.updates[module]
    assert found.layout[module].shape == update.shape
    torch.testing.assert_close(torch.as_tensor(update.dense()).reshape(shape), V - W)
    some = slice(1, None, 2), slice(1, 3)
    rows = update.rows(some, np.empty(update.dense()[some].shape, np.float32))
    np.testing.assert_array_equal(rows, update.dense()[some])


@pytest.mark.parametrize("form", ["kohya", "comfy"])
def test_full_tensors_of_peft_are_written_as_differences(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of LoRA with trained norms, heads and biases: what is fused computes what PEFT's model does."""
    torch.manual_seed(0)
    model = Tiny()
    save_file(model.state_dict(), tmp_path / "base.safetensors")
    config = peft.LoraConfig(r=2, target_modules=["to_q"], modules_to_save=["norm", "proj_out"], bias="lora_only")
    live = peft.get_peft_model(model, config)
    with torch.no_grad():
        for parameter in live.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    live.save_pretrained(tmp_path / "a")
    x = torch.randn(3, 8)
    wanted = live(x).detach()
    base, out = str(tmp_path / "base.safetensors"), str(tmp_path / "out.safetensors")
    line = ["convert", str(tmp_path / "a"), "--to", form, "-o", out]
    assert run(line) == 4
    assert "--base" in capsys.readouterr().err
    assert run([*line, "--base", base]) == 0
    names = {name.rpartition(".")[2] for name in load_file(out)}
    assert {"diff", "diff_b"} <= names
    again = Tiny()
    again.load_state_dict(as_fused(tmp_path, base, out))
    torch.testing.assert_close(again(x).detach(), wanted, atol=1e-5, rtol=1e-5)


def test_another_shape_has_no_difference(tmp_path: Path) -> None:
    """Of a vocabulary that was resized nothing says what the new rows are added to."""
    save_file({"model.embed_tokens.weight": torch.ones(8, 4)}, tmp_path / "base.safetensors")
    (tmp_path / "a").mkdir()
    tensors = {"base_model.model.model.embed_tokens.weight": torch.ones(9, 4)}
    save_file(tensors, tmp_path / "a/adapter_model.safetensors")
    fields = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": [], "modules_to_save": ["embed_tokens"]}
    (tmp_path / "a/adapter_config.json").write_text(json.dumps(fields))
    adapter, base = ao.open_adapter(tmp_path / "a"), ao.open_checkpoint(tmp_path / "base.safetensors")
    with pytest.raises(UnsupportedError, match=r"of shape \[9, 4\].*\[8, 4\]") as raised:
        as_differences(adapter, base)
    assert "fuse" in str(raised.value.hint)


def test_set_is_merged_as_a_difference(tmp_path: Path) -> None:
    """With the base, half of what it changes is half of V - W."""
    torch.manual_seed(0)
    W, V = torch.randn(8, 8), torch.randn(8, 8)
    save_file({"blocks.0.attn.q.weight": W}, tmp_path / "base.safetensors")
    save_file({"diffusion_model.blocks.0.attn.q.set_weight": V}, tmp_path / "a.safetensors")
    base, out = str(tmp_path / "base.safetensors"), str(tmp_path / "out.safetensors")
    assert run(["merge", str(tmp_path / "a.safetensors"), "-w", "0.5", "--linear", "--base", base, "-o", out]) == 0
    torch.testing.assert_close(as_fused(tmp_path, base, out)["blocks.0.attn.q.weight"], (W + V) / 2)
    assert run(["fuse", base, str(tmp_path / "a.safetensors"), "-w", "0.5", "-o", str(tmp_path / "half")]) == 0
    (file,) = (tmp_path / "half").glob("*.safetensors")
    half = load_file(file)["blocks.0.attn.q.weight"]
    torch.testing.assert_close(half, (W + V) / 2)
    exact = as_fused(tmp_path, base, str(tmp_path / "a.safetensors"))
    assert torch.equal(exact["blocks.0.attn.q.weight"], V)
