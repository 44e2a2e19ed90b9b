"""Every layout that adapters of image and video models are stored in: a tiny file of each, and what it adds in float64.

The update is computed here by the formula of the layout, from the tensors as they are stored; a layout that is not read
has the words that name it. `tests/interop/test_layouts.py` fuses each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from layout_files import (
    CONV,
    FLAT,
    FLAT_CONV,
    KERNEL,
    LINEAR,
    NORM,
    PEFT,
    K,
    Layout,
    Q,
    added,
    biased,
    biases,
    divided,
    dora,
    joined,
    loha,
    loha_tucker,
    lokr,
    named_twice,
    of_linear,
    pair,
    prefixed,
    product,
    random,
    refused,
    replaced,
    several,
    several_of,
    tucker,
    twice,
    with_dots,
)

WAN = "blocks.0.attn1.to_q"
TE = "text_model.encoder.layers.0.self_attn.q_proj"
HEADER = {"lora_alpha": "2"}

LAYOUTS: dict[str, Callable[[], Layout]] = {
    "kohya: LoRA, alpha": lambda: of_linear(K, alpha=torch.tensor(2.0), scale=0.5),
    "kohya: no alpha": lambda: of_linear(K),
    "kohya: alpha 0 is the rank": lambda: of_linear(K, alpha=torch.tensor(0.0)),
    "kohya: alpha of int64": lambda: of_linear(K, alpha=torch.tensor(8), scale=2.0),
    "kohya: alpha of one element, in F16": lambda: of_linear(K, alpha=torch.tensor([2.0]).half(), scale=0.5),
    "kohya: huge alpha": lambda: of_linear(K, alpha=torch.tensor(1e6), scale=2.5e5),
    "kohya: BF16": lambda: of_linear(K, dtype=torch.bfloat16, alpha=torch.tensor(2.0).bfloat16(), scale=0.5),
    "kohya: FP8, E4M3": lambda: of_linear(K, dtype=torch.float8_e4m3fn, alpha=torch.tensor(2.0), scale=0.5),
    "kohya: FP8, E5M2": lambda: of_linear(K, dtype=torch.float8_e5m2),
    "LoCon in FP8": lambda: of_linear(f"lora_unet_{FLAT_CONV}", CONV, shape=KERNEL, dtype=torch.float8_e4m3fn),
    "lora_A in FP8, alpha in FP8": lambda: of_linear(
        f"diffusion_model.{Q}",
        dtype=torch.float8_e4m3fn,
        alpha=torch.tensor(2.0).to(torch.float8_e4m3fn),
        scale=0.5,
        **PEFT,
    ),
    "kohya: a trailing underscore": lambda: of_linear(f"{K}_"),
    "kohya: Wan-Fun's two underscores": lambda: of_linear(f"lora_unet__{FLAT}"),
    "LoCon": lambda: of_linear(f"lora_unet_{FLAT_CONV}", CONV, shape=KERNEL),
    "LoCon, 1x1": lambda: of_linear(f"lora_unet_{FLAT_CONV}", CONV, shape=(8, 6, 1, 1)),
    "LoCon, Tucker": tucker,
    "LoRA stored as 1x1 convolutions, for a Linear": lambda: Layout(
        (stored := pair(K, (16, 12, 1, 1))), {f"{Q}.weight": LINEAR}, {f"{Q}.weight": product(stored).flatten(1)}
    ),
    "LoHa": loha,
    "LoHa of a convolution": lambda: loha(KERNEL),
    "LoHa, Tucker": loha_tucker,
    "LoHa of OneTrainer, with an underscore for the dot": lambda: loha(dot="_"),
    "LoKr of two whole matrices": lambda: lokr("full", "full", 1e9, 1.0),
    "LoKr, the second factored": lambda: lokr("full", "factored", 3.0, 1.5),
    "LoKr, both factored": lambda: lokr("factored", "factored", 3.0, 1.5),
    "LoKr, the first factored": lambda: lokr("factored", "full", 3.0, 1.5),
    "LoKr of a convolution": lambda: lokr("full", "convolution", 3.0, 1.5),
    "LoKr, Tucker": lambda: lokr("full", "tucker", 3.0, 1.5),
    "LoKr of OneTrainer, with an underscore for the dot": lambda: lokr("full", "factored", 3.0, 1.5, "_"),
    "DoRA: dora_scale by outputs": lambda: dora("dora_scale", 1),
    "DoRA: dora_scale by inputs": lambda: dora("dora_scale", 0),
    "DoRA: magnitude of ai-toolkit": lambda: dora("magnitude", 1, keep=False, **PEFT),
    "DoRA: lora_magnitude_vector": lambda: dora("lora_magnitude_vector", 1, keep=False, **PEFT),
    "DoRA: lora_magnitude_vector.weight": lambda: dora("lora_magnitude_vector.weight", 1, keep=False, **PEFT),
    "DoRA: lora_magnitude_vector.default.weight": lambda: dora(
        "lora_magnitude_vector.default.weight", 1, keep=False, **PEFT
    ),
    "DoRA: dora_scale next to lora_A": lambda: dora("dora_scale", 0, **PEFT),
    "diff": lambda: added("diff", f"{Q}.weight", LINEAR),
    "diff_b": lambda: added("diff_b", f"{Q}.bias", (16,)),
    "diff_m": lambda: added("diff_m", "blocks.0.modulation", (1, 6, 12), "blocks.0"),
    "w_norm": lambda: added("w_norm", "blocks.0.norm3.weight", (16,), "blocks.0.norm3"),
    "b_norm": lambda: added("b_norm", "blocks.0.norm3.bias", (16,), "blocks.0.norm3"),
    "biases of a UNet's last norm and attention": lambda: biases(
        {
            "conv_norm_out": "conv_norm_out",
            "mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0": (
                "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0"
            ),
        },
        [(16,), (32, 32)],
        "lora_unet_",
    ),
    "biases of HunyuanVideo onto diffusers' names": lambda: biases(
        {
            "txt_in.individual_token_refiner.blocks.0.mlp.fc1": (
                "context_embedder.token_refiner.refiner_blocks.0.ff.net.0.proj"
            ),
        },
        [(32, 16)],
    ),
    "biases of LTX-2 onto diffusers' names": lambda: biases(
        {
            "adaln_single.linear": "time_embed.linear",
            "audio_adaln_single.linear": "audio_time_embed.linear",
            "av_ca_a2v_gate_adaln_single.linear": "av_cross_attn_video_a2v_gate.linear",
        },
        [(32, 16), (32, 16), (32, 16)],
    ),
    "diff of a head": lambda: added("diff", "head.head.weight", LINEAR, "head.head"),
    "diff_b alone of a module": lambda: added("diff_b", "time_projection.1.bias", (16,), "time_projection.1"),
    "down and up in Comfy's names": lambda: of_linear(f"diffusion_model.{Q}", alpha=torch.tensor(2.0), scale=0.5),
    "lora_A, no scale": lambda: of_linear(f"diffusion_model.{Q}", **PEFT),
    "lora_A with .alpha": lambda: of_linear(f"diffusion_model.{Q}", alpha=torch.tensor(2.0), scale=0.5, **PEFT),
    "lora_A.default": lambda: of_linear(
        f"diffusion_model.{Q}", down="lora_A.default.weight", up="lora_B.default.weight"
    ),
    "lora_A.default_0.default": lambda: of_linear(
        f"diffusion_model.{Q}", down="lora_A.default_0.default.weight", up="lora_B.default_0.default.weight"
    ),
    "lora_A without .weight": lambda: of_linear(f"transformer.{Q}", down="lora_A", up="lora_B"),
    "lora_alpha in the header": lambda: of_linear(f"diffusion_model.{Q}", scale=0.5, header=HEADER, **PEFT),
    "network_alpha in the header": lambda: of_linear(
        f"diffusion_model.{Q}", scale=0.5, header={"network_alpha": "2.0"}, **PEFT
    ),
    "alpha in the header": lambda: of_linear(f"diffusion_model.{Q}", scale=0.5, header={"alpha": "2"}, **PEFT),
    "SimpleTuner: transformer.lora_alpha in the header": lambda: of_linear(
        f"transformer.{Q}", scale=0.5, header={"transformer.lora_alpha": "2", "transformer.r": "4"}, **PEFT
    ),
    "lora_adapter_metadata": lambda: of_linear(
        f"transformer.{Q}",
        scale=0.5,
        header={"lora_adapter_metadata": '{"transformer.r": 4, "transformer.lora_alpha": 2}'},
        **PEFT,
    ),
    "lora_adapter_metadata with rsLoRA": lambda: of_linear(
        f"transformer.{Q}",
        scale=1.0,
        header={
            "lora_adapter_metadata": '{"transformer.r": 4, "transformer.lora_alpha": 2, "transformer.use_rslora": true}'
        },
        **PEFT,
    ),
    "lora_adapter_metadata with patterns": lambda: of_linear(
        f"transformer.{Q}",
        scale=2.0,
        header={
            "lora_adapter_metadata": '{"transformer.r": 8, "transformer.lora_alpha": 8, '
            '"transformer.rank_pattern": {"attn.q": 4}, "transformer.alpha_pattern": {"attn.q": 8}}'
        },
        **PEFT,
    ),
    "diffusers: processor": lambda: of_linear(
        "unet.mid_block.attn1.processor.to_q_lora", "mid_block.attn1.to_q", down="down.weight", up="up.weight"
    ),
    "diffusers: processor, to_out": lambda: of_linear(
        "unet.mid_block.attn1.processor.to_out_lora", "mid_block.attn1.to_out.0", down="down.weight", up="up.weight"
    ),
    "diffusers: lora.down": lambda: of_linear(
        "unet.mid_block.attn1.to_q", "mid_block.attn1.to_q", down="lora.down.weight", up="lora.up.weight"
    ),
    "diffusers: text encoder, to_q_lora": lambda: of_linear(
        "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora", TE, down="down.weight", up="up.weight"
    ),
    "diffusers: text encoder, lora_linear_layer": lambda: of_linear(
        f"text_encoder.{TE}", TE, down="lora_linear_layer.down.weight", up="lora_linear_layer.up.weight"
    ),
    "SimpleTuner of 2024: two prefixes and lora.down": lambda: of_linear(
        "transformer.base_model.model.transformer_blocks.0.attn.to_q",
        "transformer_blocks.0.attn.to_q",
        down="lora.down.weight",
        up="lora.up.weight",
    ),
    "XLabs, double blocks": lambda: of_linear(
        "double_blocks.0.processor.qkv_lora1",
        "double_blocks.0.img_attn.qkv",
        shape=(36, 12),
        down="down.weight",
        up="up.weight",
    ),
    "prefix lora_transformer_": lambda: prefixed("lora_transformer_", "transformer_blocks.0.attn.to_q", flat=True),
    "prefix lora_prior_unet_": lambda: prefixed("lora_prior_unet_", "down_blocks.0.0.attn.q", flat=True),
    "prefix lycoris_": lambda: prefixed("lycoris_", "transformer_blocks.0.attn.to_q", flat=True),
    "prefix lora_te_": lambda: prefixed("lora_te_", TE, flat=True),
    "prefix lora_te1_": lambda: prefixed("lora_te1_", TE, flat=True),
    "prefix lora_te2_": lambda: prefixed("lora_te2_", TE, flat=True),
    "prefix lora_te3_": lambda: prefixed("lora_te3_", "encoder.block.0.layer.0.SelfAttention.q", flat=True),
    "prefix lora_te2_ of T5": lambda: prefixed("lora_te2_", "encoder.block.0.layer.0.SelfAttention.q", flat=True),
    "prefix lora_te_ of a model of language": lambda: of_linear(
        "lora_te_layers_0_self_attn_q_proj", "model.layers.0.self_attn.q_proj"
    ),
    "prefix lora_prior_te_": lambda: prefixed("lora_prior_te_", TE, flat=True),
    "prefix Hunyuan_video_I2V_lora_": lambda: prefixed(
        "Hunyuan_video_I2V_lora_", "double_blocks.0.img_attn_qkv", flat=True
    ),
    "prefix diffusion_model_": lambda: prefixed("diffusion_model_", "input_blocks.1.1.proj_in", flat=True),
    "prefix diffusion_model.": lambda: prefixed("diffusion_model.", Q, **PEFT),
    "prefix model.diffusion_model.": lambda: prefixed("model.diffusion_model.", Q, **PEFT),
    "prefix transformer.": lambda: prefixed("transformer.", "transformer_blocks.0.attn.to_q", **PEFT),
    "prefix transformer_2.": lambda: prefixed("transformer_2.", "blocks.0.attn1.to_q", **PEFT),
    "prefix unet.": lambda: prefixed("unet.", "mid_block.attn1.to_q", **PEFT),
    "prefix text_encoder.": lambda: prefixed("text_encoder.", TE, **PEFT),
    "prefix text_encoder_2.": lambda: prefixed("text_encoder_2.", TE, **PEFT),
    "prefix text_encoders.clip_l.transformer.": lambda: prefixed("text_encoders.clip_l.transformer.", TE, **PEFT),
    "prefix lora_te1. before dots": lambda: prefixed("lora_te1.", TE, **PEFT),
    "prefix lora_unet. before dots": lambda: prefixed("lora_unet.", Q, **PEFT),
    "prefix text_encoders.transformer.": lambda: prefixed(
        "text_encoders.transformer.", "model.layers.0.self_attn.q_proj", **PEFT
    ),
    "prefix text_encoders.qwen3_4b.transformer.": lambda: prefixed(
        "text_encoders.qwen3_4b.transformer.", "model.layers.0.self_attn.q_proj", **PEFT
    ),
    "prefix base_model.model.": lambda: prefixed("base_model.model.", "transformer_blocks.0.attn.to_q", **PEFT),
    "prefix unet.base_model.model.": lambda: prefixed("unet.base_model.model.", "mid_block.attn1.to_q", **PEFT),
    "prefix connectors.": lambda: prefixed("connectors.", "video_connector.transformer_1d_blocks.0.attn1.to_q", **PEFT),
    "prefix text_embedding_projection.": lambda: prefixed(
        "text_embedding_projection.", "video_aggregate_embed", **PEFT
    ),
    "prefix diffusion_model.llm_adapter.": lambda: prefixed(
        "diffusion_model.", "llm_adapter.blocks.0.self_attn.q_proj", **PEFT
    ),
    "prefix text_conditioner.": lambda: of_linear(
        "text_conditioner.blocks.0.self_attn.q_proj", "llm_adapter.blocks.0.self_attn.q_proj", **PEFT
    ),
    "DiffSynth, with the prefix of its pipeline": lambda: prefixed("pipe.dit.", "blocks.0.self_attn.q", **PEFT),
    "prefix net.": lambda: prefixed("net.", "blocks.0.self_attn.q_proj", **PEFT),
    "no prefix": lambda: prefixed("", "transformer_blocks.0.attn.to_q", **PEFT),
    "no prefix, ACE-Step": lambda: prefixed("", "transformer_blocks.0.cross_attn.add_k_proj", **PEFT),
    "no prefix, OmniGen2": lambda: prefixed("", "layers.0.attn.to_q", **PEFT),
    "HiDream": lambda: prefixed("diffusion_model.", "double_stream_blocks.0.block.attn1.to_q", **PEFT),
    "Flux: q, k and v into qkv": lambda: joined(
        {f"transformer.transformer_blocks.0.attn.to_{each}": (8,) for each in "qkv"},
        "double_blocks.0.img_attn.qkv",
        tuple(f"transformer.transformer_blocks.0.attn.to_{each}" for each in "qkv"),
        8,
        **PEFT,
    ),
    "Flux: a part that is missing": lambda: joined(
        {f"transformer.transformer_blocks.0.attn.to_{each}": (8,) for each in "qv"},
        "double_blocks.0.img_attn.qkv",
        ("transformer.transformer_blocks.0.attn.to_q", 8, "transformer.transformer_blocks.0.attn.to_v"),
        8,
        **PEFT,
    ),
    "Flux: linear1 without proj_mlp": lambda: joined(
        {f"transformer.single_transformer_blocks.0.attn.to_{each}": (8,) for each in "qkv"},
        "single_blocks.0.linear1",
        (*(f"transformer.single_transformer_blocks.0.attn.to_{each}" for each in "qkv"), 32),
        8,
        **PEFT,
    ),
    "Flux: qkv onto q, k and v": lambda: divided(
        "lora_unet_double_blocks_0_img_attn_qkv",
        {f"transformer_blocks.0.attn.to_{each}": 8 for each in "qkv"},
        8,
    ),
    "Flux: adaLN_modulation, whose halves are swapped": lambda: divided(
        "lora_unet_final_layer_adaLN_modulation_1", {"norm_out.linear": 16}, 8, swapped=True
    ),
    "HunyuanVideo: _attn_qkv": lambda: prefixed(
        "diffusion_model.", "double_blocks.0.img_attn_qkv", shape=(36, 12), **PEFT
    ),
    "HunyuanVideo: _attn.qkv": lambda: of_linear(
        "diffusion_model.double_blocks.0.img_attn.qkv", "double_blocks.0.img_attn_qkv", shape=(36, 12), **PEFT
    ),
    "HunyuanVideo: img_mlp_fc1 for img_mlp_0": lambda: of_linear(
        "lora_unet_double_blocks_0_img_mlp_fc1", "double_blocks.0.img_mlp.0"
    ),
    "Z-Image: q, k and v into qkv": lambda: joined(
        {f"diffusion_model.layers.0.attention.to_{each}": (8,) for each in "qkv"},
        "layers.0.attention.qkv",
        tuple(f"diffusion_model.layers.0.attention.to_{each}" for each in "qkv"),
        8,
        **PEFT,
    ),
    "Z-Image: to_out.0": lambda: of_linear(
        "diffusion_model.layers.0.attention.to_out.0", "layers.0.attention.out", **PEFT
    ),
    "Z-Image: each update twice": twice,
    "Krea 2: wk for to_k": lambda: of_linear(
        "diffusion_model.blocks.0.attn.wk", "transformer_blocks.0.attn.to_k", **PEFT
    ),
    "Wan: self_attn.q for attn1.to_q": lambda: of_linear(
        "diffusion_model.blocks.0.self_attn.q", "blocks.0.attn1.to_q", **PEFT
    ),
    "Qwen-Image 2.1: the halves of gate_up": lambda: joined(
        {f"transformer.transformer_blocks.0.img_mlp.{each}": (8,) for each in ("gate_layer", "proj")},
        "transformer_blocks.0.img_mlp.gate_up",
        tuple(f"transformer.transformer_blocks.0.img_mlp.{each}" for each in ("gate_layer", "proj")),
        8,
        **PEFT,
    ),
    "SDXL: the authors' names onto diffusers'": lambda: of_linear(
        "lora_unet_input_blocks_4_1_proj_in", "down_blocks.1.attentions.0.proj_in"
    ),
    "DoRA of diffusers in kohya's names, magnitudes with dots": lambda: with_dots(
        dora("lora_magnitude_vector", 1, keep=False), f"{K}.lora_magnitude_vector"
    ),
    "kohya's names before diffusers' ends": lambda: of_linear(f"{K}_lora", down="down.weight", up="up.weight"),
    "HiDream: a projection of the text alone": lambda: prefixed(
        "transformer.", "double_stream_blocks.0.block.attn1.to_k_t", **PEFT
    ),
    "ACE-Step 1.5 of LyCORIS onto the authors' names": lambda: several(
        of_linear("lycoris_layers_0_self_attn_q_proj", "decoder.layers.0.self_attn.q_proj"),
        Layout({}, {"decoder.time_embed_r.linear_1.weight": LINEAR}),
    ),
    "ACE-Step 1.5 of diffusers onto the authors' names": lambda: several(
        of_linear("transformer.layers.0.cross_attn.to_out.0", "decoder.layers.0.cross_attn.o_proj", **PEFT),
        Layout({}, {"decoder.time_embed_r.linear_1.weight": LINEAR}),
    ),
    "FLUX.2: sformer_blocks": lambda: of_linear("sformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_q", **PEFT),
    "several parts of a file: alpha in one alone": lambda: several(
        of_linear(K, alpha=torch.tensor(2.0), scale=0.5), of_linear("lora_unet_blocks_1_attn_q", "blocks.1.attn.q")
    ),
    "Cosmos 1: the authors' names onto diffusers'": lambda: several(
        *(
            of_linear(f"diffusion_model.blocks.block12.blocks.{mine}", f"transformer_blocks.12.{its}", **PEFT)
            for mine, its in {
                "0.block.attn.to_q.0": "attn1.to_q",
                "1.block.attn.to_out.0": "attn2.to_out.0",
                "1.adaLN_modulation.2": "norm2.linear_2",
                "2.block.layer1": "ff.net.0.proj",
            }.items()
        )
    ),
    "Cosmos 1: diffusers' names onto the authors'": lambda: of_linear(
        "transformer.transformer_blocks.3.attn2.to_v", "net.blocks.block3.blocks.1.block.attn.to_v.0", **PEFT
    ),
    "Cosmos 1: a top-level layer": lambda: of_linear("transformer.patch_embed.proj", "net.x_embedder.proj.1", **PEFT),
    "CogVideoX of diffusers": lambda: prefixed("transformer.", "transformer_blocks.0.attn1.to_q", **PEFT),
    "CogVideoX of VideoX-Fun": lambda: prefixed("lora_unet__", "transformer_blocks.0.attn1.to_out.0", flat=True),
    "CogVideoX of its authors' trainer": lambda: refused(
        "is not the name",
        {
            **pair("diffusion_model.x", **PEFT),
            "model.diffusion_model.transformer.layers.0.attention.dense.matrix_A.0": random(4, 12),
        },
    ),
    "HunyuanVideo 1.5: q onto diffusers' to_q": lambda: several(
        of_linear("lora_unet_double_blocks_0_img_attn_q", "transformer_blocks.0.attn.to_q"),
        of_linear("lora_unet_double_blocks_0_txt_attn_v", "transformer_blocks.0.attn.add_v_proj"),
        of_linear("lora_unet_double_blocks_0_img_mlp_fc1", "transformer_blocks.0.ff.net.0.proj"),
    ),
    "HunyuanVideo 1.5: q, k and v into ComfyUI's qkv": lambda: joined(
        {f"lora_unet_double_blocks_0_img_attn_{each}": (8,) for each in "qkv"},
        "double_blocks.0.img_attn.qkv",
        tuple(f"lora_unet_double_blocks_0_img_attn_{each}" for each in "qkv"),
        8,
    ),
    "HunyuanVideo 1.5: diffusers' q, k and v into ComfyUI's qkv": lambda: joined(
        {f"transformer.transformer_blocks.0.attn.to_{each}": (8,) for each in "qkv"},
        "double_blocks.0.img_attn.qkv",
        tuple(f"transformer.transformer_blocks.0.attn.to_{each}" for each in "qkv"),
        8,
        **PEFT,
    ),
    "HunyuanVideo 1.5: qkv onto the authors' q, k and v": lambda: divided(
        "diffusion_model.double_blocks.0.txt_attn.qkv",
        {f"double_blocks.0.txt_attn_{each}": 8 for each in "qkv"},
        8,
        **PEFT,
    ),
    "Kandinsky 5 of diffusers": lambda: prefixed(
        "transformer.", "visual_transformer_blocks.0.self_attention.to_query", **PEFT
    ),
    "Kandinsky 5 of musubi": lambda: prefixed(
        "lora_unet_", "visual_transformer_blocks.0.cross_attention.out_layer", flat=True
    ),
    "no prefix, Kandinsky 5": lambda: prefixed("", "text_transformer_blocks.0.feed_forward.in_layer", **PEFT),
    "LTX-2: audio and video": lambda: several(
        *(
            of_linear(f"diffusion_model.{mine}", its, **PEFT)
            for mine, its in {
                "transformer_blocks.0.audio_to_video_attn.to_q": "transformer_blocks.0.audio_to_video_attn.to_q",
                "transformer_blocks.0.audio_attn1.to_out.0": "transformer_blocks.0.audio_attn1.to_out.0",
                "audio_adaln_single.linear": "audio_time_embed.linear",
                "av_ca_a2v_gate_adaln_single.linear": "av_cross_attn_video_a2v_gate.linear",
                "patchify_proj": "proj_in",
            }.items()
        )
    ),
    "LTX-2: a connector": lambda: of_linear(
        "diffusion_model.video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q",
        "video_connector.transformer_blocks.0.attn1.to_q",
        **PEFT,
    ),
    "LTX-2: text_embedding_projection": lambda: of_linear(
        "text_embedding_projection.aggregate_embed", "text_proj_in", **PEFT
    ),
    "Lumina 2: qkv onto q, k and v": lambda: divided(
        "lora_unet_layers_0_attention_qkv", {f"layers.0.attn.to_{each}": 8 for each in "qkv"}, 8
    ),
    "Lumina 2: feed_forward": lambda: of_linear("lora_unet_layers_0_feed_forward_w1", "layers.0.feed_forward.linear_1"),
    "Flux Kontext": lambda: of_linear(
        "lora_unet_double_blocks_0_img_mlp_0", "transformer_blocks.0.ff.net.0.proj", shape=(32, 8)
    ),
    "Flux Fill: x_embedder of 384 inputs": lambda: of_linear(
        "transformer.x_embedder", "img_in", shape=(16, 384), **PEFT
    ),
    "Flux Fill onto a base of 64 inputs": lambda: Layout(
        pair("transformer.x_embedder", (16, 384), **PEFT), {"img_in.weight": (16, 64)}, said="x_embedder"
    ),
    "Flux control LoRA of diffusers onto the base that it widens": lambda: Layout(
        pair("transformer.x_embedder", (16, 128), **PEFT), {"x_embedder.weight": (16, 64)}, said="[16, 128]"
    ),
    "Flux Redux, which is a model": lambda: refused(
        "is a model",
        {"redux_up.weight": random(36, 12), "redux_up.bias": random(36), "redux_down.weight": random(12, 36)},
    ),
    "Stable Diffusion 3 with three text encoders": lambda: several(
        divided(
            "lora_unet_joint_blocks_0_x_block_attn_qkv",
            {f"transformer_blocks.0.attn.to_{each}": 8 for each in "qkv"},
            8,
        ),
        prefixed("lora_te3_", "encoder.block.0.layer.1.DenseReluDense.wi_0", flat=True),
        prefixed("lora_te1_", TE, flat=True),
    ),
    "Wan: underscores up to the block, then dots": lambda: of_linear(
        "lora_unet_blocks_12.self_attn.k", "blocks.12.self_attn.k", alpha=torch.tensor(2.0), scale=0.5
    ),
    "OpenCLIP: text_projection, which is stored as (in, out)": lambda: Layout(
        (stored := pair("lora_te2_text_projection", (8, 8))),
        {"conditioner.embedders.1.model.text_projection": (8, 8)},
        {"conditioner.embedders.1.model.text_projection": product(stored).T},
    ),
    "OpenCLIP: text_projection with other sides": lambda: Layout(
        (stored := pair("text_encoders.clip_g.transformer.text_projection", (8, 12), **PEFT)),
        {"conditioner.embedders.1.model.text_projection": (12, 8)},
        {"conditioner.embedders.1.model.text_projection": product(stored).T},
    ),
    "Stable Audio: to_qkv, to_kv and feed-forward": lambda: several(
        divided(
            "model.model.transformer.layers.0.self_attn.to_qkv",
            {f"transformer_blocks.0.attn1.to_{each}": 8 for each in "qkv"},
            8,
            **PEFT,
        ),
        divided(
            "model.model.transformer.layers.0.cross_attn.to_kv",
            {f"transformer_blocks.0.attn2.to_{each}": 8 for each in "kv"},
            8,
            **PEFT,
        ),
        of_linear("model.model.transformer.layers.0.ff.ff.0.proj", "transformer_blocks.0.ff.net.0.proj", **PEFT),
    ),
    "Stable Audio: diffusers' names onto the authors'": lambda: several(
        joined(
            {f"transformer.transformer_blocks.0.attn2.to_{each}": (8,) for each in "kv"},
            "model.model.transformer.layers.0.cross_attn.to_kv",
            tuple(f"transformer.transformer_blocks.0.attn2.to_{each}" for each in "kv"),
            8,
            **PEFT,
        ),
        of_linear(
            "transformer.transformer_blocks.0.attn1.to_out.0",
            "model.model.transformer.layers.0.self_attn.to_out",
            **PEFT,
        ),
    ),
    **{
        f"mflux's Flux onto {whose} names": partial(
            several_of,
            {
                ("transformer.transformer_blocks.0.ff.linear1", (32, 8)): first,
                ("transformer.transformer_blocks.0.ff_context.linear2", (8, 32)): second,
            },
            down="lora_A",
            up="lora_B",
        )
        for whose, first, second in (
            ("the authors'", "double_blocks.0.img_mlp.0", "double_blocks.0.txt_mlp.2"),
            ("diffusers'", "transformer_blocks.0.ff.net.0.proj", "transformer_blocks.0.ff_context.net.2"),
        )
    },
    **{
        f"mflux's {model} onto {base}": partial(
            of_linear, f"transformer.transformer_blocks.0.{mine}", its, shape=(8, 8), **PEFT
        )
        for model, mine, base, its in (
            ("FLUX.2", "attn.to_out", "double_blocks.0.img_attn.proj", "double_blocks.0.img_attn.proj"),
            ("FLUX.2", "attn.to_out", "to_out.0", "transformer_blocks.0.attn.to_out.0"),
            ("Krea 2", "attn.to_out", "wo", "blocks.0.attn.wo"),
            ("Qwen-Image", "attn.attn_to_out.0", "to_out.0", "transformer_blocks.0.attn.to_out.0"),
            ("Qwen-Image", "img_ff.mlp_in", "img_mlp.net.0.proj", "transformer_blocks.0.img_mlp.net.0.proj"),
            ("Qwen-Image", "txt_ff.mlp_out", "txt_mlp.net.2", "transformer_blocks.0.txt_mlp.net.2"),
            ("Qwen-Image", "img_mod_linear", "img_mod.1", "transformer_blocks.0.img_mod.1"),
        )
    },
    "DiffSynth's Flux onto the authors' names": lambda: several(
        *(
            of_linear(mine, its, shape=shape, **PEFT)
            for mine, its, shape in (
                ("blocks.0.attn.a_to_qkv", "double_blocks.0.img_attn.qkv", (24, 8)),
                ("blocks.0.attn.b_to_out", "double_blocks.0.txt_attn.proj", (8, 8)),
                ("blocks.0.ff_b.2", "double_blocks.0.txt_mlp.2", (8, 32)),
                ("blocks.0.norm1_a.linear", "double_blocks.0.img_mod.lin", (48, 8)),
                ("single_blocks.3.to_qkv_mlp", "single_blocks.3.linear1", (56, 8)),
                ("single_blocks.3.proj_out", "single_blocks.3.linear2", (8, 40)),
                ("single_blocks.3.norm.linear", "single_blocks.3.modulation.lin", (24, 8)),
            )
        )
    ),
    "DiffSynth's Flux onto diffusers' names": lambda: several(
        divided("blocks.0.attn.a_to_qkv", {f"transformer_blocks.0.attn.to_{each}": 8 for each in "qkv"}, 8, **PEFT),
        divided(
            "blocks.0.attn.b_to_qkv", {f"transformer_blocks.0.attn.add_{each}_proj": 8 for each in "qkv"}, 8, **PEFT
        ),
        of_linear("blocks.0.ff_a.0", "transformer_blocks.0.ff.net.0.proj", shape=(32, 8), **PEFT),
        of_linear("blocks.0.norm1_b.linear", "transformer_blocks.0.norm1_context.linear", shape=(48, 8), **PEFT),
        divided(
            "single_blocks.3.to_qkv_mlp",
            {
                **{f"single_transformer_blocks.3.attn.to_{each}": 8 for each in "qkv"},
                "single_transformer_blocks.3.proj_mlp": 32,
            },
            8,
            **PEFT,
        ),
        of_linear("single_blocks.3.proj_out", "single_transformer_blocks.3.proj_out", shape=(8, 40), **PEFT),
    ),
    "a wrapper of training before blocks": lambda: of_linear(
        "_orig_mod.module.blocks.0.self_attn.q",
        "blocks.0.self_attn.q",
        down="lora_A.default.weight",
        up="lora_B.default.weight",
    ),
    "LECO, a slider of cross attention": lambda: of_linear(
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k",
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
        alpha=torch.tensor(1.0),
        scale=0.25,
    ),
    "LECO onto SDXL's authors' names": lambda: of_linear(
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k",
        "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k",
    ),
    "B-LoRA": lambda: several(
        *(
            prefixed("unet.", f"up_blocks.0.attentions.{each}.transformer_blocks.0.attn1.to_q", **PEFT)
            for each in (0, 1)
        )
    ),
    "B-LoRA of 2024, with processor": lambda: of_linear(
        "unet.up_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_k_lora",
        "up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k",
        down="down.weight",
        up="up.weight",
    ),
    "Nunchaku": lambda: refused(
        "Nunchaku",
        {
            f"transformer_blocks.0.{name}": random(*shape, dtype=torch.bfloat16)
            for name, shape in {
                "qkv_proj.lora_down": (12, 16),
                "qkv_proj.lora_up": (48, 16),
                "out_proj.lora_down": (12, 16),
                "out_proj.lora_up": (16, 16),
            }.items()
        },
    ),
    "musubi, converted for other programs": lambda: several(
        *(
            of_linear(f"diffusion_model.{name}", name, alpha=torch.tensor(4.0), **PEFT)
            for name in ("double_blocks.0.img_attn_proj", "single_blocks.0.linear2")
        )
    ),
    "musubi: Z-Image for ComfyUI": lambda: of_linear(
        "diffusion_model.layers.0.attention.qkv", "layers.0.attention.qkv", alpha=torch.tensor(2.0), scale=0.5, **PEFT
    ),
    "musubi: FramePack": lambda: of_linear(
        "lora_unet_single_transformer_blocks_0_attn_to_q", "single_transformer_blocks.0.attn.to_q"
    ),
    "Wan 2.2: both transformers in one file": lambda: Layout(
        {**pair(f"transformer.{WAN}", **PEFT), **pair(f"transformer_2.{WAN}", **PEFT)},
        {f"{WAN}.weight": LINEAR},
        said="transformer_2",
    ),
    "Chroma of OneTrainer": lambda: joined(
        {f"lora_transformer_single_transformer_blocks_0_attn_to_{each}": (8,) for each in "qkv"},
        "single_blocks.0.linear1",
        (*(f"lora_transformer_single_transformer_blocks_0_attn_to_{each}" for each in "qkv"), 32),
        8,
    ),
    "Chroma of diffusion-pipe": lambda: of_linear(
        "diffusion_model.single_blocks.0.linear2", "single_blocks.0.linear2", **PEFT
    ),
    "Chroma: the approximator": lambda: of_linear(
        "diffusion_model.distilled_guidance_layer.layers.0.in_layer",
        "distilled_guidance_layer.layers.0.linear_1",
        **PEFT,
    ),
    "Stable Cascade: the authors' names onto diffusers'": lambda: several(
        of_linear("lora_unet_down_blocks_0_2_attention_attn_to_q", "down_blocks.0.2.attention.to_q"),
        of_linear("lora_unet_up_blocks_1_14_attention_attn_out_proj", "up_blocks.1.14.attention.to_out.0"),
        of_linear("lora_unet_down_blocks_0_2_kv_mapper_1", "down_blocks.0.2.kv_mapper.1"),
    ),
    "Stable Cascade: q, k and v into in_proj_weight": lambda: joined(
        {f"lora_prior_unet_down_blocks_1_5_attention_to_{each}": (8,) for each in "qkv"},
        "down_blocks.1.5.attention.attn.in_proj_weight",
        tuple(f"lora_prior_unet_down_blocks_1_5_attention_to_{each}" for each in "qkv"),
        8,
    ),
    "one update by the names of two programs": lambda: named_twice(1.0),
    "two updates by the names of two programs": lambda: named_twice(2.0),
    "lora_B.bias, a bias of LoRA": lambda: biased("transformer.transformer_blocks.0.attn.to_q", "lora_B", 1.0),
    "lora_B.bias next to an alpha": lambda: biased("diffusion_model.transformer_blocks.0.attn.to_q", "lora_B", 0.5),
    "lora_up.bias": lambda: biased("lora_unet_transformer_blocks_0_attn_to_q", "lora_up", 0.5),
    "lora_B.bias whose module is not there": lambda: refused(
        "whose module is not in the file",
        {**pair(f"transformer.{Q}", **PEFT), "transformer.proj_out.lora_B.bias": random(16)},
    ),
    "OFT of LyCORIS": lambda: refused("OFT", {f"{K}.oft_blocks": random(4, 4, 4), f"{K}.alpha": torch.tensor(1e-3)}),
    "BOFT of LyCORIS": lambda: refused("BOFT", {f"{K}.oft_blocks": random(2, 4, 4, 4), f"{K}.rescale": random(16, 1)}),
    "OFT of OneTrainer": lambda: refused("OFT", {f"{K}.oft_R.weight": random(4, 6)}),
    "OFT of OneTrainer, scaled": lambda: refused(
        "OFT", {f"{K}.oft_R.weight": random(4, 6), f"{K}.oft_R.scaled_oft": random(1)}
    ),
    "OFT of kohya": lambda: refused("OFT", {f"oft_unet_{FLAT}.oft_blocks": random(4, 4, 4)}),
    "OFT of kohya, a list": lambda: refused(
        "OFT", {f"oft_unet_{FLAT}.oft_blocks.{number}": random(4, 4, 4) for number in range(3)}
    ),
    "OFT of kohya, a text encoder": lambda: refused("OFT", {"oft_te_text_model_q.oft_blocks": random(4, 4, 4)}),
    "(IA)3 of LyCORIS": lambda: refused("(IA)3", {f"{K}.weight": random(16), f"{K}.on_input": torch.tensor(False)}),
    "GLoRA": lambda: refused(
        "GLoRA",
        {
            f"{K}.{name}.weight": random(*shape)
            for name, shape in {"a1": (4, 12), "a2": (12, 4), "b1": (4, 12), "b2": (16, 4)}.items()
        },
    ),
    "GLoRA, the newer one": lambda: refused(
        "GLoRA",
        {
            f"{K}.{name}.weight": random(*shape)
            for name, shape in {"a1": (12, 4), "a2": (4, 12), "b1": (16, 4), "b2": (4, 12)}.items()
        },
    ),
    "T-LoRA": lambda: refused(
        "T-LoRA",
        {f"{K}.q_layer.weight": random(4, 12), f"{K}.p_layer.weight": random(16, 4), f"{K}.lambda_layer": random(1, 4)},
    ),
    "set_weight": lambda: replaced(Q, f"{Q}.weight", LINEAR),
    "set_weight of a norm": lambda: replaced("blocks.0.norm3", "blocks.0.norm3.weight", (16,)),
    "set_weight of a bias": lambda: replaced(f"{Q}.bias", f"{Q}.bias", (16,)),
    "set_weight of a scale": lambda: replaced(NORM, NORM, (16,)),
    "set_weight of a kernel": lambda: replaced(CONV, f"{CONV}.weight", KERNEL),
    "set_weight of a modulation": lambda: replaced("blocks.0.modulation", "blocks.0.modulation", (1, 6, 12)),
    "set_weight of qkv onto q, k and v": lambda: Layout(
        {"diffusion_model.double_blocks.0.img_attn.qkv.set_weight": (stated := random(24, 8))},
        {f"transformer_blocks.0.attn.to_{each}.weight": (8, 8) for each in "qkv"},
        {
            f"transformer_blocks.0.attn.to_{each}.weight": partial(torch.sub, rows.double())
            for each, rows in zip("qkv", stated.chunk(3), strict=True)
        },
    ),
    "set_weight next to LoRA of its module": lambda: refused(
        "set_weight", {**pair(K), f"{K}.set_weight": random(*LINEAR)}
    ),
    "reshape_weight": lambda: refused("control", {**pair(K), f"{K}.reshape_weight": torch.tensor([16, 24])}),
    "control LoRA of Flux' authors": lambda: refused(
        "control LoRA",
        {**pair("img_in", **PEFT), "single_blocks.0.norm.key_norm.scale": random(12), "img_in.lora_B.bias": random(16)},
    ),
    "control LoRA of Stability": lambda: refused(
        "control LoRA",
        {
            "lora_controlnet": random(1),
            "input_blocks.1.1.proj_in.down": random(4, 12),
            "input_blocks.1.1.proj_in.up": random(16, 4),
        },
    ),
    "a sparse difference of LyCORIS": lambda: refused(
        "sparse",
        {
            **pair(K),
            f"{K}.bias_indices": torch.zeros(2, 3),
            f"{K}.bias_values": random(3),
            f"{K}.bias_size": torch.tensor([16, 12]),
        },
    ),
    "a bundled textual inversion": lambda: refused(
        "textual inversion", {**pair(K), "bundle_emb.word.string_to_param.*": random(2, 12)}
    ),
    "lora_down.bias": lambda: refused("bias", {**pair(K), f"{K}.lora_down.bias": random(4)}),
    "IP-Adapter with LoRA in it": lambda: refused(
        "IP-Adapter",
        {
            "image_proj.proj.weight": random(8, 8),
            "ip_adapter.0.to_q_lora.down.weight": random(4, 12),
            "ip_adapter.0.to_q_lora.up.weight": random(16, 4),
        },
    ),
    "MiniMax-H3 of DiffSynth": lambda: refused(
        "MiniMax-H3",
        pair("blocks.0.attn.qkv_proj", (36, 12), down="lora_A.default.weight", up="lora_B.default.weight"),
        "blocks.0.attn.qkv_proj",
    ),
    "Wan I2V 2.1 onto 2.2, which has no k_img": lambda: Layout(
        {
            **pair("diffusion_model.blocks.0.cross_attn.k_img", **PEFT),
            **pair("diffusion_model.blocks.0.cross_attn.k", **PEFT),
        },
        {"blocks.0.cross_attn.k.weight": LINEAR},
        said="k_img",
    ),
}
"""Layout, as formats.md lists them → how a tiny file of it is made."""
