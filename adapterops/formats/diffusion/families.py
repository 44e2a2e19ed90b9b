"""What the weights of one model are called by its authors, and by diffusers: joined in one, and in parts in the other.

All names are flat (see `flat`), with `#` for a number. Sources: the conversions of diffusers and ComfyUI.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from adapterops.formats.diffusion import unet


class Joined(NamedTuple):
    """A weight that is `parts` in another model, from the first row to the last.

    `equal`: two of them that have as many rows. `square` have as many rows as columns, where nothing else says how many.
    `swapped` has two halves, and the other model has them the other way round.
    """

    whole: str
    parts: tuple[str, ...]
    equal: tuple[int, int] = (0, 1)
    square: tuple[int, ...] = ()
    swapped: bool = False


def _qkv(whole: str, above: str, names: Sequence[str] = ("to_q", "to_k", "to_v")) -> Joined:
    return Joined(whole, tuple(f"{above}{each}" for each in names), (1, 2))


ADDED = ("add_q_proj", "add_k_proj", "add_v_proj")
CLIP = ("q_proj", "k_proj", "v_proj")

JOINED = [
    # Flux, Chroma, HunyuanVideo
    _qkv("double_blocks_#_img_attn_qkv", "transformer_blocks_#_attn_"),
    _qkv("double_blocks_#_txt_attn_qkv", "transformer_blocks_#_attn_", ADDED),
    Joined(
        "single_blocks_#_linear1",
        (*(f"single_transformer_blocks_#_attn_{each}" for each in ("to_q", "to_k", "to_v")), "single_transformer_blocks_#_proj_mlp"),
        (1, 2),
        square=(0, 1, 2),
    ),
    Joined("final_layer_adaLN_modulation_1", ("norm_out_linear",), swapped=True),
    # Stable Diffusion 3
    _qkv("joint_blocks_#_x_block_attn_qkv", "transformer_blocks_#_attn_"),
    _qkv("joint_blocks_#_context_block_attn_qkv", "transformer_blocks_#_attn_", ADDED),
    _qkv("joint_blocks_#_x_block_attn2_qkv", "transformer_blocks_#_attn2_"),
    # Z-Image, Lumina 2
    *(_qkv(f"{root}_#_attention_qkv", f"{root}_#_attention_") for root in ("layers", "noise_refiner", "context_refiner")),
    # MiniMax-H3
    _qkv("blocks_#_attn_qkv_proj", "transformer_blocks_#_attn_"),
    Joined("blocks_#_mlp_fc1", ("transformer_blocks_#_ff_net_0_proj",), swapped=True),
    # OpenCLIP
    _qkv("resblocks_#_attn_in_proj_weight", "text_model_encoder_layers_#_self_attn_", CLIP),
]  # fmt: skip

RENAMED = {
    # Flux, Chroma, HunyuanVideo
    "double_blocks_#_img_attn_proj": "transformer_blocks_#_attn_to_out_0",
    "double_blocks_#_txt_attn_proj": "transformer_blocks_#_attn_to_add_out",
    "double_blocks_#_img_mlp_0": "transformer_blocks_#_ff_net_0_proj",
    "double_blocks_#_img_mlp_2": "transformer_blocks_#_ff_net_2",
    "double_blocks_#_txt_mlp_0": "transformer_blocks_#_ff_context_net_0_proj",
    "double_blocks_#_txt_mlp_2": "transformer_blocks_#_ff_context_net_2",
    "double_blocks_#_img_mod_lin": "transformer_blocks_#_norm1_linear",
    "double_blocks_#_txt_mod_lin": "transformer_blocks_#_norm1_context_linear",
    "single_blocks_#_linear2": "single_transformer_blocks_#_proj_out",
    "single_blocks_#_modulation_lin": "single_transformer_blocks_#_norm_linear",
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in_in_layer": "time_text_embed_timestep_embedder_linear_1",
    "time_in_out_layer": "time_text_embed_timestep_embedder_linear_2",
    "vector_in_in_layer": "time_text_embed_text_embedder_linear_1",
    "vector_in_out_layer": "time_text_embed_text_embedder_linear_2",
    "guidance_in_in_layer": "time_text_embed_guidance_embedder_linear_1",
    "guidance_in_out_layer": "time_text_embed_guidance_embedder_linear_2",
    "final_layer_linear": "proj_out",
    # Stable Diffusion 3
    "joint_blocks_#_x_block_attn_proj": "transformer_blocks_#_attn_to_out_0",
    "joint_blocks_#_context_block_attn_proj": "transformer_blocks_#_attn_to_add_out",
    "joint_blocks_#_x_block_mlp_fc1": "transformer_blocks_#_ff_net_0_proj",
    "joint_blocks_#_x_block_mlp_fc2": "transformer_blocks_#_ff_net_2",
    "joint_blocks_#_context_block_mlp_fc1": "transformer_blocks_#_ff_context_net_0_proj",
    "joint_blocks_#_context_block_mlp_fc2": "transformer_blocks_#_ff_context_net_2",
    "joint_blocks_#_x_block_attn2_proj": "transformer_blocks_#_attn2_to_out_0",
    # Z-Image, Lumina 2
    **{f"{root}_#_attention_out": f"{root}_#_attention_to_out_0" for root in ("layers", "noise_refiner", "context_refiner")},
    # MiniMax-H3
    "blocks_#_mlp_fc2": "transformer_blocks_#_ff_net_2",
    # OpenCLIP
    "resblocks_#_attn_out_proj": "text_model_encoder_layers_#_self_attn_out_proj",
    "resblocks_#_mlp_c_fc": "text_model_encoder_layers_#_mlp_fc1",
    "resblocks_#_mlp_c_proj": "text_model_encoder_layers_#_mlp_fc2",
}  # fmt: skip
"""Name by the authors → name in diffusers."""

XLABS = {
    "double_blocks_#_processor_qkv_lora1": "double_blocks_#_img_attn_qkv",
    "double_blocks_#_processor_qkv_lora2": "double_blocks_#_txt_attn_qkv",
    "double_blocks_#_processor_proj_lora1": "double_blocks_#_img_attn_proj",
    "double_blocks_#_processor_proj_lora2": "double_blocks_#_txt_attn_proj",
    "single_blocks_#_processor_proj_lora": "single_blocks_#_linear2",
}
"""XLabs' names of Flux' modules → the authors'."""

FIRST_ROWS = {"single_blocks_#_processor_qkv_lora": "single_blocks_#_linear1"}
"""A module → the weight of which it is the first rows."""

NUMBER = re.compile(r"(?<=_)\d+(?=_|$)")


def forms(key: str) -> list[tuple[str, str]]:
    """A flat name as it is, and with `#` for its first number, that of a block; and that number.

    >>> forms("double_blocks_11_img_mlp_0")
    [('double_blocks_11_img_mlp_0', ''), ('double_blocks_#_img_mlp_0', '11')]
    """
    found = NUMBER.search(key)
    return [(key, ""), *([(f"{key[: found.start()]}#{key[found.end() :]}", found[0])] if found else [])]


def by_authors(key: str) -> str | None:
    """What the authors of a model call a module that XLabs has a name of its own for."""
    return next((XLABS[name].replace("#", number) for name, number in forms(key) if name in XLABS), None)


def weight_of_first_rows(key: str) -> str | None:
    """The weight of which a module is the first rows, where one is."""
    return next((FIRST_ROWS[name].replace("#", number) for name, number in forms(key) if name in FIRST_ROWS), None)


def renamed(key: str) -> Iterator[str]:
    """What a weight is called elsewhere, all of it."""
    for name, number in forms(key):
        found = [RENAMED[name]] if name in RENAMED else []
        found += [authors for authors, other in RENAMED.items() if other == name]
        yield from (each.replace("#", number) for each in found)
    yield from unet.renamed(key)


def wholes(key: str) -> Iterator[tuple[Joined, int, str]]:
    """The joined weights that one may be a part of: with the number of the part, and that of the block."""
    for name, number in forms(key):
        yield from ((each, each.parts.index(name), number) for each in JOINED if name in each.parts)


def divided(key: str) -> Iterator[tuple[Joined, str]]:
    """What a joined weight may be in parts."""
    for name, number in forms(key):
        yield from ((each, number) for each in JOINED if each.whole == name)


def first_rows(joined: Joined, known: Mapping[int, int], height: int, width: int) -> list[int] | None:
    """The first row of every part, and the row after the last; None where the parts cannot fill it.

    Args:
        known: rows of some parts.
        height, width: of the joined weight.

    >>> first_rows(JOINED[0], {0: 4}, 12, 4), first_rows(JOINED[2], {3: 16}, 28, 4)
    ([0, 4, 8, 12], [0, 4, 8, 12, 28])
    """
    rows = dict(known)
    one, other = joined.equal
    for mine, its in ((one, other), (other, one)):
        if its in rows:
            rows.setdefault(mine, rows[its])
    rows |= {part: width for part in joined.square if part not in rows}
    missing = [part for part in range(len(joined.parts)) if part not in rows]
    left = height - sum(rows.values())
    if left < 0 or (missing and (left == 0 or left % len(missing))):
        return None
    rows |= dict.fromkeys(missing, left // len(missing) if missing else 0)
    if sum(rows.values()) != height or rows.get(one) != rows.get(other):
        return None
    firsts = [0]
    for part in range(len(joined.parts)):
        firsts.append(firsts[-1] + rows[part])
    return firsts
