"""Files of bare models, by the names that a model with a head has, and files of the latter by those of the former."""

from __future__ import annotations

from typing import Any

import pytest

from adapterops.formats.models.bare import with_class
from adapterops.formats.models.loading import loading

LLAMA = ["layers.0.self_attn.q_proj.weight", "embed_tokens.weight", "norm.weight"]
BERT = ["encoder.layer.0.output.dense.weight"]


def config(kind: str, name: str) -> dict[str, Any]:
    return {"model_type": kind, "architectures": [name]}


@pytest.mark.parametrize(
    ("names", "fields", "first"),
    [
        (BERT, config("bert", "BertForMaskedLM"), f"bert.{BERT[0]}"),
        (BERT, config("bert", "BertModel"), BERT[0]),
        ([f"bert.{BERT[0]}"], config("bert", "BertForMaskedLM"), f"bert.{BERT[0]}"),
        ([f"bert.{BERT[0]}"], config("bert", "BertModel"), BERT[0]),
        (["cls.predictions.bias", *BERT], config("bert", "BertForMaskedLM"), "cls.predictions.bias"),
        (LLAMA, config("llama", "LlamaForCausalLM"), f"model.{LLAMA[0]}"),
        (LLAMA, config("llama", "LlamaModel"), LLAMA[0]),
        (LLAMA, config("llama", "LlamaForQuestionAnswering"), f"transformer.{LLAMA[0]}"),
        ([f"model.{LLAMA[0]}"], config("llama", "LlamaForCausalLM"), f"model.{LLAMA[0]}"),
        (["new.encoder.layer.0.mlp.down_proj.weight"], config("gte", "GteForMaskedLM"), "gte.layers.0.mlp.down_proj.weight"),
        (["transformer.layers.0.q.weight"], config("remote", "RemoteForCausalLM"), "transformer.layers.0.q.weight"),
        (LLAMA, config("remote", "RemoteForCausalLM"), f"model.{LLAMA[0]}"),
        (["encoder.block.0.q.weight"], config("t5", "T5ForConditionalGeneration"), "encoder.block.0.q.weight"),
        (["encoder.block.0.q.weight"], config("t5", "T5ForSequenceClassification"), "transformer.encoder.block.0.q.weight"),
        (["wte.weight"], config("gpt2", "GPT2DoubleHeadsModel"), "transformer.wte.weight"),
        (["blocks.0.q.weight"], config("dbrx", "DbrxForCausalLM"), "transformer.blocks.0.q.weight"),
        ([f"model.{LLAMA[0]}"], config("llama", "Ranker"), f"model.{LLAMA[0]}"),
        (LLAMA, config("llama", "Ranker"), LLAMA[0]),
        (["encoder.block.0.q.weight"], config("t5", "T5WithLMHeadModel"), "encoder.block.0.q.weight"),
        (LLAMA, {"model_type": "llama"}, LLAMA[0]),
        (LLAMA, None, LLAMA[0]),
    ],
)  # fmt: skip
def test_names_in_memory(names: list[str], fields: dict[str, Any] | None, first: str) -> None:
    assert loading(fields, names).name(names[0]) == first


@pytest.mark.parametrize(
    ("base", "stated", "task", "expected"),
    [
        ("BertModel", None, "SEQ_CLS", "BertForSequenceClassification"),
        ("BertForMaskedLM", None, "FEATURE_EXTRACTION", "BertModel"),
        ("GPT2LMHeadModel", None, "TOKEN_CLS", "GPT2ForTokenClassification"),
        ("GPT2LMHeadModel", None, "CAUSAL_LM", "GPT2LMHeadModel"),
        ("GPT2Model", None, "CAUSAL_LM", "GPT2ForCausalLM"),
        ("BertForMaskedLM", "BertModel", None, "BertModel"),
        ("BertForMaskedLM", None, None, "BertForMaskedLM"),
    ],
)
def test_the_class_that_an_adapter_is_for(base: str, stated: str | None, task: str | None, expected: str) -> None:
    assert with_class({"architectures": [base]}, stated, task) == {"architectures": [expected]}
    assert with_class(None, stated, task) == {}
