"""Every way of quantization that transformers knows, and those of other programs: its weights are read, or refused by its name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

from adapterops.cli.main import run

MODULE = "model.layers.0.mlp.up_proj"
READ = {
    "awq": "test_quantized_layouts.py",
    "gptq": "test_quantized_layouts.py",
    "auto-round": "unit/quant/test_gptq.py, test_awq.py, test_said.py",
    "compressed-tensors": "test_quantized_layouts.py",
    "fbgemm_fp8": "here",
    "fp8": "test_quantized_layouts.py, and here",
    "mxfp4": "test_quantized_layouts.py",
    "mxfp8": "here",
    "bitsandbytes_4bit": "test_quantizing.py",
    "bitsandbytes_8bit": "test_quantizing.py",
}
"""What is read, and which tests compare that with the library that owns it."""

WORDS, HALVES = torch.ones(8, 8, dtype=torch.int32), torch.ones(8, 8).half()
BYTES, EIGHT = WORDS.byte(), torch.ones(8, 8).to(torch.float8_e4m3fn)
MARLIN = {"weights": {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 8}}

REFUSED: dict[str, tuple[Mapping[str, Tensor], dict[str, Any]]] = {
    "aqlm": ({"codes": WORDS, "codebooks": HALVES, "scales": HALVES}, {}),
    "bitnet": ({"weight": BYTES, "weight_scale": HALVES[0, :1]}, {}),
    "eetq": ({"weight": BYTES.char(), "weight_scales": HALVES[0]}, {}),
    "fouroversix": ({"weight": BYTES, "weight_scale": EIGHT, "weight_scale_2": torch.ones(())}, {}),
    "fp_quant": ({"qweight": BYTES, "scales": BYTES, "weight_global_scale": torch.ones(1)}, {}),
    "gemma": ({"weight": BYTES.char(), "weight_scale": HALVES[:, :1]}, {}),
    "gguf": ({"weight": BYTES}, {}),
    "higgs": ({"weight": BYTES, "scales": HALVES, "tables": HALVES, "tables2": HALVES}, {}),
    "hqq": ({"W_q": BYTES, "scale": HALVES, "zero": HALVES}, {}),
    "metal": ({"weight": WORDS.to(torch.uint32), "scales": HALVES, "qbiases": HALVES}, {}),
    "nvfp4": ({"weight": BYTES, "weight_scale": EIGHT}, {}),
    "quanto": ({"weight._data": BYTES.char(), "weight._scale": HALVES}, {}),
    "quark": ({"weight": EIGHT, "weight_scale": torch.ones(())}, {}),
    "sinq": ({"W_q": BYTES, "scale": HALVES, "zero": HALVES}, {}),
    "spqr": ({"dense_weights": WORDS}, {}),
    "torchao": ({"_weight_qdata": BYTES, "_weight_scale": HALVES}, {}),
    "vptq": ({"indices": WORDS.short(), "centroids.weight": HALVES}, {}),
    # of other programs, and variants of what is read
    "bitblas": ({"qweight": BYTES.char(), "scales": HALVES, "zeros": HALVES}, {}),
    "exl2": ({"q_weight": WORDS, "q_scale": WORDS, "q_groups": WORDS[0].short()}, {}),
    "exl3": ({"trellis": WORDS.short(), "suh": HALVES[0], "svh": HALVES[0]}, {}),
    "petit_nvfp4": ({"weight": BYTES, "weight_scale": EIGHT[:, :1], "weight_scale_2": torch.ones(())}, {}),
    "quip": ({"Qidxs": WORDS.short(), "SU": HALVES[0], "SV": HALVES[0]}, {}),
    "squeezellm": ({"qweight": WORDS, "lookup_table": HALVES}, {}),
    "gptq for marlin": ({"B": WORDS, "s": HALVES}, {"quant_method": "gptq", "checkpoint_format": "marlin", "bits": 4}),
    "gemv_fast": (
        {"qweight": WORDS.short(), "qzeros": HALVES, "scales": HALVES},
        {"quant_method": "awq", "checkpoint_format": "gemv_fast", "bits": 4, "group_size": 8},
    ),
    "llm-awq": (
        {"qweight": WORDS.short(), "scaled_zeros": HALVES, "scales": HALVES},
        {"quant_method": "awq", "version": "llm-awq", "bits": 4, "group_size": 8},
    ),
    "marlin-24": (
        {"weight_packed": WORDS, "scale_packed": HALVES, "meta": WORDS.short()},
        {"quant_method": "compressed-tensors", "format": "marlin-24", "config_groups": {"a": MARLIN}},
    ),
    "marlin-24 in a group": (
        {"weight_packed": WORDS, "weight_scale": HALVES, "weight_shape": torch.tensor([16, 64])},
        {
            "quant_method": "compressed-tensors",
            "format": "mixed-precision",
            "config_groups": {"a": {**MARLIN, "format": "marlin-24"}},
        },
    ),
    "modelopt's AWQ": (
        {"weight": BYTES, "weight_scale": torch.ones(16, 1), "pre_quant_scale": HALVES[0]},
        {"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"},
    ),
    "auto_round:gptqmodel": (
        {"qweight": WORDS, "qzeros": WORDS, "scales": HALVES},
        {"quant_method": "auto-round", "packing_format": "auto_round:gptqmodel", "bits": 4, "group_size": 8},
    ),
}


def model(folder: Path, parts: Mapping[str, Tensor], section: dict[str, Any] | None) -> Path:
    folder.mkdir()
    tensors = {f"{MODULE}.{role}": part.clone() for role, part in parts.items()}
    save_file({**tensors, "model.norm.weight": torch.ones(8)}, folder / "model.safetensors", {"format": "pt"})
    config = {"model_type": "llama", **({} if section is None else {"quantization_config": section})}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_all_that_transformers_knows_is_in_one_of_the_tables() -> None:
    assert AUTO_QUANTIZATION_CONFIG_MAPPING.keys() <= READ.keys() | REFUSED.keys()
    assert not READ.keys() & REFUSED.keys()


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("command", ["dequantize", "fuse"])
def test_refused_by_its_name(name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts, section = REFUSED[name]
    folder = model(tmp_path / "m", parts, {"quant_method": name, **section})
    assert run([command, str(folder), *([str(folder)] * (command == "fuse")), "-o", str(tmp_path / "out")]) == 4
    said = capsys.readouterr().err
    assert name.partition(" for ")[0].partition(" in ")[0] in said
    assert "is not read here" in said or "a layout of it that is read here" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", [name for name, (parts, _) in REFUSED.items() if name not in ("gptq for marlin", "vptq")]
)
def test_refused_where_no_config_says_it(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Codes are never taken for numbers."""
    folder = model(tmp_path / "m", REFUSED[name][0], None)
    if name in ("quark", "petit_nvfp4"):  # in layouts that are read, which the tensors tell
        assert run(["show", str(folder)]) == 0
        return
    assert run(["dequantize", str(folder), "-o", str(tmp_path / "out")]) in (3, 4)
    assert MODULE in capsys.readouterr().err


def eights(scales: Tensor) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(0)
    return {"weight": torch.randn(256, 512, generator=chance).to(torch.float8_e4m3fn), "weight_scale_inv": scales}


def some(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2))


POWERS = torch.randint(118, 126, (256, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("section", "scales"),
    [
        ({"quant_method": "mxfp8"}, POWERS),
        ({"quant_method": "mxfp8", "weight_block_size": [1, 32]}, POWERS),
        ({"quant_method": "fp8", "weight_block_size": [1, 32]}, POWERS),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, some(2, 4)),
        ({"quant_method": "fp8", "weight_block_size": None}, some(256, 1)),
        ({"quant_method": "fp8"}, some()),
        ({"quant_method": "fbgemm_fp8"}, some(256, 1)),
    ],
    ids=lambda each: str(tuple(each.shape)) if isinstance(each, Tensor) else str(each),
)
def test_eight_bits_are_what_transformers_makes_of_them(
    section: dict[str, Any], scales: Tensor, tmp_path: Path
) -> None:
    parts = eights(scales)
    if section["quant_method"] == "fbgemm_fp8":
        parts["weight_scale"] = parts.pop("weight_scale_inv")
    folder = model(tmp_path / "m", parts, section)
    assert run(["dequantize", str(folder), "--dtype", "float32", "-o", str(tmp_path / "out")]) == 0
    found = load_file(tmp_path / "out" / "model.safetensors")[f"{MODULE}.weight"]
    theirs = Fp8Dequantize(None)._dequantize_one(parts["weight"], scales.reshape(scales.shape or (1, 1)), torch.float32)
    torch.testing.assert_close(found, theirs, rtol=0, atol=0)
