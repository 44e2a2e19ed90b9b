"""Every spelling of a tensor is read, and what is not handled is named."""

from __future__ import annotations

import pytest

from adapterops.errors import InputError, UnsupportedError
from adapterops.formats.diffusion.spellings import SpelledKey, check_handled, is_own, is_underscored, parse

VECTOR = "lora_magnitude_vector"


@pytest.mark.parametrize(
    ("name", "module", "role"),
    [
        ("lora_unet_x_attn_q.lora_down.weight", "lora_unet_x_attn_q", "lora_A"),
        ("lora_unet_x_attn_q.lora_up.weight", "lora_unet_x_attn_q", "lora_B"),
        ("lora_unet_x_conv.lora_mid.weight", "lora_unet_x_conv", "lora_mid"),
        ("lora_te1_x.alpha", "lora_te1_x", "alpha"),
        ("lora_unet_prompt_adaln_single_linear.alpha", "lora_unet_prompt_adaln_single_linear", "alpha"),
        ("lora_unet_prompt_adaln_single_linear.diff", "lora_unet_prompt_adaln_single_linear", "diff"),
        ("blocks.0.q.lora_A.weight", "blocks.0.q", "lora_A"),
        ("blocks.0.q.lora_B.default.weight", "blocks.0.q", "lora_B"),
        ("blocks.0.q.lora_B.default_0.default.weight", "blocks.0.q", "lora_B"),
        ("blocks.0.q.lora_A", "blocks.0.q", "lora_A"),
        ("unet.mid.to_q.lora.down.weight", "unet.mid.to_q", "lora_A"),
        ("text_encoder.q_proj.lora_linear_layer.up.weight", "text_encoder.q_proj", "lora_B"),
        ("unet.mid.attn1.processor.to_q_lora.down.weight", "unet.mid.attn1.to_q", "lora_A"),
        ("unet.mid.attn1.processor.to_out_lora.up.weight", "unet.mid.attn1.to_out.0", "lora_B"),
        ("double_blocks.3.processor.qkv_lora1.up.weight", "double_blocks.3.processor.qkv_lora1", "lora_B"),
        ("lora_unet_x.dora_scale", "lora_unet_x", VECTOR),
        ("diffusion_model.x.magnitude", "diffusion_model.x", VECTOR),
        ("diffusion_model.x.lora_magnitude_vector.weight", "diffusion_model.x", VECTOR),
        ("lora_unet_x.hada_w1_a", "lora_unet_x", "hada_w1_a"),
        ("lycoris_x.lokr_w2_b", "lycoris_x", "lokr_w2_b"),
        ("diffusion_model.head.diff", "diffusion_model.head", "diff"),
        ("diffusion_model.head.diff_b", "diffusion_model.head.bias", "diff"),
        ("diffusion_model.blocks.0.diff_m", "diffusion_model.blocks.0.modulation", "diff"),
        ("lora_unet_norm.w_norm", "lora_unet_norm", "diff"),
        ("lora_unet_norm.b_norm", "lora_unet_norm.bias", "diff"),
    ],
)
def test_module_and_role(name: str, module: str, role: str) -> None:
    assert parse(name) == SpelledKey(module, role)


@pytest.mark.parametrize(
    ("name", "dimensions", "kind"),
    [
        ("lora_unet_x.oft_blocks", 3, "OFT, which"),
        ("lora_unet_x.oft_blocks", 4, "BOFT"),
        ("lora_unet_x.oft_R.weight", 2, "OFT, which"),
        ("lora_unet_x.on_input", 0, "(IA)3"),
        ("lora_unet_x.a1.weight", 2, "GLoRA"),
        ("lora_unet_x.lambda_layer", 2, "T-LoRA"),
        ("img_in.reshape_weight", 1, "widens"),
        ("img_in.lora_A.bias", 1, "a bias inside of LoRA"),
        ("bundle_emb.cat.string_to_param", 2, "textual inversion"),
    ],
)
def test_what_is_known_and_not_handled(name: str, dimensions: int, kind: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        parse(name, [2] * dimensions)
    assert kind in caught.value.message
    assert caught.value.tensor == name


@pytest.mark.parametrize("name", ["lora_unet_x.strange", "weight", "diff"])
def test_what_is_not_known(name: str) -> None:
    with pytest.raises(InputError, match="is not the name of"):
        parse(name)


@pytest.mark.parametrize(
    ("names", "own"),
    [
        (["lora_unet_x.lora_down.weight"], True),
        (["diffusion_model.layers.0.q.lora_A.weight"], True),
        (["transformer.transformer_blocks.0.attn.to_q.lora_A.weight"], True),
        (["blocks.0.self_attn.q.lora_A.default.weight"], True),
        (["base_model.model.transformer_blocks.0.attn.to_q.lora_A.weight"], True),
        (["base_model.model.blocks.0.attn.wq.lora_A.weight"], True),
        (["base_model.model.blocks.0.self_attn.q.lora_A.weight"], True),
        (["model.blocks.0.cross_attn.k_img.lora_A.weight"], True),
        (["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"], False),
        (["base_model.model.transformer.blocks.0.attn.Wqkv.lora_A.weight"], False),
        (["base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"], False),
        (["text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.lora_A.weight"], True),
        (["conditional_transformer.layers.0.attention.o.lora_A.weight"], True),
        (["transformer_2.blocks.0.attn1.to_q.lora_A.weight"], True),
        (["model.layers.0.self_attn.q_proj.lora_A.weight"], False),
        (["layers.0.self_attn.q_proj.lora_A.weight"], False),
        (["transformer.h.0.attn.c_attn.lora_A.weight"], False),
    ],
)
def test_whose_names_they_are(names: list[str], own: bool) -> None:
    assert is_own(names, {}, configured=False) == own


def test_a_config_says_that_they_are_of_peft() -> None:
    assert not is_own(["base_model.model.transformer_blocks.0.attn.to_q.lora_A.weight"], {}, configured=True)


@pytest.mark.parametrize(
    ("name", "module", "role"),
    [
        ("lora_unet_x_hada_w1_a", "lora_unet_x", "hada_w1_a"),
        ("lora_unet_x_lokr_w2_b", "lora_unet_x", "lokr_w2_b"),
        ("lora_unet_x.lokr_t2", "lora_unet_x", "lokr_t2"),
        ("a.b.lora_magnitude_vector.default.weight", "a.b", "lora_magnitude_vector"),
        ("a.b.lora_magnitude_vector.default", "a.b", "lora_magnitude_vector"),
        ("text_encoder.a.self_attn.to_out_lora.up.weight", "text_encoder.a.self_attn.out_proj", "lora_B"),
        ("unet.a.attn1.processor.to_out_lora.up.weight", "unet.a.attn1.to_out.0", "lora_B"),
    ],
)
def test_older_spellings(name: str, module: str, role: str) -> None:
    assert parse(name) == (module, role)


def test_what_tells_most_is_said_of_a_file() -> None:
    with pytest.raises(UnsupportedError, match="control LoRA") as caught:
        check_handled({"a.lora_B.bias": 1, "b.norm.key_norm.scale": 1})
    assert caught.value.tensor == "b.norm.key_norm.scale"


def test_underscores() -> None:
    assert is_underscored("lora_te2_text_model")
    assert is_underscored("lycoris_blocks_0")
    assert not is_underscored("diffusion_model.blocks.0")
