from __future__ import annotations

import pytest

from adapterops.formats.models.loading import EITHER, IN_OUT, OUT_IN, Loading, Renaming, loading, table

LLAVA = {"model_type": "llava", "text_config": {"model_type": "mixtral"}}


@pytest.mark.parametrize(
    ("model_type", "stored", "name"),
    [
        ("qwen2_5_vl", "visual.blocks.0.attn.qkv.weight", "model.visual.blocks.0.attn.qkv.weight"),
        ("qwen2_5_vl", "model.layers.0.mlp.up_proj.weight", "model.language_model.layers.0.mlp.up_proj.weight"),
        ("gemma3", "vision_tower.vision_model.head.weight", "model.vision_tower.head.weight"),
        ("gemma3", "language_model.lm_head.weight", "lm_head.weight"),
        ("granitemoe", "a.block_sparse_moe.input_linear.weight", "a.block_sparse_moe.experts.gate_up_proj"),
        ("llama", "model.norm.weight", "model.norm.weight"),
    ],
)
def test_a_tensor_is_renamed_by_the_type_of_model_and_what_is_renamed_stays(
    model_type: str, stored: str, name: str
) -> None:
    known = loading({"model_type": model_type})
    assert known.name(stored) == name
    assert known.name(name) == name


def test_a_model_in_another_is_loaded_as_by_itself() -> None:
    known = loading(LLAVA)
    assert known.stacked
    stored = "language_model.model.layers.0.block_sparse_moe.gate.weight"
    assert known.name(stored) == "model.language_model.layers.0.mlp.gate.weight"


def test_what_is_known_of_experts() -> None:
    assert [loading({"model_type": each}).fused for each in ("gpt_oss", "qwen3_vl_moe", "llama")] == [IN_OUT, EITHER, OUT_IN]  # fmt: skip
    assert "up_proj" in loading({"model_type": "deepseek_v3"}).taken
    assert loading(None) == Loading()


def test_what_becomes_other_tensors_is_known() -> None:
    assert loading({"model_type": "hrm_text"}).converts("layers.0.attn.gqkv_proj.weight")


def test_a_renaming_may_be_for_a_part_of_the_model() -> None:
    renamed = Renaming.parse(r"in model.tower.: ^a\.(.+) => b.\1")
    assert [renamed(name) for name in ("model.tower.a.c", "tower.a.c", "a.c")] == [
        "model.tower.b.c",
        "tower.b.c",
        "a.c",
    ]


def test_what_is_renamed_together_is_renamed_once() -> None:
    name = loading({"model_type": "kimi_k25"}).name
    files = [f"vision_tower.encoder.blocks.3.{each}.weight" for each in ("norm0", "norm1", "mlp.fc0", "mlp.fc1")]
    model = [f"model.vision_tower.layers.3.{each}.weight" for each in ("norm1", "norm2", "mlp.fc1", "mlp.fc2")]
    assert list(map(name, files)) == model


def test_every_line_of_the_table_is_a_renaming() -> None:
    for rules in table("RENAMES").values():
        assert rules
        assert all(" => " in rule and Renaming.parse(rule).pattern for rule in rules)


def test_types_are_words() -> None:
    for name in ("STACKED", "TRANSPOSED", "EITHER"):
        assert table(name)
        assert all(word.isidentifier() or "-" in word for word in table(name))
