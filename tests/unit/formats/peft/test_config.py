"""PEFT's config, field by field."""

from __future__ import annotations

from typing import Any

import peft
import pytest
from corpus import config

from adapterops.errors import AdapterWarning, InputError, UnsupportedError
from adapterops.formats.peft.config import AdapterConfig, is_at_least, read_config


def test_what_is_known_of_an_adapter() -> None:
    found = read_config(config(2, task_type="CAUSAL_LM", revision="v1", modules_to_save=["lm_head"], bias="lora_only"))
    assert (found.base_model, found.revision, found.targets) == ("some/base", "v1", ("q_proj", "v_proj"))
    assert (found.saved, found.biases, found.fields["task_type"]) == (("lm_head",), True, "CAUSAL_LM")
    assert read_config(config(2, bias="oft_only")).biases  # as every kind calls it after itself
    assert read_config(config(2, target_modules="all-linear")).targets is None
    assert read_config(config(2, layers_to_transform=[0])).targets is None


@pytest.mark.parametrize(
    ("fields", "kind", "fact"),
    [
        ({"bias": "some"}, InputError, "bias is 'some'"),
        ({"base_model_name_or_path": 3}, InputError, "expected a string or null"),
        ({"modules_to_save": "lm_head"}, InputError, "expected names"),
        ({"peft_type": "VBLORA"}, UnsupportedError, "VB-LoRA"),
        ({"peft_type": "NEW"}, UnsupportedError, "peft_type is 'NEW'"),
        ({"peft_type": None}, InputError, "peft_type is null, expected the name of a type"),
        ({"peft_type": "lora"}, UnsupportedError, 'PEFT writes it as "LORA"'),
        ({"peft_type": "PeftType.LORA"}, UnsupportedError, 'PEFT writes it as "LORA": put that into the config'),
        ({"init_lora_weights": "sparkle"}, UnsupportedError, "'sparkle', which is not known here"),
        ({"init_lora_weights": "pissa_niter_4"}, UnsupportedError, "belong to a base that this initialisation changed"),
        ({"new_field": 1}, UnsupportedError, "'new_field' is set and not known here"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], kind: type[Exception], fact: str) -> None:
    with pytest.raises(kind, match=fact):
        read_config(config(2, **fields))


@pytest.mark.parametrize(
    ("stated", "task"),
    [("TaskType.SEQ_CLS", "SEQ_CLS"), ("SEQ_CLS ", "SEQ_CLS"), ("causal_lm", "CAUSAL_LM"), ("text-generation", None)],
)
def test_a_task_that_peft_does_not_have_is_told_and_not_written(stated: str, task: str | None) -> None:
    with pytest.raises(ValueError, match="Invalid task type"):
        peft.LoraConfig(task_type=stated)
    with pytest.warns(AdapterWarning, match="does not load an adapter"):
        assert read_config(config(2, task_type=stated)).fields["task_type"] == task


@pytest.mark.parametrize("start", [True, False, None, "Gaussian", "eva", "orthogonal", "MiCA", "pissa", "OLoRA"])
def test_beginnings_that_the_base_shows(start: Any) -> None:
    assert read_config(config(2, init_lora_weights=start)) == read_config(config(2))


def test_a_field_that_is_not_set_means_nothing() -> None:
    assert read_config(config(2, new_field=None)) == read_config(config(2))
    with pytest.raises(InputError, match="is a list, expected an object"):
        read_config([])


def test_a_full_tensor_is_announced_by_name_or_by_that_of_what_it_is_in() -> None:
    found = AdapterConfig(saved=("classifier", "norm"), biases=True)
    assert found.replaced("classifier.dense.weight") == "classifier"
    assert found.replaced("layers.0.input_layernorm.weight") == "layers.0.input_layernorm"
    assert (found.replaced("lm_head.weight"), found.replaces("q_proj.bias")) == (None, True)


@pytest.mark.parametrize(
    ("stated", "answer"), [("0.19.0", True), ("0.9.1", False), ("1.0.dev0", True), (None, False), ("?", False)]
)
def test_versions_are_numbers(stated: str | None, answer: bool) -> None:
    assert is_at_least({"peft_version": stated}, (0, 19)) is answer
