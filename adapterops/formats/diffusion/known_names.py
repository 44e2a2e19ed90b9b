"""What ComfyUI and diffusers make of the names of image and video models when they load an adapter: a table, and nothing else.

ComfyUI by its source (commit 17358c8), diffusers as 0.42.1 was run. All names are flat (see `flat`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple


class KnownNames(NamedTuple):
    """The names that a model has, by its authors or in diffusers.

    Attributes:
        model: what people call it.
        has: its names, or enough of them to know it by.
        last: the beginning of the name of a block → the numbers that the last block of such a model has.
        stated: what a header that states the model says.
        comfy: what is before the names that ComfyUI finds.
        comfy_has: which names it finds; empty for all.
        clip: what is before the names of modules of CLIP that diffusers loads, in the pipeline of the model.
    """

    model: str
    has: str
    last: Mapping[str, Collection[int]] = {}
    stated: str = "(?!)"
    comfy: Collection[str] = ()
    comfy_has: str = ""
    clip: tuple[str, ...] = ()

    def is_of(self, other: KnownNames) -> bool:
        """Whether both are names of one model."""
        return not _called(self.model).isdisjoint(_called(other.model))


def _called(model: str) -> set[str]:
    """
    >>> sorted(_called("Mochi or Sana in diffusers' names")), _called("Mochi")
    (['Mochi', 'Sana'], {'Mochi'})
    """
    return set(re.split(", | or ", model.removesuffix(" in diffusers' names")))


UNET_IN_DIFFUSERS = r"(?:down|up)_blocks_\d.*|mid_block_.*|conv_(?:in|out)|(?:time|add)_embedding_linear_\d"
UNET = r"(?:input|output)_blocks_\d.*|middle_block_.*|(?:time_embed|label_emb_0)_\d|out_2"
KOHYA, COMFY, LYCORIS, ONE_TRAINER = "lora_unet_", "diffusion_model.", "lycoris_", "lora_transformer_"
DIFFUSERS, PEFT = "transformer.", "base_model.model."
OWN = (KOHYA, COMFY)
"""Before the names of a model's authors, ComfyUI finds all after these."""

UNET_STARTS = (KOHYA, LYCORIS, "unet.", "")

CLIP = r"text_model{0}encoder{0}layers{0}\d+{0}(?:mlp{0}fc[12]|self_attn{0}(?:[qkv]|out)_proj)"
ENCODERS = (
    rf"text_encoders\.|text_encoder(?:_2)?\.{CLIP.format('[.]')}[._]|lora_(?:te[12]?|prior_te)_{CLIP.format('_')}\."
    r"|lora_te\d_encoder_(?:block|layer)_|lora_te_layers_|lora_(?:te[12]|prior_te)_text_projection\."
)
"""The names of text encoders that ComfyUI has: CLIP's, of T5 and BERT kohya's, and its own of any."""

CLIP_KEY = r"(?:text_model_)?(?:encoder_layers_|embeddings_|final_layer_norm)|text_projection"
"""The names of modules of CLIP, without what says which encoder it is."""

CLIP_OF_ANY = ("lora_te", "text_encoder")

STREAMS = r"double_blocks_\d+_(?:img|txt)_(?:attn_(?:qkv|proj)|mlp_[02]{})|single_blocks_\d+_(?:linear[12]{})"
AROUND = r"(?:img|txt)_in|{}_in_(?:in|out)_layer|final_layer_(?:linear{})"
FLUX = f"{STREAMS.format('|mod_lin', '|modulation_lin')}|{AROUND.format('(?:time|vector|guidance)', '|adaLN_modulation_1')}"
FLUX_2 = f"{STREAMS.format('', '')}|{AROUND.format('time', '')}"
HUNYUAN = (
    r"double_blocks_\d+_(?:img|txt)_(?:attn_(?:qkv|proj)|mlp_(?:fc[12]|[02])|mod_lin(?:ear)?)"
    r"|single_blocks_\d+_(?:linear[12]|mlp|modulation_lin(?:ear)?)|txt_in_.+|img_in_proj|(?:time|guidance|vector)_in_mlp_\d"
    r"|final_layer_(?:linear|adaLN_modulation_1)|(?:byt5|time_r|vision)_in_.+"
)
ATTENTION = r"attn_(?:to_[qkv]|to_out_0|add_[qkv]_proj|to_add_out)"
BLOCK = rf"transformer_blocks_\d+_(?:{ATTENTION}|ff(?:_context)?_net_(?:0_proj|2)|norm1(?:_context)?_linear{{}})"
SINGLE = r"single_transformer_blocks_\d+_(?:attn_to_[qkv]|proj_mlp|proj_out|norm_linear)"
ENDS = r"x_embedder|context_embedder|proj_out|norm_out_linear|time_text_embed_\w+_embedder_linear_[12]"
FLUX_IN_DIFFUSERS = f"{BLOCK.format('')}|{SINGLE}|{ENDS}"
FLUX_2_IN_DIFFUSERS = (
    rf"transformer_blocks_\d+_(?:{ATTENTION}|ff(?:_context)?_linear_(?:in|out))"
    r"|single_transformer_blocks_\d+_attn_(?:to_qkv_mlp_proj|to_out)|x_embedder|context_embedder|proj_out|norm_out_linear"
)
QWEN = (
    rf"transformer_blocks_\d+_(?:{ATTENTION}|(?:img|txt)_(?:mlp_net_(?:0_proj|2)|mod_1))"
    r"|img_in|txt_in|proj_out|norm_out_linear|time_text_embed_timestep_embedder_linear_[12]"
)
REFINED = r"(?:layers|noise_refiner|context_refiner)_\d+_"
REFINED_IN_DIFFUSERS = rf"{REFINED}(?:attn_to_(?:[qkv]|out_0)|feed_forward_linear_\d|norm1_linear)"
Z_IMAGE = (
    rf"{REFINED}(?:attention_(?:qkv|out)|feed_forward_w[123]|adaLN_modulation_0)|cap_embedder_1|t_embedder_mlp_[02]"
)
Z_IMAGE_IN_DIFFUSERS = (
    rf"{REFINED}(?:attention_(?:to_[qkv]|to_out_0|norm_[qk])|feed_forward_w[123]|(?:attention|ffn)_norm[12]|adaLN_modulation_0)"
    r"|cap_embedder_[01]|t_embedder_mlp_[02]|all_final_layer_2-1_(?:linear|adaLN_modulation_1)|all_x_embedder_2-1"
)
WAN = (*(f"{each}_attn_{part}" for each in ("self", "cross") for part in "qkvo"), "ffn_0", "ffn_2")
MINIMAX = (
    r"(?:token_refiner_)?blocks_\d+_(?:attn_(?:qkv|out)_proj|mlp_fc[12])|blocks_\d+_adaln_proj_linear|(?:video|audio)_patch_proj"
    r"|condition_proj|time_embedder_proj_(?:in|out)|final_layer_(?:adaln_proj_linear|(?:video|audio)_out)"
)
KREA = (
    r"(?:transformer_blocks|text_fusion_(?:layerwise|refiner)_blocks)_\d+_(?:attn_to_(?:q|k|v|gate|out_0|out)|ff_(?:gate|up|down))"
    r"|img_in|(?:time_embed|txt_in)_linear_[12]|time_mod_proj|text_fusion_projector|final_layer_linear"
)
KREA_BY_AUTHORS = (
    r"(?:blocks|txtfusion_(?:layerwise|refiner)_blocks)_\d+_(?:attn_(?:w[qkvo]|gate)|mlp_(?:gate|up|down))"
    r"|first|last_linear|tmlp_[02]|tproj_1|txtmlp_[13]|txtfusion_projector"
)
COSMOS = r"blocks_\d+_(?:(?:self|cross)_attn_(?:[qkv]|output)_proj|mlp_layer[12]|adaln_.+)"
AURA = (
    rf"joint_transformer_blocks_\d+_(?:{ATTENTION}|ff(?:_context)?_(?:linear_[12]|out_projection)|norm1(?:_context)?_linear)"
    r"|single_transformer_blocks_\d+_(?:attn_to_(?:[qkv]|out_0)|ff_(?:linear_[12]|out_projection)|norm1_linear)"
    r"|context_embedder|proj_out|norm_out_linear|pos_embed_proj|time_step_proj_linear_[12]"
)
PIXART = (
    r"transformer_blocks_\d+_(?:attn[12]_to_(?:[qkv]|out_0)|ff_net_(?:0_proj|2))|caption_projection_linear_[12]|pos_embed_proj"
    r"|proj_out|adaln_single_(?:linear|emb_\w+_embedder_linear_[12])"
)
LTX_TABLES = r"(?:transformer_blocks_\d+_)?(?:audio_)?scale_shift_table(?:_\w+)?"
LTX_2 = (
    r"transformer_blocks_\d+_(?:(?:audio_)?attn[12]|audio_to_video_attn|video_to_audio_attn)_to_(?:[qkv]|out_0|gate_logits)"
    r"|transformer_blocks_\d+_(?:audio_)?ff_net_(?:0_proj|2)|(?:audio_)?(?:caption_projection_linear_[12]|proj_out|patchify_proj)"
    r"|\w*adaln_single_.+|\w+_connector_.+"
)
ACE = (
    r"layers_\d+_(?:(?:self|cross)_attn_[qkvo]_proj|mlp_(?:gate|up|down)_proj)|time_embed(?:_r)?_(?:linear_[12]|time_proj)"
    r"|condition_embedder|proj_(?:in|out)_1"
)
ATTENTIONS = r"transformer_blocks_\d+_(?:attn[12]_(?:to_(?:[qkv]|out_0)|add_[qkv]_proj|to_add_out)|ff(?:_context)?_\w+|norm1\w*_linear)"
FLUX_BLOCKS = {"transformer_blocks": (18,), "single_transformer_blocks": (37,)}
HUNYUAN_BLOCKS = {"transformer_blocks": (19,), "single_transformer_blocks": (39,)}

NAMES = (
    KnownNames(
        "Stable Diffusion XL",
        f"{UNET}|label_emb_0_0|out_0",
        {"input_blocks": (8,), "output_blocks": (5, 8)},
        "xl",
        OWN,
        clip=CLIP_OF_ANY,
    ),
    KnownNames(
        "Stable Diffusion 1 or Stable Diffusion 2",
        f"{UNET}|label_emb_0_0|out_0",
        {"input_blocks": (8, 11), "output_blocks": (11,)},
        "v[12]",
        OWN,
        clip=CLIP_OF_ANY,
    ),
    KnownNames(
        "Stable Diffusion XL in diffusers' names",
        f"{UNET_IN_DIFFUSERS}|conv_norm_out",
        {"down_blocks": (2,), "up_blocks": (1, 2)},
        "xl",
        UNET_STARTS,
        clip=CLIP_OF_ANY,
    ),
    KnownNames(
        "Stable Diffusion 1 or Stable Diffusion 2 in diffusers' names",
        f"{UNET_IN_DIFFUSERS}|conv_norm_out",
        {"down_blocks": (2, 3), "up_blocks": (3,)},
        "v[12]",
        UNET_STARTS,
        clip=CLIP_OF_ANY,
    ),
    KnownNames(
        "Flux",
        f"{FLUX}|distilled_guidance_layer_(?:in|out)_proj",
        {"double_blocks": (18,), "single_blocks": (37,)},
        r"flux[-_.]?1",
        OWN,
        clip=CLIP_OF_ANY,
    ),
    KnownNames(
        "FLUX.2",
        rf"{FLUX_2}|(?:double|single)_stream_modulation\w*_lin|guidance_in_(?:in|out)_layer",
        {"double_blocks": (4, 7), "single_blocks": (19, 23, 47)},
        r"flux[-_.]?2",
        OWN,
    ),
    KnownNames(
        "HunyuanVideo", HUNYUAN, {"double_blocks": (19, 53), "single_blocks": (39,)}, "hunyuan", (*OWN, DIFFUSERS)
    ),
    KnownNames(
        "Flux in diffusers' names",
        FLUX_IN_DIFFUSERS,
        FLUX_BLOCKS,
        r"flux[-_.]?1",
        (DIFFUSERS, ONE_TRAINER, LYCORIS, ""),
        FLUX_IN_DIFFUSERS,
        clip=CLIP_OF_ANY,
    ),
    KnownNames(
        "FLUX.2 in diffusers' names",
        rf"{FLUX_2_IN_DIFFUSERS}|(?:double|single)_stream_modulation\w*_linear|time_guidance_embed_.+",
        {"transformer_blocks": (4, 7), "single_transformer_blocks": (19, 23, 47)},
        r"flux[-_.]?2",
        (DIFFUSERS, ONE_TRAINER, LYCORIS, ""),
        FLUX_2_IN_DIFFUSERS,
    ),
    KnownNames(
        "HunyuanVideo in diffusers' names",
        rf"{BLOCK.format('')}|{SINGLE}|x_embedder_proj|context_embedder_.+|proj_out|norm_out_linear",
        HUNYUAN_BLOCKS,
        "hunyuan",
    ),
    KnownNames("HunyuanVideo 1.5 in diffusers' names", BLOCK.format(""), {"transformer_blocks": (53,)}, "hunyuan"),
    KnownNames(
        "Stable Diffusion 3",
        r"joint_blocks_\d+_(?:x|context)_block_.+|context_embedder|[xty]_embedder_(?:proj|mlp_\d)|final_layer_.+",
        {"joint_blocks": (23, 37)},
        "stable-diffusion-3|sd3",
        OWN,
    ),
    KnownNames(
        "Stable Diffusion 3 in diffusers' names",
        f"{BLOCK.format('|attn2_to_(?:[qkv]|out_0)')}|{ENDS}|pos_embed_proj",
        {"transformer_blocks": (23, 37)},
        "stable-diffusion-3|sd3",
        (DIFFUSERS, ONE_TRAINER, LYCORIS, PEFT),
        clip=("text_encoder",),
    ),
    KnownNames(
        "Qwen-Image",
        rf"{QWEN}|transformer_blocks_\d+_img_mlp_(?:gate_layer|proj|out)|modulation_1",
        {"transformer_blocks": (31, 59)},
        "qwen",
        (KOHYA, COMFY, DIFFUSERS, LYCORIS, ""),
    ),
    KnownNames(
        "Krea 2 in diffusers' names",
        KREA,
        stated="krea[-_.]?2",
        comfy=(COMFY, DIFFUSERS, LYCORIS, ""),
        comfy_has=KREA,
    ),
    KnownNames(
        "Z-Image",
        rf"{Z_IMAGE}|x_embedder|final_layer_.+",
        {"layers": (29,)},
        "z[-_.]?image",
        OWN,
    ),
    KnownNames(
        "Z-Image in diffusers' names",
        Z_IMAGE_IN_DIFFUSERS,
        {"layers": (29,)},
        "z[-_.]?image",
        (COMFY, DIFFUSERS, LYCORIS, ""),
        Z_IMAGE_IN_DIFFUSERS,
    ),
    KnownNames(
        "Lumina 2",
        rf"{REFINED}(?:attention_(?:qkv|out)|feed_forward_w[123]|adaLN_modulation_1)|cap_embedder_1|x_embedder|final_layer_.+",
        {"layers": (25,)},
        "lumina",
        OWN,
    ),
    KnownNames("Lumina 2 in diffusers' names", REFINED_IN_DIFFUSERS, {"layers": (25,)}, "lumina"),
    KnownNames("OmniGen 2", REFINED_IN_DIFFUSERS, {"layers": (31,)}, "omnigen", (*OWN, "")),
    KnownNames(
        "Ideogram 4",
        r"layers_\d+_(?:attention_(?:qkv|o)|feed_forward_w[123]|adaln_modulation)|(?:input|llm_cond|adaln)_proj|t_embedding_mlp_\w+",
        comfy=OWN,
    ),
    KnownNames("Anima", rf"{COSMOS}|llm_adapter_.+", stated="anima", comfy=OWN),
    KnownNames("Cosmos", COSMOS, stated="cosmos", comfy=OWN),
    KnownNames("Krea 2", KREA_BY_AUTHORS, stated="krea[-_.]?2", comfy=OWN),
    KnownNames("Ideogram 4 in diffusers' names", r"layers_\d+_(?:attention_to_(?:[qkv]|out_0)|feed_forward_w[123])"),
    KnownNames(
        "Wan",
        rf"blocks_\d+_(?:{'|'.join(WAN)}|cross_attn_[kv]_img|(?:self|cross)_attn_norm_\w+|norm3|modulation)|(?:time|text)_embedding_\d|time_projection_1|img_emb_proj_\d|head_head|patch_embedding",
        {"blocks": (29, 39)},
        "wan",
        OWN,
    ),
    KnownNames(
        "Wan in diffusers' names", r"blocks_\d+_(?:attn[12]_(?:to_|add_).+|ffn_net_.+)|condition_embedder_.+|proj_out"
    ),
    KnownNames("MiniMax-H3", MINIMAX, comfy=(KOHYA, COMFY, "")),
    KnownNames("AuraFlow in diffusers' names", AURA, comfy=(DIFFUSERS,)),
    KnownNames(
        "PixArt in diffusers' names",
        PIXART,
        {"transformer_blocks": (27,)},
        "pixart",
        (DIFFUSERS, PEFT, f"unet.{PEFT}"),
        PIXART,
    ),
    KnownNames("LTX-2", f"{LTX_2}|{LTX_TABLES}", {"transformer_blocks": (47,)}, "ltx", (KOHYA, COMFY, "")),
    KnownNames(
        "LTX",
        rf"{PIXART}|patchify_proj|proj_in|time_embed_.+|{LTX_TABLES}",
        {"transformer_blocks": (27, 47)},
        "ltx",
        (KOHYA, COMFY, ""),
    ),
    KnownNames("Mochi, Sana or CogVideoX in diffusers' names", rf"{ATTENTIONS}|patch_embed_proj|time_embed_.+"),
    KnownNames("Mochi", r"blocks_\d+_(?:attn_(?:qkv|proj)_[xy]|mlp_[xy]_w[12]|mod_[xy])", comfy=(*OWN, "")),
    KnownNames(
        "HunyuanDiT",
        r"blocks_\d+_(?:attn[12]_(?:Wqkv|\w+_proj)|mlp_fc[12]|default_modulation_1|skip_linear)",
        comfy=(*OWN, PEFT),
    ),
    KnownNames(
        "ACE-Step", r"transformer_blocks_\d+_(?:cross_)?attn_(?:to|add)_.+|(?:lyric|speaker)_.+", comfy=(*OWN, "")
    ),
    KnownNames("ACE-Step 1.5", rf"decoder_(?:{ACE})", comfy=OWN),
    KnownNames("ACE-Step 1.5 without decoder", ACE, comfy=(LYCORIS, PEFT)),
    KnownNames(
        "HiDream",
        r"(?:double|single)_stream_blocks_\d+_.+|caption_projection_\d+_linear",
        comfy=(KOHYA, COMFY, LYCORIS, DIFFUSERS),
    ),
    KnownNames(
        "Kandinsky 5",
        r"(?:visual|text)_transformer_blocks_\d+_.+|\w+_embeddings_(?:in|out)_layer|out_layer_.+",
        comfy=(KOHYA, COMFY, DIFFUSERS, ""),
    ),
    KnownNames(
        "Ernie-Image",
        r"layers_\d+_(?:self_attention|mlp)_.+|text_proj|time_embedding_linear_\d|x_embedder_proj|final_\w+",
        comfy=(KOHYA, COMFY, DIFFUSERS),
    ),
)
