"""What PEFT says it leaves out, and what is said of it before."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
from corpus import config, factors, write_adapter
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import adapterops as ao
from adapterops.formats.peft.loaded import left_out
from adapterops.formats.registry import read_adapter
from adapterops.storage.place import Place

SIZES = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 16,
}
BEGIN = "base_model.model."


def model() -> Any:
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_hidden_layers=2))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    peft.get_peft_model(model(), config).save_pretrained(tmp_path / "a")
    return tmp_path / "a"


def unloaded(folder: Path) -> int:
    """How many modules PEFT has no tensors for: those that it warns of, or that it makes none of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = peft.PeftModel.from_pretrained(model(), folder)
    missing = "".join(str(each.message) for each in caught if "missing" in str(each.message))
    made = {name for name, _ in loaded.named_parameters() if ".lora_A." in name}
    return 4 - len([name for name in made if name not in missing])


CASES = {
    "as PEFT saves it": (0, lambda name: name),
    "the name of the adapter": (0, lambda name: name.replace(".weight", ".default.weight")),
    "the name of another": (4, lambda name: name.replace(".weight", ".mine.weight")),
    "no prefix": (4, lambda name: name.removeprefix(BEGIN)),
    "a bare model": (4, lambda name: name.replace(f"{BEGIN}model.", BEGIN)),
    "a wrapper in one layer": (2, lambda name: name.replace("layers.1.", "layers.1._fsdp_wrapped_module.")),
    "another prefix in one layer": (
        2,
        lambda name: name.replace(f"{BEGIN}model.layers.1.", f"{BEGIN}module.model.layers.1."),
    ),
}


@pytest.mark.parametrize(("count", "renamed"), CASES.values(), ids=CASES)
def test_what_peft_leaves_out(adapter: Path, count: int, renamed: Any) -> None:
    file = adapter / "adapter_model.safetensors"
    save_file({renamed(name): tensor for name, tensor in load_file(file).items()}, file)
    assert unloaded(adapter) == count
    assert len(left_out(read_adapter(Place.of(adapter)))) == count


def test_what_target_modules_do_not_name(adapter: Path) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "target_modules": ["q_proj"]}))
    assert unloaded(adapter) == 2
    found = left_out(read_adapter(Place.of(adapter)))
    assert [name.rpartition(".")[2] for name in found] == ["v_proj", "v_proj"]


def test_what_all_modules_of_vera_share_is_named_once(tmp_path: Path) -> None:
    """Its projections, which PEFT saves with it, begin with no module."""
    config = peft.VeraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    peft.get_peft_model(model(), config).save_pretrained(tmp_path / "a")
    assert left_out(read_adapter(Place.of(tmp_path / "a"))) == []
    file = tmp_path / "a/adapter_model.safetensors"
    save_file({name.replace(f"{BEGIN}model.", BEGIN): each for name, each in load_file(file).items()}, file)
    assert len(left_out(read_adapter(Place.of(tmp_path / "a")))) == 2


def test_the_head_of_tinkers_adapters_is_that_of_the_model(tmp_path: Path) -> None:
    """Fused into a base, and told where PEFT would not find it."""
    tensors = factors(["model.unembed_tokens", "model.layers.0.q_proj"], rank=2, out=8, into=8)
    write_adapter(tmp_path / "a", tensors, config(2, target_modules="all-linear"))
    assert ao.inspect(tmp_path / "a").left_out == ("lm_head",)
    assert set(ao.open_adapter(tmp_path / "a").layout) == {"lm_head", "model.layers.0.q_proj"}
    ao.save_adapter(1.0 * ao.open_adapter(tmp_path / "a"), tmp_path / "b")
    assert ao.inspect(tmp_path / "b").left_out == ()
