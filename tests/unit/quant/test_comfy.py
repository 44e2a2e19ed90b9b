"""What ComfyUI says of weights that it quantized: which formats are read, and what stays in the header of what is not quantized
any more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from adapterops.cli.main import run
from adapterops.errors import InputError, UnsupportedError
from adapterops.formats.models.quantized import quantized
from adapterops.quant.comfy import LAYERS, layers, without
from adapterops.storage.tensors import Spec

E4M3 = torch.float8_e4m3fn
WEIGHTS = {
    "blocks.0.attn.q": (8, 8),
    "blocks.0.mlp": (16, 8),
    "patch_embedding": (8, 2, 1, 2, 2),
    "conv_1d": (8, 2, 3),
    "blocks.0.norm": (8,),
}


def marked(text: str) -> torch.Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def stored(kind: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A model as it is stored, and its weights in float32."""
    torch.manual_seed(0)
    matrices = {name: shape for name, shape in WEIGHTS.items() if kind == "no scales" or len(shape) == 2}
    tensors: dict[str, torch.Tensor] = {f"{name}.bias": torch.randn(shape[0]) for name, shape in matrices.items()}
    found = {}
    for name, shape in matrices.items():
        codes, scale = torch.randn(shape).to(E4M3), torch.tensor(1.0 if kind == "no scales" else 0.37)
        tensors[f"{name}.weight"], found[name] = codes, codes.float() * scale
        if kind == "scale_weight":
            tensors |= {f"{name}.scale_weight": scale, f"{name}.scale_input": torch.ones(1)}
        if kind == "comfy_quant":
            text = json.dumps({"format": "float8_e4m3fn"})
            tensors |= {f"{name}.weight_scale": scale, f"{name}.comfy_quant": marked(text)}
    tensors |= {"scaled_fp8": torch.empty(0, dtype=E4M3)} if kind == "scale_weight" else {}
    tensors |= {"blocks.0.modulation": torch.ones(1, 6, 8).to(E4M3)} if kind == "no scales" else {}
    return tensors, found


@pytest.mark.parametrize("kind", ["no scales", "scale_weight", "comfy_quant"])
def test_models_in_fp8_as_comfyui_has_them(tmp_path: Path, kind: str) -> None:
    """Read as they are computed with; and in 16 or 32 bits nothing says any longer that a layer is quantized."""
    tensors, before = stored(kind)
    said = {LAYERS: json.dumps({"layers": {name: {"format": "float8_e4m3fn"} for name in before}})}
    save_file(tensors, tmp_path / "base.safetensors", said if kind == "comfy_quant" else None)
    adapter, wanted = {}, dict(before)
    for name in before.keys() - {"blocks.0.mlp", "blocks.0.norm"}:
        A, B = torch.randn(2, *before[name].shape[1:]), torch.randn(8, 2, *(1,) * (before[name].dim() - 2))
        start = f"diffusion_model.{name}"
        adapter |= {f"{start}.lora_A.weight": A, f"{start}.lora_B.weight": B}
        wanted[name] = before[name] + (B.flatten(1) @ A.flatten(1)).reshape(before[name].shape)
    save_file(adapter, tmp_path / "a.safetensors")
    base, a, out = (str(tmp_path / name) for name in ("base.safetensors", "a.safetensors", "fused"))
    assert run(["fuse", base, a, "-o", out]) == 2  # onto its own grid, to the nearest
    assert run(["fuse", base, a, "--dtype", "float32", "-o", out]) == 0
    found = load_file(tmp_path / "fused" / "model.safetensors")
    for name, each in wanted.items():
        torch.testing.assert_close(found[f"{name}.weight"], each, atol=1e-5, rtol=1e-5)
    assert not [name for name in found if name.endswith(("comfy_quant", "_scale", "scale_weight", "scale_input"))]
    with safe_open(tmp_path / "fused" / "model.safetensors", "pt") as file:
        assert LAYERS not in (file.metadata() or {})
    assert run(["verify", out, "--base", base, "--adapter", a]) == 0
    assert run(["fuse", base, a, "--rounding", "stochastic", "-o", str(tmp_path / "kept")]) == 0
    assert run(["verify", str(tmp_path / "kept"), "--base", base, "--adapter", a]) == 0
    kept = load_file(tmp_path / "kept" / "model.safetensors")
    assert kept.keys() == tensors.keys()
    assert all(each.dtype == tensors[name].dtype for name, each in kept.items())


@pytest.mark.parametrize(
    "said", [{"format": "nvfp4"}, {"format": "mxfp8"}, {"format": "float8_e4m3fn", "convrot": True}]
)
@pytest.mark.parametrize("in_header", [True, False])
def test_formats_whose_weights_are_turned_or_whose_scales_are_in_another_order(said: Any, in_header: bool) -> None:
    specs = {"fc.weight": Spec("F8_E4M3", (4, 4)), "fc.weight_scale": Spec("F32", ())}
    specs |= {} if in_header else {"fc.comfy_quant": Spec("U8", (40,))}
    metadata = {LAYERS: json.dumps({"layers": {"fc": said}})} if in_header else {}
    with pytest.raises(UnsupportedError, match="ComfyUI's") as caught:
        quantized(specs, None, lambda name: json.dumps(said).encode(), metadata)
    assert caught.value.tensor == "fc.weight"


def test_a_header_keeps_the_layers_that_are_quantized_still() -> None:
    header = {LAYERS: json.dumps({"layers": {"a": {"format": "x"}, "b": {"format": "x"}}}), "title": "t"}
    left = without(header, frozenset({"b.weight"}))
    assert (list(layers(left)), left["title"]) == (["b"], "t")
    for text, fault in (("[1]", "no layers"), ('{"layers": 3}', "no layers"), ("[" * 100_000, "cannot be read")):
        with pytest.raises(InputError, match=fault):
            layers({LAYERS: text})
