"""Fields of config.json: what makes another model, and what transformers only writes otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from adapterops.verification.settings import differences, usual

LLAMA: dict[str, Any] = {"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, "rms_norm_eps": 1e-5}

OTHER: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (LLAMA, {"rope_scaling": {"type": "linear", "factor": 8.0}}, "rope_parameters.factor"),
    (LLAMA, {"rope_parameters": {"rope_type": "yarn", "factor": 8.0, "rope_theta": 1e4}}, "rope_parameters.factor"),
    (LLAMA, {"rope_theta": 1e6}, "rope_parameters.rope_theta"),
    (LLAMA, {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, "rope_parameters.rope_theta"),
    (LLAMA, {"hidden_act": "gelu"}, "hidden_act"),
    (LLAMA, {"attention_bias": True}, "attention_bias"),
    (LLAMA, {"rms_norm_eps": 1e-6}, "rms_norm_eps"),
    ({"model_type": "mistral"}, {"sliding_window": None}, "sliding_window"),
    ({"model_type": "mistral"}, {"sliding_window": 32}, "sliding_window"),
    ({"model_type": "gemma2"}, {"attn_logit_softcapping": None}, "attn_logit_softcapping"),
    ({"model_type": "gemma2"}, {"final_logit_softcapping": 15.0}, "final_logit_softcapping"),
    ({"model_type": "gemma2"}, {"query_pre_attn_scalar": 144}, "query_pre_attn_scalar"),
    ({"model_type": "granite"}, {"attention_multiplier": 0.5}, "attention_multiplier"),
    ({"model_type": "granite"}, {"logits_scaling": 8.0}, "logits_scaling"),
    ({"model_type": "gpt2"}, {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
    ({"model_type": "gpt2"}, {"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon"),
    ({"model_type": "gpt2"}, {"num_attention_heads": 6}, "n_head"),
    ({"model_type": "bert"}, {"layer_norm_eps": 1e-5}, "layer_norm_eps"),
    ({"model_type": "phi"}, {"partial_rotary_factor": 1.0}, "rope_parameters.partial_rotary_factor"),
    ({"model_type": "gpt_oss"}, {"rope_scaling": {"rope_type": "default"}}, "rope_parameters.rope_type"),
    ({"model_type": "mixtral"}, {"num_experts_per_tok": 1}, "num_experts_per_tok"),
    ({"model_type": "qwen3_moe"}, {"norm_topk_prob": True}, "norm_topk_prob"),
    ({"model_type": "t5"}, {"is_gated_act": True}, "is_gated_act"),
    (
        {"model_type": "llava", "text_config": LLAMA},
        {"text_config": {**LLAMA, "hidden_act": "relu"}},
        "text_config.hidden_act",
    ),
    ({**LLAMA, "id2label": {"0": "A"}}, {"id2label": {"0": "A", "1": "B"}}, "id2label"),
    ({"model_type": "llava"}, {"vision_feature_layer": -1}, "vision_feature_layer"),
    ({"model_type": "tiny"}, {"rope_scaling": {"type": "linear", "factor": 8.0}}, "rope_parameters.factor"),
]

ALIKE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (LLAMA, {"rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False, "mlp_bias": False}),
    (LLAMA, {"rope_parameters": {"rope_type": "default", "rope_theta": 10000}}),
    (LLAMA, {"use_cache": True, "transformers_version": "5", "dtype": "float32", "unsloth_version": "1"}),
    (LLAMA, {"head_dim": 8, "num_key_value_heads": 4}),  # as the class derives them
    ({**LLAMA, "rope_theta": 5e5}, {"rope_theta": 5e5, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}),
    ({"model_type": "gpt_oss"}, {"rope_theta": 150000.0}),
    ({"model_type": "qwen2", "use_sliding_window": False, "sliding_window": 4096}, {"sliding_window": None}),
    ({"model_type": "gpt2", "n_head": 12}, {"num_attention_heads": 12}),
    ({"model_type": "mine"}, {"sliding_window": 4096}),  # of which nothing is known
    ({"model_type": "llava", "text_config": {**LLAMA}}, {"text_config": {**LLAMA, "transformers_version": "5"}}),
]


@pytest.mark.parametrize(("config", "change", "field"), OTHER, ids=lambda each: str(each)[:40])
def test_what_makes_another_model_is_seen_from_both_sides(
    config: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    assert field in [each.field for each in differences({**config, **change}, config)]
    assert field in [each.field for each in differences(config, {**config, **change})]


@pytest.mark.parametrize(("config", "change"), ALIKE, ids=lambda each: str(each)[:40])
def test_what_is_only_written_otherwise_is_not(config: dict[str, Any], change: dict[str, Any]) -> None:
    assert not list(differences({**config, **change}, config))
    assert not list(differences(config, {**config, **change}))


@pytest.mark.parametrize("added", [{"attention_dropout": 0.5}, {"unsloth_version": "1"}, {"rope_scaling": None}])
def test_nothing_may_be_added_to_a_config_of_our_own(added: dict[str, Any]) -> None:
    assert [each.field for each in differences({**LLAMA, **added}, LLAMA, own=True)] == list(added)
    assert [each.field for each in differences(LLAMA, {**LLAMA, **added}, own=True)] == list(added)


def test_what_is_said_of_a_field_that_is_not_there() -> None:
    (only,) = differences({**LLAMA, "mlp_bias": True}, LLAMA, own=True)
    assert str(only) == "mlp_bias is True, expected not there"


@pytest.mark.parametrize(
    "kind", ["llama", "gpt_oss", "ministral3", "gemma3_text", "qwen2_moe", "bert", "t5", "clip", "modernbert", "phi3"]
)
def test_what_transformers_saves_of_a_class_is_the_same_model(kind: str, tmp_path: Path) -> None:
    config = AutoConfig.for_model(kind)
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    for field in [None, *saved]:
        less = {name: value for name, value in saved.items() if name != field or name == "model_type"}
        type(config).from_dict(dict(less)).save_pretrained(tmp_path)
        again = json.loads((tmp_path / "config.json").read_text())
        assert not [*differences(again, less), *differences(less, again)], field


def test_what_a_class_takes_where_its_config_is_silent() -> None:
    assert usual("tie_word_embeddings", {"model_type": "gemma"}) is True
    assert usual("tie_word_embeddings", {"model_type": "llama"}) is False
    assert usual("tie_word_embeddings", {"model_type": "mine"}) is None
