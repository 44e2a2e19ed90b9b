"""How transformers 5.24.0 renames the tensors of a file when it loads a model, by model type: tables, and nothing else.

Written by benchmarks/renames.py. Lines of types, each followed by what holds for these, indented.
"""

from __future__ import annotations

RENAMES = r"""
altclip
    layer\. => layers.
    in vision_model.: ^vision_model\.(.+) => \1
apertus1p5_text gemma3n_text qwen3_5_moe_text qwen3_5_text qwen4_exp_text
    ^model\.language_model\.(.+) => model.\1
aria
    ^language_model.lm_head(?!\w) => lm_head
    ^language_model(?!\w) => model.language_model
    ^vision_tower(?!\w) => model.vision_tower
    ^multi_modal_projector(?!\w) => model.multi_modal_projector
    in model.: ^language_model.model(?!\w) => language_model
    in model.language_model.: mlp\.experts\.fc1\.weight(?!\w) => mlp.experts.gate_up_proj
    in model.language_model.: mlp\.experts\.fc2\.weight(?!\w) => mlp.experts.down_proj
aria_text
    mlp\.experts\.fc1\.weight(?!\w) => mlp.experts.gate_up_proj
    mlp\.experts\.fc2\.weight(?!\w) => mlp.experts.down_proj
audio-spectrogram-transformer deit ijepa vit vit_mae vit_msn vivit
    encoder\.layer\. => layers.
    attention.query(?!\w) => q_proj
    attention.key(?!\w) => k_proj
    attention.value(?!\w) => v_proj
    attention.output.dense(?!\w) => attention.o_proj
    intermediate.dense(?!\w) => mlp.fc1
    output.dense(?!\w) => mlp.fc2
audioflamingo3 glmasr musicflamingo qwen2_audio voxtral voxtral_realtime
    ^language_model.lm_head(?!\w) => lm_head
    ^language_model(?!\w) => model.language_model
    ^audio_tower(?!\w) => model.audio_tower
    ^multi_modal_projector(?!\w) => model.multi_modal_projector
    in model.: ^language_model.model(?!\w) => language_model
axk1
    post_mlp_layernorm(?!\w) => mlp.post_mlp_layernorm
axk2
    W_down(?!\w) => mlp.fc1
    W_up(?!\w) => mlp.fc2
    self_attn\.q_b_proj\. => self_attn.q_gate_proj.
aya_vision gemma3 llava paligemma vipllava
    ^language_model.lm_head(?!\w) => lm_head
    ^language_model(?!\w) => model.language_model
    ^vision_tower(?!\w) => model.vision_tower
    ^multi_modal_projector(?!\w) => model.multi_modal_projector
    in model.: ^language_model.model(?!\w) => language_model
    in model.vision_tower.: ^vision_model\.(.+) => \1
bailing_hybrid
    ^model\.word_embeddings\. => model.embed_tokens.
    \.attention\. => .self_attn.
    self_attn\.f_proj\. => self_attn.forget_gate.f_proj.
    self_attn\.dt_bias(?!\w) => self_attn.forget_gate.dt_bias
    self_attn\.A_log(?!\w) => self_attn.forget_gate.A_log
    \.self_attn\.dense\. => .self_attn.o_proj.
    \.mlp\.gate\.expert_bias(?!\w) => .mlp.gate.e_score_correction_bias
beit
    encoder\.layer\. => layers.
    attention.query(?!\w) => q_proj
    attention.key(?!\w) => k_proj
    attention.value(?!\w) => v_proj
    attention.output.dense(?!\w) => attention.o_proj
    intermediate.dense(?!\w) => mlp.fc1
    output.dense(?!\w) => mlp.fc2
    encoder.relative_position_bias(?!\w) => shared_position_bias
    attention.attention.relative_position_bias.relative_position_bias_table(?!\w) => relative_position_bias.relative_position_bias_table
chinese_clip
    in vision_model.: ^vision_model\.(.+) => \1
chinese_clip_vision_model clip_vision_model siglip2_vision_model siglip_vision_model
    ^vision_model\.(.+) => \1
clip clipseg metaclip_2 siglip siglip2
    in text_model.: ^text_model\.(.+) => \1
    in vision_model.: ^vision_model\.(.+) => \1
clip_text_model
    ^text_model\.(.+) => \1
cohere2_vision lfm2_vl
    in model.vision_tower.: ^vision_model\.(.+) => \1
cohere_asr
    encoder\.pre_encode\.conv\. => encoder.subsampling.layers.
    encoder\.pre_encode\.out\. => encoder.subsampling.linear.
    transf_decoder\._embedding\.position_embedding\.pos_enc(?!\w) => decoder.pos_emb.weight
    transf_decoder\._embedding\.token_embedding(?!\w) => decoder.embed_tokens
    transf_decoder\._embedding\.layer_norm(?!\w) => decoder.embedding_layernorm
    transf_decoder\._decoder\.final_layer_norm(?!\w) => decoder.norm
    transf_decoder\._decoder\.layers(?!\w) => decoder.layers
    encoder_decoder_proj\. => decoder.proj.
    encoder\.(.+)\.self_attn\.linear_q(?!\w) => encoder.\1.self_attn.q_proj
    encoder\.(.+)\.self_attn\.linear_k(?!\w) => encoder.\1.self_attn.k_proj
    encoder\.(.+)\.self_attn\.linear_v(?!\w) => encoder.\1.self_attn.v_proj
    encoder\.(.+)\.self_attn\.linear_out(?!\w) => encoder.\1.self_attn.o_proj
    encoder\.(.+)\.self_attn\.linear_pos(?!\w) => encoder.\1.self_attn.relative_k_proj
    encoder\.(.+)\.self_attn\.pos_bias_u(?!\w) => encoder.\1.self_attn.bias_u
    encoder\.(.+)\.self_attn\.pos_bias_v(?!\w) => encoder.\1.self_attn.bias_v
    decoder\.(.+)\.first_sub_layer\.query_net(?!\w) => decoder.\1.self_attn.q_proj
    decoder\.(.+)\.first_sub_layer\.key_net(?!\w) => decoder.\1.self_attn.k_proj
    decoder\.(.+)\.first_sub_layer\.value_net(?!\w) => decoder.\1.self_attn.v_proj
    decoder\.(.+)\.first_sub_layer\.out_projection(?!\w) => decoder.\1.self_attn.o_proj
    \.second_sub_layer\.query_net(?!\w) => .encoder_attn.q_proj
    \.second_sub_layer\.key_net(?!\w) => .encoder_attn.k_proj
    \.second_sub_layer\.value_net(?!\w) => .encoder_attn.v_proj
    \.second_sub_layer\.out_projection(?!\w) => .encoder_attn.o_proj
    \.third_sub_layer\.dense_in(?!\w) => .mlp.fc1
    \.third_sub_layer\.dense_out(?!\w) => .mlp.fc2
    \.layer_norm_1\. => .input_layernorm.
    \.layer_norm_2\. => .post_attention_layernorm.
    \.layer_norm_3\. => .final_layernorm.
    \.conv\.batch_norm(?!\w) => .conv.norm
    log_softmax\.mlp\.layer0(?!\w) => proj_out
conditional_detr
    in model.: backbone.conv_encoder(?!\w) => backbone
    in model.: self_attn.out_proj(?!\w) => self_attn.o_proj
    in model.: encoder_attn.out_proj(?!\w) => encoder_attn.o_proj
    in model.: layers.(\d+).fc1(?!\w) => layers.\1.mlp.fc1
    in model.: layers.(\d+).fc2(?!\w) => layers.\1.mlp.fc2
    in model.: decoder.layers.(\d+).sa_qcontent_proj(?!\w) => decoder.layers.\1.self_attn.q_content_proj
    in model.: decoder.layers.(\d+).sa_qpos_proj(?!\w) => decoder.layers.\1.self_attn.q_pos_proj
    in model.: decoder.layers.(\d+).sa_kcontent_proj(?!\w) => decoder.layers.\1.self_attn.k_content_proj
    in model.: decoder.layers.(\d+).sa_kpos_proj(?!\w) => decoder.layers.\1.self_attn.k_pos_proj
    in model.: decoder.layers.(\d+).sa_v_proj(?!\w) => decoder.layers.\1.self_attn.v_proj
    in model.: decoder.layers.(\d+).ca_qcontent_proj(?!\w) => decoder.layers.\1.encoder_attn.q_content_proj
    in model.: decoder.layers.(\d+).ca_qpos_proj(?!\w) => decoder.layers.\1.encoder_attn.q_pos_proj
    in model.: decoder.layers.(\d+).ca_kcontent_proj(?!\w) => decoder.layers.\1.encoder_attn.k_content_proj
    in model.: decoder.layers.(\d+).ca_kpos_proj(?!\w) => decoder.layers.\1.encoder_attn.k_pos_proj
    in model.: decoder.layers.(\d+).ca_v_proj(?!\w) => decoder.layers.\1.encoder_attn.v_proj
    in model.: decoder.layers.(\d+).ca_qpos_sine_proj(?!\w) => decoder.layers.\1.encoder_attn.q_pos_sine_proj
cosmos3_edge
    ^embed_tokens\. => model.language_model.embed_tokens.
    ^norm\. => model.language_model.norm.
    ^layers\. => model.language_model.layers.
    \.self_attn\.to_q\. => .self_attn.q_proj.
    \.self_attn\.to_k\. => .self_attn.k_proj.
    \.self_attn\.to_v\. => .self_attn.v_proj.
    \.self_attn\.to_out\. => .self_attn.o_proj.
    \.mlp\.up_proj\. => .mlp.fc1.
    \.mlp\.down_proj\. => .mlp.fc2.
cosmos3_omni
    ^(layers\.|embed_tokens\.|norm\.) => model.language_model.\1
    ^(blocks\.|merger\.|patch_embed\.|pos_embed\.|deepstack_merger_list\.) => model.visual.\1
    \.self_attn\.to_q\. => .self_attn.q_proj.
    \.self_attn\.to_k\. => .self_attn.k_proj.
    \.self_attn\.to_v\. => .self_attn.v_proj.
    \.self_attn\.to_out\. => .self_attn.o_proj.
    \.self_attn\.norm_q\. => .self_attn.q_norm.
    \.self_attn\.norm_k\. => .self_attn.k_norm.
d_fine
    out_proj(?!\w) => o_proj
    layers.(\d+).fc1(?!\w) => layers.\1.mlp.layers.0
    layers.(\d+).fc2(?!\w) => layers.\1.mlp.layers.1
    encoder.encoder.(\d+).layers(?!\w) => encoder.aifi.\1.layers
deepseek_v4
    \.attn\. => .self_attn.
    \.ffn\. => .mlp.
    \.indexer\.compressor\. => .compressor.indexer.
    ^embed\.weight(?!\w) => embed_tokens.weight
    ^head\.weight(?!\w) => lm_head.weight
    ^hc_head_fn(?!\w) => hc_head.hc_fn
    ^hc_head_base(?!\w) => hc_head.hc_base
    ^hc_head_scale(?!\w) => hc_head.hc_scale
    \.attn_norm\. => .input_layernorm.
    \.ffn_norm\. => .post_attention_layernorm.
    \.hc_attn_fn(?!\w) => .attn_hc.fn
    \.hc_attn_base(?!\w) => .attn_hc.base
    \.hc_attn_scale(?!\w) => .attn_hc.scale
    \.hc_ffn_fn(?!\w) => .ffn_hc.fn
    \.hc_ffn_base(?!\w) => .ffn_hc.base
    \.hc_ffn_scale(?!\w) => .ffn_hc.scale
    \.attn_sink(?!\w) => .sinks
    \.indexer\.weights_proj\. => .compressor.indexer.scorer.weights_proj.
    \.indexer\.wq_b\. => .compressor.indexer.q_b_proj.
    \.norm\. => .kv_norm.
    \.ape(?!\w) => .position_bias
    \.wq_a\. => .q_a_proj.
    \.self_attn\.wq_b\. => .self_attn.q_b_proj.
    \.wkv\. => .kv_proj.
    \.wgate\. => .gate_proj.
    \.wo_a\. => .o_a_proj.
    \.wo_b\. => .o_b_proj.
    \.q_norm\. => .q_a_norm.
    \.gate\.bias(?!\w) => .gate.e_score_correction_bias
    \.shared_experts\.w1\. => .shared_experts.gate_proj.
    \.shared_experts\.w2\. => .shared_experts.down_proj.
    \.shared_experts\.w3\. => .shared_experts.up_proj.
deepseek_vl deepseek_vl_hybrid modernvbert
    in model.vision_model.: ^vision_model\.(.+) => \1
deformable_detr
    backbone.conv_encoder(?!\w) => backbone
    self_attn.out_proj(?!\w) => self_attn.o_proj
    layers.(\d+).fc1(?!\w) => layers.\1.mlp.fc1
    layers.(\d+).fc2(?!\w) => layers.\1.mlp.fc2
depth_pro
    in encoder.patch_encoder.model.: attention.attention.query(?!\w) => attention.q_proj
    in encoder.patch_encoder.model.: attention.attention.key(?!\w) => attention.k_proj
    in encoder.patch_encoder.model.: attention.attention.value(?!\w) => attention.v_proj
    in encoder.patch_encoder.model.: attention.output.dense(?!\w) => attention.o_proj
    in encoder.patch_encoder.model.: mlp.weights_out(?!\w) => mlp.down_proj
    in encoder.image_encoder.model.: attention.attention.query(?!\w) => attention.q_proj
    in encoder.image_encoder.model.: attention.attention.key(?!\w) => attention.k_proj
    in encoder.image_encoder.model.: attention.attention.value(?!\w) => attention.v_proj
    in encoder.image_encoder.model.: attention.output.dense(?!\w) => attention.o_proj
    in encoder.image_encoder.model.: mlp.weights_out(?!\w) => mlp.down_proj
detr
    in model.: backbone.conv_encoder(?!\w) => backbone
    in model.: out_proj(?!\w) => o_proj
    in model.: layers.(\d+).fc1(?!\w) => layers.\1.mlp.fc1
    in model.: layers.(\d+).fc2(?!\w) => layers.\1.mlp.fc2
dinov2 dinov2_with_registers
    attention.attention.query(?!\w) => attention.q_proj
    attention.attention.key(?!\w) => attention.k_proj
    attention.attention.value(?!\w) => attention.v_proj
    attention.output.dense(?!\w) => attention.o_proj
    mlp.weights_out(?!\w) => mlp.down_proj
dinov3_convnext
    (?<!model\.)stages(?!\w) => model.stages
dory
    \.self_attn\.g_proj\. => .self_attn.gate_proj.
    ^backbone\. => model.
    \.embeddings\. => .embed_tokens.
emu3
    ^text_model.lm_head(?!\w) => lm_head
    ^text_model(?!\w) => model.text_model
    ^vqmodel(?!\w) => model.vqmodel
    in model.: ^text_model.model(?!\w) => text_model
ernie4_5_moe
    mlp.moe_statics.e_score_correction_bias(?!\w) => mlp.gate.moe_statics.e_score_correction_bias
esm
    encoder.layer..*\.attention.self.rotary_embeddings.inv_freq(?!\w) => rotary_embeddings.inv_freq
    LayerNorm.gamma(?!\w) => LayerNorm.weight
    LayerNorm.beta(?!\w) => LayerNorm.bias
exaone_moe
    mlp.e_score_correction_bias(?!\w) => mlp.gate.e_score_correction_bias
flint
    self_attn.softmax_offset(?!\w) => self_attn.sinks
fuyu
    ^language_model.lm_head(?!\w) => lm_head
    ^language_model(?!\w) => model.language_model
    ^vision_embed_tokens(?!\w) => model.vision_embed_tokens
    in model.: ^language_model.model(?!\w) => language_model
gemma4_unified
    vision_embedder\.patch_ln1(?!\w) => embed_vision.patch_ln1
    vision_embedder\.patch_dense(?!\w) => embed_vision.patch_dense
    vision_embedder\.patch_ln2(?!\w) => embed_vision.patch_ln2
    vision_embedder\.pos_embedding(?!\w) => embed_vision.pos_embedding
    vision_embedder\.pos_norm(?!\w) => embed_vision.pos_norm
    embed_vision\.embedding_projection(?!\w) => embed_vision.multimodal_embedder.embedding_projection
glm5_next
    self_attn\.f_a_proj\. => self_attn.forget_gate.f_a_proj.
    self_attn\.f_b_proj\. => self_attn.forget_gate.f_b_proj.
    self_attn\.dt_bias(?!\w) => self_attn.forget_gate.dt_bias
    self_attn\.A_log(?!\w) => self_attn.forget_gate.A_log
    hc_attn_fn(?!\w) => attn_hc.fn
    hc_attn_base(?!\w) => attn_hc.base
    hc_attn_scale(?!\w) => attn_hc.scale
    hc_ffn_fn(?!\w) => ffn_hc.fn
    hc_ffn_base(?!\w) => ffn_hc.base
    hc_ffn_scale(?!\w) => ffn_hc.scale
    in model.language_model.: self_attn\.f_a_proj\. => self_attn.forget_gate.f_a_proj.
    in model.language_model.: self_attn\.f_b_proj\. => self_attn.forget_gate.f_b_proj.
    in model.language_model.: self_attn\.dt_bias(?!\w) => self_attn.forget_gate.dt_bias
    in model.language_model.: self_attn\.A_log(?!\w) => self_attn.forget_gate.A_log
    in model.language_model.: hc_attn_fn(?!\w) => attn_hc.fn
    in model.language_model.: hc_attn_base(?!\w) => attn_hc.base
    in model.language_model.: hc_attn_scale(?!\w) => attn_hc.scale
    in model.language_model.: hc_ffn_fn(?!\w) => ffn_hc.fn
    in model.language_model.: hc_ffn_base(?!\w) => ffn_hc.base
    in model.language_model.: hc_ffn_scale(?!\w) => ffn_hc.scale
got_ocr2 internvl mistral3
    ^language_model.lm_head(?!\w) => lm_head
    ^language_model(?!\w) => model.language_model
    ^vision_tower(?!\w) => model.vision_tower
    ^multi_modal_projector(?!\w) => model.multi_modal_projector
    in model.: ^language_model.model(?!\w) => language_model
gpt_neox
    ^embed_out\. => lm_head.
granite_speech granite_speech_plus
    ^language_model.lm_head(?!\w) => lm_head
    ^language_model(?!\w) => model.language_model
    ^encoder(?!\w) => model.encoder
    ^projector(?!\w) => model.projector
    in model.: ^language_model.model(?!\w) => language_model
granitemoe granitemoehybrid granitemoeshared
    block_sparse_moe\.input_linear\.weight(?!\w) => block_sparse_moe.experts.gate_up_proj
    block_sparse_moe\.output_linear\.weight(?!\w) => block_sparse_moe.experts.down_proj
    block_sparse_moe\.router\.layer\.weight(?!\w) => block_sparse_moe.router.weight
gte
    ^new\.(.+) => \1
    encoder.layer(?!\w) => layers
    attention.o_proj(?!\w) => self_attn.o_proj
    attn_ln(?!\w) => post_attention_layernorm
    mlp_ln(?!\w) => post_mlp_layernorm
    lm_head.norm(?!\w) => lm_head.layer_norm
hrm_text
    \.attn\.o_proj\. => .self_attn.o_proj.
hunyuan_vl
    mlp.dense_h_to_4h(?!\w) => mlp.fc1
    mlp.dense_4h_to_h(?!\w) => mlp.fc2
    ^vit\.layers\.(\d+)\.input_layernorm\. => vit.layers.\1.layer_norm1.
    ^vit\.layers\.(\d+)\.post_attention_layernorm\. => vit.layers.\1.layer_norm2.
    perceive\.proj\.0\. => perceive.proj_conv.
    perceive\.proj\.2\. => perceive.proj_out.
    perceive\. => patch_merger.
    ^model(?!\.(language_model|vit|vision_tower)) => model.language_model
    ^model\.vit(?!\w) => model.vision_tower
    ^vit(?!\w) => model.vision_tower
hy_v3
    mlp\.router\.gate\.weight(?!\w) => mlp.gate.weight
    mlp\.expert_bias(?!\w) => mlp.e_score_correction_bias
    mlp\.shared_mlp\. => mlp.shared_experts.
hy_v4
    \.hc_pre\.hc_ => .hc_
    \.learnable_sink_param(?!\w) => .sinks
    \.linear_gate(?!\w) => .gate_proj
    \.hc_attn_layer\.hc_fn(?!\w) => .attn_hc.fn
    \.hc_attn_layer\.hc_base(?!\w) => .attn_hc.base
    \.hc_attn_layer\.hc_scale(?!\w) => .attn_hc.scale
    \.hc_mlp_layer\.hc_fn(?!\w) => .ffn_hc.fn
    \.hc_mlp_layer\.hc_base(?!\w) => .ffn_hc.base
    \.hc_mlp_layer\.hc_scale(?!\w) => .ffn_hc.scale
    \.hc_head_fn(?!\w) => .hc_fn
    \.hc_head_base(?!\w) => .hc_base
    \.hc_head_scale(?!\w) => .hc_scale
hy_v4_vl
    mlp.dense_h_to_4h(?!\w) => mlp.fc1
    mlp.dense_4h_to_h(?!\w) => mlp.fc2
    ^vit\.layers\.(\d+)\.input_layernorm\. => vit.layers.\1.layer_norm1.
    ^vit\.layers\.(\d+)\.post_attention_layernorm\. => vit.layers.\1.layer_norm2.
    (perceive|patch_merger)\.norm\. => \1.before_rms.
    perceive\.proj\.0\. => perceive.proj_conv.
    perceive\.proj\.2\. => perceive.proj_out.
    perceive\. => patch_merger.
    ^model(?!\.(language_model|vit|vision_tower)) => model.language_model
    ^vit(?!\w) => model.vision_tower
    in model.language_model.: \.hc_pre\.hc_ => .hc_
    in model.language_model.: \.learnable_sink_param(?!\w) => .sinks
    in model.language_model.: \.linear_gate(?!\w) => .gate_proj
    in model.language_model.: \.hc_attn_layer\.hc_fn(?!\w) => .attn_hc.fn
    in model.language_model.: \.hc_attn_layer\.hc_base(?!\w) => .attn_hc.base
    in model.language_model.: \.hc_attn_layer\.hc_scale(?!\w) => .attn_hc.scale
    in model.language_model.: \.hc_mlp_layer\.hc_fn(?!\w) => .ffn_hc.fn
    in model.language_model.: \.hc_mlp_layer\.hc_base(?!\w) => .ffn_hc.base
    in model.language_model.: \.hc_mlp_layer\.hc_scale(?!\w) => .ffn_hc.scale
    in model.language_model.: \.hc_head_fn(?!\w) => .hc_fn
    in model.language_model.: \.hc_head_base(?!\w) => .hc_base
    in model.language_model.: \.hc_head_scale(?!\w) => .hc_scale
hyperclovax_vision_v2
    ^model.language_model.lm_head(?!\w) => lm_head
    ^model.vision_projector(?!\w) => model.projector
    ^model.language_model\.model\.(.+) => model.language_model.\1
inkling2
    model\.llm\.unembed\. => lm_head.
    model\.llm\. => model.language_model.
    model\.visual\. => model.vision_tower.
    vision_tower\.backbone\.embeddings\. => vision_tower.embeddings.
    vision_tower\.embeddings\.position_embedding(?!\w) => vision_tower.embeddings.position_embedding.weight
    vision_tower\.backbone\.ln_pre\. => vision_tower.pre_layernorm.
    vision_tower\.backbone\.layers\. => vision_tower.layers.
    vision_tower\.proj_in\. => vision_tower.merger.linear_1.
    vision_tower\.proj_out\. => vision_tower.merger.linear_2.
    (vision_tower\.layers\.\d+)\.ln_1\. => \1.layernorm_before.
    (vision_tower\.layers\.\d+)\.ln_2\. => \1.layernorm_after.
    (vision_tower\.layers\.\d+)\.mlp\.c_fc\. => \1.mlp.fc1.
    (vision_tower\.layers\.\d+)\.mlp\.c_proj\. => \1.mlp.fc2.
    (vision_tower\.layers\.\d+)\.ls_1\.gamma(?!\w) => \1.lambda_1
    (vision_tower\.layers\.\d+)\.ls_2\.gamma(?!\w) => \1.lambda_2
    in model.language_model.: model\.llm\.unembed\. => lm_head.
    in model.language_model.: model\.llm\. => model.
    in model.language_model.: embed\.weight(?!\w) => embed_tokens.weight
    in model.language_model.: embed_norm\. => embed_tokens.embed_norm.
    in model.language_model.: mlp\.experts\.w2_weight(?!\w) => mlp.experts.down_proj
    in model.language_model.: mlp\.experts\.w2_weight_scale(?!\w) => mlp.experts.down_proj_scale_inv
    in model.language_model.: mlp.gate.bias(?!\w) => mlp.gate.e_score_correction_bias
    in model.language_model.: \.attn\. => .self_attn.
    in model.language_model.: self_attn\.wq_du(?!\w) => self_attn.q_proj.linear
    in model.language_model.: self_attn\.wk_dv(?!\w) => self_attn.k_proj.linear
    in model.language_model.: self_attn\.wv_dv(?!\w) => self_attn.v_proj.linear
    in model.language_model.: self_attn\.k_sconv\. => self_attn.k_proj.sconv.
    in model.language_model.: self_attn\.v_sconv\. => self_attn.v_proj.sconv.
    in model.language_model.: self_attn\.rel_logits_proj\. => self_attn.relative_position_bias.
    in model.language_model.: self_attn\.wr_du(?!\w) => self_attn.relative_position_bias.linear
    in model.language_model.: self_attn\.q_l2_clip\. => self_attn.q_proj.norm.
    in model.language_model.: self_attn\.rel_l2_clip\. => self_attn.relative_position_bias.norm.
    in model.language_model.: self_attn\.wo_ud(?!\w) => self_attn.o_proj.linear
    in model.language_model.: self_attn\.gate_attn(?!\w) => self_attn.o_proj.gate_proj
    in model.language_model.: self_attn\.attn_sink_proj(?!\w) => self_attn.sink_proj
    in model.language_model.: attn_sconv\. => post_attention_convolution.
    in model.language_model.: mlp_sconv\. => post_mlp_convolution.
    in model.language_model.: (convolution|sconv)\.weight(?!_) => \1.conv1d.weight
    in model.language_model.: (convolution|sconv)\.static_w(?!\w) => \1.static_weight
    in model.language_model.: (convolution|sconv)\.weight_proj(?!\w) => \1.weight_proj.weight
    in model.language_model.: mlp_norm(?!\w) => post_attention_layernorm
    in model.language_model.: attn_norm(?!\w) => input_layernorm
    in model.language_model.: (q|k|v)_input_norm(?!\w) => \1_input_layernorm
    in model.language_model.: attn_res\.mlp_queries\.(\d+) => layers.\1.mlp_input.query
    in model.language_model.: attn_res\.output_query(?!\w) => final_input.query
inkling2_loop
    model\.llm\.unembed\. => lm_head.
    model\.llm\. => model.language_model.
    model\.visual\. => model.vision_tower.
    vision_tower\.backbone\.embeddings\. => vision_tower.embeddings.
    vision_tower\.embeddings\.position_embedding(?!\w) => vision_tower.embeddings.position_embedding.weight
    vision_tower\.backbone\.ln_pre\. => vision_tower.pre_layernorm.
    vision_tower\.backbone\.layers\. => vision_tower.layers.
    vision_tower\.proj_in\. => vision_tower.merger.linear_1.
    vision_tower\.proj_out\. => vision_tower.merger.linear_2.
    (vision_tower\.layers\.\d+)\.ln_1\. => \1.layernorm_before.
    (vision_tower\.layers\.\d+)\.ln_2\. => \1.layernorm_after.
    (vision_tower\.layers\.\d+)\.mlp\.c_fc\. => \1.mlp.fc1.
    (vision_tower\.layers\.\d+)\.mlp\.c_proj\. => \1.mlp.fc2.
    (vision_tower\.layers\.\d+)\.ls_1\.gamma(?!\w) => \1.lambda_1
    (vision_tower\.layers\.\d+)\.ls_2\.gamma(?!\w) => \1.lambda_2
    in model.language_model.: controllers\.attn\. => q_message_gate.
    in model.language_model.: controllers\.k\. => k_message_gate.
    in model.language_model.: controllers\.v\. => v_message_gate.
    in model.language_model.: controllers\.mlp\. => mlp_message_gate.
    in model.language_model.: _message_gate\.down_weight(?!\w) => _message_gate.down_proj.weight
    in model.language_model.: _message_gate\.gain_weight(?!\w) => _message_gate.message_gate_proj.weight
    in model.language_model.: _message_gate\.forget_weight(?!\w) => _message_gate.forget_gate_proj.weight
    in model.language_model.: model\.llm\.unembed\. => lm_head.
    in model.language_model.: model\.llm\. => model.
    in model.language_model.: embed\.weight(?!\w) => embed_tokens.weight
    in model.language_model.: embed_norm\. => embed_tokens.embed_norm.
    in model.language_model.: mlp.gate.bias(?!\w) => mlp.gate.e_score_correction_bias
    in model.language_model.: \.attn\. => .self_attn.
    in model.language_model.: self_attn\.wq_du(?!\w) => self_attn.q_proj.linear
    in model.language_model.: self_attn\.wk_dv(?!\w) => self_attn.k_proj.linear
    in model.language_model.: self_attn\.wv_dv(?!\w) => self_attn.v_proj.linear
    in model.language_model.: self_attn\.k_sconv\. => self_attn.k_proj.sconv.
    in model.language_model.: self_attn\.v_sconv\. => self_attn.v_proj.sconv.
    in model.language_model.: self_attn\.rel_logits_proj\. => self_attn.relative_position_bias.
    in model.language_model.: self_attn\.wr_du(?!\w) => self_attn.relative_position_bias.linear
    in model.language_model.: self_attn\.q_l2_clip\. => self_attn.q_proj.norm.
    in model.language_model.: self_attn\.rel_l2_clip\. => self_attn.relative_position_bias.norm.
    in model.language_model.: self_attn\.wo_ud(?!\w) => self_attn.o_proj.linear
    in model.language_model.: self_attn\.gate_attn(?!\w) => self_attn.o_proj.gate_proj
    in model.language_model.: self_attn\.attn_sink_proj(?!\w) => self_attn.sink_proj
    in model.language_model.: attn_sconv\. => post_attention_convolution.
    in model.language_model.: mlp_sconv\. => post_mlp_convolution.
    in model.language_model.: (convolution|sconv)\.weight(?!_) => \1.conv1d.weight
    in model.language_model.: (convolution|sconv)\.static_w(?!\w) => \1.static_weight
    in model.language_model.: (convolution|sconv)\.weight_proj(?!\w) => \1.weight_proj.weight
    in model.language_model.: mlp_norm(?!\w) => post_attention_layernorm
    in model.language_model.: attn_norm(?!\w) => input_layernorm
    in model.language_model.: (q|k|v)_input_norm(?!\w) => \1_input_layernorm
    in model.language_model.: attn_res\.mlp_queries\.(\d+) => layers.\1.mlp_input.query
    in model.language_model.: attn_res\.output_query(?!\w) => final_input.query
inkling2_loop_text
    controllers\.attn\. => q_message_gate.
    controllers\.k\. => k_message_gate.
    controllers\.v\. => v_message_gate.
    controllers\.mlp\. => mlp_message_gate.
    _message_gate\.down_weight(?!\w) => _message_gate.down_proj.weight
    _message_gate\.gain_weight(?!\w) => _message_gate.message_gate_proj.weight
    _message_gate\.forget_weight(?!\w) => _message_gate.forget_gate_proj.weight
    model\.llm\.unembed\. => lm_head.
    model\.llm\. => model.
    embed\.weight(?!\w) => embed_tokens.weight
    embed_norm\. => embed_tokens.embed_norm.
    mlp.gate.bias(?!\w) => mlp.gate.e_score_correction_bias
    \.attn\. => .self_attn.
    self_attn\.wq_du(?!\w) => self_attn.q_proj.linear
    self_attn\.wk_dv(?!\w) => self_attn.k_proj.linear
    self_attn\.wv_dv(?!\w) => self_attn.v_proj.linear
    self_attn\.k_sconv\. => self_attn.k_proj.sconv.
    self_attn\.v_sconv\. => self_attn.v_proj.sconv.
    self_attn\.rel_logits_proj\. => self_attn.relative_position_bias.
    self_attn\.wr_du(?!\w) => self_attn.relative_position_bias.linear
    self_attn\.q_l2_clip\. => self_attn.q_proj.norm.
    self_attn\.rel_l2_clip\. => self_attn.relative_position_bias.norm.
    self_attn\.wo_ud(?!\w) => self_attn.o_proj.linear
    self_attn\.gate_attn(?!\w) => self_attn.o_proj.gate_proj
    self_attn\.attn_sink_proj(?!\w) => self_attn.sink_proj
    attn_sconv\. => post_attention_convolution.
    mlp_sconv\. => post_mlp_convolution.
    (convolution|sconv)\.weight(?!_) => \1.conv1d.weight
    (convolution|sconv)\.static_w(?!\w) => \1.static_weight
    (convolution|sconv)\.weight_proj(?!\w) => \1.weight_proj.weight
    mlp_norm(?!\w) => post_attention_layernorm
    attn_norm(?!\w) => input_layernorm
    (q|k|v)_input_norm(?!\w) => \1_input_layernorm
    attn_res\.mlp_queries\.(\d+) => layers.\1.mlp_input.query
    attn_res\.output_query(?!\w) => final_input.query
inkling2_text
    model\.llm\.unembed\. => lm_head.
    model\.llm\. => model.
    embed\.weight(?!\w) => embed_tokens.weight
    embed_norm\. => embed_tokens.embed_norm.
    mlp\.experts\.w2_weight(?!\w) => mlp.experts.down_proj
    mlp\.experts\.w2_weight_scale(?!\w) => mlp.experts.down_proj_scale_inv
    mlp.gate.bias(?!\w) => mlp.gate.e_score_correction_bias
    \.attn\. => .self_attn.
    self_attn\.wq_du(?!\w) => self_attn.q_proj.linear
    self_attn\.wk_dv(?!\w) => self_attn.k_proj.linear
    self_attn\.wv_dv(?!\w) => self_attn.v_proj.linear
    self_attn\.k_sconv\. => self_attn.k_proj.sconv.
    self_attn\.v_sconv\. => self_attn.v_proj.sconv.
    self_attn\.rel_logits_proj\. => self_attn.relative_position_bias.
    self_attn\.wr_du(?!\w) => self_attn.relative_position_bias.linear
    self_attn\.q_l2_clip\. => self_attn.q_proj.norm.
    self_attn\.rel_l2_clip\. => self_attn.relative_position_bias.norm.
    self_attn\.wo_ud(?!\w) => self_attn.o_proj.linear
    self_attn\.gate_attn(?!\w) => self_attn.o_proj.gate_proj
    self_attn\.attn_sink_proj(?!\w) => self_attn.sink_proj
    attn_sconv\. => post_attention_convolution.
    mlp_sconv\. => post_mlp_convolution.
    (convolution|sconv)\.weight(?!_) => \1.conv1d.weight
    (convolution|sconv)\.static_w(?!\w) => \1.static_weight
    (convolution|sconv)\.weight_proj(?!\w) => \1.weight_proj.weight
    mlp_norm(?!\w) => post_attention_layernorm
    attn_norm(?!\w) => input_layernorm
    (q|k|v)_input_norm(?!\w) => \1_input_layernorm
    attn_res\.mlp_queries\.(\d+) => layers.\1.mlp_input.query
    attn_res\.output_query(?!\w) => final_input.query
inkling_mm_model
    model\.llm\.layers(?!\w) => model.language_model.layers
    model\.llm\.embed_norm\.weight(?!\w) => model.language_model.embed_tokens.embed_norm.weight
    model\.llm\.embed\.weight(?!\w) => model.language_model.embed_tokens.weight
    model\.llm\.norm\.weight(?!\w) => model.language_model.norm.weight
    model\.llm\.unembed\.weight(?!\w) => lm_head.weight
    model\.audio\. => model.audio_tower.
    model\.visual(?!\w) => model.vision_tower
    vision_tower.layers.linear_(\d+) => vision_tower.encoder_layers.\1.projection
    vision_tower.layers.norm_(\d+) => vision_tower.encoder_layers.\1.layer_norm
    audio_tower.encoder.weight(?!\w) => audio_tower.embed_audio_tokens.embed_audio_tokens.weight
    audio_tower.final_norm.weight(?!\w) => audio_tower.norm.weight
    shared_w2_weight(?!\w) => down_proj
    mlp.experts.w2_weight(?!\w) => mlp.experts.down_proj
    mlp.w2_md.weight(?!\w) => mlp.down_proj.weight
    mlp.gate.bias(?!\w) => mlp.gate.e_score_correction_bias
    attn\.wq_du(?!\w) => self_attn.q_proj
    attn\.wk_dv(?!\w) => self_attn.k_proj
    attn\.wv_dv(?!\w) => self_attn.v_proj
    attn\.wr_du(?!\w) => self_attn.r_proj
    attn\.wo_ud(?!\w) => self_attn.o_proj
    \.attn\.q_norm(?!\w) => .self_attn.q_norm
    \.attn\.k_norm(?!\w) => .self_attn.k_norm
    \.attn\.k_sconv(?!\w) => .self_attn.k_sconv.conv1d
    \.attn\.v_sconv(?!\w) => .self_attn.v_sconv.conv1d
    \.attn\.rel_logits_proj(?!\w) => .self_attn.rel_logits_proj
    attn_sconv\.weight(?!\w) => attn_sconv.conv1d.weight
    mlp_sconv\.weight(?!\w) => mlp_sconv.conv1d.weight
    mlp_norm(?!\w) => post_attention_layernorm
    attn_norm(?!\w) => input_layernorm
jina_embeddings_v3
    emb_ln(?!\w) => embeddings.LayerNorm
    encoder.layers(?!\w) => layers
    mixer.out_proj(?!\w) => self_attn.o_proj
    norm1(?!\w) => post_attention_layernorm
    norm2(?!\w) => post_mlp_layernorm
kimi_k25
    language_model.model(?!\w) => model.language_model
    language_model.lm_head(?!\w) => lm_head
    vision_tower.encoder.blocks.(\d+).wo(?!\w) => vision_tower.encoder.blocks.\1.attn.proj
    vision_tower.encoder(?!\w) => model.vision_tower
    mm_projector.proj.0(?!\w) => model.mm_projector.in_proj
    mm_projector.proj.2(?!\w) => model.mm_projector.out_proj
    blocks(?!\w) => layers
    vision_tower.patch_embed.pos_emb.weight(?!\w) => model.vision_tower.patch_embed.pos_emb.position_embeddings
kimi_linear
    self_attn\.f_a_proj\. => self_attn.forget_gate.f_a_proj.
    self_attn\.f_b_proj\. => self_attn.forget_gate.f_b_proj.
    self_attn\.dt_bias(?!\w) => self_attn.forget_gate.dt_bias
    self_attn\.A_log(?!\w) => self_attn.forget_gate.A_log
    \.block_sparse_moe\. => .mlp.
kolibri1
    moe.router.expert_bias(?!\w) => mlp.gate.e_score_correction_bias
    post_attn_norm(?!\w) => post_self_attn_layernorm
    post_ffn_norm(?!\w) => post_mlp_layernorm
laguna
    mlp.experts.e_score_correction_bias(?!\w) => mlp.gate.e_score_correction_bias
    mlp.shared_expert. => mlp.shared_experts.
lara_mini
    linear_attn\.out_norm\. => linear_attn.norm.
lfm3
    \.self_attn\.gate_proj\. => .self_attn.g_proj.
lfm3_vl
    in model.language_model.: \.self_attn\.gate_proj\. => .self_attn.g_proj.
    in model.vision_tower.: patchifier(?!\w) => patch_embed
    in model.vision_tower.: q_layernorm(?!\w) => q_norm
    in model.vision_tower.: k_layernorm(?!\w) => k_norm
lfm3_vl_vision
    patchifier(?!\w) => patch_embed
    q_layernorm(?!\w) => q_norm
    k_layernorm(?!\w) => k_norm
llava_next llava_next_video llava_onevision
    ^language_model.lm_head(?!\w) => lm_head
    ^language_model(?!\w) => model.language_model
    ^vision_tower(?!\w) => model.vision_tower
    ^multi_modal_projector(?!\w) => model.multi_modal_projector
    ^image_newline(?!\w) => model.image_newline
    in model.: ^language_model.model(?!\w) => language_model
    in model.vision_tower.: ^vision_model\.(.+) => \1
lw_detr
    attention.attention.query(?!\w) => attention.q_proj
    attention.attention.key(?!\w) => attention.k_proj
    attention.attention.value(?!\w) => attention.v_proj
    attention.output(?!\w) => attention.o_proj
maskformer
    layers.(\d+).fc1(?!\w) => layers.\1.mlp.fc1
    layers.(\d+).fc2(?!\w) => layers.\1.mlp.fc2
    in model.transformer_module.decoder.: backbone.conv_encoder(?!\w) => backbone
    in model.transformer_module.decoder.: out_proj(?!\w) => o_proj
    in model.transformer_module.decoder.: layers.(\d+).fc1(?!\w) => layers.\1.mlp.fc1
    in model.transformer_module.decoder.: layers.(\d+).fc2(?!\w) => layers.\1.mlp.fc2
mimi_encoder
    ^encoder\.layers(?!\w) => encoder_seanet.layers
mimo_v2_flash
    self_attn.attention_sink_bias(?!\w) => self_attn.sinks
minicpm_ocr minicpmv4_6 minicpmv4_7 qwen3_5 qwen3_5_moe qwen4_exp
    in model.language_model.: ^model\.language_model\.(.+) => model.\1
minimax mixtral
    .block_sparse_moe. => .mlp.
minimax_m2
    .block_sparse_moe. => .mlp.
    .block_sparse_moe.e_score_correction_bias(?!\w) => .mlp.e_score_correction_bias
minimax_m3_vl
    ^language_model\.lm_head(?!\w) => lm_head
    ^language_model\.model\. => model.language_model.
    ^vision_tower\.vision_model\.embeddings\.patch_embedding\. => model.vision_tower.embeddings.proj.
    ^vision_tower\.vision_model\.encoder\.layers\. => model.vision_tower.layers.
    ^vision_tower\.vision_model\.pre_layrnorm\. => model.vision_tower.pre_layrnorm.
    ^multi_modal_projector\.linear_1\. => model.multi_modal_projector.linear_1.
    ^multi_modal_projector\.linear_2\. => model.multi_modal_projector.linear_2.
    ^patch_merge_mlp\.linear_1\. => model.multi_modal_projector.merge_linear_1.
    ^patch_merge_mlp\.linear_2\. => model.multi_modal_projector.merge_linear_2.
    \.block_sparse_moe\.(experts|gate|shared_experts)\. => .mlp.\1.
    \.block_sparse_moe\.e_score_correction_bias(?!\w) => .mlp.gate.e_score_correction_bias
    \.self_attn\.index_q_proj\. => .self_attn.indexer.q_proj.
    \.self_attn\.index_k_proj\. => .self_attn.indexer.k_proj.
    \.self_attn\.index_q_norm\. => .self_attn.indexer.q_norm.
    \.self_attn\.index_k_norm\. => .self_attn.indexer.k_norm.
mistral_large4
    ^vision_encoder\. => model.vision_tower.
    ^tok_embeddings\. => model.language_model.embed_tokens.
    ^lerope\.alpha(?!\w) => model.language_model.rotary_emb.alpha
    ^layers\. => model.language_model.layers.
    ^norm\. => model.language_model.norm.
    ^output\. => lm_head.
    ^pre_mm_projector_norm\. => model.multi_modal_projector.norm.
    ^patch_merger\. => model.multi_modal_projector.patch_merger.
    ^vision_language_adapter\.w_in\. => model.multi_modal_projector.linear_1.
    ^vision_language_adapter\.w_out\. => model.multi_modal_projector.linear_2.
    \.wv\. => .v_proj.
    \.wo\. => .o_proj.
    \.(feed_forward|shared_experts)\.w1\. => .\1.gate_proj.
    \.(feed_forward|shared_experts)\.w2\. => .\1.down_proj.
    \.(feed_forward|shared_experts)\.w3\. => .\1.up_proj.
    in model.language_model.: \.attention\. => .self_attn.
    in model.language_model.: \.wq\. => .q_proj.
    in model.language_model.: \.wkv_a_with_mqa\. => .kv_a_proj_with_mqa.
    in model.language_model.: \.wkv_b\. => .kv_b_proj.
    in model.language_model.: \.attention_norm\. => .input_layernorm.
    in model.language_model.: \.ffn_norm\. => .post_attention_layernorm.
    in model.language_model.: \.kv_a_norm\. => .kv_a_layernorm.
    in model.language_model.: \.feed_forward\. => .mlp.
    in model.language_model.: \.gate\. => .mlp.gate.
    in model.language_model.: \.experts\. => .mlp.experts.
    in model.language_model.: \.shared_experts\. => .mlp.shared_experts.
    in model.language_model.: \.ssmax_scaling.s(?!\w) => .softmax_scaling.scale
    in model.language_model.: \.ssmax_scaling.b(?!\w) => .softmax_scaling.bias
mistral_large4_text
    \.attention\. => .self_attn.
    \.wq\. => .q_proj.
    \.wkv_a_with_mqa\. => .kv_a_proj_with_mqa.
    \.wkv_b\. => .kv_b_proj.
    \.attention_norm\. => .input_layernorm.
    \.ffn_norm\. => .post_attention_layernorm.
    \.kv_a_norm\. => .kv_a_layernorm.
    \.feed_forward\. => .mlp.
    \.gate\. => .mlp.gate.
    \.experts\. => .mlp.experts.
    \.shared_experts\. => .mlp.shared_experts.
    \.ssmax_scaling.s(?!\w) => .softmax_scaling.scale
    \.ssmax_scaling.b(?!\w) => .softmax_scaling.bias
mllama
    ^language_model.lm_head(?!\w) => lm_head
    ^language_model(?!\w) => model.language_model
    ^vision_model(?!\w) => model.vision_model
    ^multi_modal_projector(?!\w) => model.multi_modal_projector
    in model.: ^language_model.model(?!\w) => language_model
molmo2
    (?<!image_vit\.)transformer\.(?!ln_f\.|blocks\.) => language_model.
    (?<!image_vit\.)transformer\.ln_f\. => language_model.norm.
    (?<!image_vit\.)transformer\.blocks\. => language_model.layers.
    vision_backbone\.image_vit\.(?!transformer\.resblocks\.) => vision_tower.
    vision_backbone\.image_vit\.transformer\.resblocks\. => vision_tower.layers.
    vision_backbone\.image_pooling_2d\. => multi_modal_projector.image_pooling_2d.
    vision_backbone\.image_projector\. => multi_modal_projector.image_projector.
    \.attention\.wq(?!\w) => .self_attn.q_proj
    \.attention\.wk(?!\w) => .self_attn.k_proj
    \.attention\.wv(?!\w) => .self_attn.v_proj
    \.attention\.wo(?!\w) => .self_attn.o_proj
    \.feed_forward\.w1(?!\w) => .mlp.fc1
    \.feed_forward\.w2(?!\w) => .mlp.fc2
    \.attention_norm(?!\w) => .layer_norm1
    \.ffn_norm(?!\w) => .layer_norm2
    image_pooling_2d\.wq(?!\w) => image_pooling_2d.q_proj
    image_pooling_2d\.wk(?!\w) => image_pooling_2d.k_proj
    image_pooling_2d\.wv(?!\w) => image_pooling_2d.v_proj
    image_pooling_2d\.wo(?!\w) => image_pooling_2d.o_proj
    image_projector\.w1(?!\w) => image_projector.gate_proj
    image_projector\.w2(?!\w) => image_projector.down_proj
    image_projector\.w3(?!\w) => image_projector.up_proj
    in model.language_model.: \.attn_norm\. => .input_layernorm.
    in model.language_model.: \.ff_norm\. => .post_attention_layernorm.
    in model.language_model.: self_attn\.attn_out(?!\w) => self_attn.o_proj
    in model.language_model.: mlp\.ff_out(?!\w) => mlp.down_proj
molmo2_text
    \.attn_norm\. => .input_layernorm.
    \.ff_norm\. => .post_attention_layernorm.
    self_attn\.attn_out(?!\w) => self_attn.o_proj
    mlp\.ff_out(?!\w) => mlp.down_proj
nemotron_h
    backbone. => model.
nemotron_h_omni
    ^mlp1\.0\. => multi_modal_projector.layer_norm.
    ^mlp1\.1\. => multi_modal_projector.linear_1.
    ^mlp1\.3\. => multi_modal_projector.linear_2.
    ^vision_projector\.vision_final_layernorm\. => vision_final_layernorm.
    ^sound_encoder\.encoder\. => audio_tower.
    ^sound_projection\.norm\. => embed_audio.layer_norm.
    ^sound_projection\.linear1\. => embed_audio.linear_1.
    ^sound_projection\.linear2\. => embed_audio.linear_2.
    in language_model.: backbone. => model.
    in vision_model.: radio_model.model.patch_generator.video_embedder(?!\w) => embeddings.video_patch_projection
    in vision_model.: radio_model.model.patch_generator.embedder(?!\w) => embeddings.patch_projection
    in vision_model.: radio_model.model.patch_generator.pos_embed(?!\w) => embeddings.position_embedding
    in vision_model.: radio_model.model.patch_generator.cls_token.token(?!\w) => embeddings.cls_register_token
    in vision_model.: radio_model.model.blocks(?!\w) => encoder.layer
    in vision_model.: attn.proj(?!\w) => attention.o_proj
    in vision_model.: radio_model.input_conditioner(?!\w) => input_conditioner
    in vision_model.: radio_model.summary_idxs(?!\w) => summary_idxs
nomic_bert
    encoder.layers(?!\w) => layers
    emb_ln(?!\w) => embeddings.LayerNorm
    attn.out_proj(?!\w) => self_attn.o_proj
    fc11(?!\w) => up_proj
    fc12(?!\w) => gate_proj
    fc2(?!\w) => down_proj
    norm1(?!\w) => post_attention_layernorm
    norm2(?!\w) => post_mlp_layernorm
olmo_hybrid
    attention_layer_norm(?!\w) => input_layernorm
    feedforward_layer_norm(?!\w) => post_attention_layernorm
omdet-turbo
    in model.language_backbone.model.: ^text_model\.(.+) => \1
paddleocr_vl
    ^mlp_AR(?!\w) => model.projector
    ^visual(?!\w) => model.visual
    ^model(?!(\.visual|\.projector|\.language_model)) => model.language_model
phimoe
    .block_sparse_moe. => .mlp.
    .gate.weight(?!\w) => .router.weight
pi0
    ^model\.(.+) => \1
    state_proj(?!\w) => embed_action_time.state_proj
    action_in_proj(?!\w) => embed_action_time.action_in_proj
    action_time_mlp_in(?!\w) => embed_action_time.action_time_mlp_in
    action_time_mlp_out(?!\w) => embed_action_time.action_time_mlp_out
    ^paligemma_with_expert.paligemma.model(?!\w) => model.vlm
    ^paligemma_with_expert.gemma_expert.model(?!\w) => model.dit
    ^paligemma_with_expert.gemma_expert.lm_head(?!\w) => model.dit.embed_tokens
    ^paligemma_with_expert.paligemma.lm_head(?!\w) => model.vlm.language_model.embed_tokens
    in model.vlm.: ^language_model.model(?!\w) => language_model
    in model.vlm.vision_tower.: ^vision_model\.(.+) => \1
pixio
    encoder\.layer\. => layers.
    attention.query(?!\w) => q_proj
    attention.key(?!\w) => k_proj
    attention.value(?!\w) => v_proj
    attention.output.dense(?!\w) => attention.o_proj
    intermediate.dense(?!\w) => mlp.fc1
    output.dense(?!\w) => mlp.fc2
    norm1(?!\w) => layernorm_before
    norm2(?!\w) => layernorm_after
    ^encoder\. => pixio.
pp_doclayout_v2 pp_doclayout_v3 rt_detr rt_detr_v2
    out_proj(?!\w) => o_proj
    layers.(\d+).fc1(?!\w) => layers.\1.mlp.fc1
    layers.(\d+).fc2(?!\w) => layers.\1.mlp.fc2
    encoder.encoder.(\d+).layers(?!\w) => encoder.aifi.\1.layers
pp_doclayout_v4
    decoder_roor_order_head. => decoder.successor_order_head.proj.
    decoder_roor_global_pointer. => decoder.successor_order_head.global_pointer.
    decoder_order_head. => decoder.relative_order_head.proj.
    decoder_global_pointer. => decoder.relative_order_head.global_pointer.
    s2r_fusion.a(?!\w) => decoder.relative_order_head.s2r_fusion.closure_weight
    out_proj(?!\w) => o_proj
    layers.(\d+).fc1(?!\w) => layers.\1.mlp.fc1
    layers.(\d+).fc2(?!\w) => layers.\1.mlp.fc2
    encoder.encoder.(\d+).layers(?!\w) => encoder.aifi.\1.layers
qianfan_ocr
    ^vision_model\. => model.vision_tower.
    encoder\.layers\. => layers.
    \.ls1(?!\w) => .lambda_1
    \.ls2(?!\w) => .lambda_2
    (layers\.\d+)\.attn\.proj\. => \1.attention.projection_layer.
    \.norm1\. => .layernorm_before.
    \.norm2\. => .layernorm_after.
    \.embeddings\.class_embedding(?!\w) => .embeddings.cls_token
    \.embeddings\.position_embedding(?!\w) => .embeddings.position_embeddings
    \.embeddings\.patch_embedding\. => .embeddings.patch_embeddings.projection.
    ^language_model\.model\. => model.language_model.
    ^language_model\.lm_head\. => lm_head.
    ^mlp1\.0\. => model.multi_modal_projector.layer_norm.
    ^mlp1\.1\. => model.multi_modal_projector.linear_1.
    ^mlp1\.3\. => model.multi_modal_projector.linear_2.
qwen2_5_omni_thinker qwen3_omni_moe_thinker
    ^thinker\.(.+) => \1
    ^audio_tower(?!\w) => model.audio_tower
    ^visual(?!\w) => model.visual
    ^model(?!\.(language_model|visual|audio_tower)) => model.language_model
    in model.: ^thinker\.(.+) => \1
    in model.: ^model\.(?:(?!language_model\.))(.+) => model.language_model.\1
qwen2_5_vl qwen2_vl
    ^visual(?!\w) => model.visual
    ^model(?!\.(language_model|visual)) => model.language_model
    in model.: ^model\.(?:(?!language_model\.))(.+) => model.language_model.\1
radio
    radio_model.model.patch_generator.video_embedder(?!\w) => embeddings.video_patch_projection
    radio_model.model.patch_generator.embedder(?!\w) => embeddings.patch_projection
    radio_model.model.patch_generator.pos_embed(?!\w) => embeddings.position_embedding
    radio_model.model.patch_generator.cls_token.token(?!\w) => embeddings.cls_register_token
    radio_model.model.blocks(?!\w) => encoder.layer
    attn.proj(?!\w) => attention.o_proj
    radio_model.input_conditioner(?!\w) => input_conditioner
    radio_model.summary_idxs(?!\w) => summary_idxs
rf_detr
    backbone.0.encoder.encoder(?!\w) => backbone.backbone
    backbone.0.projector(?!\w) => backbone.projector
    projector.stages.0.0.cv1.conv(?!\w) => projector.projector_layer.conv1.conv
    projector.stages.0.0.cv1.bn(?!\w) => projector.projector_layer.conv1.norm
    projector.stages.0.0.cv2.conv(?!\w) => projector.projector_layer.conv2.conv
    projector.stages.0.0.cv2.bn(?!\w) => projector.projector_layer.conv2.norm
    projector.stages.0.1(?!\w) => projector.layer_norm
    projector.stages.0.0.m.(\d+).cv1.conv(?!\w) => projector.projector_layer.bottlenecks.\1.conv1.conv
    projector.stages.0.0.m.(\d+).cv1.bn(?!\w) => projector.projector_layer.bottlenecks.\1.conv1.norm
    projector.stages.0.0.m.(\d+).cv2.conv(?!\w) => projector.projector_layer.bottlenecks.\1.conv2.conv
    projector.stages.0.0.m.(\d+).cv2.bn(?!\w) => projector.projector_layer.bottlenecks.\1.conv2.norm
    transformer.decoder(?!\w) => decoder
    decoder.layers.(\d+).norm1(?!\w) => decoder.layers.\1.self_attn_layer_norm
    decoder.layers.(\d+).norm2(?!\w) => decoder.layers.\1.cross_attn_layer_norm
    decoder.layers.(\d+).linear1(?!\w) => decoder.layers.\1.mlp.fc1
    decoder.layers.(\d+).linear2(?!\w) => decoder.layers.\1.mlp.fc2
    decoder.layers.(\d+).norm3(?!\w) => decoder.layers.\1.layer_norm
    decoder.norm(?!\w) => decoder.layernorm
    ^transformer\.enc_output_norm(?!\w) => enc_output_norm
    ^transformer\.enc_output(?!\w) => enc_output
    transformer.enc_out_class_embed(?!\w) => enc_out_class_embed
    transformer.enc_out_bbox_embed(?!\w) => enc_out_bbox_embed
    refpoint_embed\.weight(?!\w) => reference_point_embed.weight
    attention.attention.query(?!\w) => attention.q_proj
    attention.attention.key(?!\w) => attention.k_proj
    attention.attention.value(?!\w) => attention.v_proj
    attention.output.dense(?!\w) => attention.o_proj
    self_attn.out_proj(?!\w) => self_attn.o_proj
    segmentation_head\.query_features_block\.layers\.0(?!\w) => query_features_block.mlp.fc1
    segmentation_head\.query_features_block\.layers\.2(?!\w) => query_features_block.mlp.fc2
    segmentation_head\.query_features_block\.norm_in(?!\w) => query_features_block.norm
    segmentation_head\.blocks\.(\d+)\.norm(?!\w) => blocks.\1.layernorm
    segmentation_head\.blocks\.(\d+)\.dwconv(?!\w) => blocks.\1.depthwise_conv
    segmentation_head\.blocks\.(\d+)\.pwconv1(?!\w) => blocks.\1.pointwise_conv
    segmentation_head\.spatial_features_proj(?!\w) => spatial_features_proj
    segmentation_head\.query_features_proj(?!\w) => query_features_proj
    segmentation_head\.bias(?!\w) => segmentation_bias
sam3
    in text_encoder.text_model.: ^text_model\.(.+) => \1
sam3_tracker sam3_tracker_video
    detector_model.vision_encoder.backbone. => vision_encoder.backbone.
    tracker_neck. => vision_encoder.neck.
    tracker_model.(.+) => \1
sam3_video
    in detector_model.text_encoder.text_model.: ^text_model\.(.+) => \1
    in tracker_model.: detector_model.vision_encoder.backbone. => vision_encoder.backbone.
    in tracker_model.: tracker_neck. => vision_encoder.neck.
    in tracker_model.: tracker_model.(.+) => \1
sapiens2
    ^cls_token(?!\w) => embeddings.cls_token
    ^storage_tokens(?!\w) => embeddings.register_tokens
    ^patch_embed\.projection\. => embeddings.patch_embeddings.
    blocks\.(\d+)\. => model.layer.\1.
    attn\.proj\. => attention.o_proj.
    attn\.wq\. => attention.q_proj.
    attn\.wk\. => attention.k_proj.
    attn\.wv\. => attention.v_proj.
    attn\.q_norm\. => attention.q_norm.
    attn\.k_norm\. => attention.k_norm.
    attn\.gamma\.weight(?!\w) => layer_scale1.lambda1
    ffn\.w3\. => mlp.down_proj.
    \.ln1\. => .norm1.
    \.ln2\. => .norm2.
    ^ln1\. => norm.
segformer
    encoder.patch_embeddings.(\d+). => stages.\1.patch_embeddings.
    encoder.block.(\d+). => stages.\1.blocks.
    encoder.layer_norm.(\d+) => stages.\1.layer_norm
    attention.self.query(?!\w) => attention.q_proj
    attention.self.key(?!\w) => attention.k_proj
    attention.self.value(?!\w) => attention.v_proj
    attention.self.sr(?!\w) => attention.sequence_reduction.sequence_reduction
    attention.self.layer_norm(?!\w) => attention.sequence_reduction.layer_norm
    attention.output.dense(?!\w) => attention.o_proj
    mlp.dense1(?!\w) => mlp.fc1
    mlp.dense2(?!\w) => mlp.fc2
    layer_norm_1(?!\w) => layernorm_before
    layer_norm_2(?!\w) => layernorm_after
    decode_head.linear_c(?!\w) => decode_head.linear_projections
step3p7
    ^vision_model\. => model.vision_model.
    ^vit_large_projector\. => model.multi_modal_projector.
    ^model\.embed_tokens\. => model.language_model.embed_tokens.
    ^model\.layers\. => model.language_model.layers.
    ^model\.norm\. => model.language_model.norm.
    \.moe\.gate\.weight(?!\w) => .mlp.gate.weight
    \.moe\.router_bias(?!\w) => .mlp.gate.e_score_correction_bias
    \.moe\.down_proj\.weight(?!\w) => .mlp.experts.down_proj
    \.moe\.down_proj\.weight_scale_inv(?!\w) => .mlp.experts.down_proj_scale_inv
    \.share_expert\. => .mlp.shared_experts.
    in model.vision_model.: ^conv1\.weight(?!\w) => embeddings.patch_embedding.weight
    in model.vision_model.: ^positional_embedding(?!\w) => embeddings.position_embedding.weight
    in model.vision_model.: ^transformer\.resblocks\. => layers.
    in model.vision_model.: ^ln_pre\. => pre_layernorm.
    in model.vision_model.: ^vit_downsampler1\. => downsampler1.
    in model.vision_model.: ^vit_downsampler2\. => downsampler2.
    in model.vision_model.: \.ls_1\.gamma(?!\w) => .lambda_1
    in model.vision_model.: \.ls_2\.gamma(?!\w) => .lambda_2
    in model.vision_model.: \.mlp\.c_fc\. => .mlp.fc1.
    in model.vision_model.: \.mlp\.c_proj\. => .mlp.fc2.
    in model.vision_model.: \.attn\. => .self_attn.
    in model.vision_model.: \.ln_1\. => .layernorm_before.
    in model.vision_model.: \.ln_2\. => .layernorm_after.
swin
    attention.self.query(?!\w) => attention.q_proj
    attention.self.key(?!\w) => attention.k_proj
    attention.self.value(?!\w) => attention.v_proj
    attention.self.relative_position_bias_table(?!\w) => attention.relative_position_bias.relative_position_bias_table
    attention.output.dense(?!\w) => attention.o_proj
    intermediate.dense(?!\w) => mlp.fc1
    output.dense(?!\w) => mlp.fc2
t5gemma2
    in model.encoder.: (?<!decoder\.)(?<!text_model\.)embed_tokens\. => text_model.embed_tokens.
    in model.encoder.: (?<!decoder\.)(?<!text_model\.)(?<!layer)(?<!_)norm\. => text_model.norm.
    in model.encoder.: (?<!vision_model.encoder\.)(?<!vision_tower.encoder\.)(?<!decoder\.)(?<!text_model\.)layers. => text_model.layers.
    in model.encoder.vision_tower.: ^vision_model\.(.+) => \1
timesfm2_5
    ff0(?!\w) => fc1
    ff1(?!\w) => fc2
tipsv2
    text_encoder(?!\w) => text_model
    vision_encoder(?!\w) => vision_model
    in model.text_model.: ^text_encoder\.(.+) => \1
    in model.text_model.: ln_final\. => final_layer_norm.
    in model.text_model.: token_embedding\. => embeddings.token_embedding.
    in model.text_model.: transformer\.resblocks\. => encoder.layers.
    in model.text_model.: \.ln_1\. => .layer_norm1.
    in model.text_model.: \.ln_2\. => .layer_norm2.
    in model.text_model.: \.attn\. => .self_attn.
    in model.text_model.: \.mlp\.c_fc\. => .mlp.fc1.
    in model.text_model.: \.mlp\.c_proj\. => .mlp.fc2.
    in model.vision_model.: ^vision_encoder\.(.+) => \1
    in model.vision_model.: patch_embed\.proj\. => embeddings.patch_embeddings.projection.
    in model.vision_model.: cls_token(?!\w) => embeddings.cls_token
    in model.vision_model.: mask_token(?!\w) => embeddings.mask_token
    in model.vision_model.: register_tokens(?!\w) => embeddings.register_tokens
    in model.vision_model.: pos_embed(?!\w) => embeddings.position_embeddings
    in model.vision_model.: norm\. => layernorm.
    in model.vision_model.: blocks\. => encoder.layer.
    in model.vision_model.: \.attn\.proj\. => .attention.o_proj.
    in model.vision_model.: \.ls1\.gamma(?!\w) => .layer_scale1.lambda1
    in model.vision_model.: \.ls2\.gamma(?!\w) => .layer_scale2.lambda1
    in model.vision_model.: \.mlp\.c_fc\. => .mlp.fc1.
    in model.vision_model.: \.mlp\.c_proj\. => .mlp.fc2.
    in model.vision_model.: \.mlp\.w3\. => .mlp.down_proj.
tipsv2_text_model
    ^text_encoder\.(.+) => \1
    ln_final\. => final_layer_norm.
    token_embedding\. => embeddings.token_embedding.
    transformer\.resblocks\. => encoder.layers.
    \.ln_1\. => .layer_norm1.
    \.ln_2\. => .layer_norm2.
    \.attn\. => .self_attn.
    \.mlp\.c_fc\. => .mlp.fc1.
    \.mlp\.c_proj\. => .mlp.fc2.
tipsv2_vision_model
    ^vision_encoder\.(.+) => \1
    patch_embed\.proj\. => embeddings.patch_embeddings.projection.
    cls_token(?!\w) => embeddings.cls_token
    mask_token(?!\w) => embeddings.mask_token
    register_tokens(?!\w) => embeddings.register_tokens
    pos_embed(?!\w) => embeddings.position_embeddings
    norm\. => layernorm.
    blocks\. => encoder.layer.
    \.attn\.proj\. => .attention.o_proj.
    \.ls1\.gamma(?!\w) => .layer_scale1.lambda1
    \.ls2\.gamma(?!\w) => .layer_scale2.lambda1
    \.mlp\.c_fc\. => .mlp.fc1.
    \.mlp\.c_proj\. => .mlp.fc2.
    \.mlp\.w3\. => .mlp.down_proj.
ultrabert
    ^ultrabert\. => model.
    ^cls\. => head.decoder.
    in model.: ^ultrabert\.(.+) => \1
ultravbert
    ^head\.decoder\. => lm_head.
    ^head\. => projection_head.
    in model.vision_model.: ^vision_model\.(.+) => \1
    in model.text_model.: ^ultrabert\.(.+) => \1
unlimited_ocr
    (^|model\.)sam_model(?!\w) => \1vision_tower.sam_encoder
    (^|model\.)vision_model(?!\w) => \1vision_tower.vision_encoder
    (^|model\.)view_seperator(?!\w) => \1view_separator
    (^|model\.)projector\.layers\.weight(?!\w) => \1multi_modal_projector.weight
    (^|model\.)projector\.layers\.bias(?!\w) => \1multi_modal_projector.bias
    (^|model\.)embed_tokens\. => \1language_model.embed_tokens.
    (^|model\.)layers\. => \1language_model.layers.
    (^|model\.)norm\. => \1language_model.norm.
    in model.vision_tower.sam_encoder.: blocks\.(\d+)\.norm1\. => layers.\1.layer_norm1.
    in model.vision_tower.sam_encoder.: blocks\.(\d+)\.norm2\. => layers.\1.layer_norm2.
    in model.vision_tower.sam_encoder.: blocks\.(\d+)\.attn\. => layers.\1.attn.
    in model.vision_tower.sam_encoder.: blocks\.(\d+)\.mlp\. => layers.\1.mlp.
    in model.vision_tower.sam_encoder.: patch_embed\.proj\. => patch_embed.projection.
    in model.vision_tower.sam_encoder.: neck\.0\. => neck.conv1.
    in model.vision_tower.sam_encoder.: neck\.1\. => neck.layer_norm1.
    in model.vision_tower.sam_encoder.: neck\.2\. => neck.conv2.
    in model.vision_tower.sam_encoder.: neck\.3\. => neck.layer_norm2.
    in model.vision_tower.sam_encoder.: net_2\. => proj.conv1.
    in model.vision_tower.sam_encoder.: net_3\. => proj.conv2.
    in model.vision_tower.vision_encoder.: transformer(?!\w) => encoder
video_llava
    ^language_model.lm_head(?!\w) => lm_head
    ^language_model(?!\w) => model.language_model
    ^image_tower(?!\w) => model.image_tower
    ^video_tower(?!\w) => model.video_tower
    ^multi_modal_projector(?!\w) => model.multi_modal_projector
    in model.: ^language_model.model(?!\w) => language_model
    in model.video_tower.: ^vision_model\.(.+) => \1
    in model.image_tower.: ^vision_model\.(.+) => \1
videomae
    attention\.attention\.q_bias(?!\w) => attention.attention.query.bias
    attention\.attention\.v_bias(?!\w) => attention.attention.value.bias
vision-encoder-decoder
    in encoder.: encoder\.layer\. => layers.
    in encoder.: attention.query(?!\w) => q_proj
    in encoder.: attention.key(?!\w) => k_proj
    in encoder.: attention.value(?!\w) => v_proj
    in encoder.: attention.output.dense(?!\w) => attention.o_proj
    in encoder.: intermediate.dense(?!\w) => mlp.fc1
    in encoder.: output.dense(?!\w) => mlp.fc2
vision-text-dual-encoder
    in vision_model.: encoder\.layer\. => layers.
    in vision_model.: attention.query(?!\w) => q_proj
    in vision_model.: attention.key(?!\w) => k_proj
    in vision_model.: attention.value(?!\w) => v_proj
    in vision_model.: attention.output.dense(?!\w) => attention.o_proj
    in vision_model.: intermediate.dense(?!\w) => mlp.fc1
    in vision_model.: output.dense(?!\w) => mlp.fc2
yolos
    encoder.mid_position_embeddings(?!\w) => encoder.interpolation.mid_position_embeddings
"""
"""Pattern and replacement, to be applied one after the other."""

CONVERTED = r"""
bailing_hybrid
    q_conv1d.weight
    k_conv1d.weight
    v_conv1d.weight
depth_pro dinov2 dinov2_with_registers
    mlp.weights_in.weight
    mlp.weights_in.bias
dory
    layers\.(\d+)
glm5_next kimi_linear
    self_attn.q_conv1d.weight
    self_attn.k_conv1d.weight
    self_attn.v_conv1d.weight
gte
    attention.qkv_proj
    mlp.up_gate_proj
hrm_text
    mlp.gate_up_proj.weight
    attn.gqkv_proj.weight
inkling2 inkling2_text
    lm_head\.weight
    mlp\.experts\.w13_weight
    mlp\.experts\.w13_weight_scale
    attn_res\.attn_queries\.(\d+)
inkling2_loop
    lm_head\.weight
    middle_cycle_cross_pass_queries
    middle_cycle_cross_pass_kv_queries
    mlp\.experts\.w13_weight
    mlp\.experts\.w13_weight_scale
    mlp\.experts\.w13_weight_amax
    mlp\.experts\.w13_weight_outer_scale_denominator
    mlp\.experts\.w2_weight
    mlp\.experts\.w2_weight_scale
    mlp\.experts\.w2_weight_amax
    mlp\.experts\.w2_weight_outer_scale_denominator
    attn_res\.attn_queries\.(\d+)
inkling2_loop_text
    middle_cycle_cross_pass_queries
    middle_cycle_cross_pass_kv_queries
    mlp\.experts\.w13_weight
    mlp\.experts\.w13_weight_scale
    mlp\.experts\.w13_weight_amax
    mlp\.experts\.w13_weight_outer_scale_denominator
    mlp\.experts\.w2_weight
    mlp\.experts\.w2_weight_scale
    mlp\.experts\.w2_weight_amax
    mlp\.experts\.w2_weight_outer_scale_denominator
    lm_head\.weight
    attn_res\.attn_queries\.(\d+)
inkling_mm_model
    shared_w13_weight
    mlp.experts.w13_weight
    mlp.w13_dn.weight
jina_embeddings_v3
    mixer.Wqkv
kimi_k25
    vision_tower.encoder.blocks.(\d+).norm0
    vision_tower.encoder.blocks.(\d+).norm1
    vision_tower.encoder.blocks.(\d+).mlp.fc0
    vision_tower.encoder.blocks.(\d+).mlp.fc1
    wqkv
lara_mini
    linear_attn.in_proj
minimax_m3_vl
    \.gate_proj.weight
    \.up_proj.weight
mistral_large4
    attention\.wq\.
    attention\.wk\.
molmo2 molmo2_text
    self_attn.att_proj
    mlp.ff_proj.weight
    wte.embedding
    wte.new_embedding
nemotron_h_omni radio
    attn.qkv
nomic_bert
    attn.Wqkv
olmo_hybrid
    linear_attn.q_conv1d.weight
    linear_attn.k_conv1d.weight
    linear_attn.v_conv1d.weight
qianfan_ocr
    attn.qkv.weight
    attn.qkv.bias
qwen4_exp qwen4_exp_text
    ngram_embedding.shard_.*\.weight
rf_detr
    self_attn.in_proj_bias
    self_attn.in_proj_weight
sapiens2
    ffn\.w12\.weight
    ffn\.w12\.bias
step3p7
    moe.gate_proj.weight
    moe.up_proj.weight
    attn\.in_proj_weight
    attn\.in_proj_bias
tipsv2
    \.in_proj_weight
    \.in_proj_bias
    \.mlp\.w12\.weight
    \.mlp\.w12\.bias
    \.attn\.qkv\.weight
    \.attn\.qkv\.bias
tipsv2_text_model
    \.in_proj_weight
    \.in_proj_bias
tipsv2_vision_model
    \.mlp\.w12\.weight
    \.mlp\.w12\.bias
    \.attn\.qkv\.weight
    \.attn\.qkv\.bias
unlimited_ocr
    qkv_proj.weight
    qkv_proj.bias
"""
"""Patterns of tensors that the model has in other pieces or in another order."""

STACKED = """
afmoe axk1 axk2 bailing_hybrid beam cohere2_moe deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 dots1 dots3_note_text
ernie4_5_moe exaone_moe flex_olmo flint glm4_moe glm4_moe_lite glm4v_moe glm5_next glm_moe_dsa hunyuan_v1_moe hy_v3
jamba kimi_k25 kimi_linear kolibri1 laguna lfm2_moe longcat_flash mellum mimo_v2_flash minimax minimax_m2
minimax_m3_vl mistral_large4 mistral_large4_text mixtral nemotron_h nemotron_h_omni olmoe phimoe qwen2_moe qwen3_5_moe
qwen3_5_moe_text qwen3_moe qwen3_next qwen3_omni_moe_thinker qwen4_exp qwen4_exp_text solar_open unlimited_ocr
"""
"""Model types whose experts are stored each by itself, and are one parameter in the model."""

TRANSPOSED = """
aria aria_text gpt_oss openai_privacy_filter
"""
"""Model types whose fused experts are (in, out), which PEFT knows."""

EITHER = """
qwen3_vl_moe
"""
"""Model types whose fused experts are stored as (in, out) or (out, in), and are the latter in the model."""

TAKEN = r"""
Dots3NoteTextModel UnlimitedOcrTextModel afmoe beam cohere2_moe deepseek_v2 deepseek_v3 deepseek_v32 dots1
ernie4_5_moe exaone_moe flex_olmo glm4_moe glm4_moe_lite glm4v_moe glm_moe_dsa hunyuan_v1_moe longcat_flash mellum
olmoe qwen3_moe qwen3_next qwen3_omni_moe qwen3_omni_moe_text qwen3_omni_moe_thinker sarvam_mla solar_open
    gate_proj up_proj down_proj gate
minimax minimax_m2 mixtral
    w1 w2 w3 gate
"""
"""Last names of modules that PEFT takes for experts, wherever they are."""

PASSED = r"""
falcon_mamba mamba
    mixer.dt_proj
maskformer/swin
    intermediate.dense
    output.dense
    self.key
    self.query
    self.value
mobilebert
    predictions.decoder
    predictions.dense
neomme
    unembedding_projection
zamba2
    0.0
    0.1
    1.0
    1.1
"""
"""Ends of the names of Linear layers whose weight the model reads without calling them; with the type of a backbone,
of layers in that for which PEFT, when it loads LoRA, looks under names that they do not have."""

PLACES = r"""
chmv2 depth_anything dpt edgetam_vision_model prompt_depth_anything sam2_vision_model upernet vitpose zoedepth
    backbone.
conditional_detr d_fine deformable_detr detr pp_doclayout_v2 pp_doclayout_v3 pp_doclayout_v4 rt_detr rt_detr_v2
    model.backbone.model.
dab-detr grounding-dino mm-grounding-dino table-transformer
    model.backbone.conv_encoder.model.
deimv2
    model.conv_encoder.model.
deimv2
    model.conv_encoder.backbone.
detr
    model.detr.model.backbone.model.
lw_detr rf_detr
    model.backbone.backbone.
mask2former maskformer oneformer
    model.pixel_level_module.encoder.
omdet-turbo
    model.vision_backbone.vision_backbone.
pp_ocrv5_mobile_det pp_ocrv5_mobile_rec pp_ocrv5_server_rec pp_ocrv6_small_det pp_ocrv6_small_rec pp_ocrv6_tiny_rec
uvdoc
    model.backbone.
rf_detr
    model.model.backbone.backbone.
slanet
    vision_backbone.
tvp
    model.vision_model.backbone.
"""
"""Model types whose config chooses a backbone, and where they have it."""

BACKBONES = r"""
beit
    : ^fpn1\.0\. => fpn.fpn1.conv_transpose1.
    : ^fpn1\.1\. => fpn.fpn1.normalization.
    : ^fpn1\.3\. => fpn.fpn1.conv_transpose2.
    : ^fpn2\.0\. => fpn.fpn2.
    : ^encoder\.layer\. => beit.encoder.layer.
    : ^embeddings\. => beit.embeddings.
    : attention.query(?!\w) => q_proj
    : attention.key(?!\w) => k_proj
    : attention.value(?!\w) => v_proj
    : attention.output.dense(?!\w) => attention.o_proj
    : intermediate.dense(?!\w) => mlp.fc1
    : output.dense(?!\w) => mlp.fc2
    beit.: encoder\.layer\. => layers.
    beit.: attention.query(?!\w) => q_proj
    beit.: attention.key(?!\w) => k_proj
    beit.: attention.value(?!\w) => v_proj
    beit.: attention.output.dense(?!\w) => attention.o_proj
    beit.: intermediate.dense(?!\w) => mlp.fc1
    beit.: output.dense(?!\w) => mlp.fc2
    beit.: encoder.relative_position_bias(?!\w) => shared_position_bias
    beit.: attention.attention.relative_position_bias.relative_position_bias_table(?!\w) => relative_position_bias.relative_position_bias_table
dinov2 dinov2_with_registers
    : attention.attention.query(?!\w) => attention.q_proj
    : attention.attention.key(?!\w) => attention.k_proj
    : attention.attention.value(?!\w) => attention.v_proj
    : attention.output.dense(?!\w) => attention.o_proj
    : mlp.weights_out(?!\w) => mlp.down_proj
dinov3_convnext
    : (?<!model\.)stages(?!\w) => model.stages
dinov3_vit
    : (?<!model\.)layer. => model.layer.
pixio
    : encoder\.layer\. => layers.
    : attention.query(?!\w) => q_proj
    : attention.key(?!\w) => k_proj
    : attention.value(?!\w) => v_proj
    : attention.output.dense(?!\w) => attention.o_proj
    : intermediate.dense(?!\w) => mlp.fc1
    : output.dense(?!\w) => mlp.fc2
    : norm1(?!\w) => layernorm_before
    : norm2(?!\w) => layernorm_after
    : ^encoder\. => pixio.
sapiens2
    : ^cls_token(?!\w) => embeddings.cls_token
    : ^storage_tokens(?!\w) => embeddings.register_tokens
    : ^patch_embed\.projection\. => embeddings.patch_embeddings.
    : blocks\.(\d+)\. => model.layer.\1.
    : attn\.proj\. => attention.o_proj.
    : attn\.wq\. => attention.q_proj.
    : attn\.wk\. => attention.k_proj.
    : attn\.wv\. => attention.v_proj.
    : attn\.q_norm\. => attention.q_norm.
    : attn\.k_norm\. => attention.k_norm.
    : attn\.gamma\.weight(?!\w) => layer_scale1.lambda1
    : ffn\.w3\. => mlp.down_proj.
    : \.ln1\. => .norm1.
    : \.ln2\. => .norm2.
    : ^ln1\. => norm.
swin
    : ^encoder\. => swin.encoder.
    : ^embeddings\. => swin.embeddings.
    swin.: attention.self.query(?!\w) => attention.q_proj
    swin.: attention.self.key(?!\w) => attention.k_proj
    swin.: attention.self.value(?!\w) => attention.v_proj
    swin.: attention.self.relative_position_bias_table(?!\w) => attention.relative_position_bias.relative_position_bias_table
    swin.: attention.output.dense(?!\w) => attention.o_proj
    swin.: intermediate.dense(?!\w) => mlp.fc1
    swin.: output.dense(?!\w) => mlp.fc2
tipsv2 tipsv2_vision_model
    : ^vision_encoder\.(.+) => \1
    : patch_embed\.proj\. => embeddings.patch_embeddings.projection.
    : cls_token(?!\w) => embeddings.cls_token
    : mask_token(?!\w) => embeddings.mask_token
    : register_tokens(?!\w) => embeddings.register_tokens
    : pos_embed(?!\w) => embeddings.position_embeddings
    : norm\. => layernorm.
    : blocks\. => encoder.layer.
    : \.attn\.proj\. => .attention.o_proj.
    : \.ls1\.gamma(?!\w) => .layer_scale1.lambda1
    : \.ls2\.gamma(?!\w) => .layer_scale2.lambda1
    : \.mlp\.c_fc\. => .mlp.fc1.
    : \.mlp\.c_proj\. => .mlp.fc2.
    : \.mlp\.w3\. => .mlp.down_proj.
"""
"""Types of backbones, and how their tensors are renamed: the part of the backbone, pattern and replacement."""

TOWERS = r"""
text_model
    CLIPSegTextModel CLIPTextModel MetaClip2TextModel Siglip2TextModel SiglipTextModel
vision_model
    AltCLIPVisionModel CLIPSegVisionModel CLIPVisionModel ChineseCLIPVisionModel MetaClip2VisionModel Siglip2VisionModel SiglipVisionModel
"""
"""What files put before the names of a class that is a part of the model of its type → these classes."""
