"""Which names of kohya's format diffusers turns into its own when it loads a file, and which scales it takes: version 0.42.1, run;
and of which transformers ComfyUI has the names of diffusers: its source.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from adapterops.formats.diffusion.flat import DENOISER, flat
from adapterops.formats.peft.scaling import Scaling

UNET = r"(?:down|up|input|output)_blocks_\d|mid(?:dle)?_block_"
CONVERTED = re.compile(
    rf"{UNET}|single_blocks_\d+_(?:linear|modulation)|double_blocks_\d+_(?:img|txt)_(?:attn|mlp_\d|mod_lin$)"
    r"|transformer_blocks_\d+_(?:img_m|txt_m|attn_(?:to|add))|(?:layers|\w+_refiner)_\d+_attention_to_"
    r"|blocks_\d+_(?:self_attn|cross_attn|ffn_\d|attn_qkv_proj|attn_out_proj|mlp_fc)"
)
"""Blocks of Stable Diffusion, Flux, FLUX.2, Qwen-Image, Z-Image, Wan and MiniMax-H3, in these spellings."""

NOT_CONVERTED = re.compile(r"double_blocks_\d+_(?:img|txt)_mlp_fc|txt_in_individual_token_refiner_")
"""HunyuanVideo, which shares names with Flux."""

START = "lora_unet_"
ATTENTION = re.compile(rf"(?:{UNET}).*_attn[12]_to_")


def unread(modules: Mapping[str, Scaling]) -> tuple[str, ...]:
    """The modules of the denoiser, where none is of a block that diffusers converts.

    >>> unread({"lora_unet_joint_blocks_0_x_block_attn_qkv": Scaling(2, 2), "lora_te1_x": Scaling(2, 2)})
    ('lora_unet_joint_blocks_0_x_block_attn_qkv',)
    """
    found = {module: flat(module).key for module in modules if module.startswith(START)}
    known = any(map(CONVERTED.match, found.values())) and not any(map(NOT_CONVERTED.match, found.values()))
    return () if known else tuple(found)


MAPPED = re.compile(
    r"(?:single_|joint_|visual_|text_)?transformer_blocks_\d+_(?!attn[12]_|audio_|video_)|(?:double|single)_stream_blocks_\d"
    r"|(?:layers|noise_refiner|context_refiner)_\d+_(?:attention_|self_attention_|mlp_)"
    r"|text_fusion_"
)
"""Blocks of Flux, Stable Diffusion 3, AuraFlow, Qwen-Image, HiDream, Kandinsky 5, Z-Image, Ernie-Image and Krea 2."""


def unmapped(modules: Collection[str]) -> tuple[str, ...]:
    """The modules after `transformer.`, where none is of a block that ComfyUI has the name of.

    >>> unmapped(["transformer.blocks.0.attn1.to_q"]), unmapped(["transformer.transformer_blocks.0.attn.to_q"])
    (('transformer.blocks.0.attn1.to_q',), ())
    """
    found = {module: flat(module).key for module in modules if module.startswith("transformer.")}
    return () if any(map(MAPPED.match, found.values())) else tuple(found)


NOT_OF_AUTHORS = re.compile(r"blocks_\d+_(?:attn[12]_to_|ffn_net_)|layers_\d+_attn_to_|single_transformer_blocks_\d")
"""Blocks of Wan, Lumina 2 and Flux as diffusers alone calls them."""


def unlisted(modules: Collection[str]) -> tuple[str, ...]:
    """The modules after `lora_unet_` in names of a transformer of diffusers, of which ComfyUI has those of UNets there alone.

    >>> unlisted(["lora_unet_blocks_0_attn1_to_q", "lora_unet_blocks_0_self_attn_q"])
    ('lora_unet_blocks_0_attn1_to_q',)
    """
    return tuple(
        module for module in modules if module.startswith(START) and NOT_OF_AUTHORS.match(module.removeprefix(START))
    )


def of_one_alpha(modules: Mapping[str, Scaling]) -> tuple[str, ...]:
    """The modules of a UNet's attention, where alphas of the UNet differ: all of them get one, and each keeps its rank."""
    own = {module: flat(module) for module in modules}
    unet = {module: key for module, (key, part) in own.items() if part == DENOISER and re.match(UNET, key)}
    if len({modules[module].alpha for module in unet}) < 2:
        return ()
    return tuple(module for module, key in unet.items() if ATTENTION.match(key))
