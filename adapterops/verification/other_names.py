"""Weights of image and video models under other programs' names, found independently: by letters, ends and rules of this room's own.

Two names mean one weight where one of them, without dots and underscores, ends with the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import NamedTuple, TypeAlias

from adapterops.regex import Regex
from adapterops.verification.model_names import pairs

HEADS = Regex(
    r"^(?:(?:lora|lycoris)_?(unet|transformer|te\d?|prior_unet|prior_te)?_|Hunyuan_video_I2V_lora_|diffusion_model_)"
    r"|^(?:diffusion_model\.)?s(?=former_blocks\.)|^(?:conditional_)?transformer(?:_2)?\.|^text_encoders\.(?:\w+\.)?transformer\."
    r"|^(?:model\.)?diffusion_model\.|^net\."
)
ENCODERS = {
    "1": ("text_encoder.", "cond_stage_model.", "embedders.0.", "clip_l."),
    "2": ("text_encoder_2.", "embedders.1.", "clip_g."),
    "3": ("text_encoder_3.", "t5xxl."),
}
"""What the names of a text encoder begin with, or have in them."""

SECOND, FIRST = "transformer_2.", "transformer."
"""The transformer of the last steps, in a pipeline of two, and the other."""


BARE = Regex(r"(?:text_model|model|layers|encoder)\.")
"""What the names of a text encoder begin with, in a file of its own."""

ROOTS = Regex(
    r"^(?:text_encoder(?:_\d)?\.)?(?:text_model[._](?=encoder[._]layers|embeddings|final_layer_norm)|model[._](?=layers[._]))"
)
"""How a name may begin whose weight is by another version of transformers below no such root."""

T5 = re.compile(r"(?:^|[._])encoder[._]block[._]\d")
"""What is in the names of that encoder alone, whichever of a pipeline's it is."""


@cache
def letters(name: str) -> str:
    """
    >>> letters("blocks.0.attn.to_q.weight")
    'blocks0attntoq'
    """
    return re.sub(r"[._]", "", name.removesuffix(".weight"))


@cache
def encoder(name: str) -> str:
    """The number of the text encoder that a name is in, or the second of two transformers; empty for neither."""
    if name.startswith(SECOND):
        return SECOND
    if T5.search(name):
        return "3"
    if found := re.match(r"(?:lora_)?te(\d?)[._]", name):
        return found[1] or "1"
    any_other = "1" if name.startswith("text_encoders.") else ""
    return next((number for number, marks in ENCODERS.items() if any(mark in name for mark in marks)), any_other)


@cache
def may_be_in(name: str, part: str) -> bool:
    """Whether a tensor is in a part of a pipeline, or in a text encoder by itself, whose names do not say which."""
    if part == SECOND:
        return encoder(name) == part or (not encoder(name) and not name.startswith(FIRST))
    return encoder(name) == part or (not encoder(name) and BARE.match(name) is not None)


def alike(module: str, layout: Mapping[str, object]) -> list[str]:
    """The tensors that a module may be by its letters: those that share the most of them, and have the fewest others."""
    name, part = HEADS.sub("", module), encoder(module)
    return _ending_alike(letters(name), part, layout) or _ending_alike(letters(ROOTS.sub("", name)), part, layout)


def _ending_alike(wanted: str, part: str, layout: Mapping[str, object]) -> list[str]:
    found = []
    for name in layout:
        there = letters(name)
        if (there.endswith(wanted) or wanted.endswith(there)) and may_be_in(name, part):
            found.append(((min(len(there), len(wanted)), encoder(name) == part, -len(there)), name))
    most = max((size for size, _ in found), default=None)
    return [name for size, name in found if size == most]


class PlacedRows(NamedTuple):
    """Rows `first` on of an update, `height` of them, are the rows from `row` on of the tensor that `name` ends."""

    name: str
    first: int
    height: int
    row: int


Columns: TypeAlias = Callable[[str], "int | None"]

Q, K, V, M = "qkvm"
ADDED = {"add_q_proj": Q, "add_k_proj": K, "add_v_proj": V}
PLAIN = {"to_q": Q, "to_k": K, "to_v": V}
CLIP = {"q_proj": Q, "k_proj": K, "v_proj": V}
KREA = {"wq": Q, "wk": K, "wv": V}
GATED, YAK = {"gate_layer": Q, "proj": V}, {"up_proj": Q, "gate_proj": V}
FUSED = [
    (r"token_refiner_refiner_blocks_(\d+)_attn_", PLAIN, "token_refiner.blocks.{}.attn.qkv_proj"),
    (r"single_transformer_blocks_(\d+)_(?:attn_)?", {**PLAIN, "proj_mlp": M}, "single_blocks.{}.linear1"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn_", PLAIN, "double_blocks.{}.img_attn.qkv"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn_", ADDED, "double_blocks.{}.txt_attn.qkv"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn_", PLAIN, "joint_blocks.{}.x_block.attn.qkv"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn_", ADDED, "joint_blocks.{}.context_block.attn.qkv"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn2_", PLAIN, "joint_blocks.{}.x_block.attn2.qkv"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn_", PLAIN, "blocks.{}.attn.qkv_proj"),
    (r"layers_(\d+)_attention_", PLAIN, "layers.{}.attention.qkv"),
    (r"noise_refiner_(\d+)_attention_", PLAIN, "noise_refiner.{}.attention.qkv"),
    (r"context_refiner_(\d+)_attention_", PLAIN, "context_refiner.{}.attention.qkv"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn_", PLAIN, "transformer_blocks.{}.attn.to_qkv"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn_", ADDED, "transformer_blocks.{}.attn.to_added_qkv"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn_", PLAIN, "blocks.{}.attn.to_qkv"),
    (r"(?<!transformer_)blocks_(\d+)_attn_", PLAIN, "blocks.{}.attn.to_qkv"),
    (r"(?<!transformer_)blocks_(\d+)_attn_", KREA, "blocks.{}.attn.to_qkv"),
    (r"(?<!transformer_)blocks_(\d+)_attn_", KREA, "transformer_blocks.{}.attn.to_qkv"),
    (r"layers_(\d+)_attn_", PLAIN, "layers.{}.attention.qkv"),
    (r"noise_refiner_(\d+)_attn_", PLAIN, "noise_refiner.{}.attention.qkv"),
    (r"context_refiner_(\d+)_attn_", PLAIN, "context_refiner.{}.attention.qkv"),
    (
        r"context_embedder_token_refiner_refiner_blocks_(\d+)_attn_",
        PLAIN,
        "txt_in.individual_token_refiner.blocks.{}.self_attn.qkv",
    ),
    (r"transformer_blocks_(\d+)_img_mlp_", GATED, "transformer_blocks.{}.img_mlp.gate_up"),
    (r"transformer_blocks_(\d+)_txt_mlp_", GATED, "transformer_blocks.{}.txt_mlp.gate_up"),
    (r"encoder_layers_(\d+)_self_attn_", CLIP, "resblocks.{}.attn.in_proj_weight"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn1_", PLAIN, "blocks.{}.attn.qkv_x"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn1_", ADDED, "blocks.{}.attn.qkv_y"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn1_", PLAIN, "blocks.{}.attn.qkv"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn2_", {"to_k": Q, "to_v": V}, "blocks.{}.cross_attn.kv_linear"),
    (r"(?<!transformer_)blocks_(\d+)_attn1_", PLAIN, "blocks.{}.attn1.Wqkv"),
    (r"(?<!transformer_)blocks_(\d+)_attn2_", {"to_k": Q, "to_v": V}, "blocks.{}.attn2.kv_proj"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn_", PLAIN, "blocks.{}.attn.a_to_qkv"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn_", ADDED, "blocks.{}.attn.b_to_qkv"),
    (r"single_transformer_blocks_(\d+)_(?:attn_)?", {**PLAIN, "proj_mlp": M}, "single_blocks.{}.to_qkv_mlp"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn1_", PLAIN, "layers.{}.self_attn.to_qkv"),
    (r"(?<!single_)transformer_blocks_(\d+)_attn2_", {"to_k": Q, "to_v": V}, "layers.{}.cross_attn.to_kv"),
    (r"double_blocks_(\d+)_img_attn_", {Q: Q, K: K, V: V}, "double_blocks.{}.img_attn.qkv"),
    (r"double_blocks_(\d+)_txt_attn_", {Q: Q, K: K, V: V}, "double_blocks.{}.txt_attn.qkv"),
    (r"single_blocks_(\d+)_linear1_", {Q: Q, K: K, V: V, "mlp": M}, "single_blocks.{}.linear1"),
    (r"double_blocks_(\d+)_img_mlp_", YAK, "transformer_blocks.{}.ff.net.0.proj"),
    (r"double_blocks_(\d+)_txt_mlp_", YAK, "transformer_blocks.{}.ff_context.net.0.proj"),
    (r"face_adapter_(\d+)_", {"to_k": Q, "to_v": V}, "face_adapter.fuser_blocks.{}.linear1_kv"),
    *(
        (
            rf"{half}_blocks_{level}_(\d+)_attention_{inner}",
            PLAIN,
            f"{half}_blocks.{level}.{{}}.attention.attn.in_proj_weight",
        )
        for half in ("down", "up")
        for level in (0, 1)
        for inner in ("", "attn_")
    ),
]
"""What the parts of a joined weight begin with, how they end, and what that is called."""

ONE = [
    (r"double_blocks_(\d+)_processor_(qkv|proj)_lora1", "double_blocks.{}.img_attn.{}"),
    (r"double_blocks_(\d+)_processor_(qkv|proj)_lora2", "double_blocks.{}.txt_attn.{}"),
    (r"single_blocks_(\d+)_processor_proj_lora", "single_blocks.{}.linear2"),
    (r"single_blocks_(\d+)_processor_qkv_lora", "single_blocks.{}.linear1"),
]
PAIRS = list(pairs())
TRANSPOSED = [
    (r"final_layer_adaLN_modulation_1()", r"norm_out_linear()", 0, ""),
    (r"final_layer_image_adaLN_modulation_1()", r"norm_out_linear()", 0, ""),
    (r"final_layer_mod()", r"norm_out_linear()", 0, ""),
    (r"modF_1()", r"norm_out_linear()", 0, ""),
    (r"blocks_(\d+)_mlp_x_w1", r"transformer_blocks_(\d+)_ff_net_0_proj", 0, ""),
    (r"blocks_(\d+)_mlp_y_w1", r"transformer_blocks_(\d+)_ff_context_net_0_proj", 0, ""),
    (r"joint_blocks_(\d+)_context_block_adaLN_modulation_1", r"transformer_blocks_(\d+)_norm1_context_linear", 2, ""),
    (r"blocks_(\d+)_mlp_fc1", r"transformer_blocks_(\d+)_ff_net_0_proj", 2, "mlp_fc2 ff_net_2"),
    (r"blocks_(\d+)_mlp_fc1", r"blocks_(\d+)_ff_net_0_proj", 2, "mlp_fc2 ff_net_2"),
    (r"token_refiner_blocks_(\d+)_mlp_fc1", r"token_refiner_refiner_blocks_(\d+)_ff_net_0_proj", 0, ""),
]
"""Pairs of which one has the second half of the other first. With a number, only those of so many rows for each column of
their own, or of a weight next to them that ends so."""


SAMPLER = {"resnets": 0, "attentions": 1}
INNER = [
    ("norm1", "in_layers_0"),
    ("conv1", "in_layers_2"),
    ("time_emb_proj", "emb_layers_1"),
    ("norm2", "out_layers_0"),
    ("conv2", "out_layers_3"),
    ("conv_shortcut", "skip_connection"),
]
ONCE = [
    ("conv_in", "input_blocks_0_0"),
    ("time_embedding_linear_1", "time_embed_0"),
    ("time_embedding_linear_2", "time_embed_2"),
    ("add_embedding_linear_1", "label_emb_0_0"),
    ("add_embedding_linear_2", "label_emb_0_2"),
    ("conv_norm_out", "out_0"),
    ("conv_out", "out_2"),
    ("mid_block_resnets_0", "middle_block_0"),
    ("mid_block_attentions_0", "middle_block_1"),
    ("mid_block_resnets_1", "middle_block_2"),
]


@cache
def _at_end(pattern: str) -> re.Pattern[str]:
    """What finds it at the end of a flat name; there are more of these than `re` remembers."""
    return re.compile(f"(?:^|_){pattern}$")


def in_unet(flat: str) -> Iterator[str]:
    """What a weight of Stable Diffusion's UNet is called by its authors, or by diffusers: blocks counted, or by level.

    >>> list(in_unet("up_blocks_1_resnets_2_conv1")), list(in_unet("output_blocks_5_0_in_layers_2"))
    (['output_blocks_5_0_in_layers_2'], ['up_blocks_1_resnets_2_conv1'])
    """
    inner = dict(INNER) | {other: one for one, other in INNER}
    if found := re.search(r"(down|up)_blocks_(\d)_(resnets|attentions)_(\d)_(.+)$", flat):
        half, level, kind, number, rest = found.groups()
        count = 3 * int(level) + int(number) + (half == "down")
        yield f"{'in' if half == 'down' else 'out'}put_blocks_{count}_{SAMPLER[kind]}_{inner.get(rest, rest)}"
    elif found := re.search(r"(in|out)put_blocks_(\d+)_([01])_(.+)$", flat):
        level, number = divmod(int(found[2]) - (found[1] == "in"), 3)
        kind = "attentions" if found[3] == "1" else "resnets"
        yield f"{'down' if found[1] == 'in' else 'up'}_blocks_{level}_{kind}_{number}_{inner.get(found[4], found[4])}"
    if found := re.search(r"down_blocks_(\d)_downsamplers_0_conv$", flat):
        yield f"input_blocks_{3 * int(found[1]) + 3}_0_op"
    if found := re.search(r"input_blocks_(\d+)_0_op$", flat):
        yield f"down_blocks_{int(found[1]) // 3 - 1}_downsamplers_0_conv"
    if found := re.search(r"up_blocks_(\d)_upsamplers_0_conv$", flat):
        yield from (f"output_blocks_{3 * int(found[1]) + 2}_{place}_conv" for place in (2, 1))
    if found := re.search(r"output_blocks_(\d+)_[12]_conv$", flat):
        yield f"up_blocks_{int(found[1]) // 3}_upsamplers_0_conv"
    for pair in ONCE:
        for one, other in (pair, pair[::-1]):
            if found := _at_end(rf"(?<!to_){one}(?:_(.+))?").search(flat):  # to_out_0 is a layer of attention
                rest = found[1] or ""
                yield f"{other}_{inner.get(rest, rest)}".strip("_")


def elsewhere(module: str, shape: tuple[int, int], columns: Columns) -> Iterator[list[PlacedRows]]:
    """Ways in which a base may have a module by other names: the ends of these. A negative row counts from the end.

    Args:
        columns: of the tensor of the base whose name ends in some way, if there is one.
    """
    flat, (out, into) = HEADS.sub("", module).replace(".", "_").strip("_"), shape
    end = "_bias" if flat.endswith("_bias") else ""
    yield from ([PlacedRows(name + end, 0, out, 0)] for name in in_unet(flat.removesuffix(end)))
    for pattern, name in ONE:
        if match := re.search(pattern + "$", flat):
            authors = name.format(*match.groups())
            yield [PlacedRows(authors, 0, out, 0)]
            yield from elsewhere(authors, shape, columns)
    transposed_pairs = [(pair, (times, ends)) for *pair, times, ends in TRANSPOSED]
    found = [
        (match.start(), before + re.sub(r"\(.*?\)", match[1] if match.re.groups else "", other) + end, rule)
        for pair, rule in [*((pair, None) for pair in PAIRS), *transposed_pairs]
        for one, other in (pair, pair[::-1])
        if (match := _at_end(one + end).search(flat))
        for before in dict.fromkeys([flat[: match.start() + 1] if match.start() else "", ""])
    ]
    for _, name, rule in sorted(found, key=lambda each: each[0]):  # the one of the most letters first
        half = out // 2
        transposed = rule is not None and _is_transposed(name, shape, *rule, columns)
        yield (
            [PlacedRows(name, half, half, 0), PlacedRows(name, 0, half, half)]
            if transposed
            else [PlacedRows(name, 0, out, 0)]
        )
    for begin, ends, name in FUSED:
        if match := _at_end(f"{begin}(.+)").search(flat):
            part = ends.get(match[2])
            is_mlp = M in ends.values()
            row = {Q: 0, K: into if is_mlp else -2 * out, V: 2 * into if is_mlp else -out, M: -out}
            if part:
                yield [PlacedRows(name.format(match[1]), 0, out, row[part])]


def _is_transposed(name: str, shape: tuple[int, int], times: int, ends: str, columns: Columns) -> bool:
    out, into = shape
    others = [re.sub(r"(?:mlp_fc1|ff_net_0_proj)(?:_bias)?$", end, name) for end in ends.split()]
    counted = [count for other in others if (count := columns(other))]
    return not times or out == times * (counted[0] if counted else into)


def in_parts(module: str) -> Iterator[list[str]]:
    """What a joined weight may be in parts: the ends of their names, from the first row to the last."""
    flat = module.replace(".", "_").strip("_")
    for pattern, name in ONE:
        if found := re.search(pattern + "$", flat):
            yield from in_parts(name.format(*found.groups()))
    for begin, ends, name in FUSED:
        whole = re.escape(name.replace(".", "_")).replace(r"\{\}", r"(\d+)")
        if found := _at_end(whole).search(flat):
            plain = re.sub(r"\(\?.*?\)\??", "", begin).replace(r"(\d+)", found[1])
            above = "attn_" if "(?:attn_)?" in begin else ""
            yield [plain + (end if end == "proj_mlp" else above + end) for end in ends]
