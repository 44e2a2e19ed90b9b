"""Which parameters the models of transformers 5.24.0 share, by class: tables, and nothing else.

Written by benchmarks/ties.py. Lines of `model type:class`, each followed by what holds for these, indented.
"""

from __future__ import annotations

TIED = r"""
afmoe:AfmoeForCausalLM apertus1p5_text:Apertus1p5TextForCausalLM apertus:ApertusForCausalLM arcee:ArceeForCausalLM
aria_text:AriaTextForCausalLM axk1:AXK1ForCausalLM axk2:AXK2ForCausalLM bamba:BambaForCausalLM beam:BeamForCausalLM
bitnet:BitNetForCausalLM chameleon:ChameleonForConditionalGeneration cohere2:Cohere2ForCausalLM
cohere2_moe:Cohere2MoeForCausalLM cohere:CohereForCausalLM cohere_compass_text:CohereCompassForCausalLM
cwm:CwmForCausalLM deepseek_v2:DeepseekV2ForCausalLM deepseek_v32:DeepseekV32ForCausalLM
deepseek_v3:DeepseekV3ForCausalLM deepseek_v4:DeepseekV4ForCausalLM diffllama:DiffLlamaForCausalLM
doge:DogeForCausalLM dory:DoryForCausalLM dots1:Dots1ForCausalLM dots3_note_text:Dots3NoteForCausalLM
emu3_text_model:Emu3ForCausalLM ernie4_5:Ernie4_5ForCausalLM ernie4_5_moe:Ernie4_5_MoeForCausalLM
eurobert:EuroBertForMaskedLM exaone4:Exaone4ForCausalLM exaone_moe:ExaoneMoeForCausalLM falcon_h1:FalconH1ForCausalLM
flex_olmo:FlexOlmoForCausalLM flint:FlintForCausalLM gemma2:Gemma2ForCausalLM gemma3_text:Gemma3ForCausalLM
gemma3n_text:Gemma3nForCausalLM gemma4_assistant:Gemma4AssistantForCausalLM gemma4_text:Gemma4ForCausalLM
gemma4_unified_assistant:Gemma4UnifiedAssistantForCausalLM gemma4_unified_text:Gemma4UnifiedForCausalLM
gemma:GemmaForCausalLM glm4:Glm4ForCausalLM glm4_moe:Glm4MoeForCausalLM glm4_moe_lite:Glm4MoeLiteForCausalLM
glm:GlmForCausalLM glm_moe_dsa:GlmMoeDsaForCausalLM gpt_oss:GptOssForCausalLM granite:GraniteForCausalLM
granite_swa:GraniteSWAForCausalLM granitemoe:GraniteMoeForCausalLM granitemoe_swa:GraniteMoeSWAForCausalLM
granitemoehybrid:GraniteMoeHybridForCausalLM granitemoeshared:GraniteMoeSharedForCausalLM helium:HeliumForCausalLM
hrm_text:HrmTextForCausalLM hunyuan_v1_dense:HunYuanDenseV1ForCausalLM hunyuan_v1_moe:HunYuanMoEV1ForCausalLM
hy_v3:HYV3ForCausalLM hy_v4:HYV4ForCausalLM hyperclovax:HyperCLOVAXForCausalLM idefics:IdeficsForVisionText2Text
jais2:Jais2ForCausalLM jamba:JambaForCausalLM jetmoe:JetMoeForCausalLM kolibri1:Kolibri1ForCausalLM
kosmos_2_5_text_model:Kosmos2_5TextForCausalLM kosmos_2_text_model:Kosmos2TextForCausalLM laguna:LagunaForCausalLM
lara_mini:LaraMiniForCausalLM lfm2:Lfm2ForCausalLM lfm2_moe:Lfm2MoeForCausalLM lfm3:Lfm3ForCausalLM
llama4_text:Llama4ForCausalLM llama:LlamaForCausalLM longcat_flash:LongcatFlashForCausalLM mellum:MellumForCausalLM
mimo_v2_flash:MiMoV2FlashForCausalLM minicpm3:MiniCPM3ForCausalLM minimax:MiniMaxForCausalLM
minimax_m2:MiniMaxM2ForCausalLM minimax_m3_vl_text:MiniMaxM3VLForCausalLM ministral3:Ministral3ForCausalLM
ministral:MinistralForCausalLM mistral4:Mistral4ForCausalLM mistral:MistralForCausalLM mixtral:MixtralForCausalLM
nanochat:NanoChatForCausalLM nemotron:NemotronForCausalLM olmo2:Olmo2ForCausalLM olmo3:Olmo3ForCausalLM
olmo:OlmoForCausalLM olmo_hybrid:OlmoHybridForCausalLM olmoe:OlmoeForCausalLM persimmon:PersimmonForCausalLM
phi3:Phi3ForCausalLM phi4_multimodal:Phi4MultimodalForCausalLM phi:PhiForCausalLM phimoe:PhimoeForCausalLM
qwen2:Qwen2ForCausalLM qwen2_moe:Qwen2MoeForCausalLM qwen3:Qwen3ForCausalLM qwen3_5_moe_text:Qwen3_5MoeForCausalLM
qwen3_5_text:Qwen3_5ForCausalLM qwen3_moe:Qwen3MoeForCausalLM qwen3_next:Qwen3NextForCausalLM
qwen3_omni_moe_talker_code_predictor:Qwen3OmniMoeTalkerCodePredictorModelForConditionalGeneration
qwen4_exp_text:Qwen4ExpForCausalLM recurrent_gemma:RecurrentGemmaForCausalLM seed_oss:SeedOssForCausalLM
smollm3:SmolLM3ForCausalLM solar_open:SolarOpenForCausalLM stablelm:StableLmForCausalLM
starcoder2:Starcoder2ForCausalLM vaultgemma:VaultGemmaForCausalLM xglm:XGLMForCausalLM youtu:YoutuForCausalLM
zamba2:Zamba2ForCausalLM zamba:ZambaForCausalLM zaya:ZayaForCausalLM
    lm_head.weight = model.embed_tokens.weight
albert:AlbertForMaskedLM albert:AlbertForPreTraining
    predictions.decoder.bias = predictions.bias
    predictions.decoder.weight = albert.embeddings.word_embeddings.weight
apertus1p5:Apertus1p5ForConditionalGeneration aria:AriaForConditionalGeneration
aya_vision:AyaVisionForConditionalGeneration cohere2_vision:Cohere2VisionForConditionalGeneration
cohere_compass:CohereCompassForConditionalGeneration cosmos3_omni:Cosmos3OmniForConditionalGeneration
deepseek_ocr2:DeepseekOcr2ForConditionalGeneration deepseek_vl:DeepseekVLForConditionalGeneration
deepseek_vl_hybrid:DeepseekVLHybridForConditionalGeneration dots3_note:Dots3NoteForConditionalGeneration
ernie4_5_vl_moe:Ernie4_5_VLMoeForConditionalGeneration ernie4_5_vl_moe:Ernie4_5_VL_MoeForConditionalGeneration
exaone4_5:Exaone4_5_ForConditionalGeneration fast_vlm:FastVlmForConditionalGeneration
fun_asr_nano:FunAsrNanoForConditionalGeneration fuyu:FuyuForCausalLM gemma3:Gemma3ForConditionalGeneration
gemma3n:Gemma3nForConditionalGeneration gemma4:Gemma4ForConditionalGeneration
gemma4_unified:Gemma4UnifiedForConditionalGeneration glm46v:Glm46VForConditionalGeneration
glm4v:Glm4vForConditionalGeneration glm4v_moe:Glm4vMoeForConditionalGeneration
glm5_next:Glm5NextForConditionalGeneration glm_ocr:GlmOcrForConditionalGeneration
glmasr:GlmAsrForConditionalGeneration got_ocr2:GotOcr2ForConditionalGeneration
granite4_vision:Granite4VisionForConditionalGeneration granite_speech:GraniteSpeechForConditionalGeneration
granite_speech_plus:GraniteSpeechPlusForConditionalGeneration hunyuan_vl:HunYuanVLForConditionalGeneration
hy_v4_vl:HYV4VLForConditionalGeneration hyperclovax_vision_v2:HyperCLOVAXVisionV2ForConditionalGeneration
internvl:InternVLForConditionalGeneration janus:JanusForConditionalGeneration
kimi_k25:Kimi_K25ForConditionalGeneration lfm2_vl:Lfm2VlForConditionalGeneration
lfm3_vl:Lfm3VlForConditionalGeneration lighton_ocr:LightOnOcrForConditionalGeneration
llava:LlavaForConditionalGeneration llava_next:LlavaNextForConditionalGeneration
llava_next_video:LlavaNextVideoForConditionalGeneration llava_onevision:LlavaOnevisionForConditionalGeneration
minicpm_ocr:MiniCPMOcrForConditionalGeneration minicpmv4_6:MiniCPMV4_6ForConditionalGeneration
minicpmv4_7:MiniCPMV4_7ForConditionalGeneration minimax_m3_vl:MiniMaxM3SparseForConditionalGeneration
mistral3:Mistral3ForConditionalGeneration mistral_large4:MistralLarge4ForConditionalGeneration
moss_transcribe_diarize:MossTranscribeDiarizeForConditionalGeneration muse_glimmer:MuseGlimmerForConditionalGeneration
ovis2:Ovis2ForConditionalGeneration paddleocr_vl:PaddleOCRVLForConditionalGeneration
paligemma:PaliGemmaForConditionalGeneration perception_lm:PerceptionLMForConditionalGeneration
qianfan_ocr:QianfanOCRForConditionalGeneration qwen2_5_omni_thinker:Qwen2_5OmniThinkerForConditionalGeneration
qwen2_5_vl:Qwen2_5_VLForConditionalGeneration qwen2_vl:Qwen2VLForConditionalGeneration
qwen3_5:Qwen3_5ForConditionalGeneration qwen3_5_moe:Qwen3_5MoeForConditionalGeneration
qwen3_asr:Qwen3ASRForConditionalGeneration qwen3_omni_moe_thinker:Qwen3OmniMoeThinkerForConditionalGeneration
qwen3_vl:Qwen3VLForConditionalGeneration qwen3_vl_moe:Qwen3VLMoeForConditionalGeneration
qwen4_exp:Qwen4ExpForConditionalGeneration step3p7:Step3p7ForConditionalGeneration
unlimited_ocr:UnlimitedOcrForConditionalGeneration vibevoice:VibeVoiceForConditionalGeneration
video_llama_3:VideoLlama3ForConditionalGeneration video_llava:VideoLlavaForConditionalGeneration
vipllava:VipLlavaForConditionalGeneration voxtral_realtime:VoxtralRealtimeForConditionalGeneration
    lm_head.weight = model.language_model.embed_tokens.weight
bart:BartForCausalLM blenderbot-small:BlenderbotSmallForCausalLM blenderbot:BlenderbotForCausalLM
marian:MarianForCausalLM mbart:MBartForCausalLM mvp:MvpForCausalLM opt:OPTForCausalLM pegasus:PegasusForCausalLM
plbart:PLBartForCausalLM seamless_m4t:SeamlessM4TTextToUnitForConditionalGeneration
seamless_m4t_v2:SeamlessM4Tv2TextToUnitForConditionalGeneration speech_to_text:Speech2TextForConditionalGeneration
    lm_head.weight = model.decoder.embed_tokens.weight
bart:BartForConditionalGeneration bigbird_pegasus:BigBirdPegasusForConditionalGeneration
blenderbot-small:BlenderbotSmallForConditionalGeneration blenderbot:BlenderbotForConditionalGeneration
m2m_100:M2M100ForConditionalGeneration marian:MarianMTModel mbart:MBartForConditionalGeneration
mvp:MvpForConditionalGeneration nllb-moe:NllbMoeForConditionalGeneration pegasus:PegasusForConditionalGeneration
pegasus_x:PegasusXForConditionalGeneration plbart:PLBartForConditionalGeneration
    lm_head.weight = model.shared.weight
    model.decoder.embed_tokens.weight = model.shared.weight
    model.encoder.embed_tokens.weight = model.shared.weight
bart:BartModel bigbird_pegasus:BigBirdPegasusModel blenderbot-small:BlenderbotSmallModel blenderbot:BlenderbotModel
led:LEDModel longt5:LongT5Model m2m_100:M2M100Model mbart:MBartModel mt5:MT5ForQuestionAnswering mt5:MT5Model
mvp:MvpModel nllb-moe:NllbMoeModel pegasus:PegasusModel pegasus_x:PegasusXModel plbart:PLBartModel
pop2piano:Pop2PianoForConditionalGeneration switch_transformers:SwitchTransformersModel t5:T5ForQuestionAnswering
t5:T5Model umt5:UMT5ForQuestionAnswering umt5:UMT5Model
    decoder.embed_tokens.weight = shared.weight
    encoder.embed_tokens.weight = shared.weight
bert-generation:BertGenerationDecoder
    lm_head.decoder.bias = lm_head.bias
    lm_head.decoder.weight = bert.embeddings.word_embeddings.weight
bert:BertForMaskedLM bert:BertForPreTraining bert:BertLMHeadModel big_bird:BigBirdForCausalLM
big_bird:BigBirdForMaskedLM big_bird:BigBirdForPreTraining megatron-bert:MegatronBertForCausalLM
megatron-bert:MegatronBertForMaskedLM megatron-bert:MegatronBertForPreTraining
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = bert.embeddings.word_embeddings.weight
biogpt:BioGptForCausalLM
    output_projection.weight = biogpt.embed_tokens.weight
blip-2:Blip2ForConditionalGeneration instructblip:InstructBlipForConditionalGeneration
instructblipvideo:InstructBlipVideoForConditionalGeneration
    in language_model.: text_config
blip:BlipForConditionalGeneration
    text_decoder.cls.predictions.decoder.bias = text_decoder.cls.predictions.bias
    text_decoder.cls.predictions.decoder.weight = text_decoder.bert.embeddings.word_embeddings.weight
    in text_decoder.: text_config
blip:BlipForQuestionAnswering
    text_decoder.cls.predictions.decoder.bias = text_decoder.cls.predictions.bias
    text_decoder.cls.predictions.decoder.weight = text_decoder.bert.embeddings.word_embeddings.weight
bloom:BloomForCausalLM falcon:FalconForCausalLM
    lm_head.weight = transformer.word_embeddings.weight
blt:BltForCausalLM
    model.local_encoder.embed_tokens.weight = lm_head.weight
bridgetower:BridgeTowerForMaskedLM
    mlm_score.decoder.weight = bridgetower.text_model.embeddings.word_embeddings.weight
camembert:CamembertForCausalLM camembert:CamembertForMaskedLM jina_embeddings_v3:JinaEmbeddingsV3ForMaskedLM
roberta:RobertaForCausalLM roberta:RobertaForMaskedLM xlm-roberta-xl:XLMRobertaXLForCausalLM
xlm-roberta-xl:XLMRobertaXLForMaskedLM xlm-roberta:XLMRobertaForCausalLM xlm-roberta:XLMRobertaForMaskedLM
xmod:XmodForCausalLM xmod:XmodForMaskedLM
    lm_head.decoder.bias = lm_head.bias
    lm_head.decoder.weight = roberta.embeddings.word_embeddings.weight
canary:CanaryForConditionalGeneration cohere_asr:CohereAsrForConditionalGeneration
moonshine:MoonshineForConditionalGeneration moonshine_streaming:MoonshineStreamingForConditionalGeneration
whisper:WhisperForCausalLM whisper:WhisperForConditionalGeneration
    proj_out.weight = model.decoder.embed_tokens.weight
codegen:CodeGenForCausalLM dbrx:DbrxForCausalLM gpt2:GPT2DoubleHeadsModel gpt2:GPT2LMHeadModel
gpt_bigcode:GPTBigCodeForCausalLM gpt_neo:GPTNeoForCausalLM gptj:GPTJForCausalLM
imagegpt:ImageGPTForCausalImageModeling mpt:MptForCausalLM
    lm_head.weight = transformer.wte.weight
convbert:ConvBertForMaskedLM
    generator_lm_head.weight = convbert.embeddings.word_embeddings.weight
csm:CsmForConditionalGeneration
    backbone_model.embed_tokens.embed_audio_tokens.weight = depth_decoder.model.embed_tokens.weight
ctrl:CTRLLMHeadModel
    lm_head.weight = transformer.w.weight
data2vec-text:Data2VecTextForCausalLM data2vec-text:Data2VecTextForMaskedLM
    lm_head.decoder.bias = lm_head.bias
    lm_head.decoder.weight = data2vec_text.embeddings.word_embeddings.weight
deberta-v2:DebertaV2ForMaskedLM deberta:DebertaForMaskedLM
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = deberta.embeddings.word_embeddings.weight
diffusion_gemma:DiffusionGemmaForBlockDiffusion
    lm_head.weight = model.decoder.embed_tokens.weight
    model.encoder.language_model.embed_tokens.weight = model.decoder.embed_tokens.weight
    model.encoder.language_model.layers.{}.experts.down_proj = model.decoder.layers.{}.experts.down_proj
    model.encoder.language_model.layers.{}.experts.gate_up_proj = model.decoder.layers.{}.experts.gate_up_proj
    model.encoder.language_model.layers.{}.input_layernorm.weight = model.decoder.layers.{}.input_layernorm.weight
    model.encoder.language_model.layers.{}.mlp.down_proj.weight = model.decoder.layers.{}.mlp.down_proj.weight
    model.encoder.language_model.layers.{}.mlp.gate_proj.weight = model.decoder.layers.{}.mlp.gate_proj.weight
    model.encoder.language_model.layers.{}.mlp.up_proj.weight = model.decoder.layers.{}.mlp.up_proj.weight
    model.encoder.language_model.layers.{}.post_attention_layernorm.weight = model.decoder.layers.{}.post_attention_layernorm.weight
    model.encoder.language_model.layers.{}.post_feedforward_layernorm.weight = model.decoder.layers.{}.post_feedforward_layernorm.weight
    model.encoder.language_model.layers.{}.post_feedforward_layernorm_1.weight = model.decoder.layers.{}.post_feedforward_layernorm_1.weight
    model.encoder.language_model.layers.{}.post_feedforward_layernorm_2.weight = model.decoder.layers.{}.post_feedforward_layernorm_2.weight
    model.encoder.language_model.layers.{}.pre_feedforward_layernorm.weight = model.decoder.layers.{}.pre_feedforward_layernorm.weight
    model.encoder.language_model.layers.{}.pre_feedforward_layernorm_2.weight = model.decoder.layers.{}.pre_feedforward_layernorm_2.weight
    model.encoder.language_model.layers.{}.router.per_expert_scale = model.decoder.layers.{}.router.per_expert_scale
    model.encoder.language_model.layers.{}.router.proj.weight = model.decoder.layers.{}.router.proj.weight
    model.encoder.language_model.layers.{}.router.scale = model.decoder.layers.{}.router.scale
    model.encoder.language_model.layers.{}.self_attn.k_norm.weight = model.decoder.layers.{}.self_attn.k_norm.weight
    model.encoder.language_model.layers.{}.self_attn.k_proj.weight = model.decoder.layers.{}.self_attn.k_proj.weight
    model.encoder.language_model.layers.{}.self_attn.o_proj.weight = model.decoder.layers.{}.self_attn.o_proj.weight
    model.encoder.language_model.layers.{}.self_attn.q_norm.weight = model.decoder.layers.{}.self_attn.q_norm.weight
    model.encoder.language_model.layers.{}.self_attn.q_proj.weight = model.decoder.layers.{}.self_attn.q_proj.weight
    model.encoder.language_model.layers.{}.self_attn.v_proj.weight = model.decoder.layers.{}.self_attn.v_proj.weight
    model.encoder.language_model.norm.weight = model.decoder.norm.weight
diffusion_gemma:DiffusionGemmaModel
    encoder.language_model.embed_tokens.weight = decoder.embed_tokens.weight
    encoder.language_model.norm.weight = decoder.norm.weight
distilbert:DistilBertForMaskedLM
    vocab_projector.weight = distilbert.embeddings.word_embeddings.weight
electra:ElectraForCausalLM electra:ElectraForMaskedLM
    generator_lm_head.weight = electra.embeddings.word_embeddings.weight
emu3:Emu3ForConditionalGeneration granite_docling:GraniteDoclingForConditionalGeneration
idefics2:Idefics2ForConditionalGeneration idefics3:Idefics3ForConditionalGeneration
smolvlm:SmolVLMForConditionalGeneration ultravbert:UltraVBertForMaskedLM
    lm_head.weight = model.text_model.embed_tokens.weight
encoder-decoder:EncoderDecoderModel vision-encoder-decoder:VisionEncoderDecoderModel
    in decoder.: decoder
ernie:ErnieForCausalLM ernie:ErnieForMaskedLM ernie:ErnieForPreTraining
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = ernie.embeddings.word_embeddings.weight
esm:EsmForMaskedLM
    lm_head.decoder.weight = esm.embeddings.word_embeddings.weight
falcon_mamba:FalconMambaForCausalLM mamba2:Mamba2ForCausalLM mamba:MambaForCausalLM
    lm_head.weight = backbone.embeddings.weight
flaubert:FlaubertWithLMHeadModel xlm:XLMWithLMHeadModel
    pred_layer.proj.weight = transformer.embeddings.weight
flava:FlavaForPreTraining
    mim_head.bias = mim_head.decoder.bias
    mlm_head.bias = mlm_head.decoder.bias
    mmm_image_head.bias = mmm_image_head.decoder.bias
    mmm_text_head.bias = mmm_text_head.decoder.bias
florence2:Florence2ForConditionalGeneration
    lm_head.weight = model.language_model.shared.weight
    in model.language_model.: text_config
fnet:FNetForMaskedLM fnet:FNetForPreTraining
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = fnet.embeddings.word_embeddings.weight
fsmt:FSMTForConditionalGeneration
    model.decoder.output_projection.weight = model.decoder.embed_tokens.weight
    model.encoder.embed_tokens.weight = model.decoder.embed_tokens.weight
fsmt:FSMTModel
    decoder.output_projection.weight = decoder.embed_tokens.weight
    encoder.embed_tokens.weight = decoder.embed_tokens.weight
funnel:FunnelForMaskedLM
    lm_head.weight = funnel.embeddings.word_embeddings.weight
git:GitForCausalLM
    output.weight = git.embeddings.word_embeddings.weight
gpt_neox:GPTNeoXForCausalLM
    lm_head.weight = gpt_neox.embed_in.weight
gpt_neox_japanese:GPTNeoXJapaneseForCausalLM
    embed_out.weight = gpt_neox_japanese.embed_in.weight
granite_speech5_ctc:GraniteSpeech5ForCTC
    ctc_head.bias = encoder.out.bias
    ctc_head.weight = encoder.out.weight
gte:GteForMaskedLM
    lm_head.decoder.weight = gte.embeddings.word_embeddings.weight
ibert:IBertForMaskedLM
    lm_head.decoder.bias = lm_head.bias
    lm_head.decoder.weight = ibert.embeddings.word_embeddings.weight
kosmos-2.5:Kosmos2_5ForConditionalGeneration
    in text_model.: text_config
kosmos-2:Kosmos2ForConditionalGeneration
    text_model.lm_head.weight = text_model.model.embed_tokens.weight
    in text_model.: text_config
kyutai_speech_to_text:KyutaiSpeechToTextForConditionalGeneration
    lm_head.weight = model.embed_tokens.embed_tokens.weight
layoutlm:LayoutLMForMaskedLM
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = layoutlm.embeddings.word_embeddings.weight
led:LEDForConditionalGeneration
    led.decoder.embed_tokens.weight = led.shared.weight
    led.encoder.embed_tokens.weight = led.shared.weight
    lm_head.weight = led.shared.weight
longformer:LongformerForMaskedLM
    lm_head.decoder.bias = lm_head.bias
    lm_head.decoder.weight = longformer.embeddings.word_embeddings.weight
longt5:LongT5EncoderModel mt5:MT5EncoderModel switch_transformers:SwitchTransformersEncoderModel t5:T5EncoderModel
umt5:UMT5EncoderModel
    encoder.embed_tokens.weight = shared.weight
longt5:LongT5ForConditionalGeneration mt5:MT5ForConditionalGeneration
switch_transformers:SwitchTransformersForConditionalGeneration t5:T5ForConditionalGeneration
umt5:UMT5ForConditionalGeneration
    decoder.embed_tokens.weight = shared.weight
    encoder.embed_tokens.weight = shared.weight
    lm_head.weight = shared.weight
luke:LukeForMaskedLM
    entity_predictions.decoder.weight = luke.entity_embeddings.entity_embeddings.weight
    lm_head.bias = lm_head.decoder.bias
lxmert:LxmertForPreTraining
    cls.predictions.decoder.weight = lxmert.embeddings.word_embeddings.weight
mobilebert:MobileBertForMaskedLM mobilebert:MobileBertForPreTraining
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = mobilebert.embeddings.word_embeddings.weight
modernbert-decoder:ModernBertDecoderForCausalLM modernbert:ModernBertForMaskedLM
    decoder.weight = model.embeddings.tok_embeddings.weight
modernvbert:ModernVBertForMaskedLM
    lm_head.weight = model.text_model.embeddings.tok_embeddings.weight
mpnet:MPNetForMaskedLM
    lm_head.decoder.bias = lm_head.bias
    lm_head.decoder.weight = mpnet.embeddings.word_embeddings.weight
mra:MraForMaskedLM
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = mra.embeddings.word_embeddings.weight
neomme:NeoMMEForMaskedLM
    lm_head.weight = model.embed_tokens.word_embeddings.weight
    unembedding_projection.weight = model.embed_tokens.embedding_projection.weight
nomic_bert:NomicBertForMaskedLM
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = nomic_bert.embeddings.word_embeddings.weight
nystromformer:NystromformerForMaskedLM
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = nystromformer.embeddings.word_embeddings.weight
openai-gpt:OpenAIGPTDoubleHeadsModel
    transformer.tokens_embed.weight = lm_head.weight
openai-gpt:OpenAIGPTLMHeadModel
    lm_head.weight = transformer.tokens_embed.weight
pix2struct_text_model:Pix2StructTextModel
    lm_head.weight = embed_tokens.weight
prophetnet:ProphetNetDecoderWrapper
    decoder.word_embeddings.weight = word_embeddings.weight
prophetnet:ProphetNetForCausalLM
    lm_head.weight = prophetnet.word_embeddings.weight
    prophetnet.decoder.word_embeddings.weight = prophetnet.word_embeddings.weight
prophetnet:ProphetNetForConditionalGeneration
    lm_head.weight = prophetnet.word_embeddings.weight
    prophetnet.decoder.word_embeddings.weight = prophetnet.word_embeddings.weight
    prophetnet.encoder.word_embeddings.weight = prophetnet.word_embeddings.weight
prophetnet:ProphetNetModel
    decoder.word_embeddings.weight = word_embeddings.weight
    encoder.word_embeddings.weight = word_embeddings.weight
roberta-prelayernorm:RobertaPreLayerNormForCausalLM roberta-prelayernorm:RobertaPreLayerNormForMaskedLM
    lm_head.decoder.bias = lm_head.bias
    lm_head.decoder.weight = roberta_prelayernorm.embeddings.word_embeddings.weight
roc_bert:RoCBertForCausalLM roc_bert:RoCBertForMaskedLM roc_bert:RoCBertForPreTraining
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = roc_bert.embeddings.word_embeddings.weight
roformer:RoFormerForCausalLM roformer:RoFormerForMaskedLM
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = roformer.embeddings.word_embeddings.weight
rwkv:RwkvForCausalLM
    head.weight = rwkv.embeddings.weight
seamless_m4t:SeamlessM4TForSpeechToSpeech seamless_m4t:SeamlessM4TForSpeechToText
seamless_m4t_v2:SeamlessM4Tv2ForSpeechToSpeech seamless_m4t_v2:SeamlessM4Tv2ForSpeechToText
    lm_head.weight = shared.weight
    text_decoder.embed_tokens.weight = shared.weight
seamless_m4t:SeamlessM4TForTextToSpeech seamless_m4t:SeamlessM4TForTextToText seamless_m4t:SeamlessM4TModel
seamless_m4t_v2:SeamlessM4Tv2ForTextToSpeech seamless_m4t_v2:SeamlessM4Tv2ForTextToText
seamless_m4t_v2:SeamlessM4Tv2Model
    lm_head.weight = shared.weight
    text_decoder.embed_tokens.weight = shared.weight
    text_encoder.embed_tokens.weight = shared.weight
speecht5:SpeechT5ForSpeechToText
    text_decoder_postnet.lm_head.weight = speecht5.decoder.prenet.embed_tokens.weight
squeezebert:SqueezeBertForMaskedLM
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = transformer.embeddings.word_embeddings.weight
t5gemma2:T5Gemma2ForConditionalGeneration
    lm_head.out_proj.weight = model.encoder.text_model.embed_tokens.weight
    model.decoder.embed_tokens.eoi_embedding = model.encoder.text_model.embed_tokens.eoi_embedding
    model.decoder.embed_tokens.weight = model.encoder.text_model.embed_tokens.weight
t5gemma2:T5Gemma2Model
    decoder.embed_tokens.weight = encoder.text_model.embed_tokens.weight
t5gemma:T5GemmaForConditionalGeneration
    lm_head.out_proj.weight = model.decoder.embed_tokens.weight
tapas:TapasForMaskedLM
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = tapas.embeddings.word_embeddings.weight
trocr:TrOCRForCausalLM
    output_projection.weight = model.decoder.embed_tokens.weight
udop:UdopEncoderModel
    encoder.embed_patches.proj.bias = patch_embed.proj.bias
    encoder.embed_patches.proj.weight = patch_embed.proj.weight
    encoder.embed_tokens.weight = shared.weight
    encoder.relative_bias.biases.0.relative_attention_bias.weight = encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight
udop:UdopForConditionalGeneration
    decoder.embed_tokens.weight = shared.weight
    decoder.relative_bias.biases.0.relative_attention_bias.weight = encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight
    encoder.embed_patches.proj.bias = patch_embed.proj.bias
    encoder.embed_patches.proj.weight = patch_embed.proj.weight
    encoder.embed_tokens.weight = shared.weight
    encoder.relative_bias.biases.0.relative_attention_bias.weight = encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight
    lm_head.weight = shared.weight
udop:UdopModel
    decoder.embed_tokens.weight = shared.weight
    encoder.embed_patches.proj.bias = patch_embed.proj.bias
    encoder.embed_patches.proj.weight = patch_embed.proj.weight
    encoder.embed_tokens.weight = shared.weight
ultrabert:UltrabertForMaskedLM
    head.decoder.weight = model.embed_tokens.weight
vilt:ViltForMaskedLM
    mlm_score.decoder.weight = vilt.embeddings.text_embeddings.word_embeddings.weight
visual_bert:VisualBertForPreTraining visual_bert:VisualBertForRegionToPhraseAlignment
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = visual_bert.embeddings.word_embeddings.weight
xlnet:XLNetLMHeadModel
    lm_loss.weight = transformer.word_embedding.weight
yoso:YosoForMaskedLM
    cls.predictions.decoder.bias = cls.predictions.bias
    cls.predictions.decoder.weight = yoso.embeddings.word_embeddings.weight
"""
"""A parameter and the one that it is, {} being any number; or `in PREFIX: FIELD` with the config that says it."""

KEPT = """
longt5:LongT5ForConditionalGeneration mt5:MT5ForConditionalGeneration
switch_transformers:SwitchTransformersForConditionalGeneration t5:T5ForConditionalGeneration
udop:UdopForConditionalGeneration umt5:UMT5ForConditionalGeneration zamba2:Zamba2ForCausalLM
zamba:ZambaForCausalLM
"""
"""Classes that are another model when their config says that nothing is shared."""
