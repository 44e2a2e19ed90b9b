"""GGUF models of images as ComfyUI-GGUF has them: the names of their authors, whatever type each tensor has."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file

from adapterops.cli.main import run

FLUX = {
    "double_blocks.0.img_attn.qkv": ((192, 64), Type.Q8_0),
    "double_blocks.0.img_attn.proj": ((64, 64), Type.F16),
    "single_blocks.0.linear1": ((448, 64), Type.BF16),
    "img_in": ((64, 16), Type.F32),
}
SDXL = {
    "input_blocks.4.1.transformer_blocks.0.attn1.to_q": ((64, 64), Type.F16),
    "input_blocks.1.0.in_layers.2": ((64, 32, 3, 3), Type.F16),
    "input_blocks.0.0": ((32, 4, 3, 3), Type.F32),
}
NEAR = {Type.F32: 1e-6, Type.F16: 1e-2, Type.BF16: 0.1, Type.Q8_0: 0.1}
"""What rounding to a type may make of an update, over its largest entry."""


def numbers(path: Path) -> dict[str, np.ndarray]:
    return {
        each.name: gguf.dequantize(each.data, each.tensor_type).astype(np.float64)
        for each in gguf.GGUFReader(path).tensors
    }


@pytest.mark.parametrize(
    ("architecture", "layers", "to"), [("flux", FLUX, "single=Q8_0"), ("sdxl", SDXL, "attn1=Q8_0")]
)
def test_an_adapter_goes_into_a_gguf_model_of_images(
    architecture: str, layers: dict[str, tuple[tuple[int, ...], Type]], to: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    writer, base = gguf.GGUFWriter(tmp_path / "base.gguf", architecture), tmp_path / "base.gguf"
    tensors: dict[str, np.ndarray] = {}
    expected: dict[str, np.ndarray] = {}
    for module, (shape, type_) in layers.items():
        values = rng.standard_normal(shape, np.float32) / 8
        writer.add_tensor(f"{module}.weight", gguf.quantize(values, type_), raw_dtype=type_)
        down, up = (
            rng.standard_normal((4, *shape[1:]), np.float32) / 4,
            rng.standard_normal((shape[0], 4), np.float32) / 4,
        )
        flat = f"lora_unet_{module.replace('.', '_')}"
        tensors |= {f"{flat}.lora_down.weight": down, f"{flat}.alpha": np.array(2, np.float32)}
        tensors[f"{flat}.lora_up.weight"] = up.reshape(*up.shape, *(1,) * (len(shape) - 2))
        expected[f"{module}.weight"] = (up.astype(float) @ down.reshape(4, -1) / 2).reshape(shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    adapter, out = tmp_path / "a.safetensors", tmp_path / "out.gguf"
    save_file(tensors, adapter)
    assert run(["fuse", str(base), str(adapter), "-o", str(out)]) == 0
    before, after = numbers(base), numbers(out)
    for name, update in expected.items():
        near = NEAR[layers[name.removesuffix(".weight")][1]]
        assert np.abs(after[name] - before[name] - update).max() < near * np.abs(update).max()
    assert run(["verify", str(out), "--base", str(base), "--adapter", str(adapter)]) == 0
    for number, types in enumerate(("block=F16", to)):
        retyped = tmp_path / f"{number}.gguf"
        assert run(["fuse", str(base), str(adapter), "--tensor-type", types, "-o", str(retyped)]) == 0
        (tmp_path / f"{number}.gguf.adapterops.json").unlink()  # which says the type
        assert run(["verify", str(retyped), "--base", str(base), "--adapter", str(adapter)]) == 0
    extracted = [
        "extract",
        str(out),
        "--base",
        str(base),
        "--rank",
        "4",
        "--format",
        "kohya",
        "-o",
        str(tmp_path / "x.safetensors"),
    ]
    assert run(extracted) == 0
    assert run(["check", str(adapter), "--for", "comfyui", "--base", str(base)]) == 0
    retyped.replace(out)
    assert run(["verify", str(out)]) == 8  # whose manifest says another type
