"""Models with blocks that have image and text apart, and what their authors and diffusers call the weights of these."""

from __future__ import annotations

from adapterops.formats.diffusion.table import (
    ADDED,
    BLOCK,
    QKV,
    SINGLE_BLOCK,
    Joined,
    ModelNames,
    below,
    embedder,
    embedders,
    parts,
)

DOUBLE, SINGLE = "double_blocks_#", "single_blocks_#"

STREAMS = {
    **below(DOUBLE, BLOCK, {"img_attn_proj": "attn_to_out_0", "txt_attn_proj": "attn_to_add_out"}),
    **below(f"{DOUBLE}_img_attn_norm", f"{BLOCK}_attn", {"query_norm": "norm_q", "key_norm": "norm_k"}),
    **below(f"{DOUBLE}_txt_attn_norm", f"{BLOCK}_attn", {"query_norm": "norm_added_q", "key_norm": "norm_added_k"}),
    **below(f"{SINGLE}_norm", f"{SINGLE_BLOCK}_attn", {"query_norm": "norm_q", "key_norm": "norm_k"}),
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "final_layer_linear": "proj_out",
}
"""Of Flux and what its authors made after it."""

STREAMS_JOINED = [
    parts(f"{DOUBLE}_img_attn_qkv", f"{BLOCK}_attn_"),
    parts(f"{DOUBLE}_txt_attn_qkv", f"{BLOCK}_attn_", ADDED),
    Joined("final_layer_adaLN_modulation_1", ("norm_out_linear",), swapped=True),
]

APPROXIMATOR = "distilled_guidance_layer_layers_#"
"""Of Chroma, in the place of modulations."""

TOKENS, TOKENS_BLOCK = "txt_in_individual_token_refiner_blocks_#", "context_embedder_token_refiner_refiner_blocks_#"

FLUX3_MODES = ("image", "image_cond")
FLUX3_BLOCKS = {
    SINGLE: SINGLE_BLOCK,
    "txt_mode_blocks_#": "txt_mode_blocks_#",
    **{f"content_mode_blocks_{mode}_#": f"mode_blocks_{mode}_#" for mode in FLUX3_MODES},
}

JOINT = "joint_transformer_blocks_#"
AURA_MLP = {"c_fc1": "linear_1", "c_fc2": "linear_2", "c_proj": "out_projection"}
AURA_IMAGE = {"w2q": "to_q", "w2k": "to_k", "w2v": "to_v", "w2o": "to_out_0"}
AURA_TEXT = {"w1q": "add_q_proj", "w1k": "add_k_proj", "w1v": "add_v_proj", "w1o": "to_add_out"}
AURA_SINGLE = {"w1q": "to_q", "w1k": "to_k", "w1v": "to_v", "w1o": "to_out_0"}

DIFFSYNTH, DIFFSYNTH_PAIRS = (
    "blocks_#",
    {
        **{f"attn_{mine}_to_out": f"{its}_attn_proj" for mine, its in (("a", "img"), ("b", "txt"))},
        **{
            f"ff_{mine}_{layer}": f"{its}_mlp_{layer}" for mine, its in (("a", "img"), ("b", "txt")) for layer in (0, 2)
        },
        **{f"norm1_{mine}_linear": f"{its}_mod_lin" for mine, its in (("a", "img"), ("b", "txt"))},
    },
)
DIFFSYNTH_IN_DIFFUSERS = {
    "attn_a_to_out": "attn_to_out_0",
    "attn_b_to_out": "attn_to_add_out",
    **{f"ff_a_{layer}": f"ff_{its}" for layer, its in ((0, "net_0_proj"), (2, "net_2"))},
    **{f"ff_b_{layer}": f"ff_context_{its}" for layer, its in ((0, "net_0_proj"), (2, "net_2"))},
    "norm1_a_linear": "norm1_linear",
    "norm1_b_linear": "norm1_context_linear",
}

OVIS_STREAMS = {"img": "ff", "txt": "ff_context"}
HUNYUAN_TIMES = {"time_in": "timestep_embedder", "time_r_in": "timestep_embedder_r"}
HUNYUAN_PARTS = {
    **{f"linear1_{each}": f"attn_to_{each}" for each in "qkv"},
    "linear1_mlp": "proj_mlp",
}
GLYPHS = {
    "byt5_in_layernorm": "context_embedder_2_norm",
    **{f"byt5_in_fc{each}": f"context_embedder_2_linear_{each}" for each in (1, 2, 3)},
}
"""Of HunyuanImage and HunyuanVideo 1.5."""

MFLUX = {0: ("linear1", "net_0_proj"), 2: ("linear2", "net_2")}
"""The layers of a feed-forward, which mflux calls otherwise than diffusers, and nothing else of Flux."""

MFLUX_OUT = f"{BLOCK}_attn_to_out"
"""What mflux calls otherwise of FLUX.2; of Krea 2 it reads the name, too."""

OF_STREAMS = {
    "Flux, Chroma": ModelNames(
        {
            **STREAMS,
            **below(f"{DOUBLE}_img_mlp", f"{BLOCK}_ff", {"0": "net_0_proj", "2": "net_2"}),
            **below(f"{DOUBLE}_txt_mlp", f"{BLOCK}_ff_context", {"0": "net_0_proj", "2": "net_2"}),
            **below(DOUBLE, BLOCK, {"img_mod_lin": "norm1_linear", "txt_mod_lin": "norm1_context_linear"}),
            **below(SINGLE, SINGLE_BLOCK, {"linear2": "proj_out", "modulation_lin": "norm_linear"}),
            **below("time_in", "time_text_embed", embedder("timestep_embedder")),
            **below("vector_in", "time_text_embed", embedder("text_embedder")),
            **below("guidance_in", "time_text_embed", embedder("guidance_embedder")),
            **below(APPROXIMATOR, APPROXIMATOR, {"in_layer": "linear_1", "out_layer": "linear_2"}),
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
    "Flux, by DiffSynth": ModelNames(
        {
            **{f"{DOUBLE}_{its}": f"{DIFFSYNTH}_{mine}" for mine, its in DIFFSYNTH_PAIRS.items()},
            **below(SINGLE, SINGLE, {"linear2": "proj_out", "modulation_lin": "norm_linear"}),
        },
        [
            Joined(f"{DOUBLE}_img_attn_qkv", (f"{DIFFSYNTH}_attn_a_to_qkv",)),
            Joined(f"{DOUBLE}_txt_attn_qkv", (f"{DIFFSYNTH}_attn_b_to_qkv",)),
            Joined(f"{SINGLE}_linear1", (f"{SINGLE}_to_qkv_mlp",)),
        ],
    ),
    "Flux, by DiffSynth and diffusers": ModelNames(
        {
            **below(DIFFSYNTH, BLOCK, DIFFSYNTH_IN_DIFFUSERS),
            **below(SINGLE, SINGLE_BLOCK, {each: each for each in ("proj_out", "norm_linear")}),
        },
        [
            parts(f"{DIFFSYNTH}_attn_a_to_qkv", f"{BLOCK}_attn_"),
            parts(f"{DIFFSYNTH}_attn_b_to_qkv", f"{BLOCK}_attn_", ADDED),
            Joined(
                f"{SINGLE}_to_qkv_mlp",
                (*(f"{SINGLE_BLOCK}_attn_{each}" for each in QKV), f"{SINGLE_BLOCK}_proj_mlp"),
                (1, 2),
                square=(0, 1, 2),
            ),
        ],
    ),
    "Flux, by mflux": ModelNames(
        {
            f"{DOUBLE}_{stream}_mlp_{layer}": f"{BLOCK}_{ff}_{MFLUX[layer][0]}"
            for stream, ff in (("img", "ff"), ("txt", "ff_context"))
            for layer in (0, 2)
        }
    ),
    "Flux, by mflux and diffusers": ModelNames(
        {f"{BLOCK}_{ff}_{mine}": f"{BLOCK}_{ff}_{its}" for ff in ("ff", "ff_context") for mine, its in MFLUX.values()}
    ),
    "FLUX.2, by mflux": ModelNames({f"{DOUBLE}_img_attn_proj": MFLUX_OUT}),
    "FLUX.2, Krea 2, by mflux and diffusers": ModelNames({MFLUX_OUT: f"{BLOCK}_attn_to_out_0"}),
    "Qwen-Image, by mflux": ModelNames(
        {
            f"{BLOCK}_attn_attn_to_out_0": f"{BLOCK}_attn_to_out_0",
            **{
                f"{BLOCK}_{stream}_{mine}": f"{BLOCK}_{stream}_{its}"
                for stream in ("img", "txt")
                for mine, its in {
                    "ff_mlp_in": "mlp_net_0_proj",
                    "ff_mlp_out": "mlp_net_2",
                    "mod_linear": "mod_1",
                }.items()
            },
        }
    ),
    "FLUX.2": ModelNames(
        {
            **below(f"{DOUBLE}_img_mlp", f"{BLOCK}_ff", {"0": "linear_in", "2": "linear_out"}),
            **below(f"{DOUBLE}_txt_mlp", f"{BLOCK}_ff_context", {"0": "linear_in", "2": "linear_out"}),
            **below(SINGLE, f"{SINGLE_BLOCK}_attn", {"linear1": "to_qkv_mlp_proj", "linear2": "to_out"}),
            **{
                f"{each}_lin": f"{each}_linear"
                for each in ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation")
            },
            **below("time_in", "time_guidance_embed", embedder("timestep_embedder")),
            **below("guidance_in", "time_guidance_embed", embedder("guidance_embedder")),
        },
        [  # diffusers joins them, too, for LoKr
            parts(f"{BLOCK}_attn_to_qkv", f"{BLOCK}_attn_"),
            parts(f"{BLOCK}_attn_to_added_qkv", f"{BLOCK}_attn_", ADDED),
        ],
    ),
    "FLUX.3": ModelNames(
        {
            **{
                f"{one}_{mine}": f"{other}_{its}"
                for one, other in FLUX3_BLOCKS.items()
                for mine, its in {
                    **{f"{each}_proj": f"attn_to_{each}" for each in "qkv"},
                    "attn_out": "attn_to_out_0",
                    "mlp_in": "ff_linear_in",
                    "mlp_out": "ff_linear_out",
                    "norm_query_norm": "attn_norm_q",
                    "norm_key_norm": "attn_norm_k",
                }.items()
            },
            **{
                f"{stream}_stream_modulations_{mode}_lin": f"{stream}_stream_modulations_{mode}_linear"
                for stream in ("early", "single")
                for mode in (*FLUX3_MODES, "txt")
            },
            **{f"emb_in_{mode}": f"x_embedders_{mode}" for mode in FLUX3_MODES},
            "time_in_in_layer": "timestep_embedder_linear_1",
            "time_in_out_layer": "timestep_embedder_linear_2",
            "ref_time_in_in_layer": "target_timestep_embedder_linear_1",
            "ref_time_in_out_layer": "target_timestep_embedder_linear_2",
            "final_layer_image_linear": "proj_out",
        },
        [Joined("final_layer_image_adaLN_modulation_1", ("norm_out_linear",), swapped=True)],
    ),
    "HunyuanVideo": ModelNames(
        {
            **below(f"{DOUBLE}_img_mlp", f"{BLOCK}_ff", {"fc1": "net_0_proj", "fc2": "net_2"}),
            **below(f"{DOUBLE}_txt_mlp", f"{BLOCK}_ff_context", {"fc1": "net_0_proj", "fc2": "net_2"}),
            **below(DOUBLE, BLOCK, {"img_mod_linear": "norm1_linear", "txt_mod_linear": "norm1_context_linear"}),
            f"{SINGLE}_modulation_linear": f"{SINGLE_BLOCK}_norm_linear",
            "img_in_proj": "x_embedder_proj",
            **below(f"{DOUBLE}_img_attn", f"{BLOCK}_attn", {"q_norm": "norm_q", "k_norm": "norm_k"}),
            **below(f"{DOUBLE}_txt_attn", f"{BLOCK}_attn", {"q_norm": "norm_added_q", "k_norm": "norm_added_k"}),
            **below(SINGLE, f"{SINGLE_BLOCK}_attn", {"q_norm": "norm_q", "k_norm": "norm_k"}),
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
            **below(
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
        [parts(f"{TOKENS}_self_attn_qkv", f"{TOKENS_BLOCK}_attn_")],
    ),
    "HunyuanVideo, by ComfyUI": ModelNames(
        {
            f"{DOUBLE}_{stream}_{mine}": f"{DOUBLE}_{stream}_{its}"
            for stream in ("img", "txt")
            for mine, its in {"mlp_0": "mlp_fc1", "mlp_2": "mlp_fc2", "mod_lin": "mod_linear"}.items()
        }
        | {f"{SINGLE}_modulation_lin": f"{SINGLE}_modulation_linear"}
    ),
    "HunyuanVideo 1.5": ModelNames(
        {
            **GLYPHS,
            **embedders("time_embed", HUNYUAN_TIMES),
            **below(
                "vision_in_proj",
                "image_embedder",
                {"0": "norm_in", "1": "linear_1", "3": "linear_2", "4": "norm_out"},
            ),
            "cond_type_embedding": "cond_type_embed",
            **below(f"{DOUBLE}_img_attn", f"{BLOCK}_attn", dict(zip("qkv", QKV, strict=True))),
            **below(f"{DOUBLE}_txt_attn", f"{BLOCK}_attn", dict(zip("qkv", ADDED, strict=True))),
        },
        [parts(f"{DOUBLE}_{stream}_attn_qkv", f"{DOUBLE}_{stream}_attn_", "qkv") for stream in ("img", "txt")],
    ),
    "HunyuanImage": ModelNames(
        {
            **embedders("time_guidance_embed", {**HUNYUAN_TIMES, "guidance_in": "guidance_embedder"}),
            **below(SINGLE, SINGLE_BLOCK, HUNYUAN_PARTS),
            f"{SINGLE}_linear2_fc": f"{SINGLE_BLOCK}_proj_out",
        }
    ),
    "HunyuanImage, by ComfyUI": ModelNames(
        {f"{SINGLE}_linear2": f"{SINGLE}_linear2_fc"},
        [Joined(f"{SINGLE}_linear1", tuple(f"{SINGLE}_{each}" for each in HUNYUAN_PARTS), (1, 2), square=(0, 1, 2))],
    ),
    "LongCat-Image": ModelNames(
        {f"time_in_{mine}": f"time_embed_{its}" for mine, its in embedder("timestep_embedder").items()}
    ),
    "Ovis-Image": ModelNames(
        {
            **{f"time_in_{mine}": its for mine, its in embedder("timestep_embedder").items()},
            **{f"{DOUBLE}_{mine}_mlp_down_proj": f"{BLOCK}_{its}_net_2" for mine, its in OVIS_STREAMS.items()},
            "txt_norm": "context_embedder_norm",
        },
        [
            Joined(
                f"{BLOCK}_{its}_net_0_proj",
                tuple(f"{DOUBLE}_{mine}_mlp_{each}_proj" for each in ("up", "gate")),
                (0, 1),
            )
            for mine, its in OVIS_STREAMS.items()
        ],
    ),
    "Stable Diffusion 3": ModelNames(
        {
            **below(
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
            **below(
                "joint_blocks_#_context_block",
                BLOCK,
                {
                    "attn_proj": "attn_to_add_out",
                    "mlp_fc1": "ff_context_net_0_proj",
                    "mlp_fc2": "ff_context_net_2",
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
            parts("joint_blocks_#_x_block_attn_qkv", f"{BLOCK}_attn_"),
            parts("joint_blocks_#_context_block_attn_qkv", f"{BLOCK}_attn_", ADDED),
            parts("joint_blocks_#_x_block_attn2_qkv", f"{BLOCK}_attn2_"),
            Joined(  # of the last block, which has shift and scale alone
                "joint_blocks_#_context_block_adaLN_modulation_1",
                (f"{BLOCK}_norm1_context_linear",),
                swapped=True,
                times=2,
            ),
        ],
    ),
    "AuraFlow": ModelNames(
        {
            **{
                f"double_layers_#_{mine}_{one}": f"{JOINT}_{its}_{other}"
                for mine, its in (("mlpX", "ff"), ("mlpC", "ff_context"))
                for one, other in AURA_MLP.items()
            },
            **below("double_layers_#", JOINT, {"modX_1": "norm1_linear", "modC_1": "norm1_context_linear"}),
            **below("double_layers_#_attn", f"{JOINT}_attn", AURA_IMAGE | AURA_TEXT),
            **below("single_layers_#_mlp", f"{SINGLE_BLOCK}_ff", AURA_MLP),
            **below("single_layers_#_attn", f"{SINGLE_BLOCK}_attn", AURA_SINGLE),
            "single_layers_#_modCX_1": f"{SINGLE_BLOCK}_norm1_linear",
            "t_embedder_mlp_0": "time_step_proj_linear_1",
            "t_embedder_mlp_2": "time_step_proj_linear_2",
            "cond_seq_linear": "context_embedder",
            "final_linear": "proj_out",
            "init_x_linear": "pos_embed_proj",
        },
        [Joined("modF_1", ("norm_out_linear",), swapped=True)],
    ),
    "Mochi": ModelNames(
        {
            **below(
                "blocks_#",
                BLOCK,
                {
                    "mod_x": "norm1_linear",
                    "mod_y": "norm1_context_linear",
                    "attn_proj_x": "attn1_to_out_0",
                    "attn_proj_y": "attn1_to_add_out",
                    "attn_q_norm_x": "attn1_norm_q",
                    "attn_k_norm_x": "attn1_norm_k",
                    "attn_q_norm_y": "attn1_norm_added_q",
                    "attn_k_norm_y": "attn1_norm_added_k",
                    "mlp_x_w2": "ff_net_2",
                    "mlp_y_w2": "ff_context_net_2",
                },
            ),
            **{f"t5_y_embedder_{each}": f"time_embed_pooler_{each}" for each in ("to_kv", "to_q", "to_out")},
            "t5_yproj": "time_embed_caption_proj",
            "x_embedder_proj": "patch_embed_proj",
            "t_embedder_mlp_0": "time_embed_timestep_embedder_linear_1",
            "t_embedder_mlp_2": "time_embed_timestep_embedder_linear_2",
        },
        [
            parts("blocks_#_attn_qkv_x", f"{BLOCK}_attn1_"),
            parts("blocks_#_attn_qkv_y", f"{BLOCK}_attn1_", ADDED),
            Joined("blocks_#_mlp_x_w1", (f"{BLOCK}_ff_net_0_proj",), swapped=True),
            Joined("blocks_#_mlp_y_w1", (f"{BLOCK}_ff_context_net_0_proj",), swapped=True),
            Joined("blocks_#_mod_y", (f"{BLOCK}_norm1_context_linear_1",)),  # of the last one
            Joined("final_layer_mod", ("norm_out_linear",), swapped=True),
        ],
    ),
}
