"""What config.json of a fused model says, beside what its tensors are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import config, write_adapter
from safetensors.torch import save_file

import adapterops as ao
from adapterops.verification.configs import config_doubts, has_other_words

PLAIN: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "tie_word_embeddings": False,
    "vocab_size": 12,
}
NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False}


def model(place: Path, said: Mapping[str, Any] | None, *, head: bool = True) -> ao.Checkpoint:
    place.mkdir()
    tensors = {
        "model.embed_tokens.weight": torch.ones(12, 8),
        "model.layers.0.self_attn.q_proj.weight": torch.ones(8, 8),
    }
    save_file(tensors | ({"lm_head.weight": torch.ones(12, 8)} if head else {}), place / "model.safetensors")
    if said is not None:
        (place / "config.json").write_text(json.dumps(said))
    return ao.open_checkpoint(place)


def doubts(place: Path, found: Mapping[str, Any] | None, base: Mapping[str, Any] = PLAIN, **options: Any) -> list[str]:
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    tensors = {f"{name}A.weight": torch.ones(2, 8), f"{name}B.weight": torch.ones(8, 2)}
    adapter = ao.open_adapter(write_adapter(place / "a", tensors, config(2)))
    return list(config_doubts(model(place / "out", found), model(place / "base", base), adapter, {}, **options))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({}, []),
        ({"tie_word_embeddings": True}, ["tie_word_embeddings is True, expected False"]),
        ({"vocab_size": 13}, ["says that the vocabulary has 13 words, and the base's says 12"]),
        ({"hidden_act": "gelu"}, ["hidden_act is 'gelu', expected not there"]),
    ],
)
def test_what_is_said_otherwise_than_by_the_base(
    change: dict[str, Any], fact: list[str], own: bool, tmp_path: Path
) -> None:
    fact = [each.replace("not there", "not there" if own else "'silu'") for each in fact]
    assert doubts(tmp_path, {**PLAIN, **change}, own=own) == fact


def test_one_that_is_silent_about_ties_has_what_its_class_has(tmp_path: Path) -> None:
    silent = {name: value for name, value in PLAIN.items() if name != "tie_word_embeddings"}
    (tmp_path / "llama").mkdir()
    (tmp_path / "gemma").mkdir()
    assert doubts(tmp_path / "llama", silent) == []
    gemma = {"model_type": "gemma", "architectures": ["GemmaForCausalLM"]}
    assert doubts(tmp_path / "gemma", {**silent, **gemma}, {**PLAIN, **gemma}) == [
        "tie_word_embeddings is True, expected False"
    ]


def test_a_head_that_is_stored_may_be_said_to_be_one_of_its_own(tmp_path: Path) -> None:
    two_words = {**PLAIN, "text_config": {"tie_word_embeddings": True}}
    assert doubts(tmp_path, {**PLAIN, "text_config": {"tie_word_embeddings": False}}, two_words) == []


def test_one_that_is_lost(tmp_path: Path) -> None:
    assert doubts(tmp_path, None) == ["is missing, and the base has one"]


@pytest.mark.parametrize(
    ("said", "fact"),
    [
        (None, "quantization_config is not there, and weights are in nf4"),
        ({**NF4, "load_in_4bit": False, "load_in_8bit": True}, "says load_in_8bit=True, and weights are in nf4"),
        (NF4, None),
    ],
)
def test_codes_that_the_config_does_not_speak_of(said: Any, fact: str | None, tmp_path: Path) -> None:
    base = model(tmp_path / "base", PLAIN)
    ao.save_checkpoint(ao.quantize(base, "nf4"), tmp_path / "codes")
    path = tmp_path / "codes" / "config.json"
    content = json.loads(path.read_text())
    content = {name: value for name, value in content.items() if name != "quantization_config"}
    path.write_text(json.dumps(content | ({} if said is None else {"quantization_config": said})))
    adapter = ao.open_adapter(
        write_adapter(
            tmp_path / "a",
            {
                f"base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight": torch.ones(shape)
                for side, shape in (("A", (2, 8)), ("B", (8, 2)))
            },
            config(2),
        )
    )
    coded = ao.open_checkpoint(tmp_path / "codes")
    found = list(config_doubts(coded, base, adapter, {}))
    assert len(found) == (fact is not None)
    assert fact is None or fact in found[0]
    assert not has_other_words(coded, base, {})
