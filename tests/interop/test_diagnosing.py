"""Models that PEFT itself merged: what diagnosis and `verify --made-by` say of them."""

from __future__ import annotations

import json
import shutil
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import peft
import peft_models
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import adapted, gpt2, load, qwen
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM
from turns import some

from adapterops.cli.main import run

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, dtype in DTYPES.items():
        peft_models.base(dtype).save_pretrained(folder / f"base-{name}")
    for name, dtype in DTYPES.items():
        for config in ("plain", "rslora", "all"):
            peft_models.make(folder / f"{config}-{name}", 3, dtype=dtype, **peft_models.CONFIGS[config])
    return folder


def merged(out: Path, base: torch.dtype, *adapters: Path, safe: bool = False, autocast: bool = True) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = peft_models.base(base)
        for adapter in adapters:
            model = peft.PeftModel.from_pretrained(model, adapter, autocast_adapter_dtype=autocast)
            model = model.merge_and_unload(safe_merge=safe)
    model.save_pretrained(out)
    return out


CASES = [
    (*case, ("plain", "rslora", "all")[index % 3])
    for index, case in enumerate(some(product(DTYPES, (False, True), (False, True), DTYPES), 2))
]


@pytest.mark.parametrize(("stored", "safe", "autocast", "trained", "config"), CASES)
def test_peft_merges(
    places: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    stored: str,
    trained: str,
    config: str,
    safe: bool,
    autocast: bool,
) -> None:
    adapter, base = places / f"{config}-{trained}", places / f"base-{stored}"
    model = merged(tmp_path / "model", DTYPES[stored], adapter, safe=safe, autocast=autocast)
    arguments = [str(model), "--base", str(base), "--adapter", str(adapter), "--json"]
    assert run(["diagnose", *arguments]) == 0, capsys.readouterr()
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["verdict"], found["roundings"] != []) == ("diagnosis", "base-plus-adapters", True)
    assert run(["verify", *arguments, "--made-by", "peft"]) == 0, capsys.readouterr()
    if not safe:
        assert run(["verify", *arguments, "--made-by", "mergekit"]) == 0, capsys.readouterr()
        assert run(["verify", *arguments, "--made-by", "llama-factory"]) == 0, capsys.readouterr()
        assert run(["verify", *arguments, "--made-by", "axolotl"]) == 0, capsys.readouterr()
    if trained == "float32" and autocast and not safe:
        assert run(["verify", *arguments, "--made-by", "unsloth"]) == 0, capsys.readouterr()


@pytest.mark.parametrize(("stored", "trained"), list(product(DTYPES, DTYPES)))
def test_axolotl_merges(places: Path, tmp_path: Path, stored: str, trained: str) -> None:
    """Its own loop over tensors: what PEFT's layers give as ΔW, added in float32."""
    base, adapter = places / f"base-{stored}", places / f"all-{trained}"
    loaded: Any = peft.PeftModel.from_pretrained(
        peft_models.base(DTYPES[stored]), adapter, autocast_adapter_dtype=False
    )
    model = peft_models.base(DTYPES[stored])
    with torch.no_grad():
        for name, layer in loaded.base_model.model.named_modules():
            if hasattr(layer, "get_delta_weight"):
                W = model.get_submodule(name).weight
                W.copy_((W.float() + layer.get_delta_weight("default").float()).to(W.dtype))
    model.save_pretrained(tmp_path / "model")
    arguments = [str(tmp_path / "model"), "--base", str(base), "--adapter", str(adapter)]
    assert run(["verify", *arguments, "--made-by", "axolotl"]) == 0
    assert run(["diagnose", *arguments]) == 0


@pytest.mark.parametrize("stored", DTYPES)
def test_one_after_another(places: Path, tmp_path: Path, stored: str) -> None:
    adapters = [places / "plain-float32", places / "all-bfloat16"]
    model = merged(tmp_path / "model", DTYPES[stored], *adapters, autocast=False)
    named = [part for adapter in adapters for part in ("--adapter", str(adapter))]
    arguments = [str(model), "--base", str(places / f"base-{stored}"), *named]
    assert run(["diagnose", *arguments]) == 0
    assert run(["verify", *arguments, "--made-by", "peft"]) == 0
    assert run(["verify", *arguments, "--made-by", "llama-factory"]) == 0


@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_what_began_with_the_weight(
    places: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], start: str, stored: str
) -> None:
    """PEFT finds in float32 what to leave of a weight, and rounds it before anything is added. Another scale, and a module that
    was left out, are found as ever.
    """
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=start)
    model = peft.get_peft_model(peft_models.base(DTYPES[stored]), config)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter += 0.02 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path / "a")
    right, base = merged(tmp_path / "right", DTYPES[stored], tmp_path / "a"), places / f"base-{stored}"

    def verified(folder: Path, adapter: Path = tmp_path / "a") -> int:
        return run(["verify", str(folder), "--base", str(base), "--adapter", str(adapter), "--made-by", "peft"])

    assert verified(right) == 0, capsys.readouterr()
    tensors, before = (load_file(folder / "model.safetensors") for folder in (right, base))
    changed = [name for name in tensors if not torch.equal(tensors[name], before[name])]
    shutil.copytree(right, tmp_path / "less")
    save_file({**tensors, changed[0]: before[changed[0]]}, tmp_path / "less/model.safetensors")
    assert verified(tmp_path / "less") == 8
    config.lora_alpha = 9
    shutil.copytree(tmp_path / "a", tmp_path / "other")
    config.save_pretrained(tmp_path / "other")
    assert verified(right, tmp_path / "other") == 8


@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("make", [gpt2, qwen], ids=lambda make: str(make.__name__))
@pytest.mark.parametrize("config", [{}, {"use_dora": True}], ids=["lora", "dora"])
def test_other_layers(make: Any, config: dict[str, Any], safe: bool, tmp_path: Path) -> None:
    base = make(tmp_path / "base", torch.bfloat16)
    adapter = adapted(base, tmp_path / "adapter", target_modules="all-linear", **config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.PeftModel.from_pretrained(load(base, torch.bfloat16), adapter).merge_and_unload(safe_merge=safe)
    model.save_pretrained(tmp_path / "model")
    assert run(["diagnose", str(tmp_path / "model"), "--base", str(base), "--adapter", str(adapter)]) == 0


def test_experts_in_each_others_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a mixture that PEFT merged, right and with the updates of two experts swapped."""
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 64,
    }
    experts = {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "intermediate_size": 40,
        "head_dim": 8,
    }
    model: Any = Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes, **experts)).bfloat16()
    model.save_pretrained(tmp_path / "base")
    before = load_file(tmp_path / "base" / "model.safetensors")
    config = peft.LoraConfig(
        r=4, target_modules=["q_proj"], target_parameters=["experts.gate_up_proj", "experts.down_proj"]
    )
    live: Any = peft.get_peft_model(model, config)
    for name, each in live.named_parameters():
        if "lora_" in name:
            each.data.normal_(std=0.1)
    live.save_pretrained(tmp_path / "adapter")
    live.merge_and_unload().save_pretrained(tmp_path / "model")
    arguments = ["--base", str(tmp_path / "base"), "--adapter", str(tmp_path / "adapter")]
    assert run(["diagnose", str(tmp_path / "model"), *arguments]) == 0
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    places = [f"model.layers.1.mlp.experts.{number}.down_proj.weight" for number in (1, 3)]
    delta = {name: tensors[name].float() - before[name].float() for name in places}
    for name, other in zip(places, reversed(places), strict=True):
        tensors[name] = (before[name].float() + delta[other]).bfloat16()
    save_file(tensors, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    capsys.readouterr()
    assert run(["diagnose", str(tmp_path / "model"), *arguments, "--json"]) == 8
    found = json.loads(capsys.readouterr().out)["error"]["details"]["findings"]
    assert {(each["place"], each["what"]) for each in found} == {
        (
            f"model.layers.1.mlp.experts.{one}.down_proj",
            f"holds the update of model.layers.1.mlp.experts.{other}.down_proj",
        )
        for one, other in ((1, 3), (3, 1))
    }


def test_another_program_is_not_taken_for_it(places: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, adapter = places / "base-bfloat16", places / "all-bfloat16"
    model = merged(tmp_path / "model", torch.bfloat16, adapter, autocast=False)
    arguments = [str(model), "--base", str(base), "--adapter", str(adapter)]
    assert run(["verify", *arguments, "--made-by", "unsloth"]) == 8
    assert "rounded otherwise" in capsys.readouterr().err
    assert run(["verify", *arguments]) == 8
    assert run(["verify", *arguments, "--made-by", "peft", "--logits"]) == 2
    assert run(["verify", str(base), *arguments[1:], "--made-by", "peft"]) == 8
