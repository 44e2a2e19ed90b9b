"""What families of models call their modules, and how they store them: tables, and nothing else."""

from __future__ import annotations

WEIGHT = ".weight"

PREFIXES = {"base_model", "model", "language_model", "transformer", "module"}
"""Wrappers that a name may begin with, in any order."""

FAMILIES = """
aimv2 albert align altclip audio_spectrogram_transformer beit bert biogpt bit blip bridgetower bros canine
chinese_clip chmv2 clap clip convbert convnext convnextv2 cpmant cvt dac data2vec_audio data2vec_text
data2vec_vision deberta decision_transformer deit depth_anything depth_pro dinat dinov2 dinov2_with_registers
distilbert donut dpt edgetam efficientnet electra encodec eomt ernie esm esmc flava fnet focalnet funnel git glpn
gpt_neox gpt_neox_japanese groupvit gte hgnetv2 hiera hubert ibert ijepa layoutlm layoutlmv2 layoutlmv3 led levit
lightglue lilt longformer luke lxmert markuplm metaclip_2 mgp_str mimi mobilebert mobilenet_v1 mobilenet_v2
mobilevit mobilevitv2 mpnet mra neucodec nomic_bert nystromformer owlv2 owlvit perceiver pixio poolformer
prophetnet pvt pvt_v2 reformer regnet rembert resnet roberta roberta_prelayernorm roc_bert roformer rwkv sam sam2
seamless_m4t seamless_m4t_v2 segformer sew sew_d siglip siglip2 speecht5 splinter superpoint swiftformer swin
swin2sr swinv2 switch_transformers tapas textnet timesformer unispeech unispeech_sat videomae videomt vilt
visual_bert vit vit_mae vitdet vits vivit vjepa2 wav2vec2 wav2vec2_bert wav2vec2_conformer wavlm x_clip xcodec
yoso zoedepth
"""
"""`base_model_prefix` of transformers that names one family of models: what a class with a head calls its inner model."""

CODERS = ("encoder", "decoder")
"""What the two parts of a model are called that reads, and then writes."""

SYNONYMS = {"block_sparse_moe": "mlp", "embed_out": "lm_head"}
TOWER, TOWERS_MODEL = "_tower", "vision_model"
"""What older versions of transformers have in the names of a tower (`vision_tower.vision_model.encoder`)."""
SENSES = {
    *("aligner", "connector", "mlp1", "mm_projector", "multi_modal_projector", "resampler", "embed_tokens_extend"),
    *(
        "visual",
        "visual_tokenizer",
        "vpm",
        "vision_adapter",
        "vision_backbone",
        "vision_embed_tokens",
        "vision_encoder",
    ),
    *("vision_model", "vision_tower", "image_encoder", "image_tower", "img_processor", "embed_vision"),
    *("apm", "audio_encoder", "audio_model", "audio_projection_layer", "audio_tower", "embed_audio", "speech_encoder"),
}
"""What models for words and images or sounds call their parts that see or hear, and what leads from these to the words."""

EXPERTS = "experts"
EXPERT_SYNONYMS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}

ROUTER = ["router", "linear"]
"""How the name of a router ends that is a module in one with this name, where others have one matrix."""

EXPERT_LISTS = {"gate_up_projs": "gate_up_proj", "down_projs": "down_proj"}
"""Lists of one Linear layer for each expert (`experts.gate_up_projs.3`) → the projection, as (out, in)."""

FUSED = {
    "gate_proj": ("gate_up_proj", 0, 2),
    "up_proj": ("gate_up_proj", 1, 2),
    "gate_up_proj": ("gate_up_proj", 0, 1),
    "down_proj": ("down_proj", 0, 1),
}
"""Projection of an expert → the parameter that holds it for all experts, and which part of its rows, of how many."""

SPLIT = {"gate_up_proj": ("gate_proj", "up_proj")}
"""Fused projection of an expert → what it is in a model that stores its parts, from the first row to the last."""

INTERLEAVED = {"gpt_oss"}
"""Model types whose fused experts have the rows of gate and up in turn."""

CALLED = {"gpt_oss": {"attn": "self_attn"}}
"""Type of model → modules that adapters of it have by another name, which Tinker and the authors give them."""

CONV1D_TYPES = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp", "clvp_decoder"}
CONV1D_MODULES = {"c_attn", "c_proj", "c_fc", "q_attn"}
"""Where transformers uses Conv1D, which stores (in, out)."""
WIDENING = ("c_attn", "c_fc")
"""Those of them that have more outputs than inputs."""
LINEAR_TYPES = {"gpt_bigcode", "gpt_neo", "starcoder2", "qwen"}
"""Types of models in which modules of these names are Linear layers."""

IN_OUT_PARAMETERS = {"text_projection"}
"""Last names of parameters that stand for a Linear layer, and are stored as (in, out): of OpenCLIP."""

HEAD = "lm_head"
EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings", "decoder.embed_tokens", "text_model.embed_tokens")

NOT_LINEAR = {
    *EMBEDDINGS,
    *("shared", "tok_embeddings", "embeddings", "wpe", "embed_positions", "position_embedding", "position_embeddings"),
    *("token_type_embeddings", "relative_attention_bias", "bias_values", "w", "gate", "router"),
    *("reference_points", "query_feat", "queries_features"),
}
"""Last names of modules that have a matrix and are not Linear layers."""

MAMBA_TYPES = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
MAMBA_KERNEL = {"out_proj", "conv1d"}
"""Modules of such models whose weights their kernels read past the module, so that PEFT refuses to adapt them."""

SHARED_LAYERS = {"shared_transf", "shared_transformer"}
"""Modules of Zamba: one layer that is used at several depths, under several names, and stored once."""

CAUSAL = ("ForCausalLM", "LMHeadModel")
"""Ends of the names of models that have an output embedding."""

GENERATING = (*CAUSAL, "ForConditionalGeneration", "ForMaskedLM", "ForPreTraining")
"""The same, and of those whose output embedding has other names, or is tied to several."""
