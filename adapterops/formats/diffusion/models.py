"""What the weights of image and video models are called by their authors, and by diffusers.

All names are flat (see `flat`), with `#` for the number of a block. One row for each weight that is called otherwise, one
`Joined` for each that the one has as one matrix and the other in parts. A new model is one entry.

Source: the conversions of diffusers and ComfyUI, and of PixArt's authors.
"""

from __future__ import annotations

from adapterops.formats.diffusion.streams import MFLUX_OUT, OF_STREAMS
from adapterops.formats.diffusion.table import BLOCK, QKV, Joined, ModelNames, below, parts

KREA_ATTENTION = {"attn_wq": "attn_to_q", "attn_wk": "attn_to_k", "attn_wv": "attn_to_v", "attn_wo": "attn_to_out_0"}
KREA = {
    **KREA_ATTENTION,
    "attn_gate": "attn_to_gate",
    **{f"mlp_{each}": f"ff_{each}" for each in ("gate", "up", "down")},
}

WAN_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out_0", "norm_q": "norm_q", "norm_k": "norm_k"}
WAN_IMAGE = {"k_img": "add_k_proj", "v_img": "add_v_proj", "norm_k_img": "norm_added_k"}
WAN_BLOCK = {
    **below("self_attn", "attn1", WAN_ATTENTION),
    **below("cross_attn", "attn2", {**WAN_ATTENTION, **WAN_IMAGE}),
    **below("ffn", "ffn", {"0": "net_0_proj", "2": "net_2"}),
    "norm3": "norm2",
    "modulation": "scale_shift_table",
}

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
FEED_FORWARD = {f"feed_forward_w{each}": f"feed_forward_linear_{each}" for each in (1, 2, 3)}
ANIMA_ATTENTION = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "output_proj": "to_out_0"}
H3_BLOCKS = {"blocks_#": BLOCK, "token_refiner_blocks_#": "token_refiner_refiner_blocks_#"}

Z_FINAL, Z_EMBEDDER = "all_final_layer_2-1", "all_x_embedder_2-1"
"""diffusers has these by the sizes of patches, of which there is one."""

COSMOS = "blocks_block#_blocks"
COSMOS_ATTENTION = {"to_q_0": "to_q", "to_q_1": "norm_q", "to_k_0": "to_k", "to_k_1": "norm_k", "to_v_0": "to_v"}
COSMOS_ATTENTION["to_out_0"] = "to_out_0"
CASCADE = [f"{half}_blocks_{level}" for half in ("down", "up") for level in (0, 1)]

VIDEO_BLOCKS = ("blocks_#", "vace_blocks_#")

ACE_ATTENTION = {
    **{f"{each}_proj": f"to_{each}" for each in "qkv"},
    "o_proj": "to_out_0",
    "q_norm": "norm_q",
    "k_norm": "norm_k",
}
ACE_ENDS = {"proj_in_1": "proj_in_conv", "proj_out_1": "proj_out_conv"}
ACE_SAME = [
    *(f"layers_#_mlp_{each}_proj" for each in ("gate", "up", "down")),
    *(f"layers_#_{each}_norm" for each in ("self_attn", "cross_attn", "mlp")),
    *(f"{above}scale_shift_table" for above in ("layers_#_", "")),
    *(f"time_embed{each}_{layer}" for each in ("", "_r") for layer in ("linear_1", "linear_2", "time_proj")),
    "condition_embedder",
    "norm_out",
]
HELD = {"decoder_": "decoder_time_embed_r_linear_1"}
"""What the authors' files hold a model in, and their trainers leave out → a weight that no other has (ACE-Step 1.5)."""

MODELS = {
    **OF_STREAMS,
    "Z-Image": ModelNames(
        {
            **{
                f"{root}_#_attention_{mine}": f"{root}_#_attention_{its}"
                for root in REFINED
                for mine, its in {"out": "to_out_0", "q_norm": "norm_q", "k_norm": "norm_k"}.items()
            },
            **below("final_layer", Z_FINAL, {"linear": "linear", "adaLN_modulation_1": "adaLN_modulation_1"}),
            "x_embedder": Z_EMBEDDER,
        },
        [parts(f"{root}_#_attention_qkv", f"{root}_#_attention_") for root in REFINED],
    ),
    "Lumina 2": ModelNames(
        {
            f"{root}_#_{mine}": f"{root}_#_{its}"
            for root in REFINED
            for mine, its in {
                "attention_out": "attn_to_out_0",
                "attention_q_norm": "attn_norm_q",
                "attention_k_norm": "attn_norm_k",
                "adaLN_modulation_1": "norm1_linear",
                **FEED_FORWARD,
                **({"attention_norm1": "norm1"} if root == "context_refiner" else {"attention_norm1": "norm1_norm"}),
                "attention_norm2": "norm2",
            }.items()
        }
        | {
            "cap_embedder_0": "time_caption_embed_caption_embedder_0",
            "cap_embedder_1": "time_caption_embed_caption_embedder_1",
            "t_embedder_mlp_0": "time_caption_embed_timestep_embedder_linear_1",
            "t_embedder_mlp_2": "time_caption_embed_timestep_embedder_linear_2",
            "final_layer_adaLN_modulation_1": "norm_out_linear_1",
            "final_layer_linear": "norm_out_linear_2",
        },
        [parts(f"{root}_#_attention_qkv", f"{root}_#_attn_") for root in REFINED],
    ),
    "Ideogram 4": ModelNames({"layers_#_attention_o": "layers_#_attention_to_out_0"}),
    "Wan": ModelNames(
        {
            **{name: other for block in VIDEO_BLOCKS for name, other in below(block, block, WAN_BLOCK).items()},
            **below("vace_blocks_#", "vace_blocks_#", {"before_proj": "proj_in", "after_proj": "proj_out"}),
            **below("text_embedding", "condition_embedder_text_embedder", {"0": "linear_1", "2": "linear_2"}),
            **below("time_embedding", "condition_embedder_time_embedder", {"0": "linear_1", "2": "linear_2"}),
            **below(
                "img_emb_proj",
                "condition_embedder_image_embedder",
                {"0": "norm1", "1": "ff_net_0_proj", "3": "ff_net_2", "4": "norm2"},
            ),
            "time_projection_1": "condition_embedder_time_proj",
            "head_head": "proj_out",
            "head_modulation": "scale_shift_table",
            **below(
                "face_adapter_fuser_blocks_#",
                "face_adapter_#",
                {"linear1_q": "to_q", "linear2": "to_out", "q_norm": "norm_q", "k_norm": "norm_k"},
            ),
        },
        [
            Joined("face_adapter_fuser_blocks_#_linear1_kv", ("face_adapter_#_to_k", "face_adapter_#_to_v"), (0, 1)),
        ],
    ),
    "HunyuanDiT": ModelNames(
        {
            "blocks_#_attn1_out_proj": "blocks_#_attn1_to_out_0",
            "blocks_#_attn2_q_proj": "blocks_#_attn2_to_q",
            "blocks_#_attn2_out_proj": "blocks_#_attn2_to_out_0",
            "blocks_#_mlp_fc1": "blocks_#_ff_net_0_proj",
            "blocks_#_mlp_fc2": "blocks_#_ff_net_2",
            "blocks_#_default_modulation_1": "blocks_#_norm1_linear",
            **{
                f"blocks_#_attn{number}_{each}_norm": f"blocks_#_attn{number}_norm_{each}"
                for number in (1, 2)
                for each in "qk"
            },
            "t_embedder_mlp_0": "time_extra_emb_timestep_embedder_linear_1",
            "t_embedder_mlp_2": "time_extra_emb_timestep_embedder_linear_2",
            "extra_embedder_0": "time_extra_emb_extra_embedder_linear_1",
            "extra_embedder_2": "time_extra_emb_extra_embedder_linear_2",
            "mlp_t5_0": "text_embedder_linear_1",
            "mlp_t5_2": "text_embedder_linear_2",
            **{f"pooler_{each}_proj": f"time_extra_emb_pooler_{each}_proj" for each in "qkvc"},
        },
        [
            parts("blocks_#_attn1_Wqkv", "blocks_#_attn1_"),
            Joined("blocks_#_attn2_kv_proj", ("blocks_#_attn2_to_k", "blocks_#_attn2_to_v"), (0, 1)),
        ],
        exchanged=("blocks_#_norm2", "blocks_#_norm3"),
    ),
    "PixArt, Sana": ModelNames(
        {
            **below(
                "blocks_#",
                BLOCK,
                {
                    "attn_proj": "attn1_to_out_0",
                    "cross_attn_q_linear": "attn2_to_q",
                    "cross_attn_proj": "attn2_to_out_0",
                    "mlp_fc2": "ff_net_2",
                    **{f"mlp_{each}_conv_conv": f"ff_conv_{each}" for each in ("inverted", "depth", "point")},
                    "mlp_t_conv": "ff_conv_temp",
                    **{f"attn_{each}_norm": f"attn1_norm_{each}" for each in "qk"},
                    **{f"cross_attn_{each}_norm": f"attn2_norm_{each}" for each in "qk"},
                    "scale_shift_table": "scale_shift_table",
                },
            ),
            "final_layer_scale_shift_table": "scale_shift_table",
            "y_embedder_y_proj_fc1": "caption_projection_linear_1",
            "y_embedder_y_proj_fc2": "caption_projection_linear_2",
            "attention_y_norm": "caption_norm",
            "x_embedder_proj": "pos_embed_proj",
            "t_block_1": "adaln_single_linear",
            **{
                f"{mine}_embedder_mlp_{number}": f"adaln_single_emb_{its}_embedder_linear_{layer}"
                for mine, its in (("t", "timestep"), ("csize", "resolution"), ("ar", "aspect_ratio"))
                for number, layer in ((0, 1), (2, 2))
            },
        },
        [
            parts("blocks_#_attn_qkv", f"{BLOCK}_attn1_"),
            Joined("blocks_#_cross_attn_kv_linear", (f"{BLOCK}_attn2_to_k", f"{BLOCK}_attn2_to_v"), (0, 1)),
        ],
    ),
    "Sana, inputs": ModelNames(
        {
            "x_embedder_proj": "patch_embed_proj",
            "t_block_1": "time_embed_linear",
            "t_embedder_mlp_0": "time_embed_emb_timestep_embedder_linear_1",
            "t_embedder_mlp_2": "time_embed_emb_timestep_embedder_linear_2",
        }
    ),
    "Sana video, inputs": ModelNames({"x_embedder_proj": "patch_embedding"}),
    "PRX": ModelNames(
        below(
            "blocks_#",
            "blocks_#_attention",
            {
                "img_qkv_proj": "img_qkv_proj",
                "txt_kv_proj": "txt_kv_proj",
                "attn_out": "to_out_0",
                "qk_norm_query_norm": "norm_q",
                "qk_norm_key_norm": "norm_k",
                "k_norm": "norm_added_k",
            },
        )
    ),
    "LTX-Video, LTX-2": ModelNames(
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
            **{
                name: other
                for each in ("video", "audio")
                for name, other in below(
                    f"{each}_embeddings_connector_transformer_1d_blocks_#",
                    f"{each}_connector_{BLOCK}",
                    {
                        **{name: name for name in ("ff_net_0_proj", "ff_net_2")},
                        **{f"attn1_{name}": f"attn1_{name}" for name in (*QKV, "to_out_0")},
                        **{f"attn1_{name}_norm": f"attn1_norm_{name}" for name in "qk"},
                    },
                ).items()
            },
        }
    ),
    "Krea 2": ModelNames(
        {
            **below("blocks_#", BLOCK, KREA),
            **{
                name: other
                for each in ("layerwise_blocks", "refiner_blocks")
                for name, other in below(f"txtfusion_{each}_#", f"text_fusion_{each}_#", KREA).items()
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
            parts("blocks_#_attn_to_qkv", "blocks_#_attn_", ("wq", "wk", "wv")),
            parts("blocks_#_attn_to_qkv", f"{BLOCK}_attn_"),
            parts(f"{BLOCK}_attn_to_qkv", "blocks_#_attn_", ("wq", "wk", "wv")),
        ],
    ),
    "Krea 2, by mflux": ModelNames({"blocks_#_attn_wo": MFLUX_OUT}),
    "Krea 2, by LyCORIS": ModelNames(
        {f"blocks_#_{mine}": f"blocks_#_{its}" for mine, its in KREA_ATTENTION.items()},
        [parts("blocks_#_attn_to_qkv", "blocks_#_attn_")],
    ),
    "Qwen-Image 2.1": ModelNames(
        {},
        [
            Joined(
                f"{BLOCK}_{stream}_mlp_gate_up",
                (f"{BLOCK}_{stream}_mlp_gate_layer", f"{BLOCK}_{stream}_mlp_proj"),
                (0, 1),
            )
            for stream in ("img", "txt")
        ],
    ),
    "MiniMax-H3": ModelNames(
        {
            **{
                name: mine
                for one, other in H3_BLOCKS.items()
                for name, mine in below(
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
            *(parts(f"{one}_attn_qkv_proj", f"{other}_attn_") for one, other in H3_BLOCKS.items()),
            Joined(  # gate and value; in other models of these names there is no gate
                "blocks_#_mlp_fc1",
                (f"{BLOCK}_ff_net_0_proj",),
                swapped=True,
                times=2,
                against=("blocks_#_mlp_fc2", f"{BLOCK}_ff_net_2"),
            ),
            Joined("token_refiner_blocks_#_mlp_fc1", ("token_refiner_refiner_blocks_#_ff_net_0_proj",), swapped=True),
        ],
    ),
    "Anima, Cosmos": ModelNames(
        {
            **below("blocks_#_self_attn", f"{BLOCK}_attn1", ANIMA_ATTENTION),
            **below("blocks_#_cross_attn", f"{BLOCK}_attn2", ANIMA_ATTENTION),
            **below("blocks_#_mlp", f"{BLOCK}_ff", {"layer1": "net_0_proj", "layer2": "net_2"}),
            **{
                f"blocks_#_adaln_modulation_{one}_{each}": f"{BLOCK}_norm{number}_linear_{each}"
                for number, one in enumerate(("self_attn", "cross_attn", "mlp"), 1)
                for each in (1, 2)
            },
            **below("final_layer_adaln_modulation", "norm_out", {"1": "linear_1", "2": "linear_2"}),
            **below("t_embedder_1", "time_embed_t_embedder", {"linear_1": "linear_1", "linear_2": "linear_2"}),
            "x_embedder_proj_1": "patch_embed_proj",
        }
    ),
    "Cosmos 1": ModelNames(
        {
            **{
                f"{COSMOS}_{number - 1}_{mine}": f"{BLOCK}_{its}"
                for number in (1, 2, 3)
                for mine, its in (
                    *((f"adaLN_modulation_{each}", f"norm{number}_linear_{each}") for each in (1, 2)),
                    *((f"block_attn_{one}", f"attn{number}_{other}") for one, other in COSMOS_ATTENTION.items()),
                )
                if number < 3 or "attn" not in its
            },
            **below(f"{COSMOS}_2_block", f"{BLOCK}_ff", {"layer1": "net_0_proj", "layer2": "net_2"}),
            "final_layer_adaLN_modulation_2": "norm_out_linear_2",
        }
    ),
    "Stable Cascade": ModelNames(
        {
            f"{level}_#_attention_attn_{mine}": f"{level}_#_attention_{its}"
            for level in CASCADE
            for mine, its in {**{each: each for each in QKV}, "out_proj": "to_out_0"}.items()
        },
        [
            parts(f"{level}_#_attention_attn_in_proj_weight", f"{level}_#_attention_{inner}")
            for level in CASCADE
            for inner in ("", "attn_")
        ],
    ),
    "Stable Audio": ModelNames(
        {
            **below(
                "layers_#",
                BLOCK,
                {
                    "self_attn_to_out": "attn1_to_out_0",
                    "cross_attn_to_q": "attn2_to_q",
                    "cross_attn_to_out": "attn2_to_out_0",
                    "ff_ff_0_proj": "ff_net_0_proj",
                    "ff_ff_2": "ff_net_2",
                },
            ),
            **{
                f"to_{mine}_embed_{layer}": f"{its}_proj_{layer}"
                for mine, its in (("timestep", "timestep"), ("global", "global"), ("cond", "cross_attention"))
                for layer in (0, 2)
            },
            "project_in": "proj_in",
            "project_out": "proj_out",
        },
        [
            parts("layers_#_self_attn_to_qkv", f"{BLOCK}_attn1_"),
            Joined("layers_#_cross_attn_to_kv", (f"{BLOCK}_attn2_to_k", f"{BLOCK}_attn2_to_v"), (0, 1)),
        ],
    ),
    "ACE-Step 1.5": ModelNames(
        {
            **below("layers_#_self_attn", "layers_#_self_attn", ACE_ATTENTION),
            **below("layers_#_cross_attn", "layers_#_cross_attn", ACE_ATTENTION),
            **ACE_ENDS,
        }
    ),
    "ACE-Step 1.5, all of it": ModelNames(
        {
            **below("decoder_layers_#_self_attn", "layers_#_self_attn", ACE_ATTENTION),
            **below("decoder_layers_#_cross_attn", "layers_#_cross_attn", ACE_ATTENTION),
            **{f"decoder_{mine}": its for mine, its in (*ACE_ENDS.items(), *((each, each) for each in ACE_SAME))},
        }
    ),
    "OpenCLIP": ModelNames(
        {
            "resblocks_#_attn_out_proj": "encoder_layers_#_self_attn_out_proj",
            "resblocks_#_mlp_c_fc": "encoder_layers_#_mlp_fc1",
            "resblocks_#_mlp_c_proj": "encoder_layers_#_mlp_fc2",
        },
        [
            parts(
                "resblocks_#_attn_in_proj_weight",
                "encoder_layers_#_self_attn_",
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
