"""Layouts of quantized weights as quantizers write them: each stands for what its library or a formula says, is kept byte
by byte where nothing changes, and holds the mean of an update.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import config
from quantized_layouts import (
    DOWN,
    F8_ROW,
    FLOATS,
    INTO,
    INTS,
    LAYOUTS,
    OUT,
    PACK,
    W4,
    W8_ZEROS,
    Layout,
    Q,
    gptq,
    one,
    rotated,
    write_layout,
)
from safetensors.torch import load_file, save_file
from torch import Tensor
from turns import some

import adapterops as ao
from adapterops.arrays import columns
from adapterops.checkpoints import checkpoint
from adapterops.cli.main import run
from adapterops.quant.registry import kept
from adapterops.verification import witness

MANY_TILES = [name for name in LAYOUTS if name.startswith(("gptq", "w4a16 with", "w5a16"))]


def adapter(folder: Path, layout: Layout, module: str, share: float) -> tuple[Path, Tensor]:
    """A LoRA of rank 16 on one module, whose update has this share of the norm of the weight."""
    W = layout.values[module]
    random = torch.Generator().manual_seed(7)
    A, B = torch.randn(16, W.shape[1], generator=random), torch.randn(W.shape[0], 16, generator=random)
    B *= share * float(W.norm() / (B @ A).norm())
    folder.mkdir()
    names = {f"base_model.model.{module}.lora_{role}.weight": each for role, each in (("A", A), ("B", B))}
    save_file(names, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    fields = {**config(16), "lora_alpha": 16, "target_modules": [module]}
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    return folder, B.double() @ A.double()


def stored(folder: Path) -> dict[str, Tensor]:
    return {name: each for file in sorted(folder.glob("*.safetensors")) for name, each in load_file(file).items()}


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a.view(-1).view(torch.uint8), b.view(-1).view(torch.uint8))


def decoded(folder: Path, out: Path) -> dict[str, Tensor]:
    ao.save_checkpoint(ao.dequantize(ao.open_checkpoint(folder), "F32"), out)
    return {name: each.double() for name, each in stored(out).items()}


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    made: Any = LAYOUTS[request.param]
    found: Layout = made()
    return found


def test_it_stands_for_what_its_library_says_and_holds_the_mean_of_an_update(layout: Layout, tmp_path: Path) -> None:
    base = write_layout(tmp_path / "base", layout)
    before = decoded(base, tmp_path / "before")
    for module, value in layout.values.items():
        assert torch.allclose(before[f"{module}.weight"], value.double(), rtol=2.0**-22, atol=1e-9), module
    module = DOWN if DOWN in layout.values else Q
    own, update = adapter(tmp_path / "adapter", layout, module, 0.01)
    options = ["--rounding", "stochastic", "--seed", "1"]
    assert run(["fuse", str(base), str(own), "-o", str(tmp_path / "out"), *options]) == 0
    assert run(["verify", str(tmp_path / "out"), "--base", str(base), "--adapter", str(own), *options]) == 0
    moved = decoded(tmp_path / "out", tmp_path / "after")[f"{module}.weight"] - before[f"{module}.weight"]
    gain = float((moved * update).sum() / (update * update).sum())
    noise = float((moved - update).norm() / update.norm()) / update.numel() ** 0.5
    assert abs(gain - 1) < 0.02 + 3 * noise
    there, made = stored(base), stored(tmp_path / "out")
    assert there.keys() == made.keys()
    changed = [name for name in there if not same(there[name], made[name])]
    assert len(changed) == 1
    assert changed[0].startswith(module)
    assert (base / "config.json").read_bytes() == (tmp_path / "out/config.json").read_bytes()


@pytest.mark.parametrize("name", some(MANY_TILES, 2))
def test_a_weight_of_many_tiles(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which are computed, written, verified and judged one by one: codes in words that hold those of several rows, too."""
    monkeypatch.setattr(checkpoint, "BLOCK", 12000)
    monkeypatch.setattr(witness, "TILE", 9000)
    monkeypatch.setattr(columns, "BAND", 2000)
    layout = LAYOUTS[name]()
    base = write_layout(tmp_path / "base", layout)
    own, update = adapter(tmp_path / "adapter", layout, Q, 0.01)
    options = ["--rounding", "stochastic", "--seed", "1"]
    assert run(["fuse", str(base), str(own), "-o", str(tmp_path / "out"), *options]) == 0
    assert run(["verify", str(tmp_path / "out"), "--base", str(base), "--adapter", str(own), *options]) == 0
    assert run(["diagnose", str(tmp_path / "out"), "--base", str(base), "--adapter", str(own)]) == 0
    before, after = (decoded(tmp_path / each, tmp_path / f"{each}-wide")[f"{Q}.weight"] for each in ("base", "out"))
    gain = float(((after - before) * update).sum() / (update * update).sum())
    assert abs(gain - 1) < 0.02 + 3 * float((after - before - update).norm() / update.norm()) / update.numel() ** 0.5


def test_an_update_of_zeros_changes_no_byte(layout: Layout, tmp_path: Path) -> None:
    base = write_layout(tmp_path / "base", layout)
    opened, there = ao.open_checkpoint(base), stored(base)
    for module, value in layout.values.items():
        weight = opened.stored[f"{module}.weight"]
        assert weight.scheme
        decoded = weight.scheme.decode(weight.shape, weight.read, 0, len(value)).clone()
        made, _ = kept(weight.scheme).on_grid(weight.shape, weight.read, "key").rows(decoded, 0)
        for role, part in made.items():
            assert torch.equal(part.reshape(-1).view(torch.uint8), there[f"{module}.{role}"].view(-1).view(torch.uint8))


REFUSED: dict[str, tuple[Any, int, str]] = {
    "zero points that are not there": (
        lambda: without(one(W8_ZEROS, INTS), "weight_zero_point"),
        3,
        "weight_zero_point should be I8",
    ),
    "inputs that are rotated": (lambda: rotated("input", "weight_input"), 4, "changes more than weights"),
    "outputs that are rotated": (lambda: rotated("weight_output", "output"), 4, "changes more than weights"),
    "bytes in another order": (
        lambda: extended(one(W4, INTS), weight_g_idx=torch.arange(INTO).int() // 128),
        4,
        "weight_g_idx: is a part of a weight",
    ),
    "a second scale": (
        lambda: extended(one(F8_ROW, FLOATS), weight_scale_3=torch.ones(1)),
        4,
        "weight_scale_3: is a part of a weight",
    ),
    "gptq without a config": (lambda: gptq(4, 128)._replace(section={}), 4, "no quantization_config in config.json"),
    "packed without a config": (lambda: one(W4, PACK)._replace(section={}), 4, "no quantization_config in config.json"),
    "words of MLX": (
        lambda: foreign(weight=torch.zeros(OUT, 64, dtype=torch.uint32), scales=torch.ones(OUT, 8)),
        4,
        f"is in U32 with {Q}.scales, as MLX stores",
    ),
    "quanto": (lambda: foreign(**{"weight._data": torch.zeros(OUT, INTO).to(torch.int8)}), 4, "quanto"),
}


def without(layout: Layout, role: str) -> Layout:
    return layout._replace(modules={Q: {each: part for each, part in layout.modules[Q].items() if each != role}})


def extended(layout: Layout, **more: Tensor) -> Layout:
    return layout._replace(modules={Q: {**layout.modules[Q], **more}})


def foreign(**parts: Tensor) -> Layout:
    return Layout({Q: parts}, {}, {Q: torch.zeros(OUT, INTO)})


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_be_wrong_numbers_is_refused(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, code, words = REFUSED[kind]
    base = write_layout(tmp_path / "base", made())
    for command in (["show"], ["dequantize", "-o", str(tmp_path / "out")]):
        assert run([command[0], str(base), *command[1:]]) == code
        assert words in capsys.readouterr().err
