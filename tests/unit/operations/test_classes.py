"""The class that adapters are for: what they state, what their names are, and the base's where they do not agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import config, write_adapter
from safetensors.torch import save_file

import adapterops as ao
from adapterops.operations.classes import are_of_words, model_of

QUERY = "encoder.layer.0.attention.self.query"
LAYER = "model.layers.0.self_attn.q_proj"


def adapter(place: Path, module: str, cls: str | None = None, task: str | None = None) -> ao.Adapter:
    tensors = {f"base_model.model.{module}.lora_A.weight": torch.ones(2, 4)}
    tensors[f"base_model.model.{module}.lora_B.weight"] = torch.ones(4, 2)
    stated: dict[str, Any] = {"task_type": task}
    if cls:
        stated["auto_mapping"] = {"base_model_class": cls, "parent_library": "transformers.models.x"}
    write_adapter(place, tensors, config(2, **stated))
    return ao.open_adapter(place)


def base(place: Path, tensor: str, model_type: str, cls: str) -> ao.Checkpoint:
    place.mkdir()
    save_file({f"{tensor}.weight": torch.ones(4, 4)}, place / "model.safetensors")
    (place / "config.json").write_text(json.dumps({"model_type": model_type, "architectures": [cls]}))
    return ao.open_checkpoint(place)


@pytest.mark.parametrize(
    ("stated", "prefix"),
    [
        ([("BertModel", None)], ""),
        ([("BertForSequenceClassification", None)], "bert."),
        ([(None, "SEQ_CLS"), (None, "TOKEN_CLS")], "bert."),
        ([("BertModel", None), ("BertForTokenClassification", None)], "bert."),  # the base's
        ([(None, "FEATURE_EXTRACTION")], ""),
        ([(None, None)], "bert."),
    ],
)
def test_what_all_state_or_the_base_is(
    stated: list[tuple[str | None, str | None]], prefix: str, tmp_path: Path
) -> None:
    there = base(tmp_path / "base", f"bert.{QUERY}", "bert", "BertForMaskedLM")
    adapters = [adapter(tmp_path / str(n), QUERY, cls, task) for n, (cls, task) in enumerate(stated)]
    assert model_of(adapters, there)[1].name(f"bert.{QUERY}") == prefix + QUERY


@pytest.mark.parametrize(
    ("cls", "task", "module", "saved", "words"),
    [
        ("Qwen3_5ForCausalLM", None, LAYER, "Qwen3_5ForConditionalGeneration", True),
        (None, "CAUSAL_LM", LAYER, "Qwen3_5ForConditionalGeneration", True),
        (None, None, LAYER, "Qwen3_5ForConditionalGeneration", False),
        (None, "CAUSAL_LM", "layers.0.self_attn.q_proj", "Qwen3_5ForConditionalGeneration", False),
        (None, "CAUSAL_LM", LAYER, "LlavaForConditionalGeneration", False),  # which has no class for words alone
        ("Qwen3_5Model", None, LAYER, "Qwen3_5ForConditionalGeneration", False),
    ],
)
def test_names_of_the_class_for_words_alone(
    cls: str | None, task: str | None, module: str, saved: str, words: bool, tmp_path: Path
) -> None:
    kind = saved.partition("For")[0].lower()
    there = base(tmp_path / "base", LAYER.replace("model.", "model.language_model."), kind, saved)
    assert are_of_words([adapter(tmp_path / "a", module, cls, task)], there) is words


def test_names_of_older_files_are_not_those_of_a_class(tmp_path: Path) -> None:
    tensor = f"model.language_model.{LAYER.removeprefix('model.')}"
    there = base(
        tmp_path / "base", tensor, "qwen2_vl", "Qwen3_5ForConditionalGeneration"
    )  # whose files had other names
    assert not are_of_words([adapter(tmp_path / "a", LAYER, task="CAUSAL_LM")], there)
