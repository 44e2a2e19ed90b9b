"""Stacked layers are the model that transformers makes of the same layers: logits, and what its config says of each."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import TOKENS, load, save
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    Qwen2Config,
    SmolLM3Config,
)

from adapterops.cli.main import run

SIZES = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "pad_token_id": 0}
SIZES |= {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}
CONFIGS: dict[str, Any] = {
    "llama": LlamaConfig(**SIZES),
    "qwen2": Qwen2Config(**{**SIZES, "tie_word_embeddings": True}),
    "gemma2": Gemma2Config(**SIZES, head_dim=8, sliding_window=3),
    "smollm3": SmolLM3Config(**SIZES, no_rope_layer_interval=3),
    "mixtral": MixtralConfig(**SIZES, num_local_experts=3),
    "gpt2": GPT2Config(vocab_size=96, n_embd=32, n_layer=4, n_head=4, n_positions=64),
}
SLICES = [("one", 0, 3), ("two", 1, 4), ("one", 1, 2), ("two", 3, 4)]
"""Over the kinds of layers that alternate in some types, so that most change their number's parity."""


def made(folder: Path, name: str) -> Path:
    for seed, model in enumerate(("one", "two")):
        torch.manual_seed(seed)
        save(AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[name])), folder / model)
    return folder


def recipe(folder: Path, slices: list[tuple[str, int, int]], **fields: Any) -> Path:
    sources = [{"sources": [{"model": model, "layer_range": [first, end]}]} for model, first, end in slices]
    (folder / "recipe.json").write_text(json.dumps({"merge_method": "passthrough", "slices": sources, **fields}))
    return folder / "recipe.json"


def typed(*arguments: Path | str, code: int = 0) -> None:
    assert run([str(argument) for argument in arguments]) == code


def by_hand(folder: Path, slices: list[tuple[str, int, int]]) -> Any:
    """The first model with its layers replaced; what is after them from the last."""
    models = {name: load(folder / name) for name in ("one", "two")}
    model = models[slices[0][0]]
    body = model.transformer if hasattr(model, "transformer") else model.model
    field = "h" if hasattr(model, "transformer") else "layers"

    def inner(name: str) -> Any:
        other = models[name]
        return other.transformer if hasattr(other, "transformer") else other.model

    chosen = [copy.deepcopy(getattr(inner(name), field)[at]) for name, first, end in slices for at in range(first, end)]
    for number, layer in enumerate(chosen):
        for part in layer.modules():
            if hasattr(part, "layer_idx"):
                part.layer_idx = number
    last = inner(slices[-1][0])
    end = "ln_f" if hasattr(body, "ln_f") else "norm"
    setattr(body, end, getattr(last, end))
    if not model.config.tie_word_embeddings:
        model.lm_head = models[slices[-1][0]].lm_head
    for kinds in ("layer_types", "no_rope_layers"):
        if isinstance(stated := getattr(model.config, kinds, None), list):
            setattr(model.config, kinds, [stated[at] for _, first, end in slices for at in range(first, end)])
    model.config.num_hidden_layers = len(chosen)
    setattr(body, field, torch.nn.ModuleList(chosen))
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_the_layers_put_together_by_hand(tmp_path: Path, name: str) -> None:
    typed("run", recipe(made(tmp_path, name), SLICES), "-o", tmp_path / "out")
    found, expected = load(tmp_path / "out"), by_hand(tmp_path, SLICES)
    assert found.config.num_hidden_layers == 8
    with torch.no_grad():
        ours, theirs = (model(TOKENS, use_cache=False).logits for model in (found, expected))
    assert torch.equal(ours, theirs) or float((ours - theirs).norm() / theirs.norm()) < 1e-6
    again = AutoConfig.from_pretrained(tmp_path / "out")
    assert again.num_hidden_layers == 8


def test_one_slice_of_all_layers_is_the_model(tmp_path: Path) -> None:
    made(tmp_path, "llama")
    typed("run", recipe(tmp_path, [("one", 0, 4)], dtype="float32"), "-o", tmp_path / "out")
    ours, theirs = load(tmp_path / "out").state_dict(), load(tmp_path / "one").state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_it_wrote_makes_it_again(tmp_path: Path) -> None:
    made(tmp_path, "llama")
    typed("run", recipe(tmp_path, SLICES, dtype="bfloat16"), "-o", tmp_path / "out")
    typed("run", tmp_path / "out/recipe.yaml", "-o", tmp_path / "again")
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "again"))
    assert one == two
    assert load(tmp_path / "out", torch.bfloat16).dtype == torch.bfloat16
    stated = json.loads((tmp_path / "out/adapterops.json").read_text())
    assert [each["path"] for each in stated["inputs"]] == ["one", "two"]
    typed("show", tmp_path / "out")
    typed("run", tmp_path / "recipe.json", "-o", tmp_path / "not", "--dry-run")
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(
    ("slices", "fields", "code", "said"),
    [
        ([("one", 0, 5)], {}, 2, "the model has 4"),
        ([("one", 2, 2)], {}, 2, "the model has 4"),
        ([("one", 0, 2)], {"base_model": "two"}, 2, "is not the model of the first slice"),
        ([("one", 0, 2), ("other", 0, 2)], {}, 4, "of type gpt2"),
        ([("one", 0, 2)], {"parameters": {"scale": 0.5}}, 2, "parameters scales what is copied"),
        ([], {}, 2, "is missing or empty"),
    ],
)
def test_what_cannot_be_stacked_is_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    slices: list[tuple[str, int, int]],
    fields: dict[str, Any],
    code: int,
    said: str,
) -> None:
    made(tmp_path, "llama")
    save(AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS["gpt2"])), tmp_path / "other")
    typed("run", recipe(tmp_path, slices, **fields), "-o", tmp_path / "out", code=code)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("gemma2", {"layer_types": None}, "no layer_types that says which kind each is"),
        ("llama", {"model_type": "remote"}, "it is not known whether its layers depend on their position"),
        ("qwen2", {"layer_types": None, "use_sliding_window": True}, "use_sliding_window of its config is True"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "depend on their position"),
        ("llama", {"num_hidden_layers": 3}, "4 layers by their names, and its config says 3"),
    ],
)
def test_layers_that_depend_on_their_number_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, change: dict[str, Any], said: str
) -> None:
    place = made(tmp_path, name) / "one/config.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **change}))
    typed("run", recipe(tmp_path, [("one", 0, 2), ("one", 1, 4)]), "-o", tmp_path / "out", code=4)
    assert said in capsys.readouterr().err
