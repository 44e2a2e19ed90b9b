"""What transformers 5.24.0 calls the tensors of a model in its files, by model type: a table, and nothing else.

Written by benchmarks/saved_names.py. Lines of types, each followed by what holds for these, indented.
"""

from __future__ import annotations

SAVED = r"""
altclip
    text_model.roberta.encoder.layers => text_model.roberta.encoder.layer
    vision_model.encoder.layers => vision_model.encoder.layer
aria aria_text
    layers.#.mlp.experts.down_proj => layers.#.mlp.experts.fc2
    layers.#.mlp.experts.gate_up_proj => layers.#.mlp.experts.fc1
audio-spectrogram-transformer beit deit ijepa vit vit_mae vit_msn vivit
    layers => encoder.layer
    layers.#.attention.k_proj => encoder.layer.#.attention.attention.key
    layers.#.attention.o_proj => encoder.layer.#.attention.output.dense
    layers.#.attention.q_proj => encoder.layer.#.attention.attention.query
    layers.#.attention.v_proj => encoder.layer.#.attention.attention.value
    layers.#.mlp.fc1 => encoder.layer.#.intermediate.dense
    layers.#.mlp.fc2 => encoder.layer.#.output.dense
axk1
    layers.#.mlp => layers.#
axk2
    layers.#.input_layernorm.mlp.fc1 => layers.#.input_layernorm.W_down
    layers.#.input_layernorm.mlp.fc2 => layers.#.input_layernorm.W_up
    layers.#.post_attention_layernorm.mlp.fc1 => layers.#.post_attention_layernorm.W_down
    layers.#.post_attention_layernorm.mlp.fc2 => layers.#.post_attention_layernorm.W_up
    layers.#.self_attn.q_gate_proj => layers.#.self_attn.q_b_proj
bailing_hybrid
    embed_tokens => word_embeddings
    layers.#.mlp.gate.e_score_correction_bias => layers.#.mlp.gate.expert_bias
    layers.#.self_attn => layers.#.attention
    layers.#.self_attn.forget_gate => layers.#.attention
    layers.#.self_attn.o_proj => layers.#.attention.dense
cohere_asr
    decoder.embed_tokens => transf_decoder.token_embedding
    decoder.embedding_layernorm => transf_decoder.layer_norm
    decoder.layers.#.encoder_attn.k_proj => transf_decoder.layers.#.second_sub_layer.key_net
    decoder.layers.#.encoder_attn.o_proj => transf_decoder.layers.#.second_sub_layer.out_projection
    decoder.layers.#.encoder_attn.q_proj => transf_decoder.layers.#.second_sub_layer.query_net
    decoder.layers.#.encoder_attn.v_proj => transf_decoder.layers.#.second_sub_layer.value_net
    decoder.layers.#.final_layernorm => transf_decoder.layers.#.layer_norm_3
    decoder.layers.#.input_layernorm => transf_decoder.layers.#.layer_norm_1
    decoder.layers.#.mlp.fc1 => transf_decoder.layers.#.third_sub_layer.dense_in
    decoder.layers.#.mlp.fc2 => transf_decoder.layers.#.third_sub_layer.dense_out
    decoder.layers.#.post_attention_layernorm => transf_decoder.layers.#.layer_norm_2
    decoder.layers.#.self_attn.k_proj => transf_decoder.layers.#.first_sub_layer.key_net
    decoder.layers.#.self_attn.o_proj => transf_decoder.layers.#.first_sub_layer.out_projection
    decoder.layers.#.self_attn.q_proj => transf_decoder.layers.#.first_sub_layer.query_net
    decoder.layers.#.self_attn.v_proj => transf_decoder.layers.#.first_sub_layer.value_net
    decoder.norm => transf_decoder.final_layer_norm
    decoder.pos_emb => transf_decoder.position_embedding.pos_enc
    decoder.proj => encoder_decoder_proj
    encoder.layers.#.conv.norm => encoder.layers.#.conv.batch_norm
    encoder.layers.#.self_attn.bias_u => encoder.layers.#.self_attn.pos_bias_u
    encoder.layers.#.self_attn.bias_v => encoder.layers.#.self_attn.pos_bias_v
    encoder.layers.#.self_attn.k_proj => encoder.layers.#.self_attn.linear_k
    encoder.layers.#.self_attn.o_proj => encoder.layers.#.self_attn.linear_out
    encoder.layers.#.self_attn.q_proj => encoder.layers.#.self_attn.linear_q
    encoder.layers.#.self_attn.relative_k_proj => encoder.layers.#.self_attn.linear_pos
    encoder.layers.#.self_attn.v_proj => encoder.layers.#.self_attn.linear_v
    encoder.subsampling.layers => encoder.pre_encode.conv
    encoder.subsampling.linear => encoder.pre_encode.out
cosmos3_edge
    layers.#.mlp.fc1 => layers.#.mlp.up_proj
    layers.#.mlp.fc2 => layers.#.mlp.down_proj
    layers.#.self_attn.k_proj => layers.#.self_attn.to_k
    layers.#.self_attn.o_proj => layers.#.self_attn.to_out
    layers.#.self_attn.q_proj => layers.#.self_attn.to_q
    layers.#.self_attn.v_proj => layers.#.self_attn.to_v
    visual.encoder.layers.#.mlp.fc1 => visual.encoder.layers.#.mlp.up_proj
    visual.encoder.layers.#.mlp.fc2 => visual.encoder.layers.#.mlp.down_proj
    visual.encoder.layers.#.self_attn.k_proj => visual.encoder.layers.#.self_attn.to_k
    visual.encoder.layers.#.self_attn.q_proj => visual.encoder.layers.#.self_attn.to_q
    visual.encoder.layers.#.self_attn.v_proj => visual.encoder.layers.#.self_attn.to_v
cosmos3_omni
    layers.#.self_attn.k_norm => layers.#.self_attn.norm_k
    layers.#.self_attn.k_proj => layers.#.self_attn.to_k
    layers.#.self_attn.o_proj => layers.#.self_attn.to_out
    layers.#.self_attn.q_norm => layers.#.self_attn.norm_q
    layers.#.self_attn.q_proj => layers.#.self_attn.to_q
    layers.#.self_attn.v_proj => layers.#.self_attn.to_v
    visual =>
deepseek_v4
    layers.#.attn_hc.base => layers.#.hc_attn_base
    layers.#.attn_hc.fn => layers.#.hc_attn_fn
    layers.#.attn_hc.scale => layers.#.hc_attn_scale
    layers.#.ffn_hc.base => layers.#.hc_ffn_base
    layers.#.ffn_hc.fn => layers.#.hc_ffn_fn
    layers.#.ffn_hc.scale => layers.#.hc_ffn_scale
    layers.#.input_layernorm => layers.#.attn_norm
    layers.#.mlp => layers.#.ffn
    layers.#.mlp.experts.#.down_proj => layers.#.ffn.experts.#.w2
    layers.#.mlp.experts.#.gate_proj => layers.#.ffn.experts.#.w1
    layers.#.mlp.experts.#.up_proj => layers.#.ffn.experts.#.w3
    layers.#.mlp.shared_experts.down_proj => layers.#.ffn.shared_experts.w2
    layers.#.mlp.shared_experts.gate_proj => layers.#.ffn.shared_experts.w1
    layers.#.mlp.shared_experts.up_proj => layers.#.ffn.shared_experts.w3
    layers.#.post_attention_layernorm => layers.#.ffn_norm
    layers.#.self_attn.compressor.gate_proj => layers.#.attn.compressor.wgate
    layers.#.self_attn.compressor.kv_norm => layers.#.attn.compressor.norm
    layers.#.self_attn.compressor.kv_proj => layers.#.attn.compressor.wkv
    layers.#.self_attn.compressor.position_bias => layers.#.attn.compressor.ape
    layers.#.self_attn.kv_norm => layers.#.attn.norm
    layers.#.self_attn.kv_proj => layers.#.attn.wkv
    layers.#.self_attn.o_a_proj => layers.#.attn.wo_a
    layers.#.self_attn.o_b_proj => layers.#.attn.wo_b
    layers.#.self_attn.q_a_norm => layers.#.attn.q_norm
    layers.#.self_attn.q_a_proj => layers.#.attn.wq_a
    layers.#.self_attn.q_b_proj => layers.#.attn.wq_b
    layers.#.self_attn.sinks => layers.#.attn.attn_sink
    lm_head => head
depth_pro
    encoder.image_encoder.model.encoder.layer.#.attention.k_proj => encoder.image_encoder.model.encoder.layer.#.attention.attention.key
    encoder.image_encoder.model.encoder.layer.#.attention.o_proj => encoder.image_encoder.model.encoder.layer.#.attention.output.dense
    encoder.image_encoder.model.encoder.layer.#.attention.q_proj => encoder.image_encoder.model.encoder.layer.#.attention.attention.query
    encoder.image_encoder.model.encoder.layer.#.attention.v_proj => encoder.image_encoder.model.encoder.layer.#.attention.attention.value
    encoder.patch_encoder.model.encoder.layer.#.attention.k_proj => encoder.patch_encoder.model.encoder.layer.#.attention.attention.key
    encoder.patch_encoder.model.encoder.layer.#.attention.o_proj => encoder.patch_encoder.model.encoder.layer.#.attention.output.dense
    encoder.patch_encoder.model.encoder.layer.#.attention.q_proj => encoder.patch_encoder.model.encoder.layer.#.attention.attention.query
    encoder.patch_encoder.model.encoder.layer.#.attention.v_proj => encoder.patch_encoder.model.encoder.layer.#.attention.attention.value
dinov2 dinov2_with_registers
    encoder.layer.#.attention.k_proj => encoder.layer.#.attention.attention.key
    encoder.layer.#.attention.o_proj => encoder.layer.#.attention.output.dense
    encoder.layer.#.attention.q_proj => encoder.layer.#.attention.attention.query
    encoder.layer.#.attention.v_proj => encoder.layer.#.attention.attention.value
dory
    embed_tokens => backbone.embeddings
    layers.#.self_attn.gate_proj => backbone.layers.#.self_attn.g_proj
emu3
    text_model => text_model.model
ernie4_5_moe exaone_moe
    layers.#.mlp.gate => layers.#.mlp
esm
    esm.encoder.layer.#.LayerNorm => esm.encoder.layer.#.LayerNorm.gamma
    esm.encoder.layer.#.LayerNorm.bias => esm.encoder.layer.#.LayerNorm.beta
    esm.encoder.layer.#.attention.LayerNorm => esm.encoder.layer.#.attention.LayerNorm.gamma
    esm.encoder.layer.#.attention.LayerNorm.bias => esm.encoder.layer.#.attention.LayerNorm.beta
flint
    layers.#.self_attn.sinks => layers.#.self_attn.softmax_offset
gemma4_unified
    embed_vision => vision_embedder
    embed_vision.multimodal_embedder => embed_vision
glm5_next
    layers.#.attn_hc.base => layers.#.hc_attn_base
    layers.#.attn_hc.fn => layers.#.hc_attn_fn
    layers.#.attn_hc.scale => layers.#.hc_attn_scale
    layers.#.ffn_hc.base => layers.#.hc_ffn_base
    layers.#.ffn_hc.fn => layers.#.hc_ffn_fn
    layers.#.ffn_hc.scale => layers.#.hc_ffn_scale
    layers.#.self_attn.forget_gate => layers.#.self_attn
granitemoe granitemoehybrid granitemoeshared
    layers.#.block_sparse_moe.experts.down_proj => layers.#.block_sparse_moe.output_linear
    layers.#.block_sparse_moe.experts.gate_up_proj => layers.#.block_sparse_moe.input_linear
    layers.#.block_sparse_moe.router => layers.#.block_sparse_moe.router.layer
grounding-dino mm-grounding-dino
    backbone.conv_encoder.model.swin => backbone.conv_encoder.model
    backbone.conv_encoder.model.swin.encoder.layers.#.blocks.#.attention.k_proj => backbone.conv_encoder.model.encoder.layers.#.blocks.#.attention.self.key
    backbone.conv_encoder.model.swin.encoder.layers.#.blocks.#.attention.o_proj => backbone.conv_encoder.model.encoder.layers.#.blocks.#.attention.output.dense
    backbone.conv_encoder.model.swin.encoder.layers.#.blocks.#.attention.q_proj => backbone.conv_encoder.model.encoder.layers.#.blocks.#.attention.self.query
    backbone.conv_encoder.model.swin.encoder.layers.#.blocks.#.attention.relative_position_bias => backbone.conv_encoder.model.encoder.layers.#.blocks.#.attention.self
    backbone.conv_encoder.model.swin.encoder.layers.#.blocks.#.attention.v_proj => backbone.conv_encoder.model.encoder.layers.#.blocks.#.attention.self.value
    backbone.conv_encoder.model.swin.encoder.layers.#.blocks.#.mlp.fc1 => backbone.conv_encoder.model.encoder.layers.#.blocks.#.intermediate.dense
    backbone.conv_encoder.model.swin.encoder.layers.#.blocks.#.mlp.fc2 => backbone.conv_encoder.model.encoder.layers.#.blocks.#.output.dense
gte
    gte.layers => gte.encoder.layer
    gte.layers.#.post_attention_layernorm => gte.encoder.layer.#.attn_ln
    gte.layers.#.post_mlp_layernorm => gte.encoder.layer.#.mlp_ln
    gte.layers.#.self_attn => gte.encoder.layer.#.attention
    lm_head.layer_norm => lm_head.norm
hrm_text
    H_module.layers.#.self_attn => H_module.layers.#.attn
    L_module.layers.#.self_attn => L_module.layers.#.attn
hunyuan_vl
    vision_tower => vit
    vision_tower.layers.#.layer_norm1 => vit.layers.#.input_layernorm
    vision_tower.layers.#.layer_norm2 => vit.layers.#.post_attention_layernorm
    vision_tower.layers.#.mlp.fc1 => vit.layers.#.mlp.dense_h_to_4h
    vision_tower.layers.#.mlp.fc2 => vit.layers.#.mlp.dense_4h_to_h
    vision_tower.patch_merger => vit.perceive
    vision_tower.patch_merger.proj_conv => vit.perceive.proj.0
    vision_tower.patch_merger.proj_out => vit.perceive.proj.2
hy_v3
    layers.#.mlp => layers.#.mlp.router
    layers.#.mlp.e_score_correction_bias => layers.#.mlp.expert_bias
    layers.#.mlp.shared_experts => layers.#.mlp.shared_mlp
hy_v4
    hc_head.hc_base => hc_pre.hc_head.hc_head_base
    hc_head.hc_fn => hc_pre.hc_head.hc_head_fn
    hc_head.hc_scale => hc_pre.hc_head.hc_head_scale
    layers.#.attn_hc.base => layers.#.hc_pre.hc_attn_layer.hc_base
    layers.#.attn_hc.fn => layers.#.hc_pre.hc_attn_layer.hc_fn
    layers.#.attn_hc.scale => layers.#.hc_pre.hc_attn_layer.hc_scale
    layers.#.ffn_hc.base => layers.#.hc_pre.hc_mlp_layer.hc_base
    layers.#.ffn_hc.fn => layers.#.hc_pre.hc_mlp_layer.hc_fn
    layers.#.ffn_hc.scale => layers.#.hc_pre.hc_mlp_layer.hc_scale
    layers.#.mlp.gate_proj => layers.#.mlp.linear_gate
    layers.#.mlp.shared_experts.gate_proj => layers.#.mlp.shared_experts.linear_gate
    layers.#.self_attn.gate_proj => layers.#.self_attn.linear_gate
    layers.#.self_attn.sinks => layers.#.self_attn.learnable_sink_param
hy_v4_vl
    hc_head.hc_base => hc_head.hc_pre.hc_head_base
    hc_head.hc_fn => hc_head.hc_pre.hc_head_fn
    hc_head.hc_scale => hc_head.hc_pre.hc_head_scale
    layers.#.attn_hc.base => layers.#.hc_pre.hc_attn_layer.hc_base
    layers.#.attn_hc.fn => layers.#.hc_pre.hc_attn_layer.hc_fn
    layers.#.attn_hc.scale => layers.#.hc_pre.hc_attn_layer.hc_scale
    layers.#.ffn_hc.base => layers.#.hc_pre.hc_mlp_layer.hc_base
    layers.#.ffn_hc.fn => layers.#.hc_pre.hc_mlp_layer.hc_fn
    layers.#.ffn_hc.scale => layers.#.hc_pre.hc_mlp_layer.hc_scale
    layers.#.mlp.gate_proj => layers.#.mlp.linear_gate
    layers.#.mlp.shared_experts.gate_proj => layers.#.mlp.shared_experts.linear_gate
    layers.#.self_attn.gate_proj => layers.#.self_attn.linear_gate
    layers.#.self_attn.sinks => layers.#.self_attn.learnable_sink_param
    vision_tower => vit
    vision_tower.layers.#.layer_norm1 => vit.layers.#.input_layernorm
    vision_tower.layers.#.layer_norm2 => vit.layers.#.post_attention_layernorm
    vision_tower.layers.#.mlp.fc1 => vit.layers.#.mlp.dense_h_to_4h
    vision_tower.layers.#.mlp.fc2 => vit.layers.#.mlp.dense_4h_to_h
    vision_tower.patch_merger => vit.perceive
    vision_tower.patch_merger.before_rms => vit.perceive.norm
    vision_tower.patch_merger.proj_conv => vit.perceive.proj.0
    vision_tower.patch_merger.proj_out => vit.perceive.proj.2
hyperclovax_vision_v2
    projector => vision_projector
inkling2 inkling2_loop
    embed_tokens => llm.embed
    embed_tokens.embed_norm => llm.embed_norm
    final_input.query => llm.attn_res.output_query
    layers.#.input_layernorm => llm.layers.#.attn_norm
    layers.#.mlp.experts.down_proj => llm.layers.#.mlp.experts.w2_weight
    layers.#.mlp.gate.e_score_correction_bias => llm.layers.#.mlp.gate.bias
    layers.#.mlp_input.query => llm.attn_res.mlp_queries.#
    layers.#.post_attention_convolution.conv1d => llm.layers.#.attn_sconv
    layers.#.post_attention_layernorm => llm.layers.#.mlp_norm
    layers.#.post_mlp_convolution.conv1d => llm.layers.#.mlp_sconv
    layers.#.self_attn.k_proj.linear => llm.layers.#.attn.wk_dv
    layers.#.self_attn.k_proj.sconv.conv1d => llm.layers.#.attn.k_sconv
    layers.#.self_attn.o_proj.gate_proj => llm.layers.#.attn.gate_attn
    layers.#.self_attn.o_proj.linear => llm.layers.#.attn.wo_ud
    layers.#.self_attn.q_proj.linear => llm.layers.#.attn.wq_du
    layers.#.self_attn.q_proj.norm => llm.layers.#.attn.q_l2_clip
    layers.#.self_attn.relative_position_bias => llm.layers.#.attn.rel_logits_proj
    layers.#.self_attn.relative_position_bias.linear => llm.layers.#.attn.wr_du
    layers.#.self_attn.relative_position_bias.norm => llm.layers.#.attn.rel_l2_clip
    layers.#.self_attn.sink_proj => llm.layers.#.attn.attn_sink_proj
    layers.#.self_attn.v_proj.linear => llm.layers.#.attn.wv_dv
    layers.#.self_attn.v_proj.sconv.conv1d => llm.layers.#.attn.v_sconv
    lm_head => llm.unembed
    vision_tower => visual.backbone
    vision_tower.layers.#.lambda_1 => visual.backbone.layers.#.ls_1.gamma
    vision_tower.layers.#.lambda_2 => visual.backbone.layers.#.ls_2.gamma
    vision_tower.layers.#.layernorm_after => visual.backbone.layers.#.ln_2
    vision_tower.layers.#.layernorm_before => visual.backbone.layers.#.ln_1
    vision_tower.layers.#.mlp.fc1 => visual.backbone.layers.#.mlp.c_fc
    vision_tower.layers.#.mlp.fc2 => visual.backbone.layers.#.mlp.c_proj
    vision_tower.merger.linear_1 => visual.proj_in
    vision_tower.merger.linear_2 => visual.proj_out
    vision_tower.pre_layernorm => visual.backbone.ln_pre
inkling2_loop_text inkling2_text
    embed_tokens => llm.embed
    embed_tokens.embed_norm => llm.embed_norm
    final_input.query => llm.attn_res.output_query
    layers.#.input_layernorm => llm.layers.#.attn_norm
    layers.#.mlp.experts.down_proj => llm.layers.#.mlp.experts.w2_weight
    layers.#.mlp.gate.e_score_correction_bias => llm.layers.#.mlp.gate.bias
    layers.#.mlp_input.query => llm.attn_res.mlp_queries.#
    layers.#.post_attention_convolution.conv1d => llm.layers.#.attn_sconv
    layers.#.post_attention_layernorm => llm.layers.#.mlp_norm
    layers.#.post_mlp_convolution.conv1d => llm.layers.#.mlp_sconv
    layers.#.self_attn.k_proj.linear => llm.layers.#.attn.wk_dv
    layers.#.self_attn.k_proj.sconv.conv1d => llm.layers.#.attn.k_sconv
    layers.#.self_attn.o_proj.gate_proj => llm.layers.#.attn.gate_attn
    layers.#.self_attn.o_proj.linear => llm.layers.#.attn.wo_ud
    layers.#.self_attn.q_proj.linear => llm.layers.#.attn.wq_du
    layers.#.self_attn.q_proj.norm => llm.layers.#.attn.q_l2_clip
    layers.#.self_attn.relative_position_bias => llm.layers.#.attn.rel_logits_proj
    layers.#.self_attn.relative_position_bias.linear => llm.layers.#.attn.wr_du
    layers.#.self_attn.relative_position_bias.norm => llm.layers.#.attn.rel_l2_clip
    layers.#.self_attn.sink_proj => llm.layers.#.attn.attn_sink_proj
    layers.#.self_attn.v_proj.linear => llm.layers.#.attn.wv_dv
    layers.#.self_attn.v_proj.sconv.conv1d => llm.layers.#.attn.v_sconv
    lm_head => llm.unembed
inkling_mm_model
    audio_tower.embed_audio_tokens.embed_audio_tokens => audio.encoder
    audio_tower.norm => audio.final_norm
    embed_tokens => llm.embed
    embed_tokens.embed_norm => llm.embed_norm
    layers.#.attn_sconv.conv1d => llm.layers.#.attn_sconv
    layers.#.input_layernorm => llm.layers.#.attn_norm
    layers.#.mlp.experts.down_proj => llm.layers.#.mlp.experts.w2_weight
    layers.#.mlp.gate.e_score_correction_bias => llm.layers.#.mlp.gate.bias
    layers.#.mlp.shared_experts.down_proj => llm.layers.#.mlp.shared_experts.shared_w2_weight
    layers.#.mlp_sconv.conv1d => llm.layers.#.mlp_sconv
    layers.#.post_attention_layernorm => llm.layers.#.mlp_norm
    layers.#.self_attn => llm.layers.#.attn
    layers.#.self_attn.k_proj => llm.layers.#.attn.wk_dv
    layers.#.self_attn.k_sconv.conv1d => llm.layers.#.attn.k_sconv
    layers.#.self_attn.o_proj => llm.layers.#.attn.wo_ud
    layers.#.self_attn.q_proj => llm.layers.#.attn.wq_du
    layers.#.self_attn.r_proj => llm.layers.#.attn.wr_du
    layers.#.self_attn.v_proj => llm.layers.#.attn.wv_dv
    layers.#.self_attn.v_sconv.conv1d => llm.layers.#.attn.v_sconv
    lm_head => llm.unembed
    vision_tower => visual
jina_embeddings_v3
    roberta => roberta.encoder
    roberta.embeddings.LayerNorm => roberta.emb_ln
    roberta.layers.#.post_attention_layernorm => roberta.encoder.layers.#.norm1
    roberta.layers.#.post_mlp_layernorm => roberta.encoder.layers.#.norm2
    roberta.layers.#.self_attn.o_proj => roberta.encoder.layers.#.mixer.out_proj
kimi_k25
    layers => blocks
    mm_projector.in_proj => mm_projector.proj.0
    mm_projector.out_proj => mm_projector.proj.2
    vision_tower => vision_tower.encoder
    vision_tower.layers.#.attn.proj => vision_tower.encoder.blocks.#.wo
    vision_tower.layers.#.mlp.fc1 => vision_tower.encoder.blocks.#.mlp.fc0
    vision_tower.layers.#.mlp.fc2 => vision_tower.encoder.blocks.#.mlp.fc1
    vision_tower.layers.#.norm1 => vision_tower.encoder.blocks.#.norm0
    vision_tower.layers.#.norm2 => vision_tower.encoder.blocks.#.norm1
    vision_tower.patch_embed.pos_emb.position_embeddings => vision_tower.patch_embed.pos_emb
kimi_linear
    layers.#.self_attn.forget_gate => layers.#.self_attn
kolibri1
    layers.#.mlp.gate.e_score_correction_bias => layers.#.moe.router.expert_bias
    layers.#.post_mlp_layernorm => layers.#.post_ffn_norm
    layers.#.post_self_attn_layernorm => layers.#.post_attn_norm
laguna
    layers.#.mlp.gate => layers.#.mlp.experts
    layers.#.mlp.shared_experts => layers.#.mlp.shared_expert
lara_mini
    layers.#.linear_attn.norm => layers.#.linear_attn.out_norm
lfm3_vl
    vision_tower.patch_embed => vision_tower.patchifier
lfm3_vl_vision
    patch_embed => patchifier
mask2former oneformer
    pixel_level_module.encoder.swin => pixel_level_module.encoder
    pixel_level_module.encoder.swin.encoder.layers.#.blocks.#.attention.k_proj => pixel_level_module.encoder.encoder.layers.#.blocks.#.attention.self.key
    pixel_level_module.encoder.swin.encoder.layers.#.blocks.#.attention.o_proj => pixel_level_module.encoder.encoder.layers.#.blocks.#.attention.output.dense
    pixel_level_module.encoder.swin.encoder.layers.#.blocks.#.attention.q_proj => pixel_level_module.encoder.encoder.layers.#.blocks.#.attention.self.query
    pixel_level_module.encoder.swin.encoder.layers.#.blocks.#.attention.relative_position_bias => pixel_level_module.encoder.encoder.layers.#.blocks.#.attention.self
    pixel_level_module.encoder.swin.encoder.layers.#.blocks.#.attention.v_proj => pixel_level_module.encoder.encoder.layers.#.blocks.#.attention.self.value
    pixel_level_module.encoder.swin.encoder.layers.#.blocks.#.mlp.fc1 => pixel_level_module.encoder.encoder.layers.#.blocks.#.intermediate.dense
    pixel_level_module.encoder.swin.encoder.layers.#.blocks.#.mlp.fc2 => pixel_level_module.encoder.encoder.layers.#.blocks.#.output.dense
maskformer
    transformer_module.decoder.layers.#.encoder_attn.o_proj => transformer_module.decoder.layers.#.encoder_attn.out_proj
    transformer_module.decoder.layers.#.mlp => transformer_module.decoder.layers.#
    transformer_module.decoder.layers.#.self_attn.o_proj => transformer_module.decoder.layers.#.self_attn.out_proj
mimi_encoder
    encoder_seanet => encoder
mimo_v2_flash
    layers.#.self_attn.sinks => layers.#.self_attn.attention_sink_bias
minimax_m3_vl
    layers.#.mlp.gate => layers.#.block_sparse_moe
    multi_modal_projector.merge_linear_1 => patch_merge_mlp.linear_1
    multi_modal_projector.merge_linear_2 => patch_merge_mlp.linear_2
    vision_tower => vision_tower.vision_model.encoder
    vision_tower.embeddings.proj => vision_tower.vision_model.embeddings.patch_embedding
mistral_large4
    embed_tokens => tok_embeddings
    layers.#.input_layernorm => layers.#.attention_norm
    layers.#.mlp => layers.#
    layers.#.mlp.down_proj => layers.#.feed_forward.w2
    layers.#.mlp.experts.#.down_proj => layers.#.experts.#.w2
    layers.#.mlp.experts.#.gate_proj => layers.#.experts.#.w1
    layers.#.mlp.experts.#.up_proj => layers.#.experts.#.w3
    layers.#.mlp.gate_proj => layers.#.feed_forward.w1
    layers.#.mlp.shared_experts.down_proj => layers.#.shared_experts.w2
    layers.#.mlp.shared_experts.gate_proj => layers.#.shared_experts.w1
    layers.#.mlp.shared_experts.up_proj => layers.#.shared_experts.w3
    layers.#.mlp.up_proj => layers.#.feed_forward.w3
    layers.#.post_attention_layernorm => layers.#.ffn_norm
    layers.#.self_attn => layers.#.attention
    layers.#.self_attn.indexer.softmax_scaling.bias => layers.#.attention.indexer.ssmax_scaling.b
    layers.#.self_attn.indexer.softmax_scaling.scale => layers.#.attention.indexer.ssmax_scaling.s
    layers.#.self_attn.kv_a_layernorm => layers.#.attention.kv_a_norm
    layers.#.self_attn.kv_a_proj_with_mqa => layers.#.attention.wkv_a_with_mqa
    layers.#.self_attn.kv_b_proj => layers.#.attention.wkv_b
    layers.#.self_attn.o_proj => layers.#.attention.wo
    layers.#.self_attn.q_proj => layers.#.attention.wq
    layers.#.self_attn.softmax_scaling.bias => layers.#.attention.ssmax_scaling.b
    layers.#.self_attn.softmax_scaling.scale => layers.#.attention.ssmax_scaling.s
    lm_head => output
    multi_modal_projector.linear_1 => vision_language_adapter.w_in
    multi_modal_projector.linear_2 => vision_language_adapter.w_out
    multi_modal_projector.norm => pre_mm_projector_norm
    rotary_emb => lerope
    vision_tower => vision_encoder
    vision_tower.transformer.layers.#.attention.o_proj => vision_encoder.transformer.layers.#.attention.wo
    vision_tower.transformer.layers.#.attention.v_proj => vision_encoder.transformer.layers.#.attention.wv
    vision_tower.transformer.layers.#.feed_forward.down_proj => vision_encoder.transformer.layers.#.feed_forward.w2
    vision_tower.transformer.layers.#.feed_forward.gate_proj => vision_encoder.transformer.layers.#.feed_forward.w1
    vision_tower.transformer.layers.#.feed_forward.up_proj => vision_encoder.transformer.layers.#.feed_forward.w3
mistral_large4_text
    layers.#.input_layernorm => layers.#.attention_norm
    layers.#.mlp => layers.#.feed_forward
    layers.#.mlp.experts.#.down_proj => layers.#.experts.#.w2
    layers.#.mlp.experts.#.gate_proj => layers.#.experts.#.w1
    layers.#.mlp.experts.#.up_proj => layers.#.experts.#.w3
    layers.#.mlp.gate => layers.#.gate
    layers.#.mlp.shared_experts => layers.#.shared_experts
    layers.#.post_attention_layernorm => layers.#.ffn_norm
    layers.#.self_attn => layers.#.attention
    layers.#.self_attn.indexer.softmax_scaling.bias => layers.#.attention.indexer.ssmax_scaling.b
    layers.#.self_attn.indexer.softmax_scaling.scale => layers.#.attention.indexer.ssmax_scaling.s
    layers.#.self_attn.kv_a_layernorm => layers.#.attention.kv_a_norm
    layers.#.self_attn.kv_a_proj_with_mqa => layers.#.attention.wkv_a_with_mqa
    layers.#.self_attn.kv_b_proj => layers.#.attention.wkv_b
    layers.#.self_attn.q_proj => layers.#.attention.wq
    layers.#.self_attn.softmax_scaling.bias => layers.#.attention.ssmax_scaling.b
    layers.#.self_attn.softmax_scaling.scale => layers.#.attention.ssmax_scaling.s
molmo2
    layers => blocks
    layers.#.input_layernorm => blocks.#.attn_norm
    layers.#.mlp.down_proj => blocks.#.mlp.ff_out
    layers.#.post_attention_layernorm => blocks.#.ff_norm
    layers.#.self_attn.o_proj => blocks.#.self_attn.attn_out
    multi_modal_projector.image_pooling_2d.k_proj => vision_backbone.image_pooling_2d.wk
    multi_modal_projector.image_pooling_2d.o_proj => vision_backbone.image_pooling_2d.wo
    multi_modal_projector.image_pooling_2d.q_proj => vision_backbone.image_pooling_2d.wq
    multi_modal_projector.image_pooling_2d.v_proj => vision_backbone.image_pooling_2d.wv
    multi_modal_projector.image_projector.down_proj => vision_backbone.image_projector.w2
    multi_modal_projector.image_projector.gate_proj => vision_backbone.image_projector.w1
    multi_modal_projector.image_projector.up_proj => vision_backbone.image_projector.w3
    norm => ln_f
    vision_tower => vision_backbone.image_vit
    vision_tower.layers.#.layer_norm1 => vision_backbone.image_vit.transformer.resblocks.#.attention_norm
    vision_tower.layers.#.layer_norm2 => vision_backbone.image_vit.transformer.resblocks.#.ffn_norm
    vision_tower.layers.#.mlp.fc1 => vision_backbone.image_vit.transformer.resblocks.#.feed_forward.w1
    vision_tower.layers.#.mlp.fc2 => vision_backbone.image_vit.transformer.resblocks.#.feed_forward.w2
    vision_tower.layers.#.self_attn.k_proj => vision_backbone.image_vit.transformer.resblocks.#.attention.wk
    vision_tower.layers.#.self_attn.o_proj => vision_backbone.image_vit.transformer.resblocks.#.attention.wo
    vision_tower.layers.#.self_attn.q_proj => vision_backbone.image_vit.transformer.resblocks.#.attention.wq
    vision_tower.layers.#.self_attn.v_proj => vision_backbone.image_vit.transformer.resblocks.#.attention.wv
molmo2_text
    layers.#.input_layernorm => layers.#.attn_norm
    layers.#.mlp.down_proj => layers.#.mlp.ff_out
    layers.#.post_attention_layernorm => layers.#.ff_norm
    layers.#.self_attn.o_proj => layers.#.self_attn.attn_out
nemotron_h_omni
    multi_modal_projector.layer_norm => mlp1.0
    multi_modal_projector.linear_1 => mlp1.1
    multi_modal_projector.linear_2 => mlp1.3
    vision_model.embeddings.cls_register_token => vision_model.radio_model.model.patch_generator.cls_token.token
    vision_model.embeddings.patch_projection => vision_model.radio_model.model.patch_generator.embedder
    vision_model.embeddings.position_embedding => vision_model.radio_model.model.patch_generator.pos_embed
    vision_model.embeddings.video_patch_projection => vision_model.radio_model.model.patch_generator.video_embedder
    vision_model.encoder.layer => vision_model.radio_model.model.blocks
    vision_model.encoder.layer.#.attention.o_proj => vision_model.radio_model.model.blocks.#.attn.proj
nomic_bert
    nomic_bert.embeddings.LayerNorm => nomic_bert.emb_ln
    nomic_bert.layers.#.mlp.down_proj => nomic_bert.encoder.layers.#.mlp.fc2
    nomic_bert.layers.#.mlp.gate_proj => nomic_bert.encoder.layers.#.mlp.fc12
    nomic_bert.layers.#.mlp.up_proj => nomic_bert.encoder.layers.#.mlp.fc11
    nomic_bert.layers.#.post_attention_layernorm => nomic_bert.encoder.layers.#.norm1
    nomic_bert.layers.#.post_mlp_layernorm => nomic_bert.encoder.layers.#.norm2
    nomic_bert.layers.#.self_attn.o_proj => nomic_bert.encoder.layers.#.attn.out_proj
olmo_hybrid
    layers.#.input_layernorm => layers.#.attention_layer_norm
    layers.#.post_attention_layernorm => layers.#.feedforward_layer_norm
paddleocr_vl
    projector => mlp_AR
phimoe
    layers.#.mlp.router => layers.#.block_sparse_moe.gate
pi0
    dit => paligemma_with_expert.gemma_expert.model
    dit.embed_tokens => paligemma_with_expert.gemma_expert.lm_head
    vlm => paligemma_with_expert.paligemma.model
    vlm.language_model => paligemma_with_expert.paligemma.model.language_model.model
pixio
    layers.#.attention.k_proj => encoder.layer.#.attention.attention.key
    layers.#.attention.o_proj => encoder.layer.#.attention.output.dense
    layers.#.attention.q_proj => encoder.layer.#.attention.attention.query
    layers.#.attention.v_proj => encoder.layer.#.attention.attention.value
    layers.#.layernorm_after => encoder.layer.#.norm2
    layers.#.layernorm_before => encoder.layer.#.norm1
    layers.#.mlp.fc1 => encoder.layer.#.intermediate.dense
    layers.#.mlp.fc2 => encoder.layer.#.output.dense
pp_doclayout_v3
    decoder.layers.#.mlp => decoder.layers.#
    decoder.layers.#.self_attn.o_proj => decoder.layers.#.self_attn.out_proj
    encoder.aifi => encoder.encoder
    encoder.aifi.#.layers.#.mlp => encoder.encoder.#.layers.#
    encoder.aifi.#.layers.#.self_attn.o_proj => encoder.encoder.#.layers.#.self_attn.out_proj
pp_doclayout_v4
    decoder.layers.#.mlp => decoder.layers.#
    decoder.layers.#.self_attn.o_proj => decoder.layers.#.self_attn.out_proj
    decoder.relative_order_head.global_pointer => decoder_global_pointer
    decoder.relative_order_head.proj => decoder_order_head
    decoder.relative_order_head.s2r_fusion.closure_weight => s2r_fusion.a
    decoder.successor_order_head.global_pointer => decoder_roor_global_pointer
    decoder.successor_order_head.proj => decoder_roor_order_head
    encoder.aifi => encoder.encoder
    encoder.aifi.#.layers.#.mlp => encoder.encoder.#.layers.#
    encoder.aifi.#.layers.#.self_attn.o_proj => encoder.encoder.#.layers.#.self_attn.out_proj
qianfan_ocr
    multi_modal_projector.layer_norm => mlp1.0
    multi_modal_projector.linear_1 => mlp1.1
    multi_modal_projector.linear_2 => mlp1.3
    vision_tower => vision_model.encoder
    vision_tower.embeddings.cls_token => vision_model.embeddings.class_embedding
    vision_tower.embeddings.patch_embeddings.projection => vision_model.embeddings.patch_embedding
    vision_tower.embeddings.position_embeddings => vision_model.embeddings.position_embedding
    vision_tower.layers.#.attention.projection_layer => vision_model.encoder.layers.#.attn.proj
    vision_tower.layers.#.lambda_1 => vision_model.encoder.layers.#.ls1
    vision_tower.layers.#.lambda_2 => vision_model.encoder.layers.#.ls2
    vision_tower.layers.#.layernorm_after => vision_model.encoder.layers.#.norm2
    vision_tower.layers.#.layernorm_before => vision_model.encoder.layers.#.norm1
radio
    embeddings.cls_register_token => radio_model.model.patch_generator.cls_token.token
    embeddings.patch_projection => radio_model.model.patch_generator.embedder
    embeddings.position_embedding => radio_model.model.patch_generator.pos_embed
    encoder.layer => radio_model.model.blocks
    encoder.layer.#.attention.o_proj => radio_model.model.blocks.#.attn.proj
rf_detr
    backbone.backbone => backbone.0.encoder.encoder
    backbone.backbone.encoder.layer.#.attention.k_proj => backbone.0.encoder.encoder.encoder.layer.#.attention.attention.key
    backbone.backbone.encoder.layer.#.attention.o_proj => backbone.0.encoder.encoder.encoder.layer.#.attention.output.dense
    backbone.backbone.encoder.layer.#.attention.q_proj => backbone.0.encoder.encoder.encoder.layer.#.attention.attention.query
    backbone.backbone.encoder.layer.#.attention.v_proj => backbone.0.encoder.encoder.encoder.layer.#.attention.attention.value
    backbone.projector.layer_norm => backbone.0.projector.stages.0.1
    backbone.projector.projector_layer.bottlenecks.#.conv1 => backbone.0.projector.stages.0.0.m.#.cv1
    backbone.projector.projector_layer.bottlenecks.#.conv1.norm => backbone.0.projector.stages.0.0.m.#.cv1.bn
    backbone.projector.projector_layer.bottlenecks.#.conv2 => backbone.0.projector.stages.0.0.m.#.cv2
    backbone.projector.projector_layer.bottlenecks.#.conv2.norm => backbone.0.projector.stages.0.0.m.#.cv2.bn
    backbone.projector.projector_layer.conv1 => backbone.0.projector.stages.0.0.cv1
    backbone.projector.projector_layer.conv1.norm => backbone.0.projector.stages.0.0.cv1.bn
    backbone.projector.projector_layer.conv2 => backbone.0.projector.stages.0.0.cv2
    backbone.projector.projector_layer.conv2.norm => backbone.0.projector.stages.0.0.cv2.bn
    blocks.#.depthwise_conv => segmentation_head.blocks.#.dwconv
    blocks.#.layernorm => segmentation_head.blocks.#.norm
    blocks.#.pointwise_conv => segmentation_head.blocks.#.pwconv1
    decoder.layernorm => decoder.norm
    decoder.layers.#.cross_attn_layer_norm => decoder.layers.#.norm2
    decoder.layers.#.layer_norm => decoder.layers.#.norm3
    decoder.layers.#.mlp.fc1 => decoder.layers.#.linear1
    decoder.layers.#.mlp.fc2 => decoder.layers.#.linear2
    decoder.layers.#.self_attn.o_proj => decoder.layers.#.self_attn.out_proj
    decoder.layers.#.self_attn_layer_norm => decoder.layers.#.norm1
    query_features_block.mlp.fc1 => segmentation_head.query_features_block.layers.0
    query_features_block.mlp.fc2 => segmentation_head.query_features_block.layers.2
    query_features_block.norm => segmentation_head.query_features_block.norm_in
    reference_point_embed => refpoint_embed
    segmentation_bias => segmentation_head.bias
sam3_tracker sam3_tracker_video
    vision_encoder.neck => tracker_model.tracker_neck
sapiens2
    embeddings.patch_embeddings => patch_embed.projection
    embeddings.register_tokens => storage_tokens
    layer.#.attention => blocks.#.attn
    layer.#.attention.k_proj => blocks.#.attn.wk
    layer.#.attention.o_proj => blocks.#.attn.proj
    layer.#.attention.q_proj => blocks.#.attn.wq
    layer.#.attention.v_proj => blocks.#.attn.wv
    layer.#.layer_scale1.lambda1 => blocks.#.attn.gamma
    layer.#.mlp.down_proj => blocks.#.ffn.w3
    layer.#.norm1 => blocks.#.ln1
    layer.#.norm2 => blocks.#.ln2
    norm => ln1
segformer
    decode_head.linear_projections => decode_head.linear_c
    segformer.stages.#.blocks => segformer.encoder.block.#
    segformer.stages.#.blocks.#.attention.k_proj => segformer.encoder.block.#.#.attention.self.key
    segformer.stages.#.blocks.#.attention.o_proj => segformer.encoder.block.#.#.attention.output.dense
    segformer.stages.#.blocks.#.attention.q_proj => segformer.encoder.block.#.#.attention.self.query
    segformer.stages.#.blocks.#.attention.sequence_reduction => segformer.encoder.block.#.#.attention.self
    segformer.stages.#.blocks.#.attention.sequence_reduction.sequence_reduction => segformer.encoder.block.#.#.attention.self.sr
    segformer.stages.#.blocks.#.attention.v_proj => segformer.encoder.block.#.#.attention.self.value
    segformer.stages.#.blocks.#.layernorm_after => segformer.encoder.block.#.#.layer_norm_2
    segformer.stages.#.blocks.#.layernorm_before => segformer.encoder.block.#.#.layer_norm_1
    segformer.stages.#.blocks.#.mlp.fc1 => segformer.encoder.block.#.#.mlp.dense1
    segformer.stages.#.blocks.#.mlp.fc2 => segformer.encoder.block.#.#.mlp.dense2
    segformer.stages.#.layer_norm => segformer.encoder.layer_norm.#
    segformer.stages.#.patch_embeddings => segformer.encoder.patch_embeddings.#
    stages.#.blocks => encoder.block.#
    stages.#.blocks.#.attention.k_proj => encoder.block.#.#.attention.self.key
    stages.#.blocks.#.attention.o_proj => encoder.block.#.#.attention.output.dense
    stages.#.blocks.#.attention.q_proj => encoder.block.#.#.attention.self.query
    stages.#.blocks.#.attention.sequence_reduction => encoder.block.#.#.attention.self
    stages.#.blocks.#.attention.sequence_reduction.sequence_reduction => encoder.block.#.#.attention.self.sr
    stages.#.blocks.#.attention.v_proj => encoder.block.#.#.attention.self.value
    stages.#.blocks.#.layernorm_after => encoder.block.#.#.layer_norm_2
    stages.#.blocks.#.layernorm_before => encoder.block.#.#.layer_norm_1
    stages.#.blocks.#.mlp.fc1 => encoder.block.#.#.mlp.dense1
    stages.#.blocks.#.mlp.fc2 => encoder.block.#.#.mlp.dense2
    stages.#.layer_norm => encoder.layer_norm.#
    stages.#.patch_embeddings => encoder.patch_embeddings.#
step3p7
    multi_modal_projector => vit_large_projector
    vision_model.downsampler1 => vision_model.vit_downsampler1
    vision_model.downsampler2 => vision_model.vit_downsampler2
    vision_model.embeddings.patch_embedding => vision_model.conv1
    vision_model.embeddings.position_embedding => vision_model.positional_embedding
    vision_model.layers.#.lambda_1 => vision_model.transformer.resblocks.#.ls_1.gamma
    vision_model.layers.#.lambda_2 => vision_model.transformer.resblocks.#.ls_2.gamma
    vision_model.layers.#.layernorm_after => vision_model.transformer.resblocks.#.ln_2
    vision_model.layers.#.layernorm_before => vision_model.transformer.resblocks.#.ln_1
    vision_model.layers.#.mlp.fc1 => vision_model.transformer.resblocks.#.mlp.c_fc
    vision_model.layers.#.mlp.fc2 => vision_model.transformer.resblocks.#.mlp.c_proj
    vision_model.layers.#.self_attn => vision_model.transformer.resblocks.#.attn
    vision_model.pre_layernorm => vision_model.ln_pre
swin
    encoder.layers.#.blocks.#.attention.k_proj => encoder.layers.#.blocks.#.attention.self.key
    encoder.layers.#.blocks.#.attention.o_proj => encoder.layers.#.blocks.#.attention.output.dense
    encoder.layers.#.blocks.#.attention.q_proj => encoder.layers.#.blocks.#.attention.self.query
    encoder.layers.#.blocks.#.attention.relative_position_bias => encoder.layers.#.blocks.#.attention.self
    encoder.layers.#.blocks.#.attention.v_proj => encoder.layers.#.blocks.#.attention.self.value
    encoder.layers.#.blocks.#.mlp.fc1 => encoder.layers.#.blocks.#.intermediate.dense
    encoder.layers.#.blocks.#.mlp.fc2 => encoder.layers.#.blocks.#.output.dense
t5gemma2
    encoder.text_model => encoder
timesfm2_5
    layers.#.mlp.fc1 => layers.#.mlp.ff0
    layers.#.mlp.fc2 => layers.#.mlp.ff1
tipsv2
    text_model.embeddings => text_encoder
    text_model.encoder.layers.#.layer_norm1 => text_encoder.transformer.resblocks.#.ln_1
    text_model.encoder.layers.#.layer_norm2 => text_encoder.transformer.resblocks.#.ln_2
    text_model.encoder.layers.#.mlp.fc1 => text_encoder.transformer.resblocks.#.mlp.c_fc
    text_model.encoder.layers.#.mlp.fc2 => text_encoder.transformer.resblocks.#.mlp.c_proj
    text_model.encoder.layers.#.self_attn => text_encoder.transformer.resblocks.#.attn
    text_model.final_layer_norm => text_encoder.ln_final
    vision_model.embeddings => vision_encoder
    vision_model.embeddings.patch_embeddings.projection => vision_encoder.patch_embed.proj
    vision_model.embeddings.position_embeddings => vision_encoder.pos_embed
    vision_model.encoder.layer => vision_encoder.blocks
    vision_model.encoder.layer.#.attention.o_proj => vision_encoder.blocks.#.attn.proj
    vision_model.encoder.layer.#.layer_scale1.lambda1 => vision_encoder.blocks.#.ls1.gamma
    vision_model.encoder.layer.#.layer_scale2.lambda1 => vision_encoder.blocks.#.ls2.gamma
    vision_model.encoder.layer.#.mlp.fc1 => vision_encoder.blocks.#.mlp.c_fc
    vision_model.encoder.layer.#.mlp.fc2 => vision_encoder.blocks.#.mlp.c_proj
    vision_model.layernorm => vision_encoder.norm
tipsv2_text_model
    encoder.layers.#.layer_norm1 => resblocks.#.ln_1
    encoder.layers.#.layer_norm2 => resblocks.#.ln_2
    encoder.layers.#.mlp.fc1 => resblocks.#.mlp.c_fc
    encoder.layers.#.mlp.fc2 => resblocks.#.mlp.c_proj
    encoder.layers.#.self_attn => resblocks.#.attn
    final_layer_norm => ln_final
tipsv2_vision_model
    embeddings.patch_embeddings.projection => patch_embed.proj
    embeddings.position_embeddings => pos_embed
    encoder.layer => blocks
    encoder.layer.#.attention.o_proj => blocks.#.attn.proj
    encoder.layer.#.layer_scale1.lambda1 => blocks.#.ls1.gamma
    encoder.layer.#.layer_scale2.lambda1 => blocks.#.ls2.gamma
    encoder.layer.#.mlp.fc1 => blocks.#.mlp.c_fc
    encoder.layer.#.mlp.fc2 => blocks.#.mlp.c_proj
    layernorm => norm
ultrabert
    head.decoder => cls
ultravbert
    lm_head => head.decoder
    projection_head => head
unlimited_ocr
    multi_modal_projector => projector.layers
    view_separator => view_seperator
    vision_tower.sam_encoder => sam_model
    vision_tower.sam_encoder.layers => sam_model.blocks
    vision_tower.sam_encoder.layers.#.layer_norm1 => sam_model.blocks.#.norm1
    vision_tower.sam_encoder.layers.#.layer_norm2 => sam_model.blocks.#.norm2
    vision_tower.sam_encoder.neck.conv1 => sam_model.neck.0
    vision_tower.sam_encoder.neck.conv2 => sam_model.neck.2
    vision_tower.sam_encoder.neck.layer_norm1 => sam_model.neck.1
    vision_tower.sam_encoder.neck.layer_norm2 => sam_model.neck.3
    vision_tower.sam_encoder.patch_embed.projection => sam_model.patch_embed.proj
    vision_tower.sam_encoder.proj.conv1 => sam_model.net_2
    vision_tower.sam_encoder.proj.conv2 => sam_model.net_3
    vision_tower.vision_encoder => vision_model
    vision_tower.vision_encoder.encoder => vision_model.transformer
videomae
    encoder.layer.#.attention.attention.query.bias => encoder.layer.#.attention.attention.q_bias
    encoder.layer.#.attention.attention.value.bias => encoder.layer.#.attention.attention.v_bias
vision-encoder-decoder
    encoder.layers => encoder.encoder.layer
    encoder.layers.#.attention.k_proj => encoder.encoder.layer.#.attention.attention.key
    encoder.layers.#.attention.o_proj => encoder.encoder.layer.#.attention.output.dense
    encoder.layers.#.attention.q_proj => encoder.encoder.layer.#.attention.attention.query
    encoder.layers.#.attention.v_proj => encoder.encoder.layer.#.attention.attention.value
    encoder.layers.#.mlp.fc1 => encoder.encoder.layer.#.intermediate.dense
    encoder.layers.#.mlp.fc2 => encoder.encoder.layer.#.output.dense
vision-text-dual-encoder
    vision_model.layers => vision_model.encoder.layer
    vision_model.layers.#.attention.k_proj => vision_model.encoder.layer.#.attention.attention.key
    vision_model.layers.#.attention.o_proj => vision_model.encoder.layer.#.attention.output.dense
    vision_model.layers.#.attention.q_proj => vision_model.encoder.layer.#.attention.attention.query
    vision_model.layers.#.attention.v_proj => vision_model.encoder.layer.#.attention.attention.value
    vision_model.layers.#.mlp.fc1 => vision_model.encoder.layer.#.intermediate.dense
    vision_model.layers.#.mlp.fc2 => vision_model.encoder.layer.#.output.dense
yolos
    encoder.interpolation => encoder
"""
"""What a name in the model begins with, and what the name in the file begins with instead: the longest counts."""
