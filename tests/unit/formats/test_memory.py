"""Names in memory of what files have under older ones."""

from __future__ import annotations

from typing import Any

import pytest

from adapterops.formats.memory import in_memory

VLM: dict[str, Any] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "text_config": {},
    "vision_config": {},
}


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("model.layers.0.mlp.up_proj", "model.language_model.layers.0.mlp.up_proj"),
        ("model.embed_tokens.weight", "model.language_model.embed_tokens.weight"),
        ("visual.blocks.0.attn.qkv", "model.visual.blocks.0.attn.qkv"),
        ("lm_head", "lm_head"),
        ("model.language_model.norm.weight", "model.language_model.norm.weight"),
        ("model.visual.merger", "model.visual.merger"),
    ],
)
def test_a_vision_language_model(stored: str, name: str) -> None:
    assert in_memory(stored, VLM) == name


@pytest.mark.parametrize("config", [None, {}, {"architectures": ["T5ForConditionalGeneration"]}, {"text_config": {}}])
def test_others_keep_their_names(config: dict[str, Any] | None) -> None:
    assert in_memory("model.layers.0.q", config) == "model.layers.0.q"


def test_what_some_types_of_models_call_otherwise() -> None:
    router = "model.layers.0.block_sparse_moe.gate.weight"
    assert in_memory(router, {"model_type": "mixtral"}) == "model.layers.0.mlp.gate.weight"
    assert in_memory(router, {"model_type": "granitemoe"}) == router
    assert in_memory("embed_out.weight", {"model_type": "gpt_neox"}) == "lm_head.weight"
