"""Fields of single types of models, beyond the sizes that all have: what their configs and classes ask for."""

from __future__ import annotations

from typing import Any

HEADS = {"num_attention_heads": 4, "num_key_value_heads": 4}
MEDIA = {"out_hidden_size": 32, "text_hidden_size": 32, "adapter_out_dim": 32, "adapter_in_dim": 32}
VISION: dict[str, Any] = {"vision_config": MEDIA}

OWN: dict[str, dict[str, Any]] = {
    "blt": {"encoder_hash_byte_group_vocab": 320, "encoder_hash_byte_group_size": [3]},
    "chameleon": {"vocabulary_map": {"<image>": 5}, "vq_config": {"base_channels": 32, "latent_channels": 32}},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48, "hidden_size": 32},
    },
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
