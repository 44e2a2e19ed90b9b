"""Adapters of mlx-examples' FLUX are what MLX applies, and are refused where they are not whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapterops.cli.main import run

SHAPES = {
    "double_blocks.0.img_attn.qkv": (24, 8),
    "double_blocks.0.img_mlp.layers.2": (8, 12),
    "single_blocks.3.linear2": (8, 20),
}
HEADER = {"lora_rank": "2", "lora_blocks": "-1"}


def tensors() -> dict[str, Any]:
    random = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for module, (out, into) in SHAPES.items():
        found[f"{module}.lora_a"] = random.standard_normal((into, 2)).astype("float32")
        found[f"{module}.lora_b"] = random.standard_normal((2, out)).astype("float32")
    return found


def test_it_is_fused_as_mlx_applies_it(tmp_path: Path) -> None:
    mx, nn = pytest.importorskip("mlx.core"), pytest.importorskip("mlx.nn")
    stored = tensors()
    mx.save_safetensors(str(tmp_path / "a.safetensors"), {k: mx.array(v) for k, v in stored.items()}, metadata=HEADER)
    layers = {module: nn.Linear(into, out, bias=False) for module, (out, into) in SHAPES.items()}
    weights = {f"{m.replace('.layers.', '.')}.weight": np.array(each.weight) for m, each in layers.items()}
    (tmp_path / "base").mkdir()
    save_file(weights, tmp_path / "base/model.safetensors")
    assert run(["fuse", str(tmp_path / "base"), str(tmp_path / "a.safetensors"), "-o", str(tmp_path / "fused")]) == 0
    fused = load_file(tmp_path / "fused/model.safetensors")
    for module, layer in layers.items():
        x = mx.random.normal((3, SHAPES[module][1]))
        y = layer(x) + (x @ mx.array(stored[f"{module}.lora_a"])) @ mx.array(stored[f"{module}.lora_b"])
        found = np.array(x) @ fused[f"{module.replace('.layers.', '.')}.weight"].T
        np.testing.assert_allclose(found, np.array(y), atol=1e-5)


@pytest.mark.parametrize("form", ["kohya", "comfy"])
def test_it_is_converted(form: str, tmp_path: Path) -> None:
    stored = tensors()
    save_file(stored, tmp_path / "a.safetensors", metadata=HEADER)
    assert run(["convert", str(tmp_path / "a.safetensors"), "--to", form, "-o", str(tmp_path / "out")]) == 0
    found = load_file(tmp_path / "out/lora.safetensors")
    for module in SHAPES:
        name = module.replace(".layers.", ".")
        start = f"lora_unet_{name.replace('.', '_')}" if form == "kohya" else f"diffusion_model.{name}"
        up, down = ("lora_up", "lora_down") if form == "kohya" else ("lora_B", "lora_A")
        np.testing.assert_array_equal(found[f"{start}.{up}.weight"], stored[f"{module}.lora_b"].T)
        np.testing.assert_array_equal(found[f"{start}.{down}.weight"], stored[f"{module}.lora_a"].T)


@pytest.mark.parametrize(
    ("change", "header", "code", "said"),
    [
        ({}, {"lora_rank": "4"}, 3, "has rank 2, and the header says lora_rank 4"),
        ({"single_blocks.3.linear2.lora_b": None}, {}, 3, "has no lora_b"),
        ({"double_blocks.0.norm.weight": np.ones(4, "float32")}, {}, 4, "is not the name of a LoRA tensor"),
        ({"single_blocks.3.linear2.lora_b": np.ones((2, 8), "int32")}, {}, 4, "I32"),
    ],
)
def test_what_is_not_whole_is_refused(
    change: dict[str, Any],
    header: dict[str, str],
    code: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = {name: each for name, each in (tensors() | change).items() if each is not None}
    save_file(found, tmp_path / "a.safetensors", metadata=HEADER | header)
    assert run(["show", str(tmp_path / "a.safetensors")]) == code
    assert said in capsys.readouterr().err
