"""Names of image models by the rules of the second judge."""

from __future__ import annotations

import pytest

from adapterops.formats.diffusion import unet
from adapterops.verification.other_names import PlacedRows, alike, elsewhere, encoder, in_unet


def test_the_longest_common_letters_decide() -> None:
    layout = dict.fromkeys(["transformer_blocks.0.attn.to_q.weight", "single_transformer_blocks.0.attn.to_q.weight"])
    assert alike("lora_unet_transformer_blocks_0_attn_to_q", layout) == ["transformer_blocks.0.attn.to_q.weight"]
    assert alike("lora_unet_single_transformer_blocks_0_attn_to_q_", layout) == [*layout][1:]
    assert alike("lora_te_transformer_blocks_0_attn_to_q", layout) == []


@pytest.mark.parametrize(
    ("module", "tensor"),
    [
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1", "text_encoder.encoder.layers.0.mlp.fc1.weight"),
        ("text_encoder_2.text_model.encoder.layers.0.mlp.fc1", "text_encoder_2.encoder.layers.0.mlp.fc1.weight"),
        ("text_encoder.model.layers.0.mlp.up_proj", "text_encoder.layers.0.mlp.up_proj.weight"),
    ],
)
def test_roots_that_another_version_of_transformers_has(module: str, tensor: str) -> None:
    others = ["text_encoder_3.encoder.layers.0.mlp.fc1.weight", "transformer.layers.0.mlp.up_proj.weight"]
    assert alike(module, dict.fromkeys([*others, tensor])) == [tensor]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("lora_te_text_model_x", "1"),
        ("lora_te2_text_model_x", "2"),
        ("conditioner.embedders.1.model.x", "2"),
        ("text_encoder.x", "1"),
        ("text_encoders.qwen25_7b.transformer.model.layers.0.x", "1"),
        ("text_encoders.clip_g.transformer.x", "2"),
        ("text_encoders.t5xxl.transformer.encoder.block.0.x", "3"),
        ("lora_unet_x", ""),
        ("temb.x", ""),
    ],
)
def test_text_encoders(name: str, number: str) -> None:
    assert encoder(name) == number


def test_blocks_are_those_of_the_table() -> None:
    for authors, other in unet.PAIRS:
        assert other in in_unet(authors), authors
        assert authors in in_unet(other), other


def test_a_bias_is_where_its_weight_is() -> None:
    [[found]] = elsewhere("lora_unet_down_blocks_0_resnets_0_norm1.bias", (1, 8), lambda name: None)
    assert found == PlacedRows("input_blocks_1_0_in_layers_0_bias", 0, 1, 0)


def test_the_last_layer_of_attention_is_not_that_of_the_model() -> None:
    """`out.0` is the norm before the last convolution, `to_out.0` a projection."""
    assert list(in_unet("out_0")) == ["conv_norm_out"]
    assert not any(
        "conv_norm_out" in name for name in in_unet("mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0")
    )
