"""Models that transformers quantizes with bitsandbytes and stores in words of other dtypes: fused, and loaded again."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import qwen
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from adapterops.cli.main import run

MODULES = {"model.layers.0.self_attn.q_proj": (64, 64), "model.layers.1.mlp.down_proj": (64, 112)}
STORED = ("uint8", "bfloat16", "float16", "float32")


def adapter(folder: Path, base: Path) -> dict[str, torch.Tensor]:
    """An update of 1 % of two weights, by module; and its files."""
    generator, updates, tensors = torch.Generator().manual_seed(1), {}, {}
    weights = {}
    for file in base.glob("*.safetensors"):
        weights |= load_file(file)
    for module, (out, into) in MODULES.items():
        A, B = torch.randn(4, into, generator=generator), torch.randn(out, 4, generator=generator)
        B *= 0.01 * weights[f"{module}.weight"].float().norm() / (B @ A).norm()
        updates[module] = B @ A
        tensors |= {f"base_model.model.{module}.lora_{role}.weight": each for role, each in (("A", A), ("B", B))}
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return updates


def numbers(model: Any, module: str) -> torch.Tensor:
    """What a layer computes with, as the library decodes it."""
    weight = model.get_submodule(module).weight
    if getattr(weight, "quant_state", None) is not None:
        found: torch.Tensor = bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state).float()
        return found
    wide: torch.Tensor = weight.data.float() * weight.SCB[:, None].float() / 127
    return wide


CASES: list[dict[str, Any]] = [
    *({"bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": nested, "bnb_4bit_quant_storage": storage}
      for kind, nested, storage in product(("nf4", "fp4"), (False, True), STORED)),
    {"load_in_8bit": True},
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", CASES, ids=str)
def test_what_is_fused_is_loaded_with_its_update(options: dict[str, Any], tmp_path: Path) -> None:
    base = qwen(tmp_path / "base", torch.bfloat16)
    updates = adapter(tmp_path / "adapter", base)
    config = BitsAndBytesConfig(**{"load_in_4bit": "load_in_8bit" not in options, **options})
    AutoModelForCausalLM.from_pretrained(base, quantization_config=config).save_pretrained(tmp_path / "codes")
    given = [str(tmp_path / "codes"), str(tmp_path / "adapter"), "--rounding", "stochastic", "--accept-loss"]
    assert run(["fuse", *given, "-o", str(tmp_path / "fused")]) == 0
    given = ["--base", str(tmp_path / "codes"), "--adapter", str(tmp_path / "adapter")]
    assert run(["verify", str(tmp_path / "fused"), *given]) == 0
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("codes", "fused"))
    assert before.keys() == after.keys()
    for name, each in before.items():
        assert each.dtype == after[name].dtype
        if not name.startswith(tuple(MODULES)):
            assert torch.equal(each.reshape(-1).view(torch.uint8), after[name].reshape(-1).view(torch.uint8))
    old, new = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("codes", "fused"))
    steps = {module: numbers(new, module) - numbers(old, module) for module in MODULES}
    gain = sum(float((steps[module] * each).sum()) for module, each in updates.items())
    gain /= sum(float(each.square().sum()) for each in updates.values())
    assert abs(gain - 1) < 0.4  # by chance, in 11,000 entries of which each moves by about ten times its update
    assert new(torch.arange(10)[None]).logits.isfinite().all()
