"""Which names and scales of kohya's format diffusers takes."""

from __future__ import annotations

import pytest

from adapterops.formats.diffusion.taken import of_one_alpha, unlisted, unmapped, unread
from adapterops.formats.peft.scaling import Scaling


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("double_blocks_0_img_attn_qkv", True),
        ("single_blocks_3_linear1", True),
        ("down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", True),
        ("input_blocks_4_1_transformer_blocks_0_attn1_to_q", True),
        ("layers_0_attention_to_q", True),
        ("transformer_blocks_0_img_mlp_net_0_proj", True),
        ("blocks_0_self_attn_q", True),
        ("blocks_0_ffn_0", True),
        ("blocks_0_ffn_net_0_proj", False),
        ("blocks_0_attn1_to_q", False),
        ("joint_blocks_0_x_block_attn_qkv", False),
        ("double_blocks_0_img_mlp_fc1", False),
        ("transformer_blocks_0_attn1_to_q", False),
        ("layers_0_attention_qkv", False),
    ],
)
def test_names_that_are_converted(name: str, taken: bool) -> None:
    module = f"lora_unet_{name}"
    assert unread({module: Scaling(2, 2), "lora_te1_text_model_x": Scaling(2, 2)}) == (() if taken else (module,))


def test_attention_of_a_unet_has_one_alpha() -> None:
    q, ff = (
        f"lora_unet_mid_block_attentions_0_transformer_blocks_0_{name}" for name in ("attn1_to_q", "ff_net_0_proj")
    )
    assert of_one_alpha({q: Scaling(2, 2), ff: Scaling(4, 4)}) == (q,)
    assert of_one_alpha({q: Scaling(2, 2), ff: Scaling(2, 4)}) == ()
    assert of_one_alpha({"lora_unet_blocks_0_attn1_to_q": Scaling(2, 2), "lora_te1_x": Scaling(4, 4)}) == ()


@pytest.mark.parametrize(
    ("name", "mapped"),
    [
        ("single_transformer_blocks.0.proj_mlp", True),
        ("transformer_blocks.0.attn.to_q", True),
        ("layers.0.attention.to_q", True),
        ("layers.0.self_attention.to_q", True),
        ("visual_transformer_blocks.0.self_attention.to_query", True),
        ("text_fusion.refiner_blocks.0.attn.to_q", True),
        ("blocks.0.attn1.to_q", False),
        ("transformer_blocks.0.attn1.to_q", False),
        ("layers.0.attn.to_q", False),
    ],
)
def test_names_of_diffusers_that_comfyui_has(name: str, mapped: bool) -> None:
    module = f"transformer.{name}"
    assert unmapped([module, "transformer.proj_out", "unet.conv_in"]) == (
        () if mapped else (module, "transformer.proj_out")
    )


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("blocks_0_attn1_to_q", False),
        ("blocks_3_ffn_net_0_proj", False),
        ("layers_0_attn_to_q", False),
        ("single_transformer_blocks_0_proj_mlp", False),
        ("blocks_0_self_attn_q", True),
        ("layers_0_attention_qkv", True),
        ("down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", True),
        ("transformer_blocks_0_attn_to_q", True),
    ],
)
def test_names_of_diffusers_that_comfyui_has_of_no_transformer(name: str, listed: bool) -> None:
    module = f"lora_unet_{name}"
    assert unlisted([module]) == (() if listed else (module,))
