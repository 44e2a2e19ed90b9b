"""Names without dots, and the part of a pipeline that they are in."""

from __future__ import annotations

import pytest

from adapterops.errors import UnsupportedError
from adapterops.formats.diffusion.flat import flat, inner_names

SAME = [
    ["lora_unet_blocks_0_attn_q", "diffusion_model.blocks.0.attn.q", "model.diffusion_model.blocks.0.attn.q.weight", "blocks.0.attn.q"],
    ["lora_unet_blocks_0_attn_q_", "transformer.blocks.0.attn.q", "lycoris_blocks_0_attn_q", "unet.blocks.0.attn.q"],
    ["lora_te_text_model_encoder_x", "lora_te1_text_model_encoder_x", "cond_stage_model.transformer.text_model.encoder.x.weight"],
    ["lora_te2_text_model_encoder_x", "text_encoder_2.text_model.encoder.x", "text_model.encoder.x.weight"],
]  # fmt: skip


@pytest.mark.parametrize("names", SAME, ids=str)
def test_names_of_one_weight_meet(names: list[str]) -> None:
    found = [flat(name) for name in names]
    assert all(one.meets(other) for one in found for other in found)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("lora_te1_text_model_x", "lora_te2_text_model_x"),
        ("lora_unet_x", "text_encoder.x"),
        ("conditioner.embedders.0.transformer.text_model.x", "lora_te2_text_model_x"),
        ("blocks.0.q", "blocks.0.k"),
    ],
)
def test_names_of_two_weights_do_not(one: str, other: str) -> None:
    assert not flat(one).meets(flat(other))


def test_peft_wraps_one_model() -> None:
    one = ["transformer.blocks.0.q", "diffusion_model.blocks.1.q"]
    assert list(inner_names(one).values()) == ["blocks.0.q", "blocks.1.q"]
    with pytest.raises(UnsupportedError, match="in 2 models of a pipeline") as caught:
        inner_names([*one, "text_encoder.text_model.x"])
    assert "--to diffusers" in str(caught.value.hint)


@pytest.mark.parametrize(
    "name",
    [
        "lora_te_model_layers_0_self_attn_q_proj",
        "lora_te_layers_0_self_attn_q_proj",
        "text_encoders.qwen3_06b.transformer.model.layers.0.self_attn.q_proj",
    ],
)
def test_a_language_model_that_is_a_text_encoder(name: str) -> None:
    assert flat(name).meets(flat("model.layers.0.self_attn.q_proj.weight"))


def test_the_encoder_of_stable_diffusion_2() -> None:
    name = "cond_stage_model.model.transformer.resblocks.0.mlp.c_fc.weight"
    assert flat(name) == ("resblocks_0_mlp_c_fc", "1")
