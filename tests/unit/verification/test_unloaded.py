from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.storage.tensors import Spec
from adapterops.verification.unloaded import COMPUTED, absent, lacking, unloaded

GEMMA = {"model_type": "gemma3n", "text_config": {"num_hidden_layers": 4, "num_kv_shared_layers": 2}}
LAYERS = "model.language_model.layers"


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("mtp.fc.weight", {"model_type": "qwen3_next"}, True),
        ("mtp.fc.weight", {"model_type": "llama"}, False),
        ("model.layers.2.eh_proj.weight", {"model_type": "glm4_moe", "num_hidden_layers": 2}, True),
        ("model.layers.1.mlp.up_proj.weight", {"model_type": "glm4_moe", "num_hidden_layers": 2}, False),
        ("model.layers.46.mlp.up_proj.weight", {"model_type": "glm4_moe"}, True),
        ("visual.blocks.7.mlp.fc1.weight", {"num_hidden_layers": 2}, False),
        (f"{LAYERS}.2.self_attn.k_proj.weight", GEMMA, True),
        (f"{LAYERS}.1.self_attn.k_proj.weight", GEMMA, False),
        (f"{LAYERS}.2.self_attn.q_proj.weight", GEMMA, False),
        ("decoder.block.0.layer.0.layer_norm.weight", {"architectures": ["T5EncoderModel"], "model_type": "t5"}, True),
        ("decoder.block.0.layer.0.layer_norm.weight", {"architectures": ["T5Model"], "model_type": "t5"}, False),
    ],
)
def test_what_a_class_leaves_out(name: str, config: Mapping[str, Any], expected: bool) -> None:
    assert unloaded(name, config) is expected


def test_a_model_of_fewer_layers_lacks_those_of_the_base() -> None:
    assert not unloaded("model.layers.5.mlp.up_proj.weight", {"num_hidden_layers": 4}, {"num_hidden_layers": 8})


def test_buffers_are_no_parameters() -> None:
    assert all(map(COMPUTED.fullmatch, ["h.0.attn.bias", "gpt_neox.layers.0.attention.masked_bias", "encoder.version"]))
    assert not any(map(COMPUTED.fullmatch, ["h.0.attn.c_attn.bias", "layers.0.self_attn.q_proj.bias", "norm.bias"]))


def test_a_base_without_what_is_not_saved() -> None:
    names = ["h.0.attn.bias", "h.0.attn.c_attn.bias", "crossattention.bias"]
    base = Checkpoint({name: Spec("F32", (2,)) for name in names}, {"a": names}, {}, config={"model_type": "gpt2"})
    model = Checkpoint({}, {}, {}, config={"model_type": "gpt2"})
    assert absent(base, model, names) == ({"h.0.attn.bias", "crossattention.bias"}, ["crossattention.bias"])
    less, left = lacking(base, model)
    assert (less.layout.keys(), dict(less.shards), left) == ({names[1]}, {"a": [names[1]]}, ["crossattention.bias"])
    assert lacking(base, base) == (base, [])


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (["BertForMaskedLM"], ["bert.pooler.dense.bias", "cls.seq_relationship.weight"]),
        (["BertForPreTraining"], []),
        ([], []),
    ],
)
def test_heads_of_another_class(stated: list[str], expected: list[str]) -> None:
    names = ["bert.pooler.dense.bias", "cls.seq_relationship.weight", "bert.encoder.layer.0.output.dense.weight"]
    config = {"model_type": "bert", "architectures": ["BertForPreTraining"]}
    base = Checkpoint({name: Spec("F32", (2,)) for name in names}, {}, {}, config=config)
    model = Checkpoint({}, {}, {}, config={**config, "architectures": stated})
    assert absent(base, model, names)[1] == expected
