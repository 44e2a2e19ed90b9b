"""Fields of single types of models, beyond the sizes that all have: what their configs and classes ask for."""

from __future__ import annotations

from typing import Any

HEADS = {"num_attention_heads": 4, "num_key_value_heads": 4}
MEDIA = {"out_hidden_size": 32, "text_hidden_size": 32, "adapter_out_dim": 32, "adapter_in_dim": 32}
VISION: dict[str, Any] = {"vision_config": MEDIA}

RESNET: dict[str, Any] = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
}
SWIN: dict[str, Any] = {"model_type": "swin", "image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1, 1, 1]}
SWIN |= {"num_heads": [1, 1, 2, 2], "window_size": 2, "out_features": ["stage1", "stage2", "stage3", "stage4"]}
THREE = ["stage2", "stage3", "stage4"]
BOXES: dict[str, Any] = {
    "use_timm_backbone": False,
    "backbone": None,
    "use_pretrained_backbone": False,
    "num_queries": 5,
}
BOXES |= {"encoder_layers": 2, "decoder_layers": 2, "backbone_config": {**RESNET, "out_features": ["stage4"]}}
SEVERAL = {**BOXES, "backbone_config": {**SWIN, "out_features": THREE}}
FAST: dict[str, Any] = {
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [8, 16, 16],
    "decoder_in_channels": [32, 32, 32],
}
FAST |= {"num_queries": 5, "num_denoising": 0, "anchor_image_size": None, "decoder_n_points": 2}
FAST |= {"backbone_config": {**RESNET, "model_type": "rt_detr_resnet", "out_features": THREE}}
GRADES: dict[str, Any] = {"model_type": "hgnet_v2", "stem_channels": [3, 8, 8], "stage_in_channels": [8, 8, 16, 16]}
GRADES |= {"stage_mid_channels": [8, 8, 8, 8], "stage_out_channels": [8, 16, 16, 16], "stage_num_blocks": [1, 1, 1, 1]}
GRADES |= {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "out_features": THREE}
"""Backbones, and what those that find objects share."""

OWN: dict[str, dict[str, Any]] = {
    "blt": {"encoder_hash_byte_group_vocab": 320, "encoder_hash_byte_group_size": [3]},
    "chameleon": {"vocabulary_map": {"<image>": 5}, "vq_config": {"base_channels": 32, "latent_channels": 32}},
    "conditional_detr": BOXES,
    "d_fine": {**FAST, "decoder_n_points": [2, 2, 2], "backbone_config": GRADES},
    "dab-detr": BOXES,
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48, "hidden_size": 32},
    },
    "deformable_detr": {**BOXES, "backbone_config": {**RESNET, "out_features": THREE}, "num_feature_levels": 3},
    "detr": BOXES,
    "dots3_note": {
        "text_config": {**HEADS, "shared_experts_intermediate_size": 24, "index_n_heads": 4, "index_head_dim": 16},
        "vision_config": {**MEDIA, **HEADS},
        "audio_config": {**HEADS, "adapter_input_size": 32, "adapter_out_dim": 32, "downsample_hidden_size": 16},
    },
    "dots3_note_text": {**HEADS, "shared_experts_intermediate_size": 24, "index_n_heads": 4, "index_head_dim": 16},
    "emu3": {"vocabulary_map": {"<image>": 5}, "vq_config": {"base_channels": 32, "latent_channels": 32}},
    "falcon_h1": {"mamba_d_ssm": 64},
    "florence2": {"vision_config": {"patch_size": None}},
    "funnel": {"block_sizes": [1, 1], "num_hidden_layers": None, "num_blocks": None, "d_head": 8, "d_inner": 48},
    "gemma3n_text": {
        "intermediate_size": 48,
        "num_kv_shared_layers": 0,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "glm5_next": {
        "text_config": {**HEADS, "qk_rope_head_dim": 0, "head_dim": 0, "linear_num_heads": 4, "linear_head_dim": 8},
        "vision_config": MEDIA,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granite4_vision": {"qformer_config": HEADS},
    "granite_docling": VISION,
    "granite_speech": {
        "encoder_config": {"hidden_dim": 32, "dim_head": 8, "input_dim": 16},
        "projector_config": {**HEADS, "encoder_hidden_size": 32},
        "has_lora_adapter": False,
    },
    "granite_speech_plus": {
        "encoder_config": {"hidden_dim": 32, "dim_head": 8, "input_dim": 16},
        "projector_config": {**HEADS, "encoder_hidden_size": 32},
        "has_lora_adapter": False,
    },
    "grounding-dino": SEVERAL,
    "hy_v4_vl": {
        "text_config": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}
    },
    "inkling2": {**VISION, "text_config": {"unpadded_vocab_size": 320}},
    "inkling2_loop": {**VISION, "text_config": {"unpadded_vocab_size": 320}},
    "inkling2_loop_text": {"unpadded_vocab_size": 320},
    "inkling2_text": {"unpadded_vocab_size": 320},
    "janus": {"vq_config": {"base_channels": 32, "latent_channels": 32, "num_embeddings": 64}},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {"n_routed_experts": 4, "zero_expert_num": 2, "moe_topk": 2, "expert_ffn_hidden_size": 24},
    "luke": {"entity_vocab_size": 40, "entity_emb_size": 16},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 2},
    "maskformer": {
        "fpn_feature_size": 32,
        "mask_feature_size": 32,
        "backbone_config": SWIN,
        "decoder_config": {"model_type": "detr", **BOXES, "d_model": 32},
    },
    "mm-grounding-dino": SEVERAL,
    "mobilebert": {"embedding_size": 16, "intra_bottleneck_size": 32, "true_hidden_size": 32},
    "molmo2": {"vision_config": {"image_size": None}, "vit_config": {"image_size": None}},
    "muse_glimmer": {"out_hidden_size": 32, "projector_hidden_size": 32},
    "muse_spark": {
        "text_config": {"num_attention_heads": 4, "moe_hidden_size": 32},
        "out_hidden_size": 32,
        "projector_hidden_size": 32,
        "audio_config": {"num_hidden_layers": 4, "out_hidden_size": 32, "hidden_sizes": [8, 8, 16, 16]},
    },
    "nemotron_h_omni": {"vision_config": {"video_temporal_patch_size": 2}},
    "perceiver": {"d_latents": 32, "num_latents": 8, "num_self_attends_per_block": 1},
    "prophetnet": {"num_hidden_layers": None, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48},
    "reformer": {
        "attn_layers": ["local", "lsh"],
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 8],
        "num_buckets": 4,
        "feed_forward_size": 48,
        "lsh_attn_chunk_length": 4,
        "local_attn_chunk_length": 4,
    },
    "ReformerModelWithLMHead": {"is_decoder": True},
    "rt_detr": FAST,
    "rt_detr_v2": FAST,
    "table-transformer": BOXES,
    "upernet": {
        "backbone_config": SWIN,
        "hidden_size": 16,
        "pool_scales": [1, 2],
        "auxiliary_in_channels": 32,
        "auxiliary_channels": 8,
    },
    "xlnet": {"max_position_embeddings": None, "d_head": 8, "d_inner": 48},
    "xlstm": {"v_head_dim": None, "qk_head_dim": None, "num_blocks": 2},
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
        "attention_hidden_size": 32,
        "attention_head_dim": 8,
    },
    "zamba2": {
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
        "num_mem_blocks": 1,
        "adapter_rank": 4,
    },
    "zaya": {"num_experts_per_tok": 1},
}
"""Model type or class → fields; None leaves one out."""


def merged(fields: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Some fields with others in their place, in the configs of parts, too.

    >>> merged({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": 4}})
    {'b': {'c': 4, 'd': 3}}
    """
    result = {**fields, **own}
    for name, value in own.items():
        if isinstance(value, dict) and isinstance(fields.get(name), dict):
            result[name] = merged(fields[name], value)
    return {name: value for name, value in result.items() if name not in own or own[name] is not None}
