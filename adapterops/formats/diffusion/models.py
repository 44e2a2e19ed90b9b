"""What the weights of image and video models are called by their authors, and by diffusers.

All names are flat (see `flat`), with `#` for the number of a block. One row for each weight that is called otherwise, one
`Joined` for each that the one has as one matrix and the other in parts. A new model is one entry.

Source: the conversions of diffusers and ComfyUI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


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


class Model(NamedTuple):
    """The name by the authors → the one in diffusers, and what is joined in one of the two."""

    renamed: Mapping[str, str]
    joined: Sequence[Joined] = ()


QKV = ("to_q", "to_k", "to_v")
ADDED = ("add_q_proj", "add_k_proj", "add_v_proj")


def _parts(whole: str, above: str, names: Sequence[str] = QKV) -> Joined:
    return Joined(whole, tuple(f"{above}{each}" for each in names), (1, 2))


def _below(one: str, other: str, names: Mapping[str, str]) -> dict[str, str]:
    return {f"{one}_{mine}": f"{other}_{its}" for mine, its in names.items()}


def _embedder(name: str) -> dict[str, str]:
    """The two layers of an embedding."""
    return {"in_layer": f"{name}_linear_1", "out_layer": f"{name}_linear_2"}


BLOCK, DOUBLE, SINGLE = "transformer_blocks_#", "double_blocks_#", "single_blocks_#"
SINGLE_BLOCK = "single_transformer_blocks_#"

STREAMS = {
    **_below(DOUBLE, BLOCK, {"img_attn_proj": "attn_to_out_0", "txt_attn_proj": "attn_to_add_out"}),
    **_below(f"{DOUBLE}_img_attn_norm", f"{BLOCK}_attn", {"query_norm": "norm_q", "key_norm": "norm_k"}),
    **_below(f"{DOUBLE}_txt_attn_norm", f"{BLOCK}_attn", {"query_norm": "norm_added_q", "key_norm": "norm_added_k"}),
    **_below(f"{SINGLE}_norm", f"{SINGLE_BLOCK}_attn", {"query_norm": "norm_q", "key_norm": "norm_k"}),
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "final_layer_linear": "proj_out",
}
"""Of Flux and what its authors made after it."""

STREAMS_JOINED = [
    _parts(f"{DOUBLE}_img_attn_qkv", f"{BLOCK}_attn_"),
    _parts(f"{DOUBLE}_txt_attn_qkv", f"{BLOCK}_attn_", ADDED),
    Joined("final_layer_adaLN_modulation_1", ("norm_out_linear",), swapped=True),
]

KREA_ATTENTION = {"attn_wq": "attn_to_q", "attn_wk": "attn_to_k", "attn_wv": "attn_to_v", "attn_wo": "attn_to_out_0"}
KREA = {
    **KREA_ATTENTION,
    "attn_gate": "attn_to_gate",
    **{f"mlp_{each}": f"ff_{each}" for each in ("gate", "up", "down")},
}

WAN_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out_0", "norm_q": "norm_q", "norm_k": "norm_k"}
WAN_IMAGE = {"k_img": "add_k_proj", "v_img": "add_v_proj", "norm_k_img": "norm_added_k"}

LTX = {
    "patchify_proj": "proj_in",
    "audio_patchify_proj": "audio_proj_in",
    "aggregate_embed": "text_proj_in",
}
LTX_MODULATION = {
    "adaln_single": "time_embed",
    "audio_adaln_single": "audio_time_embed",
    "av_ca_video_scale_shift_adaln_single": "av_cross_attn_video_scale_shift",
    "av_ca_audio_scale_shift_adaln_single": "av_cross_attn_audio_scale_shift",
    "av_ca_a2v_gate_adaln_single": "av_cross_attn_video_a2v_gate",
    "av_ca_v2a_gate_adaln_single": "av_cross_attn_audio_v2a_gate",
    "prompt_adaln_single": "prompt_adaln",
    "audio_prompt_adaln_single": "audio_prompt_adaln",
}
LTX_ATTENTIONS = ("attn1", "attn2", "audio_attn1", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn")

REFINED = ("layers", "noise_refiner", "context_refiner")
ANIMA_ATTENTION = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "output_proj": "to_out_0"}
TOKENS, TOKENS_BLOCK = "txt_in_individual_token_refiner_blocks_#", "context_embedder_token_refiner_refiner_blocks_#"
H3_BLOCKS = {"blocks_#": BLOCK, "token_refiner_blocks_#": "token_refiner_refiner_blocks_#"}

MODELS = {
    "Flux, Chroma": Model(
        {
            **STREAMS,
            **_below(f"{DOUBLE}_img_mlp", f"{BLOCK}_ff", {"0": "net_0_proj", "2": "net_2"}),
            **_below(f"{DOUBLE}_txt_mlp", f"{BLOCK}_ff_context", {"0": "net_0_proj", "2": "net_2"}),
            **_below(DOUBLE, BLOCK, {"img_mod_lin": "norm1_linear", "txt_mod_lin": "norm1_context_linear"}),
            **_below(SINGLE, SINGLE_BLOCK, {"linear2": "proj_out", "modulation_lin": "norm_linear"}),
            **_below("time_in", "time_text_embed", _embedder("timestep_embedder")),
            **_below("vector_in", "time_text_embed", _embedder("text_embedder")),
            **_below("guidance_in", "time_text_embed", _embedder("guidance_embedder")),
        },
        [
            *STREAMS_JOINED,
            Joined(
                f"{SINGLE}_linear1",
                (*(f"{SINGLE_BLOCK}_attn_{each}" for each in QKV), f"{SINGLE_BLOCK}_proj_mlp"),
                (1, 2),
                square=(0, 1, 2),
            ),
        ],
    ),
    "FLUX.2": Model(
        {
            **_below(f"{DOUBLE}_img_mlp", f"{BLOCK}_ff", {"0": "linear_in", "2": "linear_out"}),
            **_below(f"{DOUBLE}_txt_mlp", f"{BLOCK}_ff_context", {"0": "linear_in", "2": "linear_out"}),
            **_below(SINGLE, f"{SINGLE_BLOCK}_attn", {"linear1": "to_qkv_mlp_proj", "linear2": "to_out"}),
            **{
                f"{each}_lin": f"{each}_linear"
                for each in ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation")
            },
            **_below("time_in", "time_guidance_embed", _embedder("timestep_embedder")),
            **_below("guidance_in", "time_guidance_embed", _embedder("guidance_embedder")),
        },
        [  # diffusers joins them, too, for LoKr
            _parts(f"{BLOCK}_attn_to_qkv", f"{BLOCK}_attn_"),
            _parts(f"{BLOCK}_attn_to_added_qkv", f"{BLOCK}_attn_", ADDED),
        ],
    ),
    "FLUX.3": Model(
        {
            f"{one}_{mine}": f"{other}_{its}"
            for one, other in ((SINGLE, SINGLE_BLOCK), ("content_mode_blocks_#", "mode_blocks_#"))
            for mine, its in {
                **{f"{each}_proj": f"attn_to_{each}" for each in "qkv"},
                "attn_out": "attn_to_out_0",
                "mlp_in": "ff_linear_in",
                "mlp_out": "ff_linear_out",
            }.items()
        }
    ),
    "HunyuanVideo": Model(
        {
            **_below(f"{DOUBLE}_img_mlp", f"{BLOCK}_ff", {"fc1": "net_0_proj", "fc2": "net_2"}),
            **_below(f"{DOUBLE}_txt_mlp", f"{BLOCK}_ff_context", {"fc1": "net_0_proj", "fc2": "net_2"}),
            **_below(DOUBLE, BLOCK, {"img_mod_linear": "norm1_linear", "txt_mod_linear": "norm1_context_linear"}),
            f"{SINGLE}_modulation_linear": f"{SINGLE_BLOCK}_norm_linear",
            **{
                f"{one}_mlp_{number}": f"{above}time_text_embed_{other}_linear_{layer}"
                for one, above, other in (
                    ("time_in", "", "timestep_embedder"),
                    ("guidance_in", "", "guidance_embedder"),
                    ("txt_in_t_embedder", "context_embedder_", "timestep_embedder"),
                )
                for number, layer in ((0, 1), (2, 2))
            },
            **{
                f"txt_in_c_embedder_linear_{each}": f"context_embedder_time_text_embed_text_embedder_linear_{each}"
                for each in (1, 2)
            },
            "txt_in_input_embedder": "context_embedder_proj_in",
            **_below(
                TOKENS,
                TOKENS_BLOCK,
                {
                    "self_attn_proj": "attn_to_out_0",
                    "mlp_fc1": "ff_net_0_proj",
                    "mlp_fc2": "ff_net_2",
                    "adaLN_modulation_1": "norm_out_linear",
                },
            ),
        },
        [_parts(f"{TOKENS}_self_attn_qkv", f"{TOKENS_BLOCK}_attn_")],
    ),
    "HunyuanVideo, by ComfyUI": Model(
        {
            f"{DOUBLE}_{stream}_{mine}": f"{DOUBLE}_{stream}_{its}"
            for stream in ("img", "txt")
            for mine, its in {"mlp_0": "mlp_fc1", "mlp_2": "mlp_fc2", "mod_lin": "mod_linear"}.items()
        }
        | {f"{SINGLE}_modulation_lin": f"{SINGLE}_modulation_linear"}
    ),
    "Stable Diffusion 3": Model(
        {
            **_below(
                "joint_blocks_#_x_block",
                BLOCK,
                {
                    "attn_proj": "attn_to_out_0",
                    "attn2_proj": "attn2_to_out_0",
                    "mlp_fc1": "ff_net_0_proj",
                    "mlp_fc2": "ff_net_2",
                    "adaLN_modulation_1": "norm1_linear",
                },
            ),
            **_below(
                "joint_blocks_#_context_block",
                BLOCK,
                {
                    "attn_proj": "attn_to_add_out",
                    "mlp_fc1": "ff_context_net_0_proj",
                    "mlp_fc2": "ff_context_net_2",
                    "adaLN_modulation_1": "norm1_context_linear",
                },
            ),
            **{
                f"{one}_embedder_mlp_{number}": f"time_text_embed_{other}_embedder_linear_{layer}"
                for one, other in (("t", "timestep"), ("y", "text"))
                for number, layer in ((0, 1), (2, 2))
            },
            "x_embedder_proj": "pos_embed_proj",
        },
        [
            _parts("joint_blocks_#_x_block_attn_qkv", f"{BLOCK}_attn_"),
            _parts("joint_blocks_#_context_block_attn_qkv", f"{BLOCK}_attn_", ADDED),
            _parts("joint_blocks_#_x_block_attn2_qkv", f"{BLOCK}_attn2_"),
        ],
    ),
    "Z-Image": Model(
        {f"{root}_#_attention_out": f"{root}_#_attention_to_out_0" for root in REFINED},
        [_parts(f"{root}_#_attention_qkv", f"{root}_#_attention_") for root in REFINED],
    ),
    "Lumina 2": Model(
        {
            f"{root}_#_{mine}": f"{root}_#_{its}"
            for root in REFINED
            for mine, its in {
                "attention_out": "attn_to_out_0",
                "adaLN_modulation_1": "norm1_linear",
                **{f"feed_forward_w{each}": f"feed_forward_linear_{each}" for each in (1, 2, 3)},
            }.items()
        }
        | {
            "cap_embedder_1": "time_caption_embed_caption_embedder_1",
            "t_embedder_mlp_0": "time_caption_embed_timestep_embedder_linear_1",
            "t_embedder_mlp_2": "time_caption_embed_timestep_embedder_linear_2",
            "final_layer_adaLN_modulation_1": "norm_out_linear_1",
            "final_layer_linear": "norm_out_linear_2",
        },
        [_parts(f"{root}_#_attention_qkv", f"{root}_#_attn_") for root in REFINED],
    ),
    "Ideogram 4": Model({"layers_#_attention_o": "layers_#_attention_to_out_0"}),
    "Wan": Model(
        {
            **_below("blocks_#_self_attn", "blocks_#_attn1", WAN_ATTENTION),
            **_below("blocks_#_cross_attn", "blocks_#_attn2", {**WAN_ATTENTION, **WAN_IMAGE}),
            **_below("blocks_#_ffn", "blocks_#_ffn", {"0": "net_0_proj", "2": "net_2"}),
            **_below("blocks_#", "blocks_#", {"norm3": "norm2", "modulation": "scale_shift_table"}),
            **_below("text_embedding", "condition_embedder_text_embedder", {"0": "linear_1", "2": "linear_2"}),
            **_below("time_embedding", "condition_embedder_time_embedder", {"0": "linear_1", "2": "linear_2"}),
            **_below(
                "img_emb_proj",
                "condition_embedder_image_embedder",
                {"0": "norm1", "1": "ff_net_0_proj", "3": "ff_net_2", "4": "norm2"},
            ),
            "time_projection_1": "condition_embedder_time_proj",
            "head_head": "proj_out",
            "head_modulation": "scale_shift_table",
        }
    ),
    "LTX-Video, LTX-2": Model(
        {
            **LTX,
            **{
                f"{mine}_{each}": f"{its}_{each}"
                for mine, its in LTX_MODULATION.items()
                for each in ("linear", "emb_timestep_embedder_linear_1", "emb_timestep_embedder_linear_2")
            },
            **{
                f"{BLOCK}_{attention}_{each}_norm": f"{BLOCK}_{attention}_norm_{each}"
                for attention in LTX_ATTENTIONS
                for each in "qk"
            },
            **{
                f"{BLOCK}_scale_shift_table_a2v_ca_{each}": f"{BLOCK}_{each}_a2v_cross_attn_scale_shift_table"
                for each in ("video", "audio")
            },
        }
    ),
    "Krea 2": Model(
        {
            **_below("blocks_#", BLOCK, KREA),
            **{
                name: other
                for each in ("layerwise_blocks", "refiner_blocks")
                for name, other in _below(f"txtfusion_{each}_#", f"text_fusion_{each}_#", KREA).items()
            },
            "first": "img_in",
            "last_linear": "final_layer_linear",
            "tmlp_0": "time_embed_linear_1",
            "tmlp_2": "time_embed_linear_2",
            "tproj_1": "time_mod_proj",
            "txtmlp_1": "txt_in_linear_1",
            "txtmlp_3": "txt_in_linear_2",
            "txtfusion_projector": "text_fusion_projector",
        },
        [
            _parts("blocks_#_attn_to_qkv", "blocks_#_attn_", ("wq", "wk", "wv")),
            _parts("blocks_#_attn_to_qkv", f"{BLOCK}_attn_"),
            _parts(f"{BLOCK}_attn_to_qkv", "blocks_#_attn_", ("wq", "wk", "wv")),
        ],
    ),
    "Krea 2, by LyCORIS": Model(
        {f"blocks_#_{mine}": f"blocks_#_{its}" for mine, its in KREA_ATTENTION.items()},
        [_parts("blocks_#_attn_to_qkv", "blocks_#_attn_")],
    ),
    "Qwen-Image 2.1": Model(
        {},
        [
            Joined(f"{BLOCK}_{stream}_mlp_gate_up", (f"{BLOCK}_{stream}_mlp_gate_layer", f"{BLOCK}_{stream}_mlp_proj"))
            for stream in ("img", "txt")
        ],
    ),
    "MiniMax-H3": Model(
        {
            **{
                name: mine
                for one, other in H3_BLOCKS.items()
                for name, mine in _below(
                    one,
                    other,
                    {"attn_out_proj": "attn_to_out_0", "mlp_fc2": "ff_net_2", "adaln_proj_linear": "adaln_proj_linear"},
                ).items()
            },
            "video_patch_proj": "proj_in",
            "audio_patch_proj": "audio_proj_in",
            "condition_proj": "context_embedder",
            "time_embedder_proj_in": "time_embedder_linear_1",
            "time_embedder_proj_out": "time_embedder_linear_2",
            "final_layer_adaln_proj_linear": "norm_out_linear",
            "final_layer_video_out": "proj_out",
            "final_layer_audio_out": "audio_proj_out",
        },
        [
            *(_parts(f"{one}_attn_qkv_proj", f"{other}_attn_") for one, other in H3_BLOCKS.items()),
            *(Joined(f"{one}_mlp_fc1", (f"{other}_ff_net_0_proj",), swapped=True) for one, other in H3_BLOCKS.items()),
        ],
    ),
    "Anima, Cosmos": Model(
        {
            **_below("blocks_#_self_attn", f"{BLOCK}_attn1", ANIMA_ATTENTION),
            **_below("blocks_#_cross_attn", f"{BLOCK}_attn2", ANIMA_ATTENTION),
            **_below("blocks_#_mlp", f"{BLOCK}_ff", {"layer1": "net_0_proj", "layer2": "net_2"}),
            **{
                f"blocks_#_adaln_modulation_{one}_{each}": f"{BLOCK}_norm{number}_linear_{each}"
                for number, one in enumerate(("self_attn", "cross_attn", "mlp"), 1)
                for each in (1, 2)
            },
            **_below("final_layer_adaln_modulation", "norm_out", {"1": "linear_1", "2": "linear_2"}),
            **_below("t_embedder_1", "time_embed_t_embedder", {"linear_1": "linear_1", "linear_2": "linear_2"}),
            "x_embedder_proj_1": "patch_embed_proj",
        }
    ),
    "OpenCLIP": Model(
        {
            "resblocks_#_attn_out_proj": "text_model_encoder_layers_#_self_attn_out_proj",
            "resblocks_#_mlp_c_fc": "text_model_encoder_layers_#_mlp_fc1",
            "resblocks_#_mlp_c_proj": "text_model_encoder_layers_#_mlp_fc2",
        },
        [
            _parts(
                "resblocks_#_attn_in_proj_weight",
                "text_model_encoder_layers_#_self_attn_",
                ("q_proj", "k_proj", "v_proj"),
            )
        ],
    ),
}

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
