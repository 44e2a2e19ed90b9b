"""Packed codes of compressed-tensors, modelopt and AutoAWQ: what the libraries write is read as they would read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.compressors.nvfp4 import NVFP4PackedCompressor
from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
from compressed_tensors.entrypoints.convert import AutoAWQConverter
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from corpus import config, write_adapter
from safetensors.torch import load_file, save_file
from torch import Tensor

import adapterops as ao
from adapterops.cli.main import run
from adapterops.quant.registry import kept

OUT, INTO = 64, 256
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which code of eight lies in which four bits of AWQ's words, from the lowest."""


def write(folder: Path, tensors: dict[str, Tensor], quantization: dict[str, Any]) -> Path:
    folder.mkdir()
    save_file(
        {**tensors, "model.norm.weight": torch.ones(4).half()}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    (folder / "config.json").write_text(json.dumps({"dtype": "float16", "quantization_config": quantization}))
    return folder


def compressed(folder: Path, bits: int, symmetric: bool, strategy: str) -> tuple[Path, Tensor]:
    """A model with one weight as compressed-tensors writes it, and what the weight stands for."""
    size = 128 if strategy == "group" else INTO
    W = torch.randn(OUT, INTO, generator=torch.Generator().manual_seed(0))
    groups, low, high = W.view(OUT, -1, size), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if symmetric:
        scale, zero = groups.abs().amax(2) / high, torch.zeros(OUT, INTO // size)
    else:
        scale = (groups.amax(2) - groups.amin(2)) / (high - low)
        zero = (low - groups.amin(2) / scale).round()
    scale = scale.half()
    codes = (groups / scale[..., None] + zero[..., None]).round().clamp(low, high)
    args = QuantizationArgs(
        num_bits=bits, symmetric=symmetric, strategy=strategy, group_size=size if strategy == "group" else None
    )
    expected = ((codes - zero[..., None]) * scale[..., None].float()).view(OUT, INTO)
    parts = {"weight": expected.half(), "weight_scale": scale, "weight_zero_point": zero.to(torch.int8)}
    packed = PackedQuantizationCompressor.compress(parts, QuantizationScheme(targets=["Linear"], weights=args))
    said = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"weights": args.model_dump(mode="json")}},
    }
    return write(folder, {f"model.q_proj.{role}": part.contiguous() for role, part in packed.items()}, said), expected


def words(codes: Tensor) -> Tensor:
    """Eight codes of four bits in each word, in AWQ's order."""
    packed = torch.zeros(codes.shape[0], codes.shape[1] // 8, dtype=torch.int64)
    for place, code in enumerate(ORDER):
        packed |= codes[:, code::8].long() << 4 * place
    return torch.where(packed >= 1 << 31, packed - (1 << 32), packed).int()


def awq(folder: Path, said_size: int = 128) -> tuple[Path, Tensor]:
    size = INTO if said_size == -1 else said_size
    generator = torch.Generator().manual_seed(0)
    codes, zeros = (torch.randint(0, 16, (rows, OUT), generator=generator) for rows in (INTO, INTO // size))
    scales = torch.rand(INTO // size, OUT, generator=generator).half()
    expected = (codes - zeros.repeat_interleave(size, 0)) * scales.float().repeat_interleave(size, 0)
    tensors = {"model.q_proj.qweight": words(codes), "model.q_proj.qzeros": words(zeros), "model.q_proj.scales": scales}
    said = {"quant_method": "awq", "bits": 4, "group_size": said_size, "zero_point": True, "version": "gemm"}
    return write(folder, tensors, said), expected.T


def nvfp4(folder: Path, owner: str) -> tuple[Path, Tensor]:
    """A model with one weight in NVFP4, packed by compressed-tensors, under its names or modelopt's."""
    W = torch.randn(OUT, INTO, generator=torch.Generator().manual_seed(0))
    peak = W.abs().max()
    factor = 2.0 ** (448 * 6 / peak).log2().floor()  # of which the inverse is exact
    scale = (W.view(OUT, -1, 16).abs().amax(2) / 6 * factor).to(torch.float8_e4m3fn)
    args = QuantizationArgs(num_bits=4, type="float", strategy="tensor_group", symmetric=True, group_size=16)
    theirs = QuantizationScheme(targets=["Linear"], weights=args)
    parts = {"weight": W, "weight_scale": scale.float(), "weight_global_scale": factor.view(1)}
    packed = NVFP4PackedCompressor.compress(parts, theirs)
    expected = NVFP4PackedCompressor.decompress(packed, theirs)["weight"].float()
    if owner == "modelopt":
        codes, whole = packed.pop("weight_packed"), 1 / packed.pop("weight_global_scale").view(())
        packed |= {"weight": codes, "weight_scale_2": whole, "input_scale": torch.tensor(0.25)}
        said: dict[str, Any] = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
    else:
        packed |= {"input_global_scale": torch.tensor([4.0])}
        groups = {"group_0": {"weights": args.model_dump(mode="json"), "targets": ["Linear"]}}
        said = {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized", "config_groups": groups}
    write(folder, {f"model.q_proj.{role}": part.contiguous() for role, part in packed.items()}, said)
    if owner == "modelopt":
        (folder / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "NVFP4"}}))
    return folder, expected


MODELS = {
    "4 bits": lambda folder: compressed(folder, 4, True, "group"),
    "4 bits with zeros": lambda folder: compressed(folder, 4, False, "group"),
    "8 bits by row": lambda folder: compressed(folder, 8, True, "channel"),
    "8 bits by row with zeros": lambda folder: compressed(folder, 8, False, "channel"),
    "nvfp4": lambda folder: nvfp4(folder, "compressed-tensors"),
    "nvfp4 of modelopt": lambda folder: nvfp4(folder, "modelopt"),
    "awq": awq,
    "awq by row": lambda folder: awq(folder, -1),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_packed_weight_is_what_its_formula_says(kind: str, tmp_path: Path) -> None:
    base, expected = MODELS[kind](tmp_path / "base")
    model = ao.open_checkpoint(base)
    found = model.tensors["model.q_proj.weight"]
    assert found.dtype == torch.float16
    size = 2**-8 if "nvfp4" in kind else 2**-10  # the library rounds NVFP4 to bfloat16
    assert float((found.float() - expected).abs().max()) <= size * float(expected.abs().max())
    ao.save_checkpoint(ao.dequantize(model), tmp_path / "out")
    saved = load_file(tmp_path / "out/model.safetensors")
    assert saved.keys() == {"model.q_proj.weight", "model.norm.weight"}
    assert torch.equal(saved["model.q_proj.weight"], found)
    assert "quantization_config" not in json.loads((tmp_path / "out/config.json").read_text())
    assert not (tmp_path / "out/hf_quant_config.json").exists()


@pytest.mark.parametrize("kind", MODELS)
def test_an_adapter_is_fused_into_16_bits(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, _ = MODELS[kind](tmp_path / "base")
    write_adapter(tmp_path / "a", fields=config(2), modules=["model.q_proj"], rank=2, out=OUT, into=INTO)
    arguments = ["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]
    assert run([*arguments, "--rounding", "nearest"]) == 4
    assert "not written with new codes" in capsys.readouterr().err
    assert run([*arguments, "--dtype", "bfloat16"]) == 0
    assert (
        run(
            [
                "verify",
                str(tmp_path / "out"),
                "--base",
                str(base),
                "--adapter",
                str(tmp_path / "a"),
                "--dtype",
                "bfloat16",
            ]
        )
        == 0
    )


@pytest.mark.parametrize("symmetric", [False, True], ids=["zeros", "no zeros"])
def test_awq_is_what_compressed_tensors_makes_of_it(symmetric: bool, tmp_path: Path) -> None:
    base, _ = awq(tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    if symmetric:
        del tensors["model.q_proj.qzeros"]
        said = json.loads((base / "config.json").read_text())
        said["quantization_config"]["zero_point"] = False
        base = write(
            tmp_path / "symmetric",
            {name: each for name, each in tensors.items() if "norm" not in name},
            said["quantization_config"],
        )
    found = ao.open_checkpoint(base).tensors["model.q_proj.weight"]
    parts = AutoAWQConverter(4, 128, not symmetric).process(
        {name.removeprefix("model."): each for name, each in tensors.items()}
    )
    args = QuantizationArgs(num_bits=4, symmetric=symmetric, strategy="group", group_size=128)
    theirs = PackedQuantizationCompressor.decompress(
        {name.removeprefix("q_proj."): each for name, each in parts.items() if "norm" not in name},
        QuantizationScheme(targets=["Linear"], weights=args),
    )
    assert torch.equal(found, theirs["weight"].half())


def test_what_is_packed_in_another_way_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, _ = compressed(tmp_path / "base", 4, True, "group")
    said = json.loads((base / "config.json").read_text())
    said["quantization_config"]["config_groups"]["group_0"]["weights"]["actorder"] = "group"
    (base / "config.json").write_text(json.dumps(said))
    assert run(["show", str(base)]) == 4
    assert "compressed-tensors" in capsys.readouterr().err


@pytest.mark.parametrize("kind", MODELS)
def test_an_adapter_is_fused_into_the_codes_of_the_base(kind: str, tmp_path: Path) -> None:
    """What the libraries that own the layouts decode is base and update, rounded at random: its mean is right."""
    base, before = MODELS[kind](tmp_path / "base")
    fields = {**config(2), "lora_alpha": 0.01}  # small, as trained ones are
    write_adapter(tmp_path / "a", fields=fields, modules=["model.q_proj"], rank=2, out=OUT, into=INTO)
    factors = load_file(tmp_path / "a/adapter_model.safetensors")
    A, B = (next(each for name, each in factors.items() if f"lora_{role}" in name).double() for role in "AB")
    update, out = 0.005 * B @ A, tmp_path / "out"
    options = ["--rounding", "stochastic", "--seed", "1"]
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(out), *options]) == 0
    assert run(["verify", str(out), "--base", str(base), "--adapter", str(tmp_path / "a"), *options]) == 0
    stored, made = (load_file(folder / "model.safetensors") for folder in (base, out))
    changed = {name for name in stored if not torch.equal(stored[name], made[name])}
    assert len(changed) == 1
    assert next(iter(changed)).endswith(("weight_packed", "qweight", "q_proj.weight"))
    assert (base / "hf_quant_config.json").exists() == (out / "hf_quant_config.json").exists()
    ao.save_checkpoint(ao.dequantize(ao.open_checkpoint(out), "F32"), tmp_path / "wide")
    found = load_file(tmp_path / "wide/model.safetensors")["model.q_proj.weight"].double()
    moved = found - before.double()
    gain = float((moved * update).sum() / (update * update).sum())
    assert abs(gain - 1) < 8 * float((moved - update).norm() / update.norm()) / update.numel() ** 0.5 + 0.1


@pytest.mark.parametrize("kind", MODELS)
def test_no_update_changes_no_byte_of_the_codes(kind: str, tmp_path: Path) -> None:
    base, _ = MODELS[kind](tmp_path / "base")
    model = ao.open_checkpoint(base)
    (scheme,) = model.schemes.values()
    shape, read = (OUT, INTO), model.stored["model.q_proj.weight"].read
    decoded = scheme.decode(shape, read, 0, OUT).clone()
    made, _ = kept(scheme).on_grid(shape, read, "key").rows(decoded, 0)
    for role, part in made.items():
        stored = load_file(base / "model.safetensors")[f"model.q_proj.{role}"]
        assert torch.equal(part.view(torch.uint8).view(-1), stored.view(torch.uint8).view(-1)), role


@pytest.mark.parametrize("scales", [torch.float16, torch.bfloat16])
def test_awq_in_the_spelling_that_it_had_before(scales: torch.dtype, tmp_path: Path) -> None:
    base, _ = awq(tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    tensors["model.q_proj.scales"] = tensors["model.q_proj.scales"].to(scales)
    del tensors["model.norm.weight"]
    said = {"quant_method": "awq", "w_bit": 4, "q_group_size": 128, "zero_point": True, "version": "GEMM"}
    found = ao.open_checkpoint(write(tmp_path / "older", tensors, said)).tensors["model.q_proj.weight"].float()
    exact = ao.open_checkpoint(base).tensors["model.q_proj.weight"].float()
    assert torch.allclose(found, exact, rtol=0.01, atol=0)
    assert torch.equal(found, exact) == (scales == torch.float16)


@pytest.mark.parametrize("method", ["modelopt", "modelopt_fp4", "modelopt_mixed"])
def test_what_is_fused_is_verified_under_each_name_of_its_method(method: str, tmp_path: Path) -> None:
    base, _ = nvfp4(tmp_path / "base", "modelopt")
    said = json.loads((base / "config.json").read_text())
    said["quantization_config"]["quant_method"] = method
    (base / "config.json").write_text(json.dumps(said))
    write_adapter(
        tmp_path / "a",
        fields={**config(2), "lora_alpha": 0.01},
        modules=["model.q_proj"],
        rank=2,
        out=OUT,
        into=INTO,
    )
    out = tmp_path / "out"
    assert run(["fuse", str(base), str(tmp_path / "a"), "--rounding", "stochastic", "-o", str(out)]) == 0
    assert run(["verify", str(out), "--base", str(base), "--adapter", str(tmp_path / "a")]) == 0
