"""Which class loads something: as its configs name it, or none."""

from __future__ import annotations

from typing import Any

import pytest

from adapterops.hub.loading import LoadingClass, loading_base, loading_model

BERT = {"base_model_class": "BertModel", "parent_library": "transformers.models.bert.modeling_bert"}
UNET = {"base_model_class": "UNet2DConditionModel", "parent_library": "diffusers.models.unets.unet_2d_condition"}
OWN = {"base_model_class": "Net", "parent_library": "__main__"}
SEQUENCE = "AutoModelForSequenceClassification"
VISION = {"architectures": ["Qwen2VLForConditionalGeneration"]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, LoadingClass("transformers", "LlamaForCausalLM")),
        ({"_class_name": "UNet2DConditionModel"}, LoadingClass("diffusers", "UNet2DConditionModel", "unet")),
        ({"_class_name": "AutoencoderKL"}, LoadingClass("diffusers", "AutoencoderKL")),
        ({"architectures": []}, None),
        ({"architectures": "LlamaForCausalLM"}, None),
        ({"architectures": ["import os; os"]}, None),
        ({"_class_name": "x\nimport os"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_models(config: Any, expected: LoadingClass | None) -> None:
    assert loading_model(config) == expected


@pytest.mark.parametrize(
    ("adapter", "config", "labels", "expected"),
    [
        ({"task_type": "CAUSAL_LM"}, None, 0, LoadingClass("transformers", "AutoModelForCausalLM")),
        ({"task_type": "CAUSAL_LM"}, VISION, 0, LoadingClass("transformers", "Qwen2VLForConditionalGeneration")),
        ({"task_type": "SEQ_CLS"}, {"architectures": ["BertModel"]}, 3, LoadingClass("transformers", SEQUENCE, labels=3)),
        ({"task_type": "SEQ_2_SEQ_LM"}, None, 3, LoadingClass("transformers", "AutoModelForSeq2SeqLM")),
        ({"auto_mapping": BERT}, None, 0, LoadingClass("transformers", "BertModel")),
        ({"auto_mapping": UNET}, None, 0, LoadingClass("diffusers", "UNet2DConditionModel", "unet")),
        ({"auto_mapping": OWN}, None, 0, None),
        ({"task_type": None}, {"architectures": ["BertModel"]}, 0, LoadingClass("transformers", "BertModel")),
        ({"task_type": "SOMETHING"}, None, 0, None),
        ({}, None, 0, None),
    ],
)  # fmt: skip
def test_bases(adapter: Any, config: Any, labels: int, expected: LoadingClass | None) -> None:
    assert loading_base(adapter, config, labels) == expected


@pytest.mark.parametrize(
    ("name", "generates"),
    [
        ("AutoModelForCausalLM", True),
        ("LlamaForCausalLM", True),
        ("GPT2LMHeadModel", True),
        ("FlaubertWithLMHeadModel", False),
        ("AutoModel", False),
        ("BertForMaskedLM", False),
        ("AutoModelForSeq2SeqLM", False),
    ],
)
def test_what_generates_text(name: str, generates: bool) -> None:
    assert LoadingClass("transformers", name).generates == generates
