"""Files of bare models, by the names that a model with a head has."""

from __future__ import annotations

from typing import Any

import pytest

from adapterops.formats.models.bare import inner_prefix

LLAMA = ["layers.0.self_attn.q_proj.weight", "embed_tokens.weight", "norm.weight"]


def config(kind: str, name: str) -> dict[str, Any]:
    return {"model_type": kind, "architectures": [name]}


@pytest.mark.parametrize(
    ("names", "fields", "prefix"),
    [
        (["encoder.layer.0.q.weight"], config("bert", "BertForMaskedLM"), "bert."),
        (["encoder.layer.0.q.weight"], config("bert", "BertModel"), ""),
        (["bert.encoder.layer.0.q.weight"], config("bert", "BertForMaskedLM"), ""),
        (LLAMA, config("llama", "LlamaForCausalLM"), "model."),
        (LLAMA, config("llama", "LlamaModel"), ""),
        ([f"model.{name}" for name in LLAMA], config("llama", "LlamaForCausalLM"), ""),
        (["transformer.encoder.layers.0.q.weight"], config("remote", "RemoteForCausalLM"), ""),
        (["encoder.block.0.q.weight"], config("t5", "T5ForConditionalGeneration"), ""),
        (LLAMA, None, ""),
        (LLAMA, config("cosmos3_omni", "Cosmos3OmniForConditionalGeneration"), ""),
    ],
)
def test_prefixes(names: list[str], fields: dict[str, Any] | None, prefix: str) -> None:
    assert inner_prefix(names, fields) == prefix
