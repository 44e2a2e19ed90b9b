"""What configs of transformers 5.24.0 stand for where they are silent, by model type: tables, and nothing else.

Written by benchmarks/settings.py. Of a field the default of most types, and below it others with the types that have them.
"""

from __future__ import annotations

DEFAULTS = r"""
H_cycles = 2
L_cycles = 3
acoustic_tokenizer_chunk_size = 1440000
action_tanh = true
activation = "gelu"
  "swish" of phi4_multimodal_audio timesfm2_5
activation_function = "gelu"
  "gelu_new" of bigbird_pegasus clvp_decoder codegen gpt-sw3 gpt2 gpt_neo gptj
  "gelu_pytorch_tanh" of gpt_bigcode
  "prelu" of dab-detr
  "quick_gelu" of imagegpt
  "relu" of conditional_detr decision_transformer deformable_detr detr efficientloftr fsmt grounding-dino m2m_100
    mask2former mm-grounding-dino nllb-moe opt seamless_m4t seamless_m4t_v2 speech_to_text table-transformer
  "silu" of d_fine deimv2 jetmoe lw_detr pp_doclayout_v2 pp_doclayout_v3 pp_doclayout_v4 rf_detr rt_detr rt_detr_v2
adanorm_num_embeddings = 4
adapter_act = "relu"
adapter_input_size = 1280
adapter_kernel_size = 3
adapter_layer_norm = false
adapter_layer_norm_eps = 1e-06
adapter_merge_size = 2
adapter_reduction_factor = 2
adapter_reuse_layer_norm = true
adapter_stride = 2
adaptor_kernel_size = 8
adaptor_stride = 8
add_adapter = false
  true of seamless_m4t seamless_m4t_v2
add_bias_linear = false
add_cross_attention = false
  true of prophetnet
add_fpn = false
add_out_norm = true
add_projection = false
add_router_probs = false
additional_vocab_size = 0
  128 of molmo2_text
aff_block_r = 4
afn = "gelu"
aggregation_labels = null
aggregation_temperature = 1.0
alibi = false
aligner_enable_bias = true
aligner_ffn_mult = 4
alignment_intermediate_size = 36864
allow_empty_column_selection = false
alpha_type = "float"
altup_active_idx = 0
altup_coef_clip = 120.0
altup_correct_scale = true
altup_num_inputs = 4
anchor_image_size = null
apply_l2norm = true
apply_layernorm = true
apply_layernorm_after_vision_backbone = true
apply_residual_connection_post_layernorm = false
apply_spec_augment = true
  false of whisper
approx_mode = "full"
architecture = "mobilenetv5_300m_enc"
  "resnet50" of timm_wrapper
asm = false
assign_eps = 1.0
assoc_iou_thresh = 0.1
attention_bias = false
  true of canary_decoder cohere_asr dots3_note_audio_encoder glm glm4 glm4v_moe_text glm5_next_vision glm_image_text
    glm_image_vision glm_ocr_vision gpt_neox gpt_oss granite_speech5_encoder jais2 janus_vision_model lightglue lw_detr
    molmo2_adapter molmo2_vision nemotron_asr_streaming_encoder openai_privacy_filter parakeet_encoder
    qianfan_ocr_vision rf_detr seed_oss
attention_chunk_size = 12
  8192 of llama4_text
attention_context_left = 13
attention_context_right = 0
attention_downsample_rate = 2
attention_head_size = 64
attention_heads = 16
  32 of kosmos_2_text_model
attention_in_multiplier = 1.0
attention_invalid_logits_value = -1000000000.0
attention_k_eq_v = false
attention_logit_cap = 50.0
attention_multiplier = 1.0
  0.015625 of granite_docling_text
  ? of hyperclovax
attention_out_bias = false
attention_out_multiplier = 1.0
attention_softmax_in_fp32 = true
attention_type = "block_sparse"
  "divided_space_time" of timesformer
  "prob" of informer
  "relative_shift" of funnel
attention_value_scale = 0.707
attention_window = 512
attention_window_size = 2048
attn_layer_indices = null
attn_layer_offset = 4
attn_layer_period = 8
  6 of zamba
attn_logit_softcapping = 50.0
  null of gemma3_text t5gemma2_decoder t5gemma2_text
attn_resolutions = ?
  null of chameleon_vqgan
attn_scale = 0.1
attn_temperature_tuning = true
attn_type = "vanilla"
  "bi" of xlnet
attractor_alpha = 1000
attractor_gamma = 2
attractor_kind = "mean"
audio_chunk_size = 480000
audio_frame_step = 0.01
audio_length_per_tok = 8
audio_merge_size = 4
audio_samples_per_frame = 1920
audio_soft_tokens_per_image = 188
audio_stream_bos_id = 1024
audio_stream_eos_id = 1025
audio_token_offset = 262344
audio_vocab_size = null
  2048 of moshi_depth
autocorrelation_factor = 3
average_approximation_function = "ratio"
average_logits_per_cell = false
axial_norm_std = 1.0
axial_pos_embds = true
backbone = null
backbone_hidden_size = 2048
  3840 of gemma4_unified_assistant
batch_norm_eps = 1e-05
  0.001 of align_vision_model efficientnet
batch_norm_momentum = 0.99
  0.01 of lasr_encoder
batch_prioritized_routing = false
bbox_cost = 5
  5.0 of grounding-dino mm-grounding-dino
bbox_scale = 100.0
beta = 0.01
bi_data = false
bias = false
  true of patchtst
bias_max_distance = 1000
bias_symmetric = false
bin_centers_type = "softplus"
bins_strategy = "chmv2_mixlog"
block_ffn_dim_multiplier = 1.0
block_multiple_of = 256
block_per_row = 4
block_size = 64
  16 of muse_glimmer_assistant
  24 of qwen2_5_omni_dit
  256 of minimax
  512 of pegasus_x
border_removal_distance = 4
bottleneck_features = 256
box_noise_scale = 1.0
  0.4 of pp_doclayout_v3
bypass_transformer = false
c2f_num_blocks = 3
cache_size = 100
canvas_length = 256
causal = false
cca_time0 = 2
cca_time1 = 2
ce_ignore_index = -100
cell_selection_preference = null
centroid_intermediate_top_k = 32
chain_hidden_post_norm = false
channel_attention = false
channel_consistent_masking = true
  false of patchtst
channel_shrink_ratio = 4
channels = 1
char_vocab_size = 64
  10943 of seamless_m4t_v2
chroma_length = 235
chunk_left_context = 0
chunk_length = 340
chunk_length_s = null
chunk_right_context = 40
chunk_size = 64
  -1 of phi4_multimodal_audio
  128 of nemotron_h
  256 of mamba2 zamba2
  50 of pi0
chunk_size_lm_head = 0
chunkwise_kernel = "chunkwise--native_autograd"
clamp_len = -1
class_cost = 2
  1 of deformable_detr detr table-transformer yolos
  1.0 of grounding-dino mm-grounding-dino
class_distance_type = "cosine"
class_expand = 1280
class_order = null
class_thresholds = null
class_weight = 2.0
classifier_activation = "gelu"
  true of mobilebert
classifier_bias = false
classifier_pooling = "cls"
  "late" of eurobert
classifier_proj_size = 256
  768 of wav2vec2-bert
clip_qkv = null
coarse_matching_border_removal = 2
coarse_matching_skip_softmax = false
coarse_matching_temperature = 0.1
coarse_matching_threshold = 0.2
codebook_size = 1024
  131072 of apertus1p5_vision_tokenizer
  2048 of mimi mimi_decoder mimi_encoder
  32768 of emu3_vqgan
  4096 of wavtokenizer wavtokenizer_encoder
codebook_vocab_size = 2049
common_stride = 4
composer_vocab_size = 21
compress = 2
compress_rope_theta = 160000.0
concat_input = true
conditional_layer = 0
conf_attention_chunk_size = 12
conf_attention_context_left = 13
conf_attention_context_right = 0
conf_attention_logit_cap = 50.0
conf_conv_kernel_size = 5
conf_num_attention_heads = 8
conf_reduction_factor = 4
conf_residual_weight = 0.5
context_length = null
  1024 of rwkv
  16384 of timesfm2_5
  32 of patchtsmixer patchtst
  512 of timesfm
context_size = 200
  128 of granite_speech5_encoder
contrastive_logits_temperature = 0.1
contrastive_temperature = 0.07
contrastive_weight = 0.5
conv1d_width = 4
conv_L_cache = 3
  7 of lfm3
conv_activation = "swish"
conv_bias = false
  true of omniasr_audio
conv_chunksize = 500
conv_depthwise_kernel_size = 31
conv_expansion_factor = 2
conv_glu_type = "swish"
conv_kernel = ?
  4 of falcon_mamba mamba mamba2 nemotron_h
conv_kernel_size = 9
  1 of sapiens2_head
  15 of granite_speech_encoder granite_speech_plus_encoder
  3 of lfm3_vl_vision mobilevit mobilevitv2
  32 of lasr_encoder
  4 of inkling2_loop_text inkling2_text inkling_text
  5 of gemma4_audio
  65 of nystromformer
  7 of granite_speech5_encoder muse_spark_audio
  ? of pp_ocrv5_mobile_rec pp_ocrv5_server_rec pp_ocrv6_small_rec
conv_kernel_sizes = null
  ? of speech_to_text
conv_norm_activation = "gelu"
conv_pos_batch_norm = false
conv_pos_kernel_size = 19
conv_symmetric_num = 4
conv_window = null
convert_sync_batchnorm = true
convolution_bias = true
  false of lasr_encoder
coordinate_size = 128
crop_size = 448
  256 of vjepa2
cross_attention_frequency = 2
cross_attention_hidden_size = null
cross_attention_shape_for_attention = "kv"
cross_attention_widening_factor = 1
cross_attn_k = 2
cross_entropy_weight = 1.0
cross_hidden_size = 1024
cross_layer_interval = 1
cross_num_attention_heads = 16
cross_num_key_value_heads = 16
csp_activation = "silu"
csp_kernel_size = 5
csp_num_blocks = 1
d_ff = 2048
  1024 of mt5 umt5
  4096 of udop
d_head = 64
  ? of xlnet
d_inner = 3072
  4096 of xlnet
d_kv = 64
d_latents = 1280
d_model = 1024
  128 of patchtst
  1280 of qwen2_5_omni_audio_encoder qwen2_audio_encoder qwen3_omni_moe_audio_encoder
  2048 of dbrx mpt
  256 of conditional_detr d_fine deformable_detr deimv2 detr grounding-dino lw_detr mm-grounding-dino omdet-turbo
    pp_doclayout_v2 pp_doclayout_v3 rf_detr rt_detr rt_detr_v2 speech_to_text table-transformer
  2560 of blenderbot
  384 of whisper
  512 of blenderbot-small longt5 mt5 pop2piano pp_formulanet_text t5 umt5
  64 of autoformer informer time_series_transformer
  768 of funnel perceiver plbart switch_transformers
  8 of patchtsmixer
d_rel = 16
dataset = "wiki_dpr"
dataset_revision = null
dataset_split = "train"
decode_index = 5
decoder_activation = "relu"
decoder_activation_function = "relu"
decoder_attention_heads = 16
  12 of plbart speecht5
  2 of autoformer informer time_series_transformer
  32 of blenderbot
  4 of speech_to_text
  6 of whisper
  8 of conditional_detr d_fine dab-detr deformable_detr deimv2 detr grounding-dino mm-grounding-dino pp_doclayout_v2
    pp_doclayout_v3 pp_doclayout_v4 rt_detr rt_detr_v2 table-transformer
decoder_attention_num_groups = 32
decoder_bbox_embed_share = true
decoder_bias = true
decoder_cls_embed_share = true
decoder_concat_after = false
decoder_cross_attention_heads = 16
decoder_depth = null
decoder_dim_feedforward = 2048
decoder_hidden_act = "quick_gelu"
  "silu" of moonshine
decoder_hidden_size = 640
  1536 of dac
  256 of segformer superpoint
  384 of videomae
  512 of pp_formulanet_vision vit_mae
  64 of glpn seggpt
  768 of wavtokenizer wavtokenizer_encoder
  null of hiera
decoder_intermediate_size = 2048
  1536 of videomae
  2304 of wavtokenizer wavtokenizer_encoder
decoder_kernel_size = 31
decoder_linear_units = 1536
decoder_method = "default"
decoder_n_levels = 3
decoder_n_points = 4
decoder_normalize_before = false
decoder_num_attention_heads = 4
  16 of vit_mae
  2 of fastspeech2_conformer
  6 of videomae
  8 of moonshine
decoder_num_heads = null
  8 of omdet-turbo
decoder_num_points = 4
decoder_offset_scale = 0.5
decoder_self_attention_heads = 8
decoder_sparse_step = 1
  4 of nllb-moe
  ? of switch_transformers
decrease_trk_keep_alive_for_empty_masklets = false
deepstack_layer_map = null
default_language = null
default_num_delay_tokens = 6
default_num_lookahead_tokens = 13
default_prompt_id = 101
dense_act_fn = "gelu_new"
  "relu" of longt5 pop2piano switch_transformers t5 udop
dense_intermediate_size = 12288
density_router_hidden_size = null
density_router_threshold = 0.4
depth = 27
  2 of janus_vision_model pp_ocrv5_mobile_rec pp_ocrv5_server_rec pp_ocrv6_small_rec
  24 of glm4v_moe_vision glm4v_vision glm5_next_vision glm_ocr_vision
  32 of ernie4_5_vl_moe_vision exaone4_5_vision qwen2_5_omni_vision_encoder qwen2_5_vl_vision qwen2_vl_vision
  40 of glm_image_vision
  ? of cvt
depth_coefficient = 3.1
depth_confidence = 0.95
depth_decoder_activation = "relu"
depth_divisible_by = 8
depth_divisor = 8
depth_estimation_type = "relative"
depth_mult = 1.0
depth_multiplier = 1.0
depthwise_multiplier = 1
depthwise_separable_out_channel = 1024
det_nms_thresh = 0.1
deterministic_flash_attn = false
dff = 8192
dice_weight = 5.0
  1.0 of maskformer
diffusion_max_period = 10000
dilated_kernel_size = 7
dilation = false
dilation_growth_rate = 2
dim = 768
dim_bbox = 8
dim_feedforward = 2048
dim_ff = 10240
dim_head = ?
  128 of cpmant
dim_model_base = 256
disable_custom_kernels = true
  false of deformable_detr grounding-dino mm-grounding-dino omdet-turbo
distil = true
distilled = false
distribution_output = "student_t"
divisor = 8
do_deduplication = true
do_layer_norm_before = true
do_marginalize = false
do_mask_input = null
do_pooling = false
  true of timm_wrapper
do_stable_layer_norm = false
doc_sep = " // "
double_latent = false
down_pad = 1
down_patch_size = 3
down_stride = 2
downsample_factor = 2
  320 of higgs_audio_v2_tokenizer
  4 of voxtral_realtime
downsample_hidden_size = 480
downsample_in_bottleneck = false
downsample_in_first_stage = false
  true of regnet
downsample_mode = "16x"
  "4x" of minicpm_ocr
downsample_rate = 5
  1 of phi4_multimodal_audio
  null of granite4_vision
downsample_ratio = 0.5
downsampling_rate = 4
duration_delta = 0.0
duration_delta_max_period = 10000.0
duration_delta_scale = 1000.0
duration_predictor_flow_bins = 10
duration_predictor_kernel_size = 3
duration_predictor_num_flows = 4
duration_predictor_tail_bound = 5.0
dynamic_multimask_stability_delta = 0.05
dynamic_multimask_stability_thresh = 0.98
dynamic_multimask_via_stability = true
early_stopping = false
emb_layer_norm_before = null
embed_dim_multiplier = 2.0
embedding_dynamic_padding = false
embedding_fraction = 1.0
embedding_multiplier = 1.0
  12.0 of granite_docling_text
embedding_scale = 50.0
embedding_size = 64
  128 of albert electra mobilebert
  32 of regnet
  3584 of qwen2_5_omni_talker
  768 of convbert squeezebert
  ? of roformer
enable_audio_output = true
enable_bias = true
enable_fusion = false
enable_moe_block = false
enable_moe_fp32_combine = true
enable_occlusion_spatial_embedding = true
enable_patch_layer_norm = true
enable_pronunciation = true
enable_shape = true
enable_temporal_pos_encoding_for_object_pointers = true
enc_res2net_scale = 2
encoder_activation_function = "gelu"
encoder_attention_heads = 16
  12 of plbart speecht5
  2 of autoformer informer time_series_transformer
  20 of qwen2_5_omni_audio_encoder qwen2_audio_encoder qwen3_omni_moe_audio_encoder
  32 of blenderbot
  4 of speech_to_text
  6 of whisper
  8 of conditional_detr d_fine dab-detr deformable_detr deimv2 detr grounding-dino mm-grounding-dino omdet-turbo
    pp_doclayout_v2 pp_doclayout_v3 pp_doclayout_v4 rt_detr rt_detr_v2 table-transformer
encoder_attention_type = "local"
encoder_concat_after = false
encoder_dim_feedforward = 2048
encoder_feedforward_activation = "relu"
encoder_fuse_op = "sum"
encoder_has_trailing_conv = true
encoder_hash_byte_group_nb_functions = 1
encoder_hash_byte_group_vocab = 500002
encoder_hidden_act = "gelu"
encoder_hidden_size = 1408
  48 of neucodec xcodec2
  64 of dac
  768 of blip_text_model
encoder_kernel_size = 7
encoder_linear_units = 1536
encoder_max_relative_position = 160
encoder_n_points = 4
encoder_no_repeat_ngram_size = 3
encoder_normalize_before = false
encoder_num_attention_heads = 2
  8 of moonshine
encoder_sparse_step = 4
  ? of switch_transformers
encoder_stride = 32
  16 of deit vit
encoder_type = "hybrid"
end_n_top = 5
energy_embed_kernel_size = 1
energy_predictor_kernel_size = 3
enforce_input_proj = false
enforce_input_projection = false
entity_emb_size = 256
entity_vocab_size = 500000
eos_coefficient = 0.1
  0.0001 of d_fine deimv2 rt_detr rt_detr_v2
eps = 1e-06
  0.0 of prophetnet
eval_idx = -1
eval_size = null
exclude_bos_score = false
expand = 2
expand_ratio = 6.0
  2.0 of mobilevitv2
  4.0 of mobilevit
expansion_factor = 2
expansion_ratio = 4
expert_capacity = 64
expert_ffn_hidden_size = 2048
expert_layer_offset = 1
expert_layer_period = 2
expert_selection_fn = "softmax"
ext_pw_out_channel = 1024
fast_qkv = true
feat_extract_activation = "gelu"
feat_extract_norm = "group"
feat_proj_layer_norm = true
feature_layer = -2
feature_layer_norm_eps = 1e-05
feature_size = ?
  128 of dots3_note_audio_encoder
  256 of mask2former
  80 of clvp_decoder
features_only = true
feed_forward_proj = "relu"
  "gated-gelu" of mt5 pop2piano umt5
feed_forward_size = 512
feedforward_mult = 4
ff_activation = "gelu"
ff_mult = 2
ffn_expansion = 4
ffn_hidden_size = ?
  12288 of longcat_flash
ffn_kernel_size = 3
ffn_multiplier = 2
ffn_proj_factor = 2.667
ffn_round_up_to_multiple_of = 64
fifo_length = 40
fill_hole_area = 16
filter_threshold = 0.1
final_logit_softcapping = 30.0
  15.0 of nanochat
  20.0 of muse_glimmer_text muse_spark_text
  null of gemma3_text gemma4_text gemma4_unified_text t5gemma2_decoder t5gemma2_text
fine_kernel_size = 8
fine_matching_regress_temperature = 10.0
finegrained_output = true
first_k_dense_replace = 1
  0 of deepseek_v2 dots1 mistral4
  2 of bailing_hybrid
  3 of deepseek_v3 deepseek_v32 glm_moe_dsa
first_layer_is_expansion = true
flatten_patch_embeds = true
flip_pairs = null
floor_scale = 8192
flow_size = 192
focal_alpha = 0.25
force_dequant = "none"
force_flip_invariance = true
force_image_size = null
fpn_feature_size = 256
fpn_hidden_size = 256
fpn_kernel_size = 1
fpn_padding = 0
fpn_stride = 1
frame_ms = 5.0
frame_rate = 12.5
frame_size = 1920
frames_per_clip = 64
freeze = true
freeze_backbone_batch_norms = true
freeze_batch_norm_2d = false
freeze_lm_head = false
freq_size = 3
frequency_embedding_size = 256
frequency_stride = 10
fsmn_kernel_size = 11
full_attn_alpha_factor = 1
full_attn_beta_factor = 1
fusion_hidden_size = 256
  64 of depth_anything prompt_depth_anything
fusion_type = null
gate_soft_cap = 15.0
gated_attn = true
gating = true
gelu_activation = true
giou_cost = 2
  2.0 of grounding-dino mm-grounding-dino
global_backprop_contrastive = true
global_block_size = 16
global_contrastive_weight = 1.0
global_padding = null
global_pointer_head_size = 64
gradient_clipping = 10000000000.0
group_detr = 13
groups_width = 64
has_lora_adapter = true
has_relative_attention_bias = true
has_spatial_attention_bias = true
has_visual_segment_embedding = false
hash_code_len = 9
hash_seed = null
hc_count = 4
hc_eps = 1e-06
hc_lowrank = 320
hc_magnitude = 2.0
hc_mult = 4
hc_sinkhorn_iters = 20
head_aggregation = "max_pool"
head_hidden_size = 32
  128 of chmv2
head_in_index = -1
head_ratio = 2
heads_per_ngram = 8
hidden_act = "gelu"
  "gelu_fast" of vivit
  "gelu_new" of albert big_bird fnet funnel nystromformer phi
  "gelu_python" of sew-d videoprism_vision_model
  "gelu_pytorch_tanh" of cohere_compass_vision cosmos3_edge_vision gemma granite_docling_vision idefics2_vision
    idefics3_vision kimi_k25_vision minicpm_ocr_vision minicpmv4_6_vision minicpmv4_7_vision molmo2_vision
    paddleocr_vl_vision phi4_multimodal_vision pocket_tts pocket_tts_audio_tokenizer pocket_tts_audio_tokenizer_decoder
    pocket_tts_audio_tokenizer_encoder qwen3_5_moe_vision qwen3_5_vision qwen3_omni_moe_vision_encoder
    qwen3_vl_moe_vision qwen3_vl_vision qwen4_exp_vision siglip2_text_model siglip2_vision_model siglip_text_model
    siglip_vision_model smolvlm_vision starcoder2 video_llama_3_vision
  "hardswish" of pp_lcnet pp_lcnet_v3 slanet
  "prelu" of uvdoc
  "quick_gelu" of altclip_vision_model chinese_clip_vision_model clip_text_model clip_vision_model clipseg_text_model
    clipseg_vision_model ernie4_5_vl_moe_vision git_vision_model groupvit_text_model kosmos_2_vision_model
    metaclip_2_text_model metaclip_2_vision_model owlv2_text_model owlv2_vision_model owlvit_text_model
    owlvit_vision_model qwen2_vl_vision step3p5_vision unlimited_ocr_vision_encoder xclip_text_model xclip_vision_model
  "relu" of bit canary_decoder cohere_asr fun_asr_nano_encoder hgnet_v2 mobilebert nemotron3_5_asr
    nemotron_asr_streaming parakeet_rnnt parakeet_tdt pp_lcnet_v4 pp_ocrv5_server_det reformer regnet resnet
    rt_detr_resnet sam3_detr_decoder sam3_detr_encoder sam3_geometry_encoder sam3_lite_text_detr_decoder
    sam3_lite_text_detr_encoder sam3_lite_text_geometry_encoder sam_hq_mask_decoder sam_mask_decoder tipsv2_text_model
    videoprism_text_model vits
  "relu2" of arcee bitnet cosmos3_edge_text jais2 nanochat nemotron neomme persimmon
  "relu6" of mobilenet_v1 mobilenet_v2
  "silu" of EvollaModel afmoe aimv2_text_model aimv2_vision_model aria_text axk1 axk2 bailing_hybrid bamba beam
    blt_global_transformer blt_local_decoder blt_local_encoder blt_patcher chameleon cohere cohere2 cohere2_moe
    cohere_compass_text csm csm_depth_decoder_model cwm deepseek_ocr2_encoder deepseek_ocr2_text deepseek_v2
    deepseek_v3 deepseek_v32 deepseek_v4 dia_decoder dia_encoder diffllama doge dory dots1 dots3_note_audio_encoder
    dots3_note_text dots3_note_vision_encoder emu3_text_model ernie4_5 ernie4_5_moe ernie4_5_vl_moe_text esmc eurobert
    evolla exaone exaone4 exaone4_5_vision exaone_moe falcon_h1 falcon_mamba flex_olmo flint gemma4_audio glm glm4
    glm4_moe glm4_moe_lite glm4v_moe_text glm4v_moe_vision glm4v_text glm4v_vision glm5_next_text glm5_next_vision
    glm_image_text glm_moe_dsa glm_ocr_text glm_ocr_vision gpt_oss granite granite4_vision_text granite_docling_text
    granite_speech5_encoder granite_swa granitemoe granitemoe_swa granitemoehybrid granitemoeshared helium
    higgs_audio_v2 hrm_text hunyuan_v1_dense hunyuan_v1_moe hunyuan_vl_text hy_v3 hy_v4 hy_v4_vl_text hyperclovax
    idefics idefics2_perceiver inkling2_loop_text inkling2_text inkling_text internlm3 iquestcoder jamba kimi_linear
    kolibri1 kyutai_speech_to_text laguna lara_mini lasr_encoder llama llama4_text longcat_flash mamba mamba2 mellum
    mimo_v2_flash minicpm3 minimax minimax_m2 minimax_m3_vl_text ministral ministral3 mistral mistral4
    mistral_large4_text mixtral mllama_text_model mobilevit molmo2_adapter molmo2_text moonshine_streaming moshi
    moshi_depth muse_glimmer_assistant muse_spark_text nemotron_asr_streaming_encoder neucodec nomic_bert olmo olmo2
    olmo3 olmo_hybrid olmoe ovis2_vision paddleocr_vl_text parakeet_encoder pe_audio_encoder pe_audio_video_encoder
    pe_video_encoder phi3 phi4_multimodal phimoe pp_ocrv5_mobile_rec pp_ocrv5_server_rec pp_ocrv6_small_rec qwen2
    qwen2_5_omni_talker qwen2_5_omni_text qwen2_5_omni_vision_encoder qwen2_5_vl_text qwen2_5_vl_vision qwen2_moe
    qwen2_vl_text qwen3 qwen3_5_moe_text qwen3_5_text qwen3_moe qwen3_next qwen3_omni_moe_talker_code_predictor
    qwen3_omni_moe_talker_text qwen3_omni_moe_text qwen3_vl_moe_text qwen3_vl_text qwen4_exp_text sapiens2 sarvam_mla
    sarvam_moe seed_oss smollm3 solar_open stablelm step3p5 ultrabert unlimited_ocr_text vibevoice_diffusion
    voxtral_realtime_encoder voxtral_realtime_text xcodec2 youtu zaya
  "swish" of align_vision_model efficientnet mobilevitv2 wav2vec2-bert
  "xielu" of apertus apertus1p5_text
hidden_activation = "gelu_pytorch_tanh"
  "gelu" of modernbert modernbert-decoder
  "silu" of muse_glimmer_text
hidden_expansion = 1.0
  0.5 of lw_detr rf_detr
  1 of omdet-turbo
hidden_mamba_act = "silu"
hidden_size_global = 2048
hidden_size_per_layer_input = 256
  512 of embedding_gemma2_text
hidden_stride = 1
high_conf_thresh = 0.8
high_iou_thresh = 0.8
hop_length = 512
  160 of dots3_note_audio_encoder
horizon_length = 128
hotstart_delay = 15
hotstart_dup_thresh = 8
hotstart_unmatch_thresh = 8
ignore_value = 255
im_end_id = 120119
im_newline_id = 120121
im_start_id = 120118
image_end_id = null
image_patch_id = 151938
image_seq_length = 576
  256 of internvl qianfan_ocr video_llava
image_start_id = null
image_text_hidden_size = 256
image_token_offset = 131272
img_max_token_num = 4096
img_range = 1.0
importance_sample_ratio = 0.75
in_chans = 3
index_block_size = 128
index_kpool = 16
index_kpool_always_select_tail = true
index_local_blocks = 1
index_n_heads = 32
  16 of axk2 hy_v4
  4 of minimax_m3_vl_text
  64 of deepseek_v32 deepseek_v4 dots3_note_text
index_name = "compressed"
index_path = null
index_topk = 2048
  512 of deepseek_v4
index_topk_blocks = 16
indexer_budget = null
indexer_compress_ratio = null
indexer_kv_heads = null
indexer_n_heads = null
infer_is_positive = true
inner_group_num = 1
input_embedding_size = 256
input_feat_per_channel = 80
input_feat_size = 128
input_jitter_noise = 0.0
input_sampling_rate = 16000
input_size = 1
  224 of layoutlmv3
  4096 of moshi_depth
  80 of phi4_multimodal_audio
insert_layer_id = 6
interleave_moe_layer_step = 1
intermediate_groups = 4
intermediate_multiple_size = 4
intermediate_size_mlp = 16384
interpolate_mode = "nearest"
  "bilinear" of hunyuan_vl_vision hy_v4_vl_vision
intra_bottleneck_size = 128
intraclass_block_number = 4
iou_head_depth = 3
is_decoder = false
  true of blip_text_model pix2struct_text_model
is_encoder = true
is_encoder_decoder = false
  true of autoformer bart bigbird_pegasus blenderbot blenderbot-small canary canary_decoder cohere_asr
    conditional_detr d_fine dab-detr deformable_detr deimv2 detr dia dia_decoder encoder-decoder fastspeech2_conformer
    florence2 fsmt grounding-dino informer led longt5 m2m_100 marian mbart mm-grounding-dino moonshine
    moonshine_streaming mt5 musicgen musicgen_melody mvp nemotron3_5_asr nemotron_asr_streaming nllb-moe omdet-turbo
    parakeet_rnnt parakeet_tdt pegasus pegasus_x pix2struct plbart pop2piano pp_doclayout_v2 pp_doclayout_v3
    pp_doclayout_v4 pp_formulanet pp_formulanet_text prophetnet rag rt_detr rt_detr_v2 seamless_m4t seamless_m4t_v2
    speech-encoder-decoder speech_to_text speecht5 switch_transformers t5 t5gemma t5gemma2 table-transformer
    time_series_transformer udop umt5 vision-encoder-decoder whisper
is_folding_model = false
is_gated_act = false
  true of mt5 pop2piano umt5
is_hybrid = false
is_moe = false
is_native = false
is_training = false
is_vqa = false
itm_weight = 1.0
k_groups = 4
kda_lower_bound = -5.0
kda_safe_gate = true
keep_query_pos = false
keep_window_size = 2048
kernel_list = ?
  null of pp_ocrv5_server_det pp_ocrv6_medium_det
kernel_predictor_conv_size = 3
kernel_predictor_num_blocks = 3
kernel_size = 7
  3 of higgs_audio_v2_tokenizer levit phi4_multimodal_audio xcodec
  5 of uvdoc uvdoc_backbone
key_bias = false
  true of sapiens2
key_multiplier = 1.0
key_query_shared_bottleneck = true
keypoint_threshold = 0.005
kv_aggregation_kernel_size = 4
kv_aggregation_stride = 4
label_length = 10
label_noise_ratio = 0.5
  0.4 of pp_doclayout_v3
label_smoothing = 0.0
lambda_std_dev = 0.1
lang_id = 0
last_kernel_size = 3
  7 of encodec wavtokenizer wavtokenizer_encoder
latent_query_num = 64
  2048 of kosmos-2.5
latent_size = 64
latent_stats_ema_decay = 0.999
latent_stats_ema_steps = 1000
latent_stride = 16
layer_group_size = 6
layer_norm_elementwise_affine = true
layer_norm_eps = 1e-05
  0.001 of mobilenet_v1 mobilenet_v2
  1e-06 of blip_2_vision_model cosmos3_edge_vision deepseek_ocr2_sam_vision_model dinov2 dinov2_with_registers
    dinov3_convnext edgetam_prompt_encoder edgetam_video_prompt_encoder edgetam_vision_model eomt eomt_dinov3
    glm_image_vision glpn got_ocr2_vision granite_docling_vision hiera idefics2_vision idefics3_vision
    instructblip_vision_model instructblipvideo_vision_model internvl_vision janus_vision_model kosmos_2_5_vision_model
    lasr_encoder lw_detr_vit minicpm_ocr_vision minicpmv4_6_vision minicpmv4_7_vision molmo2_vision paddleocr_vl_vision
    phi4_multimodal_vision pix2struct_vision_model pixio pp_chart2table_vision pp_formulanet_vision pp_ocrv5_mobile_rec
    pp_ocrv5_server_rec pp_ocrv6_small_rec pvt pvt_v2 qianfan_ocr_vision radio rf_detr_dinov2 sam2_hiera_det_model
    sam2_prompt_encoder sam2_video_prompt_encoder sam2_vision_model sam3_detr_decoder sam3_detr_encoder
    sam3_geometry_encoder sam3_lite_text_detr_decoder sam3_lite_text_detr_encoder sam3_lite_text_geometry_encoder
    sam3_lite_text_mask_decoder sam3_mask_decoder sam3_tracker_prompt_encoder sam3_tracker_video_prompt_encoder
    sam3_vision_model sam3_vit_model sam_hq_mask_decoder sam_hq_prompt_encoder sam_hq_vision_model sam_mask_decoder
    sam_prompt_encoder sam_vision_model segformer seggpt siglip2_text_model siglip2_vision_model siglip_text_model
    siglip_vision_model slanext_vision smolvlm_vision timesformer tipsv2_vision_model unlimited_ocr_sam_vision_model
    video_llama_3_vision videomt videoprism_text_model videoprism_vision_model vit_msn vitdet vivit vjepa2
  1e-07 of deberta deberta-v2 sew-d
  1e-09 of funnel
  1e-12 of albert align_text_model audio-spectrogram-transformer beit bert bert-generation big_bird biogpt
    blip_2_qformer blip_text_model bros camembert canine chinese_clip_text_model clap_text_model convbert convnext
    convnextv2 cvt data2vec-text data2vec-vision deit dpr dpt electra ernie esm flaubert flava flava_image_model
    flava_multimodal_model flava_text_model fnet git gte ibert ijepa instructblip_qformer instructblipvideo_qformer
    layoutlm layoutlmv2 layoutxlm lilt longformer luke markuplm megatron-bert mobilebert mpnet nomic_bert perceiver
    reformer rembert roberta roberta-prelayernorm roc_bert roformer splinter squeezebert tapas tvp videomae vilt
    visual_bert vit vit_mae vitpose_backbone xlm xlm-roberta xlnet xmod yolos yoso
layer_norm_epsilon = 1e-05
  1e-06 of ctrl longt5 mt5 pix2struct_text_model pop2piano switch_transformers t5 udop umt5
layer_scale = 1.0
layer_type = "bottleneck"
  "preactivation" of bit
  "y" of regnet
layer_types = ?
  null of lfm2_moe
layernorm_embedding = true
layers = 24
layerscale_value = 1.0
  0.0001 of focalnet
leaky_relu_slope = 0.1
  0.2 of univnet
learned_pos_emb = true
left_chunk = 18
left_max_position_embeddings = 64
legacy = true
length_penalty = 1.0
linear_a_log_max = 16.0
linear_a_log_min = 0.0
linear_allow_neg_eigval = true
linear_attention = false
linear_attn_alpha_factor = 1
linear_attn_beta_factor = 1
linear_dt_max = 0.1
linear_dt_min = 0.001
linear_lower_bound = -5.0
linear_num_heads = ?
  32 of kimi_linear
  64 of glm5_next_text
linear_num_key_heads = 16
  8 of lara_mini
  ? of olmo_hybrid
linear_num_value_heads = 32
  16 of lara_mini
  ? of olmo_hybrid
link_tower_type = "add"
lm_head_bias = false
lm_head_multiplier = 1.0
ln_before_adapter = true
local_attention = 128
local_attention_window_len = 512
local_attn_chunk_length = 64
local_layer_ids = null
local_num_chunks_after = 0
local_num_chunks_before = 1
local_radius = 127
local_transformer_stride = 128
log_scaling_alpha = 0.1
log_scaling_n_floor = 8192
  128000 of inkling2_text
  null of inkling_text
logit_scale = 0.0625
  null of cohere_compass_text mpt
logits_mup_width_multiplier = 24.0
logits_scaling = 1.0
  4.0 of granite_docling_text
logits_soft_cap = 30.0
loop_layer_index_end = 18
loop_layer_index_start = 6
loop_num_passes = 3
low_res_mask_size = 288
lsd_diagonal_weight = 0.75
lsd_distill_probability = 0.25
lsd_time_logit_mean = 0.4
lsd_time_logit_std = 1.0
lsh_attn_chunk_length = 64
lsh_backward = true
lsh_num_chunks_after = 0
lsh_num_chunks_before = 1
make_ngram_vocab_size_divisible_by = 128
mal_alpha = null
mamba_chunk_size = 256
mamba_conv_bias = true
mamba_d_conv = 4
mamba_d_ssm = 1024
mamba_d_state = 256
  16 of jamba zamba
  64 of zamba2
mamba_expand = 2
mamba_hidden_act = "silu"
mamba_n_groups = 1
mamba_n_heads = 128
mamba_ngroups = 1
mamba_norm_before_gate = true
mamba_num_heads = 128
mamba_proj_bias = false
mamba_rms_norm = false
matcher_alpha = 0.25
matcher_bbox_cost = 5.0
matcher_class_cost = 2.0
matcher_gamma = 2.0
matcher_giou_cost = 2.0
matching_threshold = 0.0
max_2d_position_embeddings = 1024
max_atomic_number = 128
max_atoms_per_token = 23
max_bucket_distance = 800
max_chars = 4
max_combined_length = 300
max_cond_frame_num = -1
  4 of sam3_tracker_video
max_decoder_position_embeddings = 1024
max_depth = 1
  10 of glpn
  10.0 of tipsv2_dpt
  50 of markuplm
  96.0 of chmv2
max_encoder_position_embeddings = 16384
max_ep_len = 4096
max_grid_col_position_embeddings = 100
max_grid_row_position_embeddings = 100
max_image_length = -1
max_image_size = 2048
max_img_size = 2048
  448 of tvp
max_inference_chunksize = 16384
max_keypoints = -1
max_length = 1024
  200 of fsmt
max_logit_scale = 100.0
max_new_tokens = 256
max_num_bins = 32
max_num_columns = 32
max_num_objects = 10000
max_num_patches = 4096
max_num_rows = 64
max_num_tiles = 4
max_object_pointers_in_encoder = 16
max_patch_length = null
max_period = 4.0
max_pos_emb = 512
max_rel_2d_pos = 256
max_rel_pos = 128
max_relative_positions = -1
max_seq_len = 2048
max_source_positions = 1500
  4096 of seamless_m4t
  5000 of fastspeech2_conformer wav2vec2-bert wav2vec2-conformer
  6000 of speech_to_text
max_speech_positions = 4000
max_symbols_per_step = 10
max_target_positions = 1024
  448 of whisper
max_temp = 50.0
max_temporal_embeddings = 100
max_text_len = 256
max_text_length = 500
max_text_positions = 450
max_text_tokens = 404
max_timescale = 10000
max_token_length = 27
max_trk_keep_alive = 30
max_value_projector_patch_to_query_dict = 256
max_vit_seq_len = 16384
max_xpath_subs_unit_embeddings = 1024
max_xpath_tag_unit_embeddings = 256
median_filter_width = 7
mel_vocab_size = 256
mem_len = 512
memory_attention_downsample_rate = 1
memory_attention_feed_forward_hidden_act = "relu"
memory_attention_feed_forward_hidden_size = 2048
memory_attention_hidden_size = 256
memory_attention_mlp_hidden_act = "relu"
memory_attention_mlp_hidden_size = 2048
memory_attention_num_attention_heads = 1
memory_encoder_hidden_size = 256
memory_fuser_hidden_act = "gelu"
memory_fuser_kernel_size = 7
memory_fuser_padding = 3
merge_index = 2
merge_padding_value = 3
merge_size = 2
merged_hidden_size = 24576
merger_times = 1
mim_weight = 1.0
min_depth = 0.001
  8 of mobilenet_v1 mobilenet_v2
min_image_size = 512
min_period = 0.004
min_temp = 0.0212
min_timescale = 1
min_trk_keep_alive = -1
mit_hidden_size = 512
mit_intermediate_size = 2048
mit_num_attention_heads = 8
mixer_rms_eps = 1e-06
mlm_weight = 1.0
mlp_activation_function = "leaky_relu"
mlp_alpha_factor = 1
mlp_beta_factor = 1
mlp_bias = false
  true of dinov3_vit eomt_dinov3 jais2 sapiens2
mlp_gate_softcap = 4.0
mlp_hidden_act = "relu2"
mlp_layer_types = ?
  null of deepseek_ocr2_text
mlp_ratio = 4.0
  2.0 of mobilevit pp_ocrv5_mobile_rec pp_ocrv5_server_rec pp_ocrv6_small_rec swin2sr
  3.0 of dinat
  4 of dinov2 dinov2_with_registers eomt lw_detr_vit pixio qwen2_vl_vision rf_detr_dinov2 swiftformer
    tipsv2_vision_model videomt vitdet vitpose_backbone
  5.833333333333333 of step3p5_vision
  ? of cvt levit
mlp_up_softcap = 25.0
mm_posemb_size = 1120
mm_tokens_per_image = 256
mmm_image_weight = 1.0
mmm_text_weight = 1.0
modality_type_vocab_size = 2
mode = "common_channel"
  "inference" of xlstm
model_args = null
model_max_length = 262144
  1048576 of kimi_linear
model_parallel_size = 1
moe_apply_router_weight_on_input = false
moe_eval_capacity_token_fraction = 1.0
moe_hidden_size = 4096
moe_intermediate_size = 2048
  1024 of exaone_moe kimi_linear sarvam_moe
  1152 of inkling2_loop_text
  1280 of solar_open step3p5
  1407 of deepseek_ocr2_text deepseek_v2
  1408 of afmoe dots1 glm4_moe glm4v_moe_text qwen2_moe qwen3_vl_moe_text
  1536 of dots3_note_text ernie4_5_moe glm4_moe_lite hy_v3
  1792 of lfm2_moe
  2112 of dots3_note_vision_encoder
  2304 of inkling2_text
  2560 of beam
  3072 of inkling_text
  384 of qwen3_omni_moe_talker_text
  4096 of muse_spark_text
  512 of axk2 flint kolibri1 laguna lara_mini qwen3_5_moe_text qwen3_next qwen4_exp_text
  6144 of mistral_large4_text
  768 of bailing_hybrid hy_v4 qwen3_moe qwen3_omni_moe_text
  7688 of nemotron_h
  896 of mellum unlimited_ocr_text
  ? of ernie4_5_vl_moe_text
  null of diffusion_gemma_text gemma4_text
moe_k = 6
moe_latent_size = null
moe_layer_interval = 1
moe_layer_start_index = 1
moe_norm_min = 1e-12
moe_num_experts = 64
  8 of aria_text
moe_num_shared_experts = 2
moe_renormalize = true
moe_routed_scaling_factor = 1.0
moe_router_logit_softcapping = 0.0
moe_router_scaling_factor = 1.0
moe_shared_expert_intermediate_size = 7688
moe_shared_expert_overlap = true
moe_topk = 2
  1 of hunyuan_v1_moe
  12 of longcat_flash
moving_average = 25
mtp_hidden_states_first = true
mtp_layer_types = null
mtp_local_layer_ids = null
mtp_mlp_layer_types = null
multi_modal_projector_bias = false
multi_query = true
multimask_max_pt_num = 1
multimask_min_pt_num = 0
multimask_output_for_tracking = true
multimask_output_in_sam = true
multimodal_projector_bias = true
  false of mistral3 mistral_large4
mup_enabled = false
n_cls_tokens = 8
n_codebooks = 9
n_ctx = 2048
n_docs = 5
n_embd = 768
  1280 of ctrl
  4096 of codegen gptj
  512 of imagegpt
n_group = 1
  8 of axk1 beam deepseek_v3 deepseek_v32
  null of axk2 deepseek_ocr2_text deepseek_v2
n_groups = 8
n_head = 12
  1 of decision_transformer
  16 of codegen ctrl gptj xlnet
  8 of bloom imagegpt
n_heads = 16
  12 of distilbert
n_inner = null
n_langs = 1
n_layer = 12
  2 of bloom
  24 of imagegpt xlnet
  28 of codegen gptj
  3 of decision_transformer
  48 of ctrl
n_layers_per_attn_res_block = 6
n_mamba_heads = 2
  8 of zamba2
n_mel_bins = 80
n_positions = 1024
  2048 of codegen gptj
  256 of ctrl
  512 of openai-gpt
n_recurrent_loops = 2
n_relations = 1
n_routed_experts = 128
  192 of axk1
  256 of deepseek_v3 deepseek_v32 deepseek_v4 dots3_note_text glm_moe_dsa hy_v4 hy_v4_vl_text inkling_text
    mimo_v2_flash
  288 of glm5_next_text step3p5
  384 of inkling2_text
  512 of longcat_flash
  64 of deepseek_ocr2_text deepseek_v2 glm4_moe_lite unlimited_ocr_text
  8 of nemotron_h
  null of dots1
n_shared_experts = 1
  2 of deepseek_ocr2_text deepseek_v2 inkling_text unlimited_ocr_text
  null of dots1
n_window = 50
  100 of qwen2_5_omni_audio_encoder
n_window_infer = 800
nemo_activation = "relu"
new_decoder_architecture = false
new_det_thresh = 0.7
newline_id = null
ngram = 2
ngram_size = 3
ngram_vocab_size_base = 20000000
nms_radius = 4
no_aggregation_label_index = null
no_bias = true
no_object_weight = 0.1
no_rope_layer_interval = 4
noise_scale = 0.667
noise_scale_duration = 0.8
norm = "GN"
norm_after = false
norm_bias = false
norm_eps = 1e-05
  1e-06 of neomme wavtokenizer wavtokenizer_encoder xlstm
norm_epsilon = 1e-05
norm_mlp = "LayerNorm"
norm_reduction_force_float32 = true
norm_rel_ebd = "layer_norm"
norm_strategy = "chmv2_mixlog"
norm_topk_prob = true
  false of deepseek_v2 doge dots1 flex_olmo kolibri1 olmoe qwen2_moe qwen3_moe qwen3_omni_moe_talker_text
norm_type = "weight_norm"
  "batchnorm" of patchtst
  "layer_norm" of internvl_vision qianfan_ocr_vision
  "low_precision_layernorm" of mpt
normalization_type = "no_norm"
normalize = false
normalize_backbone_outputs = true
normalize_before = false
  true of fastspeech2_conformer_hifigan speecht5_hifigan
normalize_modulator = false
num_aggregation_labels = 0
num_attention_heads = 12
  1 of emu3_vqgan sam2_hiera_det_model
  10 of nemotron3_5_transcribe_asr_audio recurrent_gemma unlimited_ocr_text
  128 of deepseek_v3 deepseek_v32 dots3_note_text muse_spark_text
  14 of openai_privacy_filter pe_audio_encoder pe_audio_video_encoder pe_video_encoder
  16 of afmoe altclip_text_model bert-generation biogpt blip_2_vision_model blt_global_transformer blt_local_decoder
    blt_local_encoder clvp_decoder cosmos3_edge_text cosmos3_edge_vision dia_decoder dia_encoder dory eomt eomt_dinov3
    ernie4_5 gemma glm_ocr_text granite_docling_text hunyuan_vl_vision hy_v4_vl_vision idefics3_vision idefics_vision
    inkling2_vision inkling_vision instructblip_vision_model instructblipvideo_vision_model internvl_vision
    janus_vision_model jina_embeddings_v3 kimi_k25_vision kosmos_2_vision_model lara_mini lfm3 lfm3_vl_vision
    llama4_vision_model megatron-bert minimax_m3_vl_vision mlcd mlcd_vision_model molmo2_adapter molmo2_vision
    moshi_depth moss_transcribe_diarize_audio muse_glimmer_vision muse_spark_vision musicgen_decoder
    musicgen_melody_decoder nemotron3_5_transcribe_word_timestamp neomme neucodec olmoe omniasr_audio paddleocr_vl_text
    paddleocr_vl_vision phi4_multimodal_audio phi4_multimodal_vision pixio pixtral pocket_tts qianfan_ocr_vision
    qwen2_5_omni_dit qwen2_moe qwen3_5_moe_text qwen3_5_text qwen3_next qwen3_omni_moe_talker_code_predictor
    qwen3_omni_moe_talker_text qwen3_vl_moe_text qwen4_exp_text radio sam3_vit_model sapiens2 seggpt smollm3
    smolvlm_vision step3p5_vision timesfm timesfm2_5 unlimited_ocr_vision_encoder videomt vjepa2 wav2vec2-bert xcodec2
    youtu zamba
  18 of rembert
  2 of vits
  20 of audioflamingo3_encoder bitnet dots3_note_audio_encoder ernie4_5_moe ernie4_5_vl_moe_text glm4_moe_lite
    glmasr_encoder granite_swa helium voxtral_encoder
  24 of deberta-v2 dots3_note_vision_encoder higgs_audio_v2 inkling2_loop_text kosmos_2_5_vision_model starcoder2
  26 of jais2
  28 of qwen2_5_omni_talker qwen2_5_omni_text qwen3_omni_moe_text
  30 of olmo_hybrid
  32 of EvollaModel apertus apertus1p5_text arcee aria_text axk2 bailing_hybrid bamba chameleon cpmant csm
    deepseek_ocr2_encoder deepseek_ocr2_text deepseek_v2 diffllama dots1 emu3_text_model evolla exaone exaone4
    exaone_moe falcon_h1 flex_olmo flint glm glm4 glm4v_text glm_image_text gpt_neox_japanese granite
    granite4_vision_text granitemoe granitemoe_swa granitemoehybrid granitemoeshared hunyuan_v1_dense hunyuan_v1_moe
    hunyuan_vl_text hy_v4 hyperclovax idefics internlm3 jamba kimi_linear kyutai_speech_to_text lfm2 lfm2_moe llama
    mellum minimax ministral ministral3 mistral mistral4 mixtral mllama_text_model molmo2_text moshi
    muse_glimmer_assistant muse_glimmer_text nemotron_h olmo olmo2 olmo3 phi phi3 phi4_multimodal phimoe qwen2 qwen3
    qwen3_moe qwen3_vl_text stablelm ultrabert voxtral_realtime_encoder voxtral_realtime_text xlm-roberta-xl zamba2
  4 of electra embedding_gemma2_text fun_asr_nano_encoder groupvit_text_model lightglue mobilebert mobilevit patchtst
    superglue
  40 of esmc iquestcoder llama4_text minicpm3
  48 of beam cwm inkling2_text kolibri1 laguna minimax_m2 nemotron
  6 of aimv2_text_model dinov3_vit groupvit_vision_model nanochat
  64 of albert axk1 cohere cohere2 cohere2_moe cohere_compass_text deepseek_v4 glm5_next_text glm_moe_dsa gpt_neox
    gpt_oss hy_v3 hy_v4_vl_text inkling_text longcat_flash mimo_v2_flash minimax_m3_vl_text mistral_large4_text
    persimmon qwen2_5_vl_text qwen2_vl_text sarvam_mla sarvam_moe solar_open step3p5
  71 of falcon
  8 of aimv2_vision_model blip_text_model canary_decoder clip_text_model clipseg_text_model cohere_asr
    csm_depth_decoder_model diffusion_gemma_text doge edgetam_mask_decoder edgetam_video_mask_decoder efficientloftr
    gemma2 gemma3_text gemma3n_text gemma4_audio gemma4_text gemma4_unified_text granite_speech5_encoder lasr_encoder
    mask2former maskformer metaclip_2_text_model mimi mimi_decoder mimi_encoder moonshine_streaming
    moonshine_streaming_encoder nemotron3_diarization_audio nemotron_asr_streaming_encoder oneformer ovis2_vision
    owlv2_text_model owlvit_text_model parakeet_encoder pocket_tts_audio_tokenizer pocket_tts_audio_tokenizer_decoder
    pocket_tts_audio_tokenizer_encoder pp_ocrv5_mobile_rec pp_ocrv5_server_rec pp_ocrv6_small_rec sam2_mask_decoder
    sam2_video_mask_decoder sam3_detr_decoder sam3_detr_encoder sam3_geometry_encoder sam3_lite_text_detr_decoder
    sam3_lite_text_detr_encoder sam3_lite_text_geometry_encoder sam3_lite_text_mask_decoder sam3_lite_text_text_model
    sam3_mask_decoder sam3_tracker_mask_decoder sam3_tracker_video_mask_decoder sam_hq_mask_decoder sam_mask_decoder
    t5_gemma_module t5gemma2_decoder t5gemma2_text vaultgemma xclip_text_model zaya
  80 of seed_oss
  96 of glm4_moe glm4v_moe_text
  ? of clap_audio_model glpn jetmoe levit pvt pvt_v2 segformer
num_attr_labels = 400
num_beams = 5
num_blocks = 4
  1 of perceiver
  24 of phi4_multimodal_audio
  ? of xlstm
num_blocks_per_group = 2
num_bpe_labels = 50257
num_buckets = 32
  320 of wavlm
  null of reformer
num_centroids = 2048
num_character_labels = 38
num_chroma = 12
num_classes = 2
  527 of clap_audio_model
num_cls_tokens = 3
num_clusters = 504
num_code_groups = 32
num_codebooks = 32
  4 of musicgen_decoder musicgen_melody_decoder
  8 of higgs_audio_v2 moshi moshi_depth
num_codevector_groups = 2
num_codevectors_per_group = 320
num_conv_pos_embedding_groups = 16
num_conv_pos_embeddings = 128
  5 of data2vec-audio
num_coords = 10
num_cross_attention_heads = 8
num_ctc_classes = 80
num_decoder_attention_heads = 16
num_denoising = 100
num_depth_bins = 256
num_detection_tokens = 100
num_dynamic_real_features = 0
num_embeddings = 16384
  8192 of chameleon_vqgan
num_embeds = 8193
num_encoder_attention_heads = 16
num_encoder_blocks = 4
num_expert_group = 8
  1 of kimi_linear
num_experts = 256
  1 of hunyuan_v1_moe vitpose_backbone
  128 of lara_mini nllb-moe qwen3_omni_moe_text
  16 of jamba zaya
  16384 of doge
  192 of hy_v3
  32 of lfm2_moe
  512 of bailing_hybrid qwen3_next qwen4_exp_text
  60 of qwen2_moe
  64 of afmoe exaone_moe olmoe
  7 of flex_olmo
  8 of cohere2_moe switch_transformers
  null of diffusion_gemma_text gemma4_text
num_experts_per_tok = 8
  1 of llama4_text zaya
  10 of qwen3_next qwen4_exp_text
  2 of cohere2_moe dots3_note_vision_encoder granitemoe granitemoe_swa granitemoehybrid granitemoeshared jamba jetmoe
    minimax mixtral nemotron_h phimoe
  4 of glm4_moe_lite gpt_oss lara_mini lfm2_moe minimax_m3_vl_text mistral4 mistral_large4_text openai_privacy_filter
    qwen2_moe qwen3_vl_moe_text
  5 of flex_olmo
  6 of afmoe deepseek_v4 flint inkling_text kolibri1 sarvam_moe unlimited_ocr_text
  64 of doge
  null of deepseek_ocr2_text deepseek_v2 dots1
num_experts_per_token = 8
num_feature_levels = 3
  0 of lw_detr
  1 of rf_detr
  4 of deformable_detr grounding-dino mm-grounding-dino
num_feedforward_networks = 4
num_filters = 32
  64 of mimi mimi_decoder mimi_encoder pocket_tts_audio_tokenizer pocket_tts_audio_tokenizer_decoder
    pocket_tts_audio_tokenizer_encoder
num_frames = 16
  32 of vivit
  48 of tvp
  8 of timesformer xclip_vision_model
num_global_tokens = 32
num_groups = 32
  1 of convbert
  4 of flava_image_codebook
  ? of florence_vision
num_hash = 64
num_hash_buckets = 16384
num_hash_functions = 8
num_hashes = 1
num_heads = 16
  12 of glm4v_moe_vision glm4v_vision pix2struct_text_model switch_transformers
  128 of mamba2
  6 of mt5 umt5
  8 of granite_speech_encoder granite_speech_plus_encoder longt5 pop2piano t5 xlstm
  ? of cvt dinat donut-swin florence_vision hiera maskformer-swin swin swin2sr swinv2
num_hidden_groups = 1
num_image_tokens = 576
num_image_with_embedding = null
num_images = -1
num_inference_steps = 10
num_key_value_attention_heads = 8
num_key_value_groups = 1
num_key_value_heads = ?
  1 of dbrx deepseek_v4
  10 of unlimited_ocr_text
  12 of gemma4_vision
  128 of deepseek_v3 deepseek_v32 dots3_note_text
  16 of dia_encoder gemma jetmoe molmo2_adapter molmo2_vision muse_spark_text neucodec qwen2_moe qwen3_vl_moe_text
    timesfm2_5 xcodec2 youtu zamba
  2 of csm_depth_decoder_model embedding_gemma2_text ernie4_5 gemma3n_text glm glm4 glm4v_text glm_image_text
    internlm3 muse_glimmer_text openai_privacy_filter paddleocr_vl_text qwen3_5_moe_text qwen3_next
    qwen3_omni_moe_talker_text qwen4_exp_text starcoder2 zaya
  20 of glm4_moe_lite helium
  32 of axk2 bailing_hybrid chameleon deepseek_ocr2_encoder dots1 exaone4 exaone_moe kimi_linear mistral4 qwen2 qwen3
    qwen3_vl_text stablelm
  4 of dia_decoder diffusion_gemma_text dory ernie4_5_moe ernie4_5_vl_moe_text flint gemma2 gemma3_text gemma4_text
    gemma4_unified_text granite_docling_text granite_swa idefics2_perceiver kolibri1 lara_mini lfm3 mellum
    mimo_v2_flash minimax_m3_vl_text neomme qwen2_5_omni_talker qwen2_5_omni_text qwen3_5_text qwen3_moe
    qwen3_omni_moe_text sarvam_moe smollm3 t5_gemma_module t5gemma2_decoder t5gemma2_text vaultgemma
  40 of minicpm3
  5 of bitnet
  64 of axk1 glm5_next_text glm_moe_dsa mistral_large4_text
  8 of EvollaModel bamba beam canary_decoder cosmos3_edge_text csm cwm emu3_text_model evolla exaone exaone4_5_vision
    falcon_h1 glm4_moe glm4v_moe_text glm_ocr_text gpt_oss higgs_audio_v2 hy_v3 inkling2_loop_text inkling2_text
    inkling_text iquestcoder jamba laguna lfm2 lfm2_moe lfm3_vl_vision llama4_text mimi mimi_decoder mimi_encoder
    minimax minimax_m2 ministral ministral3 mistral mixtral mllama_text_model molmo2_text moonshine_streaming_encoder
    muse_glimmer_assistant nemotron_h phi4_multimodal phimoe pocket_tts_audio_tokenizer
    pocket_tts_audio_tokenizer_decoder pocket_tts_audio_tokenizer_encoder qwen2_5_vl_text qwen2_vl_text
    qwen3_omni_moe_talker_code_predictor seed_oss solar_open step3p5 voxtral_realtime_text
  null of nemotron
num_labels = 1000
num_landmarks = 64
num_languages = null
num_latents = 256
num_ln_in_parallel_attn = null
num_local_experts = 8
  128 of gpt_oss minimax_m3_vl_text openai_privacy_filter qwen3_moe qwen3_omni_moe_talker_text
  16 of llama4_text phimoe
  256 of minimax_m2 muse_spark_text
  384 of kolibri1
  60 of qwen3_vl_moe_text
  64 of dots3_note_vision_encoder mellum
num_logits_to_keep = 1
num_loops = 10
num_maskmem = 7
num_mel_attn_blocks = 6
num_mel_bins = 128
  100 of univnet
  64 of clap_audio_model
  80 of fastspeech2_conformer fun_asr_nano_encoder granite_speech5_encoder moss_transcribe_diarize_audio
    nemotron_asr_streaming_encoder parakeet_encoder speecht5 whisper
num_mem_blocks = 1
num_multimask_outputs = 3
num_negatives = 100
num_object_labels = 1600
num_parallel_samples = 100
num_patches = 256
  32 of janus_vqgan
  ? of patchtsmixer
num_patterns = 0
num_point_embeddings = 4
num_pos_feats = 128
num_position_embeddings = 2304
  ? of molmo2_vision
num_prompts = 128
num_prototypes = 32
num_qa_labels = 9500
num_quantizers = 32
num_queries = 300
  100 of detr mask2former table-transformer
  150 of oneformer
  200 of eomt eomt_dinov3 sam3_detr_decoder sam3_lite_text_detr_decoder videomt
  900 of grounding-dino mm-grounding-dino omdet-turbo
num_query_pool = 3
num_query_pool_stages = 3
num_query_tokens = 32
num_random_blocks = 3
num_register_tokens = 4
  0 of dinov3_vit
  1 of tipsv2_vision_model
  8 of sapiens2
num_registers = 7
num_relative_chain_bins = 2
num_relative_features = 32
num_relative_residx_bins = 32
num_res_blocks = 2
  4 of apertus1p5_vision_tokenizer
num_res_types = 33
num_self_attends_per_block = 26
num_self_attention_heads = 8
num_semantic_quantizers = 1
num_shared_experts = 1
  0 of cohere2_moe
  2 of afmoe
num_speakers = 1
  null of fastspeech2_conformer
num_speakers_vocab_size = 32
num_stacked_frames = 7
num_stages = 4
num_static_categorical_features = 0
num_static_real_features = 0
num_targets = 3
  1 of patchtst
num_time_features = 0
num_upsampling_stages = 3
num_upscale_blocks = 2
num_verbalizers = 24
num_visual_indicator_tokens = 5
num_windows = 16
  4 of rf_detr_dinov2
num_windows_side = 4
num_wordpiece_labels = 30522
number_of_conv_states = 4
  1 of qwen4_exp_text
o_groups = 8
onnx_export = false
original_max_position_embeddings = 4096
out_features = ?
  null of timm_backbone
out_hidden_size = 3584
  1024 of granite_docling_vision
  1536 of glm5_next_vision glm_ocr_vision
  4096 of glm4v_moe_vision glm4v_vision hunyuan_vl_vision
  6144 of hy_v4_vl_vision muse_glimmer muse_spark
  8192 of muse_spark_audio
overlap = null
oversample_ratio = 3.0
pad_head_dim_to_multiple_of = null
pad_mode = "constant"
  "reflect" of encodec wavtokenizer wavtokenizer_encoder
pad_val = 1123581321.0
padding = 1
  ? of poolformer
padding_mode = "reflect"
pair_transition_intermediate_size = 1024
pairwise_hidden_size = 256
parallel_attn = true
part_features = 256
passages_path = null
patch_embed_hidden_size = 768
patch_embeds_hidden_size = 96
patch_in_forward = true
patch_last = true
patch_length = 32
  1 of patchtst
  8 of patchtsmixer
patch_stride = ?
  1 of patchtst
  8 of patchtsmixer
patch_temporal = 2
patch_transformer_hidden_size = null
patch_transformer_intermediate_size = null
patch_transformer_num_attention_heads = null
patching_batch_size = 1
patching_mode = "entropy"
patching_threshold = 1.335442066192627
perceiver_resampler_hidden_size = 64
perceiver_resampler_mlp_intermediate_size = 256
perceiver_resampler_num_attention_heads = 1
perceiver_resampler_num_latents = 256
perceiver_resampler_num_latents_2d = 256
pitch_embed_kernel_size = 1
pitch_predictor_kernel_size = 5
pixel_shuffle_factor = 4
pixel_shuffle_ratio = 0.5
ple_conv_kernel_size = 4
pool_q_only = true
pool_size = 3
pooler_act = "tanh"
pooler_hidden_act = "gelu"
pooling = null
pooling_epsilon = 1e-08
pooling_kernel_size = 3
pooling_type = "mean"
pos_att_type = null
  ? of sew-d
pos_emb_height = 32
  64 of kimi_k25_vision
pos_emb_time = 4
pos_emb_width = 32
  64 of kimi_k25_vision
pos_embed_jitter = null
pos_embed_rescale = 2.0
pos_embed_shift = null
posemb_grid_size = 32
position_bias_max_distance = 2048
position_bias_num_buckets = 512
position_biased_input = true
position_buckets = 256
position_embedding_size = 10240
position_embedding_type = "sine"
  "absolute" of esm
  null of granitemoehybrid
position_embeddings_type = "relative"
  "relative_key" of seamless_m4t_v2 wav2vec2-bert
position_id_per_seconds = 25
positional_embedding_temperature = 20
positional_encoding_temperature = 10000
positional_encoding_type = "sincos"
positionwise_conv_kernel_size = 3
positive_label_weight = 10.0
post_attention_groups = 1
post_norm_eps = 1e-08
pre_norm = false
  true of patchtst
pred_hidden_size = 384
pred_mlp_ratio = 4.0
pred_num_attention_heads = 12
pred_num_mask_tokens = 10
prediction_channel_indices = null
prediction_head_size = 768
prediction_length = null
  16 of patchtsmixer
  24 of patchtst
prefix = null
prefix_dense_intermediate_size = null
prefix_dense_sliding_window_pattern = 1
prefix_lm = true
pretrain_image_size = 224
  336 of sam3_vit_model
prior_encoder_num_flows = 4
problem_type = null
proj_bias = true
projection_hidden_act = "relu"
projection_hidden_size = 1152
projection_intermediate_size = 10240
projection_layer_norm_eps = 1e-05
projector_bias = true
  false of inkling2_vision step3p7
projector_hidden_act = "gelu"
  "silu" of moss_transcribe_diarize
projector_hidden_size = 4096
  11520 of cosmos3_edge
  2560 of lfm2_vl
  6144 of minimax_m3_vl
projector_layernorm_eps = 1e-05
projector_pooling_ratio = 1
projector_use_layernorm = true
projectors_bias = false
prompt_alpha = 0.1
prompt_hidden_act = "quick_gelu"
prompt_intermediate_size = 2048
prompt_length = 32
  100 of mvp
prompt_num_attention_heads = 8
prompt_types = 32
pronunciation_vocab_size = 910
q_aggregation_kernel_size = 4
q_aggregation_stride = 4
q_groups = 4
qk_dim_factor = 0.5
qk_l2_clip_threshold = 22.627416997969522
qk_layer_norms = false
qk_layer_norms_perceiver = false
qk_layernorm = false
  true of persimmon
qk_norm_type = "qwen3"
qk_scale_factor = 3.87
  5.4730064863875 of muse_spark_text
qkv_bias = true
  ? of cvt
  false of aimv2_text_model aimv2_vision_model ovis2_vision
quant_mode = false
query_bias = true
query_pre_attn_scalar = 256
  ? of step3p5
qv_bias = true
random_mask_ratio = 0.5
random_refpoints_xy = false
readout_activation = "gelu_pytorch_tanh"
readout_type = "project"
reassemble_hidden_size = 384
recondition_every_nth_frame = 16
recondition_on_trk_masks = true
recurrent_kv_cache_mode = "per_loop"
reduce_factor = 2
reduction = 4
reduction_factor = 1
  2 of speecht5
reg_scale = 4.0
rel_2d_pos_bins = 64
rel_extent = 1024
rel_l2_clip_threshold = 8.0
rel_pos_bins = 32
relative_attention = false
  true of sew-d
relative_attention_max_distance = 128
relative_attention_num_buckets = 32
relative_max_distance = 128
remove_last_layer = false
reorder_and_upcast_attn = false
repeats = 2
replace_prob = 0.5
repmixer_kernel_size = 11
resampler_depth = 6
  3 of idefics2_perceiver
resampler_dim_head = 64
resampler_ff_mult = 4
resampler_heads = 8
resampler_n_heads = 16
resampler_n_latents = 64
resampler_num_latents = 64
rescale_embeddings = false
rescale_every = 6
rescale_prenorm_residual = false
  true of nemotron_h
reset_position_index_per_cell = true
reshape_hidden_states = true
reshape_last_stage = true
resi_connection = "1conv"
residual_gate_temperature = 0.3
residual_in_fp32 = true
  false of nemotron_h
residual_kernel_size = 3
residual_multiplier = 1.0
  0.263 of granite_docling_text
  ? of neomme
residual_scale = 0.1
residual_weight = 0.5
resolution = 256
  512 of chameleon_vqgan
retrieval_batch_size = 8
retrieval_vector_size = 768
reuse_len = null
right_max_position_embeddings = 8
rms_norm_eps = 1e-05
  1.5625e-07 of glm glm4
  1e-06 of aria_text axk1 axk2 bailing_hybrid beam deepseek_ocr2_encoder deepseek_ocr2_text deepseek_v2 deepseek_v3
    deepseek_v32 deepseek_v4 diffusion_gemma_text doge dots1 embedding_gemma2_text ernie4_5_vl_moe_vision flex_olmo
    flint gemma gemma2 gemma3_text gemma3n_audio gemma3n_text gemma3n_vision gemma4_audio gemma4_text
    gemma4_unified_audio gemma4_unified_text gemma4_unified_vision gemma4_vision granite granite4_vision_text
    granitemoe granitemoe_swa granitemoehybrid granitemoeshared hrm_text hyperclovax idefics idefics2_perceiver
    inkling2_loop_text inkling2_text inkling_audio inkling_text inkling_vision jamba jetmoe kolibri1 laguna lara_mini
    llama mellum minimax_m2 minimax_m3_vl_text ministral mistral mistral4 molmo2_text muse_spark_audio nanochat
    neucodec olmo_hybrid qwen2 qwen2_5_omni_talker qwen2_5_omni_text qwen2_moe qwen3 qwen3_5_moe_text qwen3_5_text
    qwen3_moe qwen3_next qwen3_omni_moe_talker_code_predictor qwen3_omni_moe_talker_text qwen3_omni_moe_text
    qwen3_vl_moe_text qwen3_vl_text qwen4_exp_text recurrent_gemma sapiens2 sarvam_mla sarvam_moe seed_oss smollm3
    t5_gemma_module t5gemma2_decoder t5gemma2_text timesfm timesfm2_5 ultrabert unlimited_ocr_text vaultgemma
    voxtral_realtime_text xcodec2 youtu
  1e-08 of helium kyutai_speech_to_text moshi moshi_depth
  null of cohere2_moe
rms_norm_eps_moe_gate = 1e-06
roi_size = 7
rope_interleave = true
rope_parameters = ?
  {"attention_factor": 1.0, "beta_fast": 32.0, "beta_slow": 1.0, "factor": 2048.0,
    "original_max_position_embeddings": 512, "rope_theta": 10000.0, "rope_type": "yarn"} of mistral_large4_text
  {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 128.0, "llama_4_scaling_beta": 0.1, "max_position_embeddings":
    1048576, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 8192, "partial_rotary_factor":
    0.5, "rope_theta": 10000.0, "rope_type": "yarn", "type": "yarn"} of mistral4
  {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 16.0, "llama_4_scaling_beta": 0.1, "max_position_embeddings":
    262144, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 16384, "rope_theta": 1000000.0,
    "rope_type": "yarn", "type": "yarn"} of ministral3
  {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096, "rope_theta":
    150000.0, "rope_type": "yarn", "truncate": false} of gpt_oss openai_privacy_filter
  {"compress": {"partial_rotary_factor": 0.125, "rope_theta": 160000.0, "rope_type": "default"}, "main":
    {"partial_rotary_factor": 0.125, "rope_theta": 10000.0, "rope_type": "default"}} of deepseek_v4
  {"factor": 16.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
    "rope_theta": 1000000.0, "rope_type": "llama3"} of cwm
  {"factor": 32.0, "high_freq_factor": 0.5, "low_freq_factor": 0.125, "original_max_position_embeddings": 1024,
    "rope_theta": 500000.0, "rope_type": "llama3"} of higgs_audio_v2
  {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
    "rope_theta": 12000000.0, "rope_type": "llama3"} of apertus apertus1p5_text
  {"full_attention": null, "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}} of beam
  {"full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1000000.0, "rope_type": "default"},
    "sliding_attention": {"partial_rotary_factor": 1.0, "rope_theta": 10000.0, "rope_type": "default"}} of neomme
  {"full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1000000.0, "rope_type": "proportional"},
    "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}} of diffusion_gemma_text gemma4_text
    gemma4_unified_text
  {"full_attention": {"partial_rotary_factor": 0.334, "rope_theta": 5000000.0, "rope_type": "default"},
    "sliding_attention": {"partial_rotary_factor": 0.334, "rope_theta": 10000.0, "rope_type": "default"}} of
    mimo_v2_flash
  {"full_attention": {"partial_rotary_factor": 0.5, "rope_theta": 1000000.0, "rope_type": "proportional"},
    "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}} of lfm3
  {"full_attention": {"partial_rotary_factor": 0.5, "rope_theta": 500000.0, "rope_type": "default"},
    "sliding_attention": {"partial_rotary_factor": 1.0, "rope_theta": 10000.0, "rope_type": "default"}} of laguna
  {"full_attention": {"rope_theta": 10000.0, "rope_type": "default"}} of step3p5
  {"full_attention": {"rope_theta": 1000000.0, "rope_type": "default"}, "sliding_attention": {"rope_theta": 10000.0,
    "rope_type": "default"}} of embedding_gemma2_text gemma3_text gemma3n_text t5gemma2_decoder t5gemma2_text
  {"full_attention": {"rope_theta": 10000000.0, "rope_type": "default"}, "sliding_attention": {"rope_theta": 10000.0,
    "rope_type": "default"}} of dory
  {"full_attention": {"rope_theta": 160000.0, "rope_type": "default"}, "sliding_attention": {"rope_theta": 10000.0,
    "rope_type": "default"}} of modernbert modernbert-decoder
  {"full_attention": {"rope_theta": 2560000.0, "rope_type": "default"}, "sliding_attention": {"rope_theta": 10000.0,
    "rope_type": "default"}} of ultrabert
  {"full_attention": {"rope_theta": 500000.0, "rope_type": "default"}, "sliding_attention": {"rope_theta": 10000.0,
    "rope_type": "default"}} of mellum
  {"full_attention": {"rope_theta": 500000.0, "rope_type": "default"}, "sliding_attention": {"rope_theta": 500000.0,
    "rope_type": "default"}} of olmo3
  {"hybrid": {"partial_rotary_factor": 0.5, "rope_theta": 5000000.0, "rope_type": "default"}, "hybrid_sliding":
    {"partial_rotary_factor": 0.5, "rope_theta": 10000.0, "rope_type": "default"}} of zaya
  {"indexed_attention": {"partial_rotary_factor": 0.25, "rope_theta": 80000000.0, "rope_type": "default"},
    "sliding_attention": {"partial_rotary_factor": 0.25, "rope_theta": 50000.0, "rope_type": "default"}} of
    dots3_note_text
  {"mrope_section": [12, 10, 10], "rope_theta": 10000.0, "rope_type": "default"} of hy_v4_vl_text
  {"mrope_section": [24, 20, 20], "rope_theta": 100000000.0, "rope_type": "default"} of cosmos3_edge_text
  {"partial_rotary_factor": 0.2, "rope_theta": 1200.0, "rope_type": "default"} of musicflamingo
  {"partial_rotary_factor": 0.25, "rope_theta": 10000.0, "rope_type": "default"} of gpt_neox qwen3_5_moe_text
    qwen3_5_text qwen3_next stablelm
  {"partial_rotary_factor": 0.5, "rope_theta": 10000.0, "rope_type": "default"} of bamba dots3_note_audio_encoder glm
    glm4 glm4_moe glm4v_moe_text glmasr_encoder nemotron nemotron3_5_transcribe_asr_audio
    nemotron3_5_transcribe_word_timestamp persimmon phi recurrent_gemma
  {"partial_rotary_factor": 0.8, "rope_theta": 10000.0, "rope_type": "default"} of moonshine_streaming
  {"partial_rotary_factor": 0.9, "rope_theta": 10000.0, "rope_type": "default"} of moonshine
  {"partial_rotary_factor": 1.0, "rope_theta": 10000.0, "rope_type": "default"} of gpt_neox_japanese
    nemotron3_diarization_audio phi3 phi4_multimodal
  {"partial_rotary_factor": 1.0, "rope_theta": 8000000.0, "rope_type": "default"} of sarvam_moe
  {"partial_rotary_factor": 4.0, "rope_theta": 10000.0, "rope_type": "default"} of efficientloftr
  {"rope_theta": 100.0, "rope_type": "axial"} of gemma4_vision
  {"rope_theta": 100.0, "rope_type": "default"} of eomt_dinov3
  {"rope_theta": 1000.0, "rope_type": "default"} of nomic_bert
  {"rope_theta": 10000.0, "rope_type": "axial"} of cohere_compass_vision dots3_note_vision_encoder edgetam_video
    ernie4_5_vl_moe_vision exaone4_5_vision glm4v_moe_vision glm4v_vision glm5_next_vision glm_ocr_vision
    inkling2_vision kimi_k25_vision minimax_m3_vl_vision mlcd mlcd_vision_model muse_glimmer_vision muse_spark_vision
    paddleocr_vl_vision pixtral qwen2_5_omni_vision_encoder qwen2_5_vl_vision qwen2_vl_vision qwen3_5_moe_vision
    qwen3_5_vision qwen3_omni_moe_vision_encoder qwen3_vl_moe_vision qwen3_vl_vision qwen4_exp_vision sam2_video
    sam3_tracker_video sam3_vit_model step3p5_vision video_llama_3_vision
  {"rope_theta": 10000.0, "rope_type": "default"} of afmoe arcee aria_text axk1 axk2 blt_patcher chameleon cohere2
    cohere2_moe dbrx deepseek_ocr2_encoder deepseek_ocr2_text deepseek_v2 deepseek_v3 deepseek_v32 dia_decoder
    dia_encoder diffllama doge dots1 esmc eurobert exaone4 exaone_moe falcon falcon_h1 flint gemma gemma2 glm4_moe_lite
    glm4v_text glm_image_text glm_moe_dsa glm_ocr_text gradium_phonon_tts granite granite4_vision_text
    granite_docling_text granite_swa granitemoe granitemoe_swa granitemoehybrid granitemoeshared hrm_text
    hunyuan_v1_dense hunyuan_v1_moe hunyuan_vl_text hy_v4 hyperclovax idefics internlm3 iquestcoder jais2 jetmoe
    kolibri1 kyutai_speech_to_text lara_mini lasr_encoder llama llama4_vision_model mimi mimi_decoder mimi_encoder
    minicpm3 ministral mistral molmo2_text moshi muse_glimmer_text nanochat neucodec olmo olmo2 olmo_hybrid olmoe
    pocket_tts pocket_tts_audio_tokenizer pocket_tts_audio_tokenizer_decoder pocket_tts_audio_tokenizer_encoder qwen2
    qwen2_5_omni_dit qwen2_moe qwen3 qwen3_moe qwen3_omni_moe_talker_code_predictor qwen3_omni_moe_talker_text
    qwen4_exp_text sarvam_mla seed_oss starcoder2 t5_gemma_module timesfm2_5 unlimited_ocr_text vaultgemma
    voxtral_realtime_encoder voxtral_realtime_text xcodec2 youtu zamba2
  {"rope_theta": 100000.0, "rope_type": "default"} of helium
  {"rope_theta": 1000000.0, "rope_type": "axial"} of lfm3_vl_vision
  {"rope_theta": 1000000.0, "rope_type": "default"} of emu3_text_model lfm2 lfm2_moe minimax mixtral phimoe
    qwen2_5_omni_talker qwen2_5_omni_text qwen2_5_vl_text qwen2_vl_text qwen3_omni_moe_text solar_open
  {"rope_theta": 10000000.0, "rope_type": "default"} of longcat_flash
  {"rope_theta": 11158840.0, "rope_type": "default"} of hy_v3
  {"rope_theta": 160000.0, "rope_type": "default"} of gte
  {"rope_theta": 20000, "rope_type": "default"} of pe_audio_encoder pe_audio_video_encoder pe_video_encoder
  {"rope_theta": 20000.0, "rope_type": "default"} of jina_embeddings_v3
  {"rope_theta": 2000000.0, "rope_type": "default"} of smollm3
  {"rope_theta": 500000.0, "rope_type": "default"} of EvollaModel bitnet blt blt_global_transformer blt_local_decoder
    blt_local_encoder cohere csm csm_depth_decoder_model ernie4_5 ernie4_5_moe ernie4_5_vl_moe_text evolla exaone
    flex_olmo llama4_text mllama_text_model muse_glimmer_assistant muse_spark_text paddleocr_vl_text qwen3_vl_moe_text
    qwen3_vl_text
  {"rope_theta": 5000000.0, "rope_type": "default"} of minimax_m2 minimax_m3_vl_text
  {"rope_theta": 6000000.0, "rope_type": "default"} of bailing_hybrid
  {} of cohere_compass_text
rope_scaling = null
rope_theta = 10000.0
  100.0 of dinov3_vit sapiens2
  6000000.0 of bailing_hybrid
rotary_embedding_base = 10000
rotary_value = false
route_scale = 8.0
  1.0 of afmoe
routed_scaling_factor = 1.0
  1.5 of deepseek_v4
  1.8 of glm4_moe_lite
  2.0 of minimax_m3_vl_text
  2.446 of kimi_linear
  2.5 of axk1 axk2 bailing_hybrid beam deepseek_v3 deepseek_v32 exaone_moe glm5_next_text glm_moe_dsa sarvam_mla
    sarvam_moe
  2.827 of hy_v4 hy_v4_vl_text
  6.0 of longcat_flash
router_bias = false
router_hidden_size = 256
router_ignore_padding_tokens = false
router_jitter_noise = 0.0
  0.01 of phimoe switch_transformers
router_scaling_factor = 1.0
  2.826 of hy_v3
s2r_damping = 0.5
s2r_steps = 3
same_length = false
sample_rate = 16000
  24000 of higgs_audio_v2_tokenizer
samples_per_patch = 16
sampling_factor = 5
sampling_rate = 24000
  16000 of dac dots3_note_audio_encoder seamless_m4t seamless_m4t_v2 speecht5_hifigan vits xcodec2
scale = 1
  1.0 of pp_lcnet pp_lcnet_v3 pp_lcnet_v4
  ? of deepseek_ocr2_sam_vision_model sam_hq_vision_model sam_vision_model
scale_attention_softmax_in_fp32 = true
scale_attn_by_inverse_layer_idx = false
scale_attn_weights = true
scale_conv_kernel_size = 1
scale_conv_kernel_sizes = null
scale_depth = 1.4
scale_emb = 12
scale_embedding = false
  true of bigbird_pegasus biogpt fsmt kosmos_2_5_text_model kosmos_2_text_model m2m_100 nllb-moe pegasus_x plbart
    pp_formulanet_text seamless_m4t seamless_m4t_v2 speech_to_text xglm
scale_factor = 2
  4 of granite_docling_vision vitpose
scale_factor_list = null
scale_final_hidden_sizes = null
scale_final_input_size = null
scale_input = true
scale_sqrt_depth = true
scaling = "mean"
  "std" of patchtsmixer patchtst
  true of autoformer
score_threshold_detection = 0.5
scoring_func = "sigmoid"
  "sqrtsoftplus" of deepseek_v4
second_expert_policy = "all"
seconds_per_chunk = 2
seed = 1234
segment_means_seq_len = 64
segment_types = 32
segmentation_head_activation_function = "gelu"
select_one_column = true
self_attention_widening_factor = 1
self_attn = false
self_attn_heads = 1
semantic_sample_rate = 16000
separate_cls = true
seq_len = 4096
sequence_kernel = "native_sequence__native"
shape_size = 128
shape_vocab_size = 24858
share_att_key = true
share_bbox_head = false
share_embedding = true
share_encoder_decoder_embeddings = true
share_layernorm = true
share_projection = true
shared_expert_combination_strategy = "average"
shared_expert_intermediate_size = 512
  1024 of flint
  5632 of qwen2_moe
shared_expert_sink = true
shared_experts_intermediate_size = 1536
shared_intermediate_size = 0
  1024 of granitemoehybrid
  3072 of minimax_m3_vl_text
short_conv_kernel_size = 4
sigmoid_bias_for_mem_enc = -10.0
sigmoid_scale_for_mem_enc = 20.0
sine_position_embedding_scale = null
single_inputs_size = 451
sinkhorn_iterations = 100
sinusoidal_embeddings = false
sinusoidal_pos_embds = false
skip_unmasked_multimodal_encoder = true
slice_end_id = null
slice_start_id = null
sliding_window = null
  1024 of afmoe dory gemma4_unified_text mellum
  128 of deepseek_v4 esmfold2 gpt_oss granite_swa granitemoe_swa openai_privacy_filter ultrabert unlimited_ocr_text
  129 of mimo_v2_flash
  2048 of muse_glimmer_assistant muse_glimmer_text muse_spark_text
  250 of mimi mimi_decoder mimi_encoder pocket_tts_audio_tokenizer pocket_tts_audio_tokenizer_decoder
    pocket_tts_audio_tokenizer_encoder
  256 of lfm3 neomme
  3000 of moshi
  375 of kyutai_speech_to_text
  4096 of cohere2 cohere2_moe cohere_compass_text dots1 exaone4 exaone_moe gemma2 gemma3_text ministral mistral olmo3
    t5_gemma_module t5gemma2_decoder t5gemma2_text vaultgemma voxtral_realtime_text
  512 of beam blt_patcher diffusion_gemma_text dots3_note_text embedding_gemma2_text gemma3n_text gemma4_text laguna
    lara_mini
  513 of flint kolibri1
  71 of nemotron_asr_streaming_encoder
  750 of voxtral_realtime_encoder
  8 of moshi_depth
  8192 of cwm
  ? of deepseek_ocr2_encoder modernbert-decoder qwen2 qwen2_5_omni_talker qwen2_5_omni_text qwen2_5_vl_text qwen2_moe
    qwen2_vl_text qwen3 qwen3_moe
sliding_window_pattern = 4
sliding_window_size = 1024
  512 of inkling_text
slow_but_exact = false
softcap = null
sparse_pred_ignore_index = -100
sparse_prediction = false
spatial_merge_size = 2
  1 of glm_image_vision
spatial_pool_mode = "average"
spatial_pool_stride = 2
spatial_scale_factor = 16
spatial_tuning_adapter_inplanes = 16
spatial_vision_layer = -1
speaker_activity_threshold = 0.5
speaker_cache_update_period = 300
speaker_embedding_size = 0
speaking_rate = 1.0
speaking_speed = 1.0
spec_size = 256
spectrogram_bins = 513
speech_decoder_postnet_kernel = 5
speech_decoder_postnet_units = 256
speech_decoder_prenet_units = 256
speech_encoder_attention_heads = 16
speech_encoder_chunk_size = 20000
speech_encoder_hidden_act = "swish"
speech_encoder_intermediate_size = 4096
speech_encoder_left_chunk_num = 128
split_ngram_parts = 512
squeeze_expansion_ratio = 0.25
squeeze_factor = 2
src_vocab_size = 42024
sscp_conv_group_norm_eps = 0.001
ssm_in_multiplier = 1.0
ssm_out_multiplier = 1.0
ssm_state_size = 128
stagger_local_blocks = true
standardize = false
start_n_top = 5
state_size = 16
  128 of mamba2
stem_act_func = "relu"
stem_kernel_size = 3
stem_stride = 2
stem_type = "large"
step_kernel = "native"
stop_gradient = false
stop_gradient_from_energy_predictor = false
stop_gradient_from_pitch_predictor = true
stride = 2
  16 of poolformer
subs_pad_id = 1001
subsampling_conv_kernel_size = 3
  5 of lasr_encoder
subsampling_conv_stride = 2
subsampling_factor = 8
summary_activation = null
  "gelu" of electra
  "tanh" of xlnet
summary_proj_to_labels = true
summary_type = "cls_index"
  "first" of electra flaubert xlm
  "last" of xlnet
  "mean" of clvp_encoder
summary_use_proj = true
suppress_overlapping_based_on_recent_occlusion_threshold = 0.7
suppress_tokens = null
suppress_unmatched_only_within_hotstart = true
swa_num_attention_heads = 24
  48 of inkling2_text
  64 of inkling_text
swa_num_key_value_heads = 8
  16 of inkling_text
swiglu_alpha = 1.702
swiglu_limit = 10.0
  7.0 of gpt_oss minimax_m3_vl_text openai_privacy_filter
swiglu_limits = null
swiglu_limits_shared = null
swin_norm = false
t2u_decoder_attention_heads = 16
t2u_encoder_attention_heads = 16
t2u_max_new_tokens = 1024
t2u_max_position_embeddings = 2048
  4096 of seamless_m4t_v2
t2u_variance_predictor_kernel_size = 3
t2u_vocab_size = 10082
tag_pad_id = 216
task_mask_lm = true
task_matched = true
task_obj_predict = true
task_qa = true
task_seq_len = 77
task_type_vocab_size = 3
temperature = 1.0
temperature_height = 20
temperature_width = 20
temporal_downsample_factor = 4
temporal_merge_size = 2
temporal_patch_size = 2
  1 of hunyuan_vl_vision
text_embed = true
text_encoder_context_length = 77
text_encoder_n_ctx = 16
text_encoder_vocab_size = 49408
text_encoder_width = 256
text_hidden_size = 6144
  3072 of hunyuan_vl_vision
  3584 of molmo2_adapter
  4608 of inkling2_vision
text_vocab_size = 128256
tf_padding = true
tgt_vocab_size = 42024
tie_codebooks_embeddings = true
tie_word_embeddings = false
  ? of csm
  true of albert aya_vision bart bert bert-generation big_bird bigbird_pegasus biogpt blenderbot blenderbot-small
    blip blip_text_model bloom camembert canary cohere cohere2 cohere2_moe cohere2_vision cohere_compass_text convbert
    cpmant ctrl d_fine dab-detr data2vec-text deberta deberta-v2 deepseek_vl deepseek_vl_hybrid deformable_detr deimv2
    diffusion_gemma diffusion_gemma_text distilbert electra ernie ernie4_5 ernie4_5_moe ernie4_5_vl_moe
    ernie4_5_vl_moe_text esm falcon falcon_mamba flaubert flava florence2 fnet fun_asr_nano funnel gemma gemma2 gemma3
    gemma3_text gemma3n gemma3n_text gemma4 gemma4_text gemma4_unified gemma4_unified_assistant gemma4_unified_text
    glmasr got_ocr2 gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox_japanese granite_docling granite_docling_text
    granite_speech granite_speech5_ctc granite_speech_plus granite_swa grounding-dino gte hunyuan_vl hunyuan_vl_text
    hyperclovax_vision_v2 ibert internvl janus jetmoe jina_embeddings_v3 kimi_k25 kosmos-2 kosmos-2.5
    kosmos_2_5_text_model kosmos_2_text_model lara_mini layoutlm led lfm2 lfm2_moe lfm2_vl lfm3 lfm3_vl lighton_ocr
    longformer longt5 luke lxmert m2m_100 mamba marian mbart megatron-bert mimi mimi_decoder mimi_encoder minicpm3
    minicpm_ocr mistral3 mm-grounding-dino mobilebert modernbert modernbert-decoder moonshine moss_transcribe_diarize
    mpnet mpt mra mt5 mvp neomme nllb-moe nystromformer openai-gpt opt ovis2 paddleocr_vl paddleocr_vl_text paligemma
    pe_audio_video pegasus pegasus_x plbart pop2piano pp_chart2table pp_doclayout_v3 pp_doclayout_v4 prophetnet
    qwen2_5_omni_text qwen3_asr qwen3_vl_moe_text recurrent_gemma roberta roberta-prelayernorm roc_bert roformer
    rt_detr_v2 sam sam_hq seamless_m4t seamless_m4t_v2 shieldgemma2 smollm3 speech_to_text speecht5 squeezebert
    starcoder2 switch_transformers t5 t5_gemma_module t5gemma t5gemma2 t5gemma2_decoder t5gemma2_encoder t5gemma2_text
    tapas trocr udop umt5 vaultgemma vilt visual_bert voxtral_realtime whisper xglm xlm xlm-roberta xlm-roberta-xl
    xlnet xmod yoso youtu zamba zamba2 zaya
time_reduction = 8
time_sampling_beta_alpha = 1.5
time_sampling_beta_beta = 1.0
time_sampling_offset = 0.001
time_sampling_scale = 0.999
time_step_floor = 0.0001
time_step_max = 0.1
time_step_min = 0.001
time_step_scale = 1.0
time_stride = 10
title_sep = " / "
token_classification_bias = false
tokenize_function = "softmax"
tokens_per_second = 4
tolerance = 1e-06
top_k_experts = null
top_prob_values = 4
topk_group = 1
  4 of axk1 bailing_hybrid beam deepseek_v3 deepseek_v32
  null of axk2 deepseek_ocr2_text deepseek_v2
topk_method = "greedy"
tpu_short_seq_length = 512
train_num_points = 12544
trigram_input = true
trim_right_ratio = 1.0
trk_assoc_iou_thresh = 0.5
truncate_seq = true
tubelet_size = 2
  ? of videoprism_vision_model vivit
two_stage = true
  false of deformable_detr
two_stage_bbox_embed_share = false
two_stage_num_proposals = 300
type_vocab_size = 2
  0 of deberta deberta-v2
  1 of altclip_text_model bridgetower_text_model clap_text_model gte jina_embeddings_v3 mra xlm-roberta-xl yoso
  16 of canine
  4 of fnet
unit_hifi_gan_vocab_size = 10000
unit_kernel_size = 3
unk_index = 3
unmasked_channel_indices = null
unpadded_vocab_size = 200058
  null of inkling_text
up = 0.5
upsample_groups = 512
upsample_kernel_size = 4
upsample_kernel_sizes = ?
  null of sapiens2_head
upsampler = "pixelshuffle"
upsampling_factor = 2
upsampling_kernel_size = 4
upscale = 2
use_abs_pos = true
use_absolute_embeddings = false
use_absolute_position_embeddings = true
  false of beit data2vec-vision
use_answer_as_supervision = null
use_associative_scan = true
use_attention_bias = true
  false of clvp_encoder
use_attention_gate = true
use_batch_norm_in_fusion_residual = false
use_bias = false
  true of big_bird starcoder2 vits
use_bias_in_fusion_residual = null
  true of depth_pro
use_bidirectional_attention = null
  "vision" of gemma4_unified_text
  false of gemma3_text
use_bottleneck = true
use_bottleneck_attention = false
use_causal_conv = true
  false of wavtokenizer wavtokenizer_encoder
use_clipped_linears = true
  false of gemma4_vision
use_cls_token = true
  false of patchtst
use_cnn_in_conformer = true
use_complex_transposed_convolution = false
use_continuous_quantile_head = true
use_conv_bias = true
use_conv_embed = false
use_conv_shortcut = false
  true of encodec wavtokenizer wavtokenizer_encoder
use_decoder_only_language_model = true
use_dense_one_to_one = true
use_double_wide_mlp = false
use_dummy_dataset = false
use_entity_aware_attention = true
use_expectation = true
use_expert_bias = true
use_fast_hash = true
use_fine_route = true
use_fov_model = false
use_gated_mlp = false
  true of sapiens2
use_gateway = true
use_gumbel_for_aggregation = false
use_gumbel_for_cells = false
use_head = true
use_intermediate_ffn_before_adapter = false
use_lang_emb = true
use_layer_scale = true
use_layerscale = false
use_learnable_affine_block = false
use_learned_position_embeddings = true
use_long_context = false
use_macaron_style_in_conformer = true
use_mamba_kernels = true
use_mambapy = false
use_mask_token = false
  true of dinov2 rf_detr_dinov2
use_masking = true
use_mean_pooling = true
use_mem_eff_path = false
use_mem_rope = false
use_mems_eval = true
use_mems_train = false
use_mid_position_embeddings = true
use_ordered_embeddings = false
use_parallel_residual = true
  false of stablelm
use_pixel_shuffle = null
use_positional_embedding = false
use_positional_encoding = false
use_post_layernorm = false
use_post_layernorm_in_modulation = false
use_post_norm = true
use_prompt = false
use_qformer_text_input = false
use_qk_norm = false
  true of llama4_text sapiens2 sarvam_moe
use_qkv_bias = false
use_query_residual = true
use_rel_pos = true
use_relative_position_bias = false
use_relative_position_embeddings = true
  false of vitdet
use_repmixer_blocks = true
use_resampler = false
use_rotary_embedding = true
use_sandwich_norm = true
use_shared_attention_adapter = false
use_shared_relative_position_bias = false
use_simple_decoder = true
use_sliding_window = false
use_stochastic_duration_prediction = true
use_streaming = false
use_swiglu_ffn = false
use_task_id = false
use_task_norm = true
use_tpu_fourier_optimizations = false
use_weighted_layer_sum = false
use_weighted_masking = false
v_dim_factor = 1.0
v_groups = 4
vae_std = 0.625
value_bias = true
variance_predictor_kernel_size = 3
vector_quantization_hidden_dimension = 256
video_pruning_rate = 0.0
video_seq_length = 288
  2056 of video_llava
video_temporal_patch_size = 2
  null of radio
vision_aspect_ratio = "anyres_max_9"
vision_feature_layer = -1
  -2 of granite4_vision llava llava_next llava_next_video video_llava
  ? of molmo2_adapter vipllava
vision_feature_select_strategy = "default"
  "full" of aya_vision fast_vlm llava_onevision
vision_hidden_size = 1280
vision_soft_tokens_per_image = 256
vision_use_cls_token = true
vision_use_head = true
vision_vocab_size = 16512
visual_embed = true
visual_prompt_size = 96
visual_prompter_apply = "replace"
visual_prompter_type = "framepad"
vocab_offset = 262272
  262144 of gemma3n_vision
vocab_size_per_layer_input = 262144
vocabulary_map = null
vocoder_num_langs = 36
vocoder_num_spkrs = 200
vocoder_offset = 4
wavenet_dilation_rate = 1
wavenet_kernel_size = 5
weight_mode = "single"
width_coefficient = 2.0
width_confidence = 0.99
width_factor = 1
width_multiplier = 1.0
window_size = 14
  0 of vitdet
  112 of exaone4_5_vision qwen2_5_omni_vision_encoder qwen2_5_vl_vision
  12 of florence_vision
  15 of granite_speech granite_speech_plus
  24 of sam3_vit_model
  256 of gpt_neo
  4 of vits
  7 of donut-swin maskformer-swin swin swinv2
  8 of clap_audio_model swin2sr
with_box_refine = true
  false of deformable_detr
xpath_unit_hidden_size = 32
zero_expert_num = 256
"""

OTHER_NAMES = r"""
activation_function = hidden_act
  exaone
adapter_merge_size = spatial_merge_size
  inkling2_vision
attention_heads = num_attention_heads
  hunyuan_vl_vision hy_v4_vl_vision
bias = mlp_bias
  internlm3
codebook_size = mel_vocab_size
  inkling_audio
decoder_attention_heads = num_heads
  pix2struct_text_model
embedding_multiplier = logits_mup_width_multiplier
  inkling_text
encoder_attention_heads = num_attention_heads
  audioflamingo3_encoder moss_transcribe_diarize_audio voxtral_encoder voxtral_realtime_encoder
encoder_attention_heads = num_heads
  pix2struct_text_model
encoder_hidden_dim = d_model
  omdet-turbo
head_dim = d_kv
  longt5 mt5 t5 umt5
hidden_act = decoder_hidden_act
  moonshine
hidden_size = d_model
  autoformer bart bigbird_pegasus blenderbot blenderbot-small conditional_detr d_fine dbrx deformable_detr deimv2 detr
  fsmt funnel grounding-dino informer led longt5 m2m_100 marian mbart mm-grounding-dino mpt mt5 mvp nllb-moe
  patchtsmixer patchtst pegasus pegasus_x plbart pop2piano pp_doclayout_v2 pp_doclayout_v3 pp_formulanet_text
  qwen2_5_omni_audio_encoder qwen2_audio_encoder qwen3_asr_encoder qwen3_omni_moe_audio_encoder rt_detr rt_detr_v2
  speech_to_text switch_transformers t5 table-transformer time_series_transformer trocr udop umt5 whisper xglm xlnet
hidden_size = dim
  distilbert
hidden_size = n_embd
  codegen ctrl gpt-sw3 gpt2 gpt_bigcode gptj imagegpt openai-gpt
hidden_size = text_hidden_size
  inkling_audio
image_token_id = image_patch_id
  molmo2
intermediate_size = ffn_hidden_size
  longcat_flash
intermediate_size = moe_intermediate_size
  deepseek_v4 inkling2_loop_text inkling2_text
layer_norm_eps = rms_norm_eps
  hunyuan_vl_vision hy_v4_vl_vision molmo2_text
layer_norm_epsilon = rms_norm_eps
  exaone
layer_types = layers_block_type
  bamba falcon_h1 nemotron_h recurrent_gemma zamba zamba2
layers_block_type = layer_types
  granitemoehybrid
max_position_embeddings = context_length
  rwkv
max_position_embeddings = max_seq_len
  dbrx
max_position_embeddings = model_max_length
  bailing_hybrid kimi_linear
max_position_embeddings = n_positions
  codegen ctrl decision_transformer gpt-sw3 gpt2 gpt_bigcode gptj imagegpt openai-gpt
moe_intermediate_size = expert_ffn_hidden_size
  longcat_flash
moe_num_experts = n_routed_experts
  step3p5
moe_top_k = num_experts_per_tok
  step3p5
n_group = num_expert_group
  bailing_hybrid kimi_linear
n_shared_experts = num_shared_experts
  bailing_hybrid kimi_linear
norm_topk_prob = moe_renormalize
  bailing_hybrid kimi_linear
num_attention_groups = num_key_value_heads
  step3p5
num_attention_heads = attention_heads
  kosmos_2_5_text_model kosmos_2_text_model mllama_vision_model xglm
num_attention_heads = decoder_attention_heads
  seamless_m4t seamless_m4t_v2 trocr
num_attention_heads = decoder_num_attention_heads
  moonshine
num_attention_heads = encoder_attention_heads
  autoformer bart bigbird_pegasus blenderbot blenderbot-small conditional_detr d_fine dab-detr deformable_detr deimv2
  detr fsmt grounding-dino informer led m2m_100 marian mbart mm-grounding-dino mvp nllb-moe omdet-turbo pegasus
  pegasus_x plbart pp_doclayout_v2 pp_doclayout_v3 pp_doclayout_v4 pp_formulanet_text qwen2_5_omni_audio_encoder
  qwen2_audio_encoder qwen3_asr_encoder qwen3_omni_moe_audio_encoder rt_detr rt_detr_v2 speech_to_text speecht5
  table-transformer time_series_transformer whisper
num_attention_heads = encoder_num_attention_heads
  fastspeech2_conformer
num_attention_heads = n_head
  bloom codegen ctrl decision_transformer funnel gpt-sw3 gpt2 gpt_bigcode gptj imagegpt openai-gpt xlnet
num_attention_heads = n_heads
  dbrx distilbert flaubert mpt xlm
num_attention_heads = num_attention_heads
  patchtst
num_attention_heads = num_encoder_attention_heads
  prophetnet
num_attention_heads = num_heads
  cohere_compass_vision dinat donut-swin ernie4_5_vl_moe_vision exaone4_5_vision glm4v_moe_vision glm4v_vision
  glm5_next_vision glm_image_vision glm_ocr_vision gpt_neo granite_speech_encoder granite_speech_plus_encoder longt5
  maskformer-swin mt5 pix2struct_text_model pop2piano qwen2_5_omni_vision_encoder qwen2_5_vl_vision qwen2_vl_vision
  qwen3_5_moe_vision qwen3_5_vision qwen3_omni_moe_vision_encoder qwen3_vl_moe_vision qwen3_vl_vision qwen4_exp_vision
  swin swin2sr swinv2 switch_transformers t5 udop umt5
num_codebooks = n_mel_bins
  inkling_audio
num_experts = moe_num_experts
  ernie4_5_moe ernie4_5_vl_moe_text
num_experts = n_routed_experts
  deepseek_ocr2_text deepseek_v2 sarvam_mla sarvam_moe unlimited_ocr_text
num_experts = num_local_experts
  gpt_oss kolibri1 mellum minimax minimax_m2 minimax_m3_vl_text mixtral openai_privacy_filter qwen3_moe
  qwen3_omni_moe_talker_text qwen3_vl_moe_text
num_experts_per_tok = moe_k
  ernie4_5_moe ernie4_5_vl_moe_text
num_experts_per_tok = moe_topk
  hunyuan_v1_moe longcat_flash
num_experts_per_tok = num_experts_per_token
  bailing_hybrid kimi_linear
num_hidden_layers = depth
  cohere_compass_vision ernie4_5_vl_moe_vision exaone4_5_vision glm4v_moe_vision glm4v_vision glm5_next_vision
  glm_image_vision glm_ocr_vision pp_ocrv5_mobile_rec pp_ocrv5_server_rec pp_ocrv6_small_rec pp_ocrv6_tiny_rec
  qwen2_5_omni_vision_encoder qwen2_5_vl_vision qwen2_vl_vision qwen3_5_moe_vision qwen3_5_vision
  qwen3_omni_moe_vision_encoder qwen3_vl_moe_vision qwen3_vl_vision qwen4_exp_vision
num_hidden_layers = layers
  kosmos_2_5_text_model kosmos_2_text_model
num_hidden_layers = n_layer
  bloom codegen ctrl decision_transformer gpt-sw3 gpt2 gpt_bigcode gptj imagegpt openai-gpt xlnet
num_hidden_layers = num_encoder_blocks
  segformer
num_hidden_layers = num_stages
  convnext convnextv2
num_key_value_heads = decoder_num_key_value_heads
  moonshine
num_key_value_heads = encoder_attention_heads
  whisper
num_key_value_heads = num_attention_heads
  voxtral_realtime_encoder
num_local_experts = n_routed_experts
  axk1 axk2 deepseek_v3 deepseek_v32 deepseek_v4 dots1 dots3_note_text glm4_moe glm4_moe_lite glm4v_moe_text
  glm5_next_text glm_moe_dsa hy_v4 hy_v4_vl_text inkling2_loop_text inkling2_text inkling_text longcat_flash
  mimo_v2_flash mistral4 mistral_large4_text nemotron_h sarvam_mla sarvam_moe solar_open step3p5
num_local_experts = num_experts
  bailing_hybrid flex_olmo hunyuan_v1_moe hy_v3 jamba kimi_linear olmoe
num_shared_experts = n_shared_experts
  sarvam_mla sarvam_moe
qkv_bias = attention_bias
  internlm3 molmo2_text
rms_norm_eps = norm_eps
  lfm3
routed_scaling_factor = route_scale
  inkling2_loop_text inkling2_text
sconv_kernel_size = conv_kernel_size
  inkling2_loop_text inkling2_text inkling_text
sliding_window = attention_window_size
  recurrent_gemma
sliding_window = sliding_window_size
  inkling2_loop_text inkling2_text inkling_text
use_qkv_bias = attention_bias
  sarvam_moe
video_token_id = image_patch_id
  molmo2
vision_feature_layers = vision_feature_layer
  vipllava
vocab_size = tgt_vocab_size
  fsmt
"""
"""Another name of a field = the name, and the types that take it."""

TYPES = r"""
EvollaModel afmoe aimv2 aimv2_text_model aimv2_vision_model albert align align_text_model align_vision_model altclip
altclip_text_model altclip_vision_model apertus apertus1p5 apertus1p5_text apertus1p5_vision_tokenizer arcee aria
aria_text audio-spectrogram-transformer audioflamingo3 audioflamingo3_encoder autoformer axk1 axk2 aya_vision
bailing_hybrid bamba bark bart beam beit bert bert-generation big_bird bigbird_pegasus biogpt bit bitnet blenderbot
blenderbot-small blip blip-2 blip_2_qformer blip_2_vision_model blip_text_model blip_vision_model bloom blt
blt_global_transformer blt_local_decoder blt_local_encoder blt_patcher bridgetower bridgetower_text_model
bridgetower_vision_model bros camembert canary canary_decoder canine chameleon chameleon_vqgan chinese_clip
chinese_clip_text_model chinese_clip_vision_model chmv2 clap clap_audio_model clap_text_model clip clip_text_model
clip_vision_model clipseg clipseg_text_model clipseg_vision_model clvp clvp_decoder clvp_encoder codegen cohere cohere2
cohere2_moe cohere2_vision cohere_asr cohere_compass cohere_compass_text cohere_compass_vision colmodernvbert colpali
colqwen2 conditional_detr convbert convnext convnextv2 cosmos3_edge cosmos3_edge_text cosmos3_edge_vision cosmos3_omni
cpmant csm csm_depth_decoder_model ctrl cvt cwm d_fine dab-detr dac data2vec-audio data2vec-text data2vec-vision dbrx
deberta deberta-v2 decision_transformer deepseek_ocr2 deepseek_ocr2_encoder deepseek_ocr2_sam_vision_model
deepseek_ocr2_text deepseek_ocr2_vision deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 deepseek_vl deepseek_vl_hybrid
deformable_detr deimv2 deit depth_anything depth_pro detr dia dia_decoder dia_encoder diffllama diffusion_gemma
diffusion_gemma_text dinat dinov2 dinov2_with_registers dinov3_convnext dinov3_vit distilbert doge donut-swin dory
dots1 dots3_note dots3_note_audio_encoder dots3_note_text dots3_note_vision_encoder dpr dpt edgetam
edgetam_mask_decoder edgetam_prompt_encoder edgetam_video edgetam_video_mask_decoder edgetam_video_prompt_encoder
edgetam_vision_model efficientloftr efficientnet electra embedding_gemma2 embedding_gemma2_text emu3 emu3_text_model
emu3_vqgan encodec encoder-decoder eomt eomt_dinov3 ernie ernie4_5 ernie4_5_moe ernie4_5_vl_moe ernie4_5_vl_moe_text
ernie4_5_vl_moe_vision esm esmc esmfold2 eurobert evolla exaone exaone4 exaone4_5 exaone4_5_vision exaone_moe falcon
falcon_h1 falcon_mamba fast_vlm fastspeech2_conformer fastspeech2_conformer_hifigan fastspeech2_conformer_with_hifigan
flaubert flava flava_image_codebook flava_image_model flava_multimodal_model flava_text_model flex_olmo flint florence2
florence_vision fnet focalnet fsmt fun_asr_nano fun_asr_nano_encoder funnel fuyu gemma gemma2 gemma3 gemma3_text
gemma3n gemma3n_audio gemma3n_text gemma3n_vision gemma4 gemma4_audio gemma4_text gemma4_unified
gemma4_unified_assistant gemma4_unified_audio gemma4_unified_text gemma4_unified_vision gemma4_vision git
git_vision_model glm glm4 glm46v glm4_moe glm4_moe_lite glm4v glm4v_moe glm4v_moe_text glm4v_moe_vision glm4v_text
glm4v_vision glm5_next glm5_next_text glm5_next_vision glm_image glm_image_text glm_image_vision glm_image_vqmodel
glm_moe_dsa glm_ocr glm_ocr_text glm_ocr_vision glmasr glmasr_encoder glmga glpn got_ocr2 got_ocr2_vision gpt-sw3 gpt2
gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj gradium_phonon_tts granite granite4_vision
granite4_vision_text granite_docling granite_docling_text granite_docling_vision granite_speech granite_speech5_ctc
granite_speech5_encoder granite_speech_encoder granite_speech_plus granite_speech_plus_encoder granite_swa granitemoe
granitemoe_swa granitemoehybrid granitemoeshared grounding-dino groupvit groupvit_text_model groupvit_vision_model gte
helium hgnet_v2 hiera higgs_audio_v2 higgs_audio_v2_tokenizer hrm_text hubert hunyuan_v1_dense hunyuan_v1_moe
hunyuan_vl hunyuan_vl_text hunyuan_vl_vision hy_v3 hy_v4 hy_v4_vl hy_v4_vl_text hy_v4_vl_vision hyperclovax
hyperclovax_vision_v2 ibert idefics idefics2 idefics2_perceiver idefics2_vision idefics3 idefics3_vision
idefics_perciever idefics_vision ijepa imagegpt informer inkling2 inkling2_loop inkling2_loop_text inkling2_text
inkling2_vision inkling_audio inkling_mm_model inkling_text inkling_vision instructblip instructblip_qformer
instructblip_vision_model instructblipvideo instructblipvideo_qformer instructblipvideo_vision_model internlm3 internvl
internvl_vision iquestcoder jais2 jamba janus janus_vision_model janus_vqgan jetmoe jev jina_embeddings_v3 kimi_k25
kimi_k25_vision kimi_linear kolibri1 kosmos-2 kosmos-2.5 kosmos_2_5_text_model kosmos_2_5_vision_model
kosmos_2_text_model kosmos_2_vision_model kyutai_speech_to_text laguna lara_mini lasr_ctc lasr_encoder layoutlm
layoutlmv2 layoutlmv3 layoutxlm led levit lfm2 lfm2_moe lfm2_vl lfm3 lfm3_vl lfm3_vl_vision lightglue lighton_ocr lilt
llama llama4 llama4_text llama4_vision_model llava llava_next llava_next_video llava_onevision longcat_flash longformer
longt5 luke lw_detr lw_detr_vit lxmert m2m_100 mamba mamba2 marian markuplm mask2former maskformer maskformer-swin
mbart megatron-bert mellum metaclip_2 metaclip_2_text_model metaclip_2_vision_model mgp-str mimi mimi_decoder
mimi_encoder mimo_v2_flash minicpm3 minicpm_ocr minicpm_ocr_vision minicpmv4_6 minicpmv4_6_vision minicpmv4_7
minicpmv4_7_vision minimax minimax_m2 minimax_m3_vl minimax_m3_vl_text minimax_m3_vl_vision ministral ministral3
mistral mistral3 mistral4 mistral_large4 mistral_large4_text mixtral mlcd mlcd_vision_model mllama mllama_text_model
mllama_vision_model mm-grounding-dino mobilebert mobilenet_v1 mobilenet_v2 mobilevit mobilevitv2 modernbert
modernbert-decoder modernvbert molmo2 molmo2_adapter molmo2_text molmo2_vision moonshine moonshine_streaming
moonshine_streaming_encoder moshi moshi_depth moss_transcribe_diarize moss_transcribe_diarize_audio mpnet mpt mra mt5
muse_glimmer muse_glimmer_assistant muse_glimmer_text muse_glimmer_vision muse_spark muse_spark_audio muse_spark_text
muse_spark_vision musicflamingo musicgen musicgen_decoder musicgen_melody musicgen_melody_decoder mvp nanochat
nemo_speechlm nemotron nemotron3_5_asr nemotron3_5_transcribe_asr_audio nemotron3_5_transcribe_audio
nemotron3_5_transcribe_word_timestamp nemotron3_diarization nemotron3_diarization_audio nemotron_asr_streaming
nemotron_asr_streaming_encoder nemotron_h nemotron_h_omni neomme neucodec nllb-moe nomic_bert nystromformer olmo olmo2
olmo3 olmo_hybrid olmoe omdet-turbo omniasr omniasr_audio omniasr_ctc oneformer openai-gpt openai_privacy_filter opt
ovis2 ovis2_vision owlv2 owlv2_text_model owlv2_vision_model owlvit owlvit_text_model owlvit_vision_model paddleocr_vl
paddleocr_vl_text paddleocr_vl_vision paligemma parakeet_ctc parakeet_encoder parakeet_rnnt parakeet_tdt patchtsmixer
patchtst pe_audio pe_audio_encoder pe_audio_video pe_audio_video_encoder pe_video pe_video_encoder pegasus pegasus_x
perceiver perception_lm persimmon phi phi3 phi4_multimodal phi4_multimodal_audio phi4_multimodal_vision phimoe pi0
pix2struct pix2struct_text_model pix2struct_vision_model pixio pixtral plbart pocket_tts pocket_tts_audio_tokenizer
pocket_tts_audio_tokenizer_decoder pocket_tts_audio_tokenizer_encoder poolformer pop2piano pp_chart2table
pp_chart2table_vision pp_doclayout_v2 pp_doclayout_v3 pp_doclayout_v4 pp_formulanet pp_formulanet_text
pp_formulanet_vision pp_lcnet pp_lcnet_v3 pp_lcnet_v4 pp_ocrv5_mobile_det pp_ocrv5_mobile_rec pp_ocrv5_server_det
pp_ocrv5_server_rec pp_ocrv6_medium_det pp_ocrv6_small_det pp_ocrv6_small_rec pp_ocrv6_tiny_rec prompt_depth_anything
prophetnet pvt pvt_v2 qianfan_ocr qianfan_ocr_vision qwen2 qwen2_5_omni qwen2_5_omni_audio_encoder qwen2_5_omni_bigvgan
qwen2_5_omni_dit qwen2_5_omni_talker qwen2_5_omni_text qwen2_5_omni_thinker qwen2_5_omni_token2wav
qwen2_5_omni_vision_encoder qwen2_5_vl qwen2_5_vl_text qwen2_5_vl_vision qwen2_audio qwen2_audio_encoder qwen2_moe
qwen2_vl qwen2_vl_text qwen2_vl_vision qwen3 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_moe_vision qwen3_5_text
qwen3_5_vision qwen3_asr qwen3_asr_encoder qwen3_moe qwen3_next qwen3_omni_moe qwen3_omni_moe_audio_encoder
qwen3_omni_moe_talker_code_predictor qwen3_omni_moe_talker_text qwen3_omni_moe_text qwen3_omni_moe_thinker
qwen3_omni_moe_vision_encoder qwen3_vl qwen3_vl_moe qwen3_vl_moe_text qwen3_vl_moe_vision qwen3_vl_text qwen3_vl_vision
qwen4_exp qwen4_exp_text qwen4_exp_vision radio rag recurrent_gemma reformer regnet rembert resnet rf_detr
rf_detr_dinov2 roberta roberta-prelayernorm roc_bert roformer rt_detr rt_detr_resnet rt_detr_v2 rwkv sam sam2
sam2_hiera_det_model sam2_mask_decoder sam2_prompt_encoder sam2_video sam2_video_mask_decoder sam2_video_prompt_encoder
sam2_vision_model sam3 sam3_detr_decoder sam3_detr_encoder sam3_geometry_encoder sam3_lite_text
sam3_lite_text_detr_decoder sam3_lite_text_detr_encoder sam3_lite_text_geometry_encoder sam3_lite_text_mask_decoder
sam3_lite_text_text_model sam3_mask_decoder sam3_tracker sam3_tracker_mask_decoder sam3_tracker_prompt_encoder
sam3_tracker_video sam3_tracker_video_mask_decoder sam3_tracker_video_prompt_encoder sam3_video sam3_vision_model
sam3_vit_model sam_hq sam_hq_mask_decoder sam_hq_prompt_encoder sam_hq_vision_model sam_mask_decoder sam_prompt_encoder
sam_vision_model sapiens2 sapiens2_head sarvam_mla sarvam_moe seamless_m4t seamless_m4t_v2 seed_oss segformer seggpt
sew sew-d shieldgemma2 siglip siglip2 siglip2_text_model siglip2_vision_model siglip_text_model siglip_vision_model
slanet slanext slanext_vision smollm3 smolvlm smolvlm_vision solar_open speech-encoder-decoder speech_to_text speecht5
speecht5_hifigan splinter squeezebert stablelm starcoder2 step3p5 step3p5_vision step3p7 superglue superpoint
swiftformer swin swin2sr swinv2 switch_transformers t5 t5_gemma_module t5gemma t5gemma2 t5gemma2_decoder
t5gemma2_encoder t5gemma2_text table-transformer tapas textnet time_series_transformer timesfm timesfm2_5 timesformer
timm_backbone timm_wrapper tipsv2 tipsv2_dpt tipsv2_text_model tipsv2_vision_model trocr tvp udop ultrabert ultravbert
umt5 unispeech unispeech-sat univnet unlimited_ocr unlimited_ocr_sam_vision_model unlimited_ocr_text
unlimited_ocr_vision unlimited_ocr_vision_encoder upernet uvdoc uvdoc_backbone vaultgemma vibevoice
vibevoice_acoustic_tokenizer vibevoice_acoustic_tokenizer_decoder vibevoice_acoustic_tokenizer_encoder vibevoice_asr
vibevoice_diffusion video_llama_3 video_llama_3_vision video_llava videomae videomt videoprism videoprism_text_model
videoprism_vision_model vilt vipllava vision-encoder-decoder vision-text-dual-encoder visual_bert vit vit_mae vit_msn
vitdet vitmatte vitpose vitpose_backbone vits vivit vjepa2 voxtral voxtral_encoder voxtral_realtime
voxtral_realtime_encoder voxtral_realtime_text wav2vec2 wav2vec2-bert wav2vec2-conformer wavlm wavtokenizer
wavtokenizer_encoder whisper xclip xclip_text_model xclip_vision_model xcodec xcodec2 xglm xlm xlm-roberta
xlm-roberta-xl xlnet xlstm xmod yolos yoso youtu zamba zamba2 zaya zoedepth
"""
"""All types of models that are known here."""
