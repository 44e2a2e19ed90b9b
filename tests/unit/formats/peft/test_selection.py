"""Which modules a config names: PEFT's own rule, and what is said of tensors that PEFT drops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from adapterops.cli.main import run
from adapterops.formats.peft.selection import uncovered, unnamed

SIZES = {"hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2, "num_key_value_heads": 2}
EVERY = [f"model.layers.{layer}.self_attn.{name}" for layer in (0, 1) for name in ("q_proj", "v_proj")]


def model() -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, vocab_size=16, num_hidden_layers=2))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    peft.get_peft_model(model(), config).save_pretrained(folder)
    return folder


def edited(adapter: Path, folder: Path, fields: dict[str, Any]) -> Path:
    """The adapter with some fields of its config in the place of others."""
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes())
    config = json.loads((adapter / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **fields}))
    return folder


def test_ends_of_names_begin_after_a_dot() -> None:
    assert uncovered(("proj",), ["a.proj", "a.q_proj", "proj"]) == ["a.q_proj"]
    assert uncovered(r".*_proj", ["a.proj", "a.q_proj"]) == ["a.proj"]
    assert uncovered("(", ["a.proj"]) == ["a.proj"]


CASES: list[dict[str, Any]] = [
    {},
    {"target_modules": ["q_proj"]},
    {"target_modules": r".*layers\.0\.self_attn\.._proj"},
    {"target_modules": "all-linear"},
    {"exclude_modules": ["v_proj"]},
    {"exclude_modules": r".*\.1\..*"},
    {"layers_to_transform": [0]},
    {"layers_to_transform": 1, "layers_pattern": "layers"},
    {"target_modules": ["q_proj", EVERY[3]], "layers_to_transform": [0], "layers_pattern": ["h", "layers"]},
    {"modules_to_save": ["layers.1"]},
]


@pytest.mark.parametrize("fields", CASES, ids=str)
def test_what_peft_makes_no_lora_for(adapter: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    config = peft.LoraConfig.from_pretrained(edited(adapter, tmp_path / "a", fields))
    made = peft.get_peft_model(model(), config).named_parameters()
    begins = {name.removeprefix("base_model.model.").partition(".lora_A.")[0] for name, _ in made if ".lora_A." in name}
    assert unnamed(config.to_dict(), EVERY) == [each for each in EVERY if each not in begins]


@pytest.mark.parametrize("pattern", ["(layers)", "h"])
def test_layers_by_an_expression_are_not_judged(pattern: str) -> None:
    fields = {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [0], "layers_pattern": [pattern]}
    assert unnamed(fields, EVERY) == (EVERY if pattern == "h" else [])


def test_fuse_takes_what_peft_drops_and_says_so(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model().save_pretrained(tmp_path / "base")
    part = edited(adapter, tmp_path / "part", {"target_modules": ["q_proj"], "layers_to_transform": [1]})
    for each, out in ((adapter, "all"), (part, "same")):
        assert run(["fuse", str(tmp_path / "base"), str(each), "-o", str(tmp_path / out)]) == 0
    said = capsys.readouterr().err
    assert all(said.count(name) == (name != EVERY[2]) for name in EVERY)
    assert 'drop(a, {"MODULE": "reason"})' in said
    fused = [load_file(tmp_path / out / "model.safetensors") for out in ("all", "same")]
    assert all(torch.equal(fused[0][name], each) for name, each in fused[1].items())

    dropped = 'drop(a, {"model.layers.0*": "not loaded", "*.1.*v_proj": "not loaded"})'
    assert run(["calc", dropped, f"a={part}", "-o", str(tmp_path / "left")]) == 0
    assert run(["fuse", str(tmp_path / "base"), str(tmp_path / "left"), "-o", str(tmp_path / "out")]) == 0
    tokens = torch.arange(8)[None]
    expected = peft.PeftModel.from_pretrained(model(), part)(tokens).logits
    found = LlamaForCausalLM.from_pretrained(tmp_path / "out")(tokens).logits
    assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.allclose(found, model()(tokens).logits, atol=1e-4)


def test_what_peft_drops_is_said_where_it_is_written_with_the_others(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = str(edited(adapter, tmp_path / "part", {"layers_to_transform": [1]}))
    for command in (
        ["truncate", part, "--rank", "1"],
        ["merge", part, str(adapter)],
        ["convert", part, "--to", "kohya"],
    ):
        assert run([*command, "-o", str(tmp_path / command[0])]) == 0
        said = capsys.readouterr().err
        assert [name for name in EVERY if f"{name}," in said or f"{name} " in said] == EVERY[:2]
    assert run(["convert", part, "--to", "peft", "-o", str(tmp_path / "copy")]) == 0
    assert "drops" not in capsys.readouterr().err
