"""Which names ComfyUI finds weights of, module by module; which model they are of; and which scales diffusers takes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from adapterops.formats.diffusion.taken import (
    Found,
    by_comfyui,
    denoiser,
    encoders_in_part,
    encoders_unread,
    models,
    of_one_alpha,
    of_unet,
)
from adapterops.formats.peft.scaling import Scaling


def found(names: Sequence[str], said: str = "", base: Sequence[str] = ()) -> Found:
    modules = denoiser({name: f"{name}.lora_A.weight" for name in names})
    known = models([each.key for each in modules.values()], said, base)
    return by_comfyui(modules, known, base)


@pytest.mark.parametrize(
    ("prefix", "names", "left"),
    [
        ("transformer.", ["transformer_blocks.18.attn.to_q", "single_transformer_blocks.37.proj_mlp"], []),
        ("transformer.", ["transformer_blocks.18.attn.to_q", "transformer_blocks.0.other"], ["transformer_blocks.0.other"]),
        ("transformer.", ["transformer_blocks.19.attn.to_q", "single_transformer_blocks.39.proj_mlp"], "all"),
        ("transformer.", ["transformer_blocks.59.attn.to_q"], []),
        ("transformer.", ["layers.29.attention.to_q", "all_x_embedder.2-1"], []),
        ("transformer.", ["layers.0.attn.to_q"], "all"),
        ("transformer.", ["layers.0.self_attention.to_q"], []),
        ("transformer.", ["visual_transformer_blocks.0.self_attention.to_query"], []),
        ("transformer.", ["blocks.0.attn1.to_q", "proj_out"], "all"),
        ("transformer.", ["transformer_blocks.0.attn.to_gate", "text_fusion.refiner_blocks.0.attn.to_q"], []),
        ("transformer.", ["unheard_of.0.layer"], "all"),
        ("lora_transformer_", ["transformer_blocks_18_attn_to_q", "single_transformer_blocks_37_proj_mlp"], []),
        ("lora_transformer_", ["transformer_blocks_59_attn_to_q"], "all"),
        ("lora_unet_", ["blocks_0_attn1_to_q", "blocks_3_ffn_net_0_proj"], "all"),
        ("lora_unet_", ["transformer_blocks_18_attn_to_q"], "all"),
        ("lora_unet_", ["single_transformer_blocks_37_proj_mlp"], "all"),
        ("lora_unet_", ["blocks_0_self_attn_q", "head_head"], []),
        ("lora_unet_", ["down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"], []),
        ("lora_unet_", ["joint_blocks_0_x_block_attn_qkv", "double_layers_0_attn_w1q"], []),
        ("lora_unet_", ["transformer_blocks_47_audio_to_video_attn_to_q", "transformer_blocks_0_audio_ff_net_2"], []),
        ("diffusion_model.", ["transformer_blocks.31.attn.to_q", "transformer_blocks.0.img_mlp.gate_layer"], []),
        ("diffusion_model.", ["blocks.0.self_attn.q_proj", "llm_adapter.blocks.0.self_attn.q_proj"], []),
        ("diffusion_model.", ["blocks.0.self_attn.q", "blocks.0.norm3", "patch_embedding", "head.head"], []),
        ("lora_unet_", ["down_blocks_0_resnets_0_norm1", "conv_norm_out"], []),
        ("lora_unet_", ["layers_0_attention_o", "input_proj", "llm_cond_proj"], []),
        ("lora_unet_", ["blocks_0_self_attn_q_"], "all"),
        ("diffusion_model.", ["transformer_blocks.0.attn.to_gate"], []),
        ("diffusion_model.", ["blocks.0.attn1.to_q"], "all"),
        ("", ["blocks.0.self_attn.q"], "all"),
        ("", ["transformer_blocks.59.attn.to_q"], []),
    ],
)  # fmt: skip
def test_what_comfyui_finds(prefix: str, names: list[str], left: list[str] | str) -> None:
    own = [f"{prefix}{name}" for name in names]
    assert found(own) == Found(tuple(f"{prefix}{each}" for each in (names if left == "all" else left)))


@pytest.mark.parametrize(
    ("names", "unsure"),
    [
        (["unheard_of_0_layer"], "all"),  # of no model
        (["layers_0_attn_to_q"], "all"),  # of Lumina 2 it is diffusers' name, of OmniGen 2 its authors'
        (["double_blocks_18_img_attn_qkv", "double_blocks_3_other"], ["double_blocks_3_other"]),
        (["blocks_0_self_attn_q", "vace_blocks_0_before_proj", "blocks_0_other"], ["blocks_0_other"]),
    ],
)
def test_names_of_no_model_are_not_sure_and_a_base_settles_them(names: list[str], unsure: list[str] | str) -> None:
    own = [f"lora_unet_{each}" for each in names]
    expected = own if unsure == "all" else [f"lora_unet_{each}" for each in unsure]
    judged = found(own)
    assert (list(judged.unsure), judged.left) == (expected, ())
    if names != ["layers_0_attn_to_q"]:
        assert found(own, base=names) == Found()


def test_a_base_may_have_other_names_than_the_adapter() -> None:
    """Those of diffusers, where the adapter has its authors': it is settled which model it is, and no name is of none."""
    own, base = ["lora_unet_double_blocks_0_img_attn_qkv"], ["transformer_blocks_18_attn_to_q", "x_embedder"]
    assert [each.model for each in models([own[0].removeprefix("lora_unet_")], base=base)] == ["Flux"]
    assert found(own, base=base) == Found()


def test_attention_of_a_unet_in_the_names_that_diffusers_has_now() -> None:
    q = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    ff = "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.2"
    spelled = {q: f"{q}.lora_A.weight", ff: f"{ff}.lora_A.weight"}
    modules = denoiser(spelled)
    assert of_unet(modules) == (q, ff)
    known = models(each.key for each in modules.values())
    assert by_comfyui(modules, known) == Found((q,))
    assert by_comfyui(denoiser({q: q.replace(".to_q", ".processor.to_q_lora.down.weight")}), known) == Found()
    assert found([q.replace("unet.", "diffusion_model.")]).left
    assert found(["diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q"]) == Found()


@pytest.mark.parametrize(
    ("image", "encoders", "left"),
    [
        ("transformer.single_transformer_blocks.37.proj_mlp", ["text_encoder.text_model.encoder.layers.0.mlp.fc1"], []),
        ("lora_unet_double_blocks_18_img_attn_proj", ["lora_te1_text_model_encoder_layers_0_mlp_fc1"], []),
        ("lora_unet_double_blocks_18_img_attn_proj", ["lora_te3_encoder_block_0_layer_0_SelfAttention_q"], [0]),
        ("transformer.single_transformer_blocks.37.proj_mlp", ["text_encoder_2.encoder.block.0.layer.0.SelfAttention.q"], [0]),
        ("transformer.transformer_blocks.0.img_mod.1", ["text_encoder.model.layers.0.self_attn.q_proj"], [0]),
        ("lora_unet_transformer_blocks_0_img_mod_1", ["lora_te_layers_0_self_attn_q_proj"], [0]),
        ("transformer.x_embedder.proj", ["text_encoder_2.text_model.encoder.layers.0.mlp.fc1"], [0]),
        ("unet.mid_block.resnets.0.conv1", ["text_encoder_2.text_projection"], []),
        ("transformer.transformer_blocks.0.attn2.to_q", ["text_encoder_3.encoder.block.0.layer.0.SelfAttention.q"], [0]),
    ],
)  # fmt: skip
def test_text_encoders_that_diffusers_does_not_load(image: str, encoders: list[str], left: list[int]) -> None:
    """As its pipelines of Flux, SD 3, SD, HunyuanVideo, Qwen-Image and Wan did when they were run."""
    spelled = {each: f"{each}.x" for each in (image, *encoders)}
    known = models(each.key for each in denoiser(spelled).values())
    assert encoders_unread(spelled, known) == tuple(encoders[number] for number in left)


@pytest.mark.parametrize(
    ("start", "modules", "left"),
    [
        ("text_encoder.", ["self_attn.q_proj"], 0),
        ("text_encoder.", ["mlp.fc1", "mlp.fc2"], 2),
        ("text_encoder.", ["self_attn.q_proj", "mlp.fc1"], 0),
        ("lora_te_", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], 3),
        ("lora_te_", ["self_attn.q_proj", "self_attn.out_proj"], 0),
        ("lora_te_", ["self_attn.q_proj", "mlp.fc1"], 1),
        ("lora_te_", ["mlp.fc1"], 0),
    ],
)
def test_parts_of_a_text_encoder_with_which_diffusers_does_not_load_it(
    start: str, modules: list[str], left: int
) -> None:
    """As the pipeline of Stable Diffusion did: the first that are left out, or with which it ends."""
    names = [f"{start}text_model.encoder.layers.0.{each}" for each in modules]
    names = [each.replace(".", "_") if start == "lora_te_" else each for each in names]
    end = "lora_down" if start == "lora_te_" else "lora_A"
    assert encoders_in_part({each: f"{each}.{end}.weight" for each in names}) == tuple(names[:left])


def test_the_second_encoder_has_text_model_in_its_names() -> None:
    """As the pipelines of Stable Diffusion XL and 3 did with transformers 5, whose first encoder has none."""
    names = [f"text_encoder{number}.encoder.layers.0.self_attn.q_proj" for number in ("", "_2")]
    assert encoders_in_part({each: f"{each}.lora_A.weight" for each in names}) == (names[1],)


def test_attention_of_a_unet_has_one_alpha() -> None:
    q, ff = (
        f"lora_unet_mid_block_attentions_0_transformer_blocks_0_{name}" for name in ("attn1_to_q", "ff_net_0_proj")
    )
    assert of_one_alpha({q: Scaling(2, 2), ff: Scaling(4, 4)}) == (q,)
    assert of_one_alpha({q: Scaling(2, 2), ff: Scaling(2, 4)}) == ()
    others = {f"lora_unet_mid_block_resnets_{number}_conv1": Scaling(4, 4) for number in (0, 1)}
    k = q.replace("to_q", "to_k")
    assert of_one_alpha({q: Scaling(2, 2), k: Scaling(4, 2), **others}) == (q,)  # 4 is the most frequent
    assert of_one_alpha({k: Scaling(4, 2), ff: Scaling(2, 2), **others}) == ()
    assert of_one_alpha({"lora_unet_blocks_0_attn1_to_q": Scaling(2, 2), "lora_te1_x": Scaling(4, 4)}) == ()


def test_clip_next_to_a_unet_has_one_alpha() -> None:
    """As the pipelines of Stable Diffusion did; that of Flux has the alpha of each module."""
    q, k, fc = (
        f"lora_te1_text_model_encoder_layers_0_{name}" for name in ("self_attn_q_proj", "self_attn_k_proj", "mlp_fc1")
    )
    scales = {q: Scaling(2, 2), k: Scaling(2, 2), fc: Scaling(3, 3)}
    assert of_one_alpha(scales) == (fc,)
    assert of_one_alpha({**scales, "lora_unet_conv_in": Scaling(3, 3)}) == (fc,)
    assert of_one_alpha({**scales, "lora_te2_text_model_encoder_layers_0_mlp_fc1": Scaling(3, 3)}) == (fc,)
    assert of_one_alpha({**scales, "lora_unet_double_blocks_0_img_attn_qkv": Scaling(3, 3)}) == ()
