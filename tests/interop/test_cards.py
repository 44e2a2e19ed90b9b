"""What a card says about loading is run, and gives the model that was saved: class, head and all."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

import adapterops as ao
from adapterops.hub.card import render
from adapterops.hub.package import Payload, files, made

BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 32}
LLAMA = {**BERT, "num_key_value_heads": 2, "pad_token_id": 0}
T5 = {
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 2,
    "vocab_size": 32,
    "decoder_start_token_id": 0,
}
IDS = {"input_ids": torch.tensor([[3, 4, 5, 6]])}

MODELS: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "llama": (lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)), {"task_type": "CAUSAL_LM"}, "AutoModelForCausalLM"),
    "gpt2": (
        lambda: GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=32)),
        {"task_type": "CAUSAL_LM", "target_modules": ["c_attn"], "fan_in_fan_out": True},
        "AutoModelForCausalLM",
    ),
    "encoder": (lambda: BertModel(BertConfig(**BERT)), {"task_type": "FEATURE_EXTRACTION"}, "AutoModel"),
    "encoder without a task": (lambda: BertModel(BertConfig(**BERT)), {}, "BertModel"),
    "classifier": (
        lambda: BertForSequenceClassification(BertConfig(**BERT, num_labels=3)),
        {"task_type": "SEQ_CLS"},
        "AutoModelForSequenceClassification",
    ),
    "classifier of two layers": (
        lambda: RobertaForSequenceClassification(RobertaConfig(**BERT, num_labels=5)),
        {"task_type": "SEQ_CLS"},
        "AutoModelForSequenceClassification",
    ),
    "classifier of a decoder": (
        lambda: LlamaForSequenceClassification(LlamaConfig(**LLAMA, num_labels=4)),
        {"task_type": "SEQ_CLS"},
        "AutoModelForSequenceClassification",
    ),
    "tokens": (
        lambda: BertForTokenClassification(BertConfig(**BERT, num_labels=7)),
        {"task_type": "TOKEN_CLS"},
        "AutoModelForTokenClassification",
    ),
    "seq2seq": (
        lambda: T5ForConditionalGeneration(T5Config(**T5)),
        {"task_type": "SEQ_2_SEQ_LM", "target_modules": ["q", "v"]},
        "AutoModelForSeq2SeqLM",
    ),
}


def output(model: Any) -> torch.Tensor:
    inputs = {**IDS, **({"decoder_input_ids": IDS["input_ids"]} if model.config.is_encoder_decoder else {})}
    with torch.no_grad():
        found: torch.Tensor = model.eval()(**inputs)[0]
    return found


def snippets(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("kind", MODELS)
def test_an_adapter_is_loaded_as_its_card_says(kind: str, tmp_path: Path) -> None:
    make, fields, name = MODELS[kind]
    torch.manual_seed(1)
    base = make()
    # the base as people find it: without the head that is trained with the adapter
    (base.base_model if "SEQ_CLS" in str(fields) or "TOKEN" in str(fields) else base).save_pretrained(tmp_path / "base")
    path = str(tmp_path / "base")
    base.name_or_path = base.config._name_or_path = path
    model = get_peft_model(base, LoraConfig(r=2, init_lora_weights=False, **fields))
    expected = output(model)
    model.save_pretrained(tmp_path / "a")
    folder = tmp_path / "a"
    about = made(folder, str(folder), {name: Payload.of(path) for name, path in files(folder)[0].items()})
    text = render(replace(about, adapter={**(about.adapter or {}), "base_model_name_or_path": "some/base"}))
    assert f"import {name}\n" in text
    assert ("vllm serve" in text) == (name == "AutoModelForCausalLM")
    for code in snippets(text):
        found: dict[str, Any] = {}
        exec(code.replace('"some/base"', repr(path)), found)
        torch.testing.assert_close(output(found["model"]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "encoder", "classifier", "seq2seq"])
def test_a_model_is_loaded_as_its_card_says(kind: str, tmp_path: Path) -> None:
    make, fields, _ = MODELS[kind]
    torch.manual_seed(1)
    base = make()
    base.save_pretrained(tmp_path / "base")
    model = get_peft_model(base, LoraConfig(r=2, init_lora_weights=False, **{**fields, "task_type": None}))
    model.save_pretrained(tmp_path / "a")
    expected = output(model)
    ao.save_checkpoint(
        ao.fuse(ao.open_checkpoint(tmp_path / "base"), ao.open_adapter(tmp_path / "a")), tmp_path / "fused"
    )
    text = ao.card(tmp_path / "fused")
    assert ("vllm serve" in text) == (kind in ("llama", "gpt2"))
    (code,) = snippets(text)
    found: dict[str, Any] = {}
    exec(code, found)
    torch.testing.assert_close(output(found["model"]), expected, rtol=1e-4, atol=1e-5)
