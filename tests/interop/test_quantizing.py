"""Codes that are written are those that transformers makes itself;
codes that it saved are read, changed and loaded again.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from compressed_tensors.compressors.nvfp4 import NVFP4PackedCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from corpus import tree
from quantized_models import (
    SCHEMES,
    TOKENS,
    coded,
    deltas,
    files_of,
    load,
    load_quantized,
    logits,
    stands_for,
    write_lora,
    write_model,
    write_quantized,
)
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    CompressedTensorsConfig,
    FineGrainedFP8Config,
    Mxfp4Config,
)

from adapterops.cli.main import run
from adapterops.storage.grams import grams_file

Made = Callable[..., Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model in 16 bits, its adapter, or what transformers saves of it in a scheme;
    what is in the folder must not be changed.
    """
    place = tmp_path_factory.mktemp("models")

    def folder(name: str, what: str = "base", **options: Any) -> Path:
        path = place / " ".join([name, what, *map(str, options.values())])
        if not path.exists():
            if what == "base":
                write_model(path, name, **options)
            elif what == "adapter":
                write_lora(path, folder(name), name)
            else:
                write_quantized(path, folder(name), what, **options)
        return path

    return folder


def typed(*arguments: Path | str) -> None:
    assert run([str(argument) for argument in arguments]) == 0


def answered(capsys: pytest.CaptureFixture[str], *arguments: Path | str, code: int = 0) -> dict[str, Any]:
    """What a command says with --json."""
    capsys.readouterr()
    assert run([*map(str, arguments), "--json"]) == code
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert result["ok"] == (code == 0)
    return result if code == 0 else result["error"]


def verified(*arguments: Path | str, code: int = 0) -> None:
    assert run(["verify", *map(str, arguments)]) == code


def assert_alike(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Equal, but for nested scales: those of bitsandbytes are not always the nearest."""
    assert ours.keys() == theirs.keys()
    beside, blocks = 0, 1
    for name, tensor in theirs.items():
        found = ours[name]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape) or "quant_state" in name, name
        nested = f"{name.removesuffix('.absmax')}.nested_absmax" in theirs
        if "quant_state" in name:
            states = [json.loads(bytes(each)) for each in (found, tensor)]
            offsets = [state.pop("nested_offset", 0) for state in states]
            assert states[0] == states[1]
            assert offsets[0] == pytest.approx(offsets[1], rel=1e-6)
        elif name.endswith("nested_absmax"):
            torch.testing.assert_close(found, tensor, rtol=1e-5, atol=0)
        elif name.endswith(".absmax") and nested:
            apart = (found.int() - tensor.int()).abs()
            assert int(apart.max()) <= 1
            beside, blocks = beside + int(apart.sum()), blocks + apart.numel()
        else:
            assert torch.equal(found, tensor), name
    assert beside < 0.01 * blocks


# From 16 bits

BASES: dict[str, tuple[str, dict[str, str]]] = {
    "llama": ("llama", {}),
    "llama in shards": ("llama", {"max_shard_size": "200KB"}),
    "qwen3_moe in shards": ("qwen3_moe", {"max_shard_size": "300KB"}),
    "gpt2": ("gpt2", {}),
}
MADE = [("llama", scheme) for scheme in SCHEMES] + [("qwen3_moe", "nf4"), ("gpt2", "nested nf4"), ("gpt2", "int8")]
"""Models and schemes for what does not depend on both at a time."""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("name", "options"), BASES.values(), ids=BASES)
def test_a_quantized_model_is_the_one_that_transformers_makes_itself(
    made: Made, tmp_path: Path, name: str, options: dict[str, str], scheme: str
) -> None:
    base, out = made(name, **options), tmp_path / "out"
    typed("quantize", base, "--to", *SCHEMES[scheme][0], "-o", out)
    assert (len(list(out.glob("*.safetensors"))) > 1) == bool(options)
    theirs, ours = load_quantized(base, scheme), load(out)
    assert_alike(ours.state_dict(), theirs.state_dict())
    assert ours.dtype == torch.bfloat16
    found, expected = logits(ours), logits(theirs)
    if scheme == "nested nf4":
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))
    else:
        assert torch.equal(found, expected)


@pytest.mark.parametrize(("name", "scheme"), MADE)
def test_the_files_are_those_that_transformers_saves(made: Made, tmp_path: Path, name: str, scheme: str) -> None:
    out, theirs = tmp_path / "out", made(name, scheme)
    typed("quantize", made(name), "--to", *SCHEMES[scheme][0], "-o", out)
    assert_alike(files_of(out), files_of(theirs))
    configs = [json.loads((folder / "config.json").read_text()) for folder in (out, theirs)]
    skips = [config["quantization_config"].pop("llm_int8_skip_modules") for config in configs]
    assert configs[0] == configs[1]
    assert skips[1] is None
    assert "lm_head" in skips[0]


def test_experts_and_routers_stay_in_16_bits(made: Made, tmp_path: Path) -> None:
    typed("quantize", made("qwen3_moe"), "-o", tmp_path / "out")
    before, after = files_of(made("qwen3_moe")), files_of(tmp_path / "out")
    assert {name.split(".")[-2] for name in coded(after)} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    for name, tensor in before.items():
        if name not in coded(after):
            assert torch.equal(after[name], tensor)


@pytest.mark.parametrize("name", ["llama", "qwen3_moe", "gpt2"])
def test_loaded_it_can_be_saved_and_loaded_and_saved_again(made: Made, tmp_path: Path, name: str) -> None:
    typed("quantize", made(name), "-o", tmp_path / "one")
    for before, after in (("one", "two"), ("two", "three")):
        load(tmp_path / before).save_pretrained(tmp_path / after, save_original_format=False)
    states = [load(tmp_path / each).state_dict() for each in ("one", "three")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_sizes_that_no_block_divides(made: Made, tmp_path: Path) -> None:
    """Blocks run across rows. transformers stores such weights; on a CPU it does not compute with them."""
    for scheme in SCHEMES:
        typed("quantize", made("uneven llama"), "--to", *SCHEMES[scheme][0], "-o", tmp_path / scheme)
        assert_alike(load(tmp_path / scheme).state_dict(), load_quantized(made("uneven llama"), scheme).state_dict())


@pytest.mark.parametrize("name", ["mixtral", "qwen2_vl", "phi3", "mamba2"])
def test_models_of_other_kinds(made: Made, tmp_path: Path, name: str) -> None:
    """In memory some have other names than in files."""
    typed("quantize", made(name), "-o", tmp_path / "out")
    assert_alike(load(tmp_path / "out").state_dict(), load_quantized(made(name), "nf4").state_dict())


IDS = {"input_ids": TOKENS}
PICTURE = torch.linspace(-1, 1, 3 * 32 * 32, dtype=torch.bfloat16).reshape(1, 3, 32, 32)
SOUND = torch.linspace(-1, 1, 2 * 8 * 32, dtype=torch.bfloat16).reshape(2, 8, 32)
NOTES = torch.linspace(-1, 1, 2 * 5 * 128, dtype=torch.bfloat16).reshape(2, 5, 128)
OTHERS: dict[str, tuple[dict[str, Tensor], set[str]]] = {
    "whisper": ({"input_features": SOUND, "decoder_input_ids": TOKENS}, set()),
    "modernbert": (IDS, set()),
    "distilbert": (IDS, set()),
    "distilbert classifier": (IDS, {"classifier", "pre_classifier"}),
    "albert": (IDS, set()),
    "gpt": (IDS, set()),
    "clip": ({**IDS, "pixel_values": PICTURE}, {"text_projection"}),
    "pop2piano": ({"inputs_embeds": NOTES, "decoder_input_ids": TOKENS}, set()),
    "glm_moe_dsa": (IDS, set()),
    "gemma4": (IDS, set()),
}
"""Model → what it takes, and where it is not quantized as transformers does by itself: it quantizes classifiers, too,
and leaves whatever comes last."""


@pytest.mark.parametrize("name", OTHERS)
def test_models_whose_heads_and_embeddings_have_other_names(made: Made, tmp_path: Path, name: str) -> None:
    typed("quantize", made(name), "-o", tmp_path / "out")
    inputs, apart = OTHERS[name]
    ours, theirs = load(tmp_path / "out"), load_quantized(made(name), "nf4")
    in_codes = [
        {key for key, module in model.named_modules() if isinstance(module, Linear4bit)} for model in (ours, theirs)
    ]
    assert in_codes[0] ^ in_codes[1] == apart
    assert {f"{key}.weight" for key in in_codes[0]} == set(coded(files_of(tmp_path / "out")))
    states = [
        {key: tensor for key, tensor in model.state_dict().items() if not key.startswith(tuple(apart) or "-")}
        for model in (ours, theirs)
    ]
    assert_alike(*states)
    with torch.no_grad():
        found = ours(**inputs)[0]
        assert torch.isfinite(found).all()
        assert apart or torch.equal(found, theirs(**inputs)[0])


def test_a_quantized_model_is_divided_anew(made: Made, tmp_path: Path) -> None:
    typed("quantize", made("llama"), "--double-quant", "--max-shard-size", "100kB", "-o", tmp_path / "out")
    typed("quantize", made("llama"), "--double-quant", "-o", tmp_path / "one")
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(files) > 2
    assert all(path.stat().st_size < 110_000 for path in files)
    where = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())["weight_map"]
    found, expected = files_of(tmp_path / "out"), files_of(tmp_path / "one")
    assert where.keys() == found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    for name in coded(found):
        assert {where[key] for key in where if key.startswith(name)} == {where[name]}
    assert torch.equal(logits(load(tmp_path / "out")), logits(load(tmp_path / "one")))


# From what transformers saved


@pytest.mark.parametrize(("name", "scheme"), MADE)
def test_what_transformers_saved_is_dequantized_to_what_it_stands_for(
    made: Made, tmp_path: Path, name: str, scheme: str
) -> None:
    theirs = made(name, scheme)
    before = tree(theirs)
    typed("dequantize", theirs, "-o", tmp_path / "out")
    stored, found = files_of(theirs), files_of(tmp_path / "out")
    assert found.keys() == files_of(made(name)).keys()
    for weight, tensor in found.items():
        if weight in coded(stored):
            expected = stands_for(stored, weight).bfloat16()
            assert torch.equal(tensor, expected.T if name == "gpt2" else expected)
        else:
            assert torch.equal(tensor, stored[weight])
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config == {
        key: value
        for key, value in json.loads((theirs / "config.json").read_text()).items()
        if key != "quantization_config"
    }
    assert load(tmp_path / "out").dtype == torch.bfloat16
    assert tree(theirs) == before


@pytest.mark.parametrize(("name", "scheme"), MADE)
def test_an_adapter_is_fused_into_what_transformers_saved(made: Made, tmp_path: Path, name: str, scheme: str) -> None:
    theirs, adapter, out = made(name, scheme), made(name, "adapter"), tmp_path / "out"
    before = tree(theirs)
    typed("fuse", theirs, adapter, "--rounding", "stochastic", "--seed", "3", "-o", out)
    stored, found, updates = files_of(theirs), files_of(out), deltas(adapter)
    assert found.keys() == stored.keys()
    changed = {key for key in stored if not torch.equal(found[key], stored[key])}
    states = {
        key
        for key in changed
        if "quant_state" in key and json.loads(bytes(found[key])) == json.loads(bytes(stored[key]))
    }
    assert changed - states == {f"{module}.weight" for module in updates}  # and of these the codes alone
    for module, update in updates.items():
        W, fused = (stands_for(tensors, f"{module}.weight").double() for tensors in (stored, found))
        gain = float(((fused - W) * update).sum() / update.square().sum())
        assert gain == pytest.approx(1, abs=0.06)
    assert (out / "config.json").read_bytes() == (theirs / "config.json").read_bytes()
    assert torch.isfinite(logits(load(out))).all()
    verified(out, "--base", theirs, "--adapter", adapter)
    assert tree(theirs) == before


def test_the_parts_of_a_weight_may_lie_in_several_files(made: Made, tmp_path: Path) -> None:
    theirs, adapter, split = made("llama", "nested nf4"), made("llama", "adapter"), tmp_path / "split"
    tensors = files_of(theirs)
    split.mkdir()
    shutil.copy(theirs / "config.json", split)
    shards = {f"model-0000{index + 1}-of-00003.safetensors": sorted(tensors)[index::3] for index in range(3)}
    for shard, names in shards.items():
        save_file({name: tensors[name] for name in names}, split / shard, {"format": "pt"})
    where = {name: shard for shard, names in shards.items() for name in names}
    index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())}, "weight_map": where}
    (split / "model.safetensors.index.json").write_text(json.dumps(index))
    load(split)
    for command, folder in itertools.product(("dequantize", "fuse"), (theirs, split)):
        more = [adapter, "--rounding", "stochastic"] if command == "fuse" else []
        typed(command, folder, *more, "-o", tmp_path / f"{command} {folder.name}")
    for command in ("dequantize", "fuse"):
        found, expected = (files_of(tmp_path / f"{command} {folder.name}") for folder in (split, theirs))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
        load(tmp_path / f"{command} split")
    verified(tmp_path / "fuse split", "--base", split, "--adapter", adapter)
    together = json.loads((tmp_path / "fuse split/model.safetensors.index.json").read_text())["weight_map"]
    for name in coded(tensors):
        assert {together[key] for key in tensors if key.startswith(name)} == {together[name]}


@pytest.mark.parametrize("skip", [["lm_head"], ["lm_head", "gate_proj", "model.layers.1"], []], ids=str)
def test_what_was_left_in_16_bits_stays_so(made: Made, tmp_path: Path, skip: list[str]) -> None:
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", llm_int8_skip_modules=skip)
    AutoModelForCausalLM.from_pretrained(made("llama"), quantization_config=config).save_pretrained(tmp_path / "theirs")
    typed("fuse", tmp_path / "theirs", made("llama", "adapter"), "--rounding", "stochastic", "-o", tmp_path / "out")
    assert coded(files_of(tmp_path / "out")) == coded(files_of(tmp_path / "theirs"))
    assert ("lm_head.weight" in coded(files_of(tmp_path / "out"))) == (skip == [])
    load(tmp_path / "out")
    verified(tmp_path / "out", "--base", tmp_path / "theirs", "--adapter", made("llama", "adapter"))


def test_a_head_in_codes_goes_into_another_scheme(made: Made, tmp_path: Path) -> None:
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", llm_int8_skip_modules=[])
    AutoModelForCausalLM.from_pretrained(made("llama"), quantization_config=config).save_pretrained(tmp_path / "theirs")
    typed("quantize", tmp_path / "theirs", "--to", "int8", "-o", tmp_path / "out")
    typed("dequantize", tmp_path / "theirs", "-o", tmp_path / "16 bits")
    typed("quantize", tmp_path / "16 bits", "--to", "int8", "-o", tmp_path / "expected")
    assert_alike(load(tmp_path / "out").state_dict(), load(tmp_path / "expected").state_dict())


@pytest.mark.parametrize("storage", ["bfloat16", "float32"])
def test_codes_that_are_stored_as_floats(made: Made, tmp_path: Path, storage: str) -> None:
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_quant_storage=storage)
    AutoModelForCausalLM.from_pretrained(made("llama"), quantization_config=config).save_pretrained(tmp_path / "theirs")
    typed("fuse", tmp_path / "theirs", made("llama", "adapter"), "--rounding", "stochastic", "-o", tmp_path / "out")
    typed(
        "fuse", made("llama", "nf4"), made("llama", "adapter"), "--rounding", "stochastic", "-o", tmp_path / "expected"
    )
    found, expected = files_of(tmp_path / "out"), files_of(tmp_path / "expected")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert found[name].dtype == getattr(torch, storage)
    for weight in coded(expected):
        assert torch.equal(found[weight].view(torch.uint8).view(-1), expected[weight].view(-1))
    load(tmp_path / "out")
    verified(tmp_path / "out", "--base", tmp_path / "theirs", "--adapter", made("llama", "adapter"))


# The right ways to fuse, and the wrong one


def test_rounding_to_the_grid_it_lies_on_is_refused(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, adapter = made("llama", "nf4"), made("llama", "adapter")
    for more in ([], ["--quantize", "nf4"], ["--dry-run"]):
        error = answered(capsys, "fuse", theirs, adapter, "-o", tmp_path / "out", *more, code=2)
        assert error["code"] == "E-GRID"
        for way in ("--quantize nf4", "--original", "--rounding stochastic", "--dtype bfloat16", "unmerged"):
            assert way in error["hint"]
    assert list(tmp_path.iterdir()) == []


def test_rounding_to_nearest_is_refused_for_what_it_loses(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = made("llama", "nf4")
    adapter = write_lora(tmp_path / "adapter", made("llama"), "llama", std=0.006)
    command = ("fuse", theirs, adapter, "--rounding", "nearest", "-o", tmp_path / "out")
    error = answered(capsys, *command, code=8)
    assert error["code"] == "E-LOST"
    assert "--accept-loss" in error["hint"]
    assert not (tmp_path / "out").exists()
    assert len(error["details"]["modules"]) == 4
    assert error["details"]["total"]["gain"] < 0.5
    result = answered(capsys, *command, "--accept-loss")
    assert set(result["total"]) == {"relative", "gain", "changed", "entries", "uncertainty", "noise", "cosine"}
    assert result["total"] == error["details"]["total"]
    assert result["modules"] == error["details"]["modules"]
    assert f'"gain": {result["total"]["gain"]}' in json.dumps(
        json.loads((tmp_path / "out/adapterops.json").read_text())
    )
    verified(tmp_path / "out", "--base", theirs, "--adapter", adapter)
    load(tmp_path / "out")


@pytest.mark.parametrize("scheme", ["nf4", "nested nf4", "fp4", "int8"])
def test_from_16_bits_into_codes(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], scheme: str) -> None:
    base, adapter, out = made("llama"), made("llama", "adapter"), tmp_path / "out"
    result = answered(capsys, "fuse", base, adapter, "--quantize", *SCHEMES[scheme][0], "-o", out)
    assert result["total"]["gain"] == pytest.approx(1, abs=0.05)
    load(out)
    verified(out, "--base", base, "--adapter", adapter)
    typed("fuse", base, adapter, "--dtype", "float32", "-o", tmp_path / "wide")
    typed("quantize", tmp_path / "wide", "--to", *SCHEMES[scheme][0], "-o", tmp_path / "expected")
    found, expected = files_of(out), files_of(tmp_path / "expected")
    for name in coded(expected):  # rounded once, and not to 16 bits before
        assert torch.equal(found[name], expected[name])


@pytest.mark.parametrize(("name", "scheme"), MADE)
def test_from_codes_into_16_bits(made: Made, tmp_path: Path, name: str, scheme: str) -> None:
    theirs, adapter, out = made(name, scheme), made(name, "adapter"), tmp_path / "out"
    typed("fuse", theirs, adapter, "--dtype", "bfloat16", "-o", out)
    stored, found, updates = files_of(theirs), files_of(out), deltas(adapter)
    for module, update in updates.items():
        W = stands_for(stored, f"{module}.weight").double()
        fused = found[f"{module}.weight"].double()
        exact = W + update
        error = ((fused.T if name == "gpt2" else fused) - exact).abs()
        assert (error <= 2.0**-8 * exact.abs() + 1e-6).all()
    model = load(out)
    assert model.dtype == torch.bfloat16
    assert not hasattr(model, "quantization_method") or not model.is_quantized
    verified(out, "--base", theirs, "--adapter", adapter)


@pytest.mark.parametrize("scheme", ["nf4", "nested nf4", "fp4", "int8"])
def test_from_the_numbers_of_the_original_into_the_codes_of_the_base(made: Made, tmp_path: Path, scheme: str) -> None:
    theirs, adapter, out = made("llama", scheme), made("llama", "adapter"), tmp_path / "out"
    typed("fuse", theirs, adapter, "--original", made("llama"), "-o", out)
    typed("fuse", made("llama"), adapter, "--quantize", *SCHEMES[scheme][0], "-o", tmp_path / "expected")
    stored, found, expected = (files_of(folder) for folder in (theirs, out, tmp_path / "expected"))
    adapted = {f"{module}.weight" for module in deltas(adapter)}
    for name in stored:
        weight = (
            name
            if name.endswith(".weight")
            else name.partition(".weight.")[0].removesuffix(".SCB").removesuffix(".weight_format") + ".weight"
        )
        assert torch.equal(found[name], (expected if weight in adapted else stored)[name]), name
    load(out)
    verified(out, "--base", theirs, "--adapter", adapter, "--original", made("llama"))
    verified(out, "--base", theirs, "--adapter", adapter, code=2)


@pytest.mark.parametrize("fields", [{"init_lora_weights": "pissa"}, {"init_lora_weights": "olora"}], ids=str)
def test_what_reads_the_weight_reads_the_original(made: Made, tmp_path: Path, fields: dict[str, Any]) -> None:
    theirs, out = made("llama", "nf4"), tmp_path / "out"
    adapter = write_lora(tmp_path / "adapter", made("llama"), "llama", std=0.1, **fields)
    typed("fuse", theirs, adapter, "--original", made("llama"), "-o", out)
    verified(out, "--base", theirs, "--adapter", adapter, "--original", made("llama"))
    typed("fuse", made("llama"), adapter, "--quantize", "nf4", "-o", tmp_path / "expected")
    found, expected = files_of(out), files_of(tmp_path / "expected")
    assert all(torch.equal(found[f"{module}.weight"], expected[f"{module}.weight"]) for module in deltas(adapter))


def test_a_tied_head_of_a_quantized_model(made: Made, tmp_path: Path) -> None:
    """An adapter of the head makes it a tensor of its own, in 16 bits, which the skip list still covers."""
    adapter = write_lora(tmp_path / "adapter", made("gpt2"), "gpt2", target_modules=["c_attn", "lm_head"])
    typed("fuse", made("gpt2"), adapter, "--quantize", "nf4", "-o", tmp_path / "one")
    typed("fuse", made("gpt2", "nf4"), adapter, "--rounding", "stochastic", "-o", tmp_path / "two")
    for out in ("one", "two"):
        assert files_of(tmp_path / out)["lm_head.weight"].dtype == torch.bfloat16
        load(tmp_path / out)


# What is kept, and not made anew


def write_as(folder: Path, base: Path, tensors: dict[str, Tensor], section: dict[str, Any]) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((base / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": section}))
    return folder


@pytest.fixture(scope="module")
def fp8(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with every matrix of a layer in FP8, in whole blocks, which are all that transformers dequantizes."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in files_of(made("even qwen3_moe")).items():
        tensors[name] = tensor
        if "_proj" in name:
            blocks = tensor.float().view(tensor.shape[0] // 64, 64, tensor.shape[1] // 64, 64)
            scales = blocks.abs().amax(dim=(1, 3)) / 448
            tensors[name] = (blocks / scales[:, None, :, None]).view(tensor.shape).to(torch.float8_e4m3fn)
            tensors[name.replace(".weight", ".weight_scale_inv")] = scales
    section = {"quant_method": "fp8", "weight_block_size": [64, 64], "activation_scheme": "dynamic", "fmt": "e4m3"}
    return write_as(tmp_path_factory.mktemp("fp8") / "model", made("even qwen3_moe"), tensors, section)


@pytest.fixture(scope="module")
def mxfp4(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its experts in MXFP4, as gpt-oss is."""
    random = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}
    for name, tensor in files_of(made("gpt_oss")).items():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            experts, into, out = tensor.shape
            tensors[f"{name}_blocks"] = torch.randint(
                0, 256, (experts, out, into // 32, 16), dtype=torch.uint8, generator=random
            )
            tensors[f"{name}_scales"] = torch.randint(
                115, 122, (experts, out, into // 32), dtype=torch.uint8, generator=random
            )
        else:
            tensors[name] = tensor
    return write_as(tmp_path_factory.mktemp("mxfp4") / "model", made("gpt_oss"), tensors, {"quant_method": "mxfp4"})


@pytest.fixture(scope="module")
def nvfp4(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with every matrix of a layer in NVFP4, packed by compressed-tensors."""
    args = QuantizationArgs(num_bits=4, type="float", strategy="tensor_group", symmetric=True, group_size=16)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    tensors: dict[str, Tensor] = {}
    for name, tensor in files_of(made("small llama")).items():
        tensors[name] = tensor
        if "_proj" in name:
            W = tensors.pop(name).float()
            factor = 448 * 6 / W.abs().max()
            scales = (W.view(len(W), -1, 16).abs().amax(2) / 6 * factor).to(torch.float8_e4m3fn).float()
            parts = {"weight": W, "weight_scale": scales, "weight_global_scale": factor.view(1)}
            for role, part in NVFP4PackedCompressor.compress(parts, scheme).items():
                tensors[name.replace("weight", role)] = part.contiguous()
    form = "nvfp4-pack-quantized"
    group = {"targets": ["Linear"], "weights": args.model_dump(mode="json"), "format": form}
    section = {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }
    return write_as(tmp_path_factory.mktemp("nvfp4") / "model", made("small llama"), tensors, section)


KEPT = {
    "fp8": ("even qwen3_moe", FineGrainedFP8Config(dequantize=True)),
    "mxfp4": ("gpt_oss", Mxfp4Config(dequantize=True)),
    "nvfp4": ("small llama", CompressedTensorsConfig(dequantize=True)),
}
"""The model of each, and how transformers decodes it."""


@pytest.mark.parametrize("kind", KEPT)
def test_it_is_dequantized_as_transformers_does(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    base = request.getfixturevalue(kind)
    theirs = KEPT[kind][1]
    expected = AutoModelForCausalLM.from_pretrained(base, quantization_config=theirs, dtype=torch.bfloat16).state_dict()
    typed("dequantize", base, "-o", tmp_path / "out")
    found = load(tmp_path / "out").state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("kind", KEPT)
def test_it_is_quantized_and_nothing_of_it_stays_as_it_was(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """Not even experts, which are not quantized: a model has one kind of codes, which its config names."""
    base = request.getfixturevalue(kind)
    typed("quantize", base, "-o", tmp_path / "one")
    typed("dequantize", base, "--dtype", "float32", "-o", tmp_path / "decoded")
    typed("quantize", tmp_path / "decoded", "-o", tmp_path / "two")
    one, two = (files_of(tmp_path / name) for name in ("one", "two"))
    assert_alike(one, {name: each.to(one[name].dtype) for name, each in two.items()})
    load(tmp_path / "one")


@pytest.mark.parametrize("kind", KEPT)
def test_an_adapter_is_fused_into_it(made: Made, request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    base, (name, theirs) = request.getfixturevalue(kind), KEPT[kind]
    adapter = made(name, "adapter")
    typed("dequantize", base, "--dtype", "float32", "-o", tmp_path / "decoded")
    for way in (["--dtype", "bfloat16"], ["--quantize", "nf4"]):
        for source, out in ((base, "one"), (tmp_path / "decoded", "two")):
            typed("fuse", source, adapter, *way, "-o", tmp_path / (out + way[1]))
        one, two = (files_of(tmp_path / (name + way[1])) for name in ("one", "two"))
        assert_alike(one, {name: each.to(one[name].dtype) for name, each in two.items()})
        load(tmp_path / ("one" + way[1]))
        verified(tmp_path / ("one" + way[1]), "--base", base, "--adapter", adapter)
    if kind != "mxfp4":
        typed("fuse", base, adapter, "--rounding", "stochastic", "--accept-loss", "-o", tmp_path / "codes")
        verified(tmp_path / "codes", "--base", base, "--adapter", adapter)
        before, after = files_of(base), files_of(tmp_path / "codes")
        assert {
            key for key in before if not torch.equal(before[key].view(torch.uint8), after[key].view(torch.uint8))
        } == {f"{module}.weight{'_packed' if kind == 'nvfp4' else ''}" for module in deltas(adapter)}
        model = AutoModelForCausalLM.from_pretrained(
            tmp_path / "codes", quantization_config=theirs, dtype=torch.float32
        )
        stands = {name: tensor for name, tensor in model.state_dict().items() if "_proj" in name}
        typed("dequantize", tmp_path / "codes", "--dtype", "float32", "-o", tmp_path / "own")
        own = load(
            tmp_path / "own",
        ).state_dict()
        seen = torch.bfloat16 if kind == "nvfp4" else torch.float32  # compressed-tensors decodes NVFP4 in bfloat16
        assert all(torch.equal(own[name].to(seen), tensor.to(seen)) for name, tensor in stands.items())
    else:  # its attention is in 16 bits: the experts stay as they are
        typed("fuse", base, adapter, "-o", tmp_path / "kept")
        before, after = files_of(base), files_of(tmp_path / "kept")
        assert {key for key in before if not torch.equal(before[key], after[key])} == {
            f"{module}.weight" for module in deltas(adapter)
        }


def test_codes_of_experts_are_not_chosen_by_inputs(
    made: Made, mxfp4: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A matrix of their inputs is for no expert of several, and for no column of what is stored transposed."""
    parameter = "model.layers.0.mlp.experts.down_proj"
    adapter = write_lora(
        tmp_path / "a", made("gpt_oss"), "gpt_oss", target_modules=[], target_parameters=["mlp.experts.down_proj"]
    )
    grams = tmp_path / "grams.safetensors"
    grams.write_bytes(grams_file({parameter: np.eye(128, dtype=np.float32)}, 10))
    options = ["--rounding", "calibrated", "--grams", grams, "-o", tmp_path / "out"]
    assert run([str(each) for each in ("fuse", mxfp4, adapter, *options)]) == 4
    said = capsys.readouterr().err
    assert parameter in said
    assert "in one tensor for all experts, and calibrated rounding does not choose codes of that kind" in said
    assert "--rounding stochastic" in said


# An adapter that was trained on codes


def test_an_adapter_that_peft_trained_on_codes(made: Made, tmp_path: Path) -> None:
    theirs, adapter = made("llama", "nested nf4"), tmp_path / "adapter"
    torch.manual_seed(0)
    model: Any = peft.prepare_model_for_kbit_training(
        AutoModelForCausalLM.from_pretrained(theirs), use_gradient_checkpointing=False
    )
    model = peft.get_peft_model(
        model, peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "down_proj"])
    )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    losses = []
    for _ in range(5):
        loss = model(input_ids=TOKENS, labels=TOKENS).loss
        for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
            parameter.data -= 0.004 * gradient.sign()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    model.save_pretrained(adapter)
    typed("fuse", theirs, adapter, "--dtype", "float32", "-o", tmp_path / "wide")
    typed("fuse", theirs, adapter, "--rounding", "stochastic", "-o", tmp_path / "codes")
    expected, fused = logits(model.eval()), logits(load(tmp_path / "wide"))
    before = logits(load(theirs))
    assert float((fused - expected).norm()) < 0.05 * float((before - expected).norm())  # PEFT computes in bfloat16
    load(tmp_path / "codes")
    verified(tmp_path / "codes", "--base", theirs, "--adapter", adapter)


# Verified, resumed, in any order


@pytest.fixture(scope="module")
def small(made: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path, list[str]]]:
    """Fused models of one layer, the bases they were made of, and how they are verified without a manifest."""
    place = tmp_path_factory.mktemp("fused")
    found = {}
    for scheme in ("nested nf4", "int8"):
        adapter = str(made("small llama", "adapter"))
        for way, base, arguments in (
            ("stochastic", made("small llama", scheme), ["--rounding", "stochastic", "--seed", "5"]),
            ("quantize", made("small llama"), ["--quantize", *SCHEMES[scheme][0]]),
        ):
            out = place / f"{scheme} {way}"
            typed("fuse", base, adapter, *arguments, "-o", out)
            (out / "adapterops.json").unlink()
            told = ["--base", str(base), "--adapter", adapter, *(arguments if way == "stochastic" else [])]
            found[f"{scheme}, {way}"] = (out, base, told)
    return found


def flipped(path: Path, tensor: str, place: float, bit: int) -> None:
    """One bit of a tensor, in place."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    begin, end = json.loads(bytes(data[8 : 8 + length]))[tensor]["data_offsets"]
    data[8 + length + begin + int(place * (end - begin - 1))] ^= 1 << bit
    path.write_bytes(data)


@pytest.mark.parametrize(
    "case", ["nested nf4, stochastic", "nested nf4, quantize", "int8, stochastic", "int8, quantize"]
)
def test_a_bit_in_any_part_of_any_weight_is_found(
    small: dict[str, tuple[Path, Path, list[str]]], tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    out, _, told = small[case]
    verified(out, *told)
    names = sorted(files_of(out))
    assert len(names) > 7 * 3
    copy = Path(shutil.copytree(out, tmp_path / "copy"))
    for index, name in enumerate(names):
        flipped(copy / "model.safetensors", name, index / len(names), index % 7)
        verified(copy, *told, code=8)
        assert name.split(".")[-1] in (said := capsys.readouterr().err) or name.split(".weight")[0] in said
        flipped(copy / "model.safetensors", name, index / len(names), index % 7)
    verified(copy, *told)


def test_another_seed_is_found(small: dict[str, tuple[Path, Path, list[str]]]) -> None:
    for case in ("nested nf4, stochastic", "int8, stochastic"):
        out, _, told = small[case]
        verified(out, *told[:-1], "6", code=8)


@pytest.mark.parametrize(
    "arguments", [["--rounding", "stochastic", "--seed", "2"], ["--original", "base"], ["--dtype", "bfloat16"]], ids=str
)
def test_the_number_of_workers_makes_no_difference(made: Made, tmp_path: Path, arguments: list[str]) -> None:
    arguments = [str(made("llama")) if each == "base" else each for each in arguments]
    for workers in ("1", "3"):
        typed(
            "fuse",
            made("llama", "nested nf4"),
            made("llama", "adapter"),
            *arguments,
            "--workers",
            workers,
            "-o",
            tmp_path / workers,
        )
    one, three = (tree(tmp_path / workers) for workers in ("1", "3"))
    assert one == three


def test_seeds_make_a_difference_and_the_same_seed_makes_none(made: Made, tmp_path: Path) -> None:
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        typed(
            "fuse",
            made("llama", "nf4"),
            made("llama", "adapter"),
            "--rounding",
            "stochastic",
            "--seed",
            seed,
            "-o",
            tmp_path / out,
        )
    a, b, c = (tree(tmp_path / out)["model.safetensors"] for out in "abc")
    assert a == b != c
