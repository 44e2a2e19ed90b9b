"""Classifiers: what transformers calls the class of one, and what it consists of beyond the model that it is made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

SEQUENCE, TOKEN, ANSWER = "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"
TASKS = {"SEQ_CLS": SEQUENCE, "TOKEN_CLS": TOKEN, "QUESTION_ANS": ANSWER}
"""PEFT's task → how the class that it trains ends."""

GENERATES = ("ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForConditionalGeneration", "ForPreTraining")
"""How the classes end of what a classifier is made of."""

HEADS = {"score", "classifier", "pre_classifier", "classification_head", "qa_outputs"}
"""What begins the names of a classifier's own tensors. PEFT saves a `classification_head` where modules_to_save names it, and the
others always.
"""

OTHER_HEADS = {
    *("lm_head", "cls", "embed_out", "predictions", "lm_predictions", "generator_predictions", "generator_lm_head"),
    *("discriminator_predictions", "vocab_transform", "vocab_layer_norm", "vocab_projector", "qa_outputs"),
    "final_logits_bias",
}
"""What begins the names of the heads of other tasks, which a classifier has not."""

NEEDED = {
    ("pooler", SEQUENCE): {
        *("albert", "bert", "big_bird", "canine", "deberta", "deberta-v2", "ernie", "fnet", "gte", "layoutlm", "luke"),
        *("markuplm", "megatron-bert", "mobilebert", "nomic_bert", "rembert", "roc_bert", "squeezebert", "tapas"),
    },
    ("pre_classifier", SEQUENCE): {"distilbert"},
    ("dense", SEQUENCE): {"eurobert"},
    ("head", SEQUENCE): {"modernbert", "modernbert-decoder"},
    ("head", TOKEN): {"modernbert"},
    ("encoder", SEQUENCE): {"bart", "bigbird_pegasus", "mbart", "plbart"},
    ("encoder", ANSWER): {"bart", "bigbird_pegasus", "mbart"},
}
"""A module that a class has besides the model and the classifier → the types of models of which that is true."""

STEMS = """
albert:Albert arcee:Arcee axk1:AXK1 axk2:AXK2 bart:Bart bert:Bert big_bird:BigBird bigbird_pegasus:BigBirdPegasus
biogpt:BioGpt bloom:Bloom camembert:Camembert canine:Canine cohere_compass_text:CohereCompassText convbert:ConvBert
ctrl:CTRL data2vec-text:Data2VecText deberta-v2:DebertaV2 deberta:Deberta deepseek_v2:DeepseekV2
deepseek_v3:DeepseekV3 diffllama:DiffLlama distilbert:DistilBert doge:Doge electra:Electra ernie:Ernie esm:Esm
esmc:Esmc eurobert:EuroBert exaone4:Exaone4 falcon:Falcon fnet:FNet funnel:Funnel gemma2:Gemma2 gemma3:Gemma3
gemma3_text:Gemma3Text gemma:Gemma glm4:Glm4 glm:Glm gpt-sw3:GPT2 gpt2:GPT2 gpt_bigcode:GPTBigCode gpt_neo:GPTNeo
gpt_neox:GPTNeoX gpt_oss:GptOss gptj:GPTJ gte:Gte helium:Helium hunyuan_v1_dense:HunYuanDenseV1
hunyuan_v1_moe:HunYuanMoEV1 ibert:IBert jamba:Jamba jetmoe:JetMoe jina_embeddings_v3:JinaEmbeddingsV3
layoutlm:LayoutLM layoutlmv3:LayoutLMv3 lilt:Lilt llama:Llama longformer:Longformer luke:Luke markuplm:MarkupLM
mbart:MBart megatron-bert:MegatronBert minicpm3:MiniCPM3 minimax:MiniMax ministral3:Ministral3 ministral:Ministral
mistral4:Mistral4 mistral:Mistral mixtral:Mixtral mobilebert:MobileBert modernbert-decoder:ModernBertDecoder
modernbert:ModernBert mpnet:MPNet mpt:Mpt mra:Mra mt5:MT5 nemotron:Nemotron nomic_bert:NomicBert
nystromformer:Nystromformer olmo2:Olmo2 olmo3:Olmo3 olmo:Olmo openai-gpt:OpenAIGPT opt:OPT persimmon:Persimmon
phi3:Phi3 phi:Phi phimoe:Phimoe plbart:PLBart qwen2:Qwen2 qwen2_moe:Qwen2Moe qwen3:Qwen3 qwen3_5:Qwen3_5
qwen3_5_text:Qwen3_5Text qwen3_moe:Qwen3Moe qwen3_next:Qwen3Next reformer:Reformer rembert:RemBert
roberta-prelayernorm:RobertaPreLayerNorm roberta:Roberta roc_bert:RoCBert roformer:RoFormer seed_oss:SeedOss
smollm3:SmolLM3 squeezebert:SqueezeBert stablelm:StableLm starcoder2:Starcoder2 t5:T5 t5gemma2:T5Gemma2
t5gemma:T5Gemma tapas:Tapas ultrabert:Ultrabert umt5:UMT5 xlm-roberta-xl:XLMRobertaXL xlm-roberta:XLMRoberta xmod:Xmod
yoso:Yoso zamba2:Zamba2 zamba:Zamba
"""
"""The types of models that have a class for sequences, with what the names of their classes begin with."""

TOKENS = """
albert arcee axk1 axk2 bert big_bird biogpt bloom camembert canine convbert data2vec-text deberta deberta-v2
deepseek_v3 diffllama distilbert electra ernie esm esmc eurobert exaone4 falcon fnet funnel gemma gemma2 glm glm4
gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gte helium ibert jina_embeddings_v3 layoutlm layoutlmv3 lilt llama
longformer luke markuplm megatron-bert minimax ministral ministral3 mistral mistral4 mixtral mobilebert modernbert
mpnet mpt mra mt5 nemotron nomic_bert nystromformer persimmon phi phi3 qwen2 qwen2_moe qwen3 qwen3_5 qwen3_moe
qwen3_next rembert roberta roberta-prelayernorm roc_bert roformer seed_oss smollm3 squeezebert stablelm starcoder2 t5
t5gemma t5gemma2 ultrabert umt5 xlm-roberta xlm-roberta-xl xmod yoso
"""
"""Those of them that have a class for tokens, too."""

ONLY_TOKENS = "apertus:Apertus beam:Beam qwen3_asr:Qwen3ASR"
"""Those that have a class for tokens, and none for sequences."""

ANSWERS = """
albert:Albert bart:Bart bert:Bert bigbird_pegasus:BigBirdPegasus bloom:Bloom camembert:Camembert convbert:ConvBert
data2vec-text:Data2VecText deberta-v2:DebertaV2 deberta:Deberta distilbert:DistilBert electra:Electra ernie:Ernie
falcon:Falcon fnet:FNet funnel:Funnel gpt2:GPT2 gpt_neo:GPTNeo gpt_neox:GPTNeoX gptj:GPTJ ibert:IBert
jina_embeddings_v3:JinaEmbeddingsV3 led:LED longformer:Longformer luke:Luke mbart:MBart megatron-bert:MegatronBert
minimax:MiniMax ministral3:Ministral3 mistral:Mistral mixtral:Mixtral mobilebert:MobileBert mpnet:MPNet mpt:Mpt
mra:Mra mt5:MT5 mvp:Mvp nystromformer:Nystromformer opt:OPT qwen2_moe:Qwen2Moe reformer:Reformer rembert:RemBert
roberta-prelayernorm:RobertaPreLayerNorm roberta:Roberta roc_bert:RoCBert roformer:RoFormer squeezebert:SqueezeBert
t5:T5 ultrabert:Ultrabert umt5:UMT5 xlm-roberta-xl:XLMRobertaXL xlm-roberta:XLMRoberta xmod:Xmod yoso:Yoso
"""
"""Those whose class for answers has the names of the language model, and two labels: not Llama's and its kin's, which
call the model `transformer` there.
"""


def task_of(name: str) -> str | None:
    """PEFT's task that a class is for, where it is one of a classifier.

    >>> task_of("LlamaForSequenceClassification"), task_of("LlamaForCausalLM")
    ('SEQ_CLS', None)
    """
    return next((task for task, end in TASKS.items() if name.endswith(end)), None)


def is_other_head(tensor: str) -> bool:
    """Whether a tensor of a base is one of a head that a classifier has not.

    >>> is_other_head("cls.predictions.bias"), is_other_head("decoder.bias"), is_other_head("decoder.layers.0.fc1.bias")
    (True, True, False)
    """
    return tensor.partition(".")[0] in OTHER_HEADS or tensor in ("decoder.weight", "decoder.bias")


def is_head(tensor: str) -> bool:
    """
    >>> is_head("score.weight"), is_head("classifier.out_proj.bias"), is_head("model.norm.weight")
    (True, True, False)
    """
    return tensor.partition(".")[0] in HEADS


def is_of_head(tensor: str) -> bool:
    """Whether a class of transformers may have a tensor of this name in its head: that is one layer, or two.

    >>> is_of_head("score.weight"), is_of_head("classifier.out_proj.bias"), is_of_head("classifier.mine.weight")
    (True, True, False)
    """
    module, _, role = tensor.rpartition(".")
    head, _, inner = module.partition(".")
    return head in HEADS and inner in ("", "dense", "out_proj") and role in ("weight", "bias")


def classifier(config: Mapping[str, Any] | None, fields: Mapping[str, Any]) -> str | None:
    """The class of the classifier that an adapter was trained on; None where it was on none, or on an unknown one.

    Args:
        config: of a model that is made into one.
        fields: of the adapter's config: its task, or where it has none, the class.

    >>> classifier({"model_type": "llama"}, {"task_type": "SEQ_CLS"}), classifier({"model_type": "llama"}, {})
    ('LlamaForSequenceClassification', None)
    """
    model_type = str((config or {}).get("model_type"))
    stem, only_tokens, answers = (
        dict(pair.split(":") for pair in table.split()).get(model_type) for table in (STEMS, ONLY_TOKENS, ANSWERS)
    )
    classes = {SEQUENCE: stem, TOKEN: stem if model_type in TOKENS.split() else only_tokens, ANSWER: answers}
    mapped, task = fields.get("auto_mapping"), fields.get("task_type")
    stated = mapped.get("base_model_class") if isinstance(mapped, Mapping) and not task else None
    known = [f"{start}{end}" for end, start in classes.items() if start and (not task or TASKS.get(str(task)) == end)]
    return next((each for each in known if task or each == stated), None)


def generates(config: Mapping[str, Any] | None) -> bool:
    """Whether a config names classes that make words, and no other.

    >>> generates({"architectures": ["T5ForConditionalGeneration"]}), generates({"architectures": ["T5Model"]}), generates({})
    (True, False, False)
    """
    classes = (config or {}).get("architectures")
    return isinstance(classes, list) and bool(classes) and all(str(each).endswith(GENERATES) for each in classes)


def missing(config: Mapping[str, Any], name: str, tensors: Collection[str]) -> str | None:
    """A module that a class needs and that none of some tensors belongs to."""
    model_type = str(config.get("model_type"))
    needed = [part for (part, end), types in NEEDED.items() if model_type in types and name.endswith(end)]
    return next((part for part in needed if not any(f".{part}." in f".{tensor}" for tensor in tensors)), None)


def as_classifier(config: Mapping[str, Any], name: str, labels: int) -> dict[str, Any]:
    """The config of a classifier with so many labels; their names stay where the config has as many."""
    stated = config.get("id2label")
    names = stated if isinstance(stated, Mapping) and len(stated) == labels else None
    id2label = dict(names) if names else {str(label): f"LABEL_{label}" for label in range(labels)}
    label2id = {str(word): int(number) for number, word in id2label.items()}
    kept = {key: value for key, value in config.items() if key != "num_labels"}
    return {**kept, "architectures": [name], "id2label": id2label, "label2id": label2id}


def labels_of(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """How many labels a head tells apart: the rows of its last weight, which is the one with the shortest output.

    >>> labels_of({"classifier.dense.weight": (8, 8), "classifier.out_proj.weight": (3, 8), "classifier.out_proj.bias": (3,)})
    3
    """
    found = {name: shape for name, shape in shapes.items() if name.endswith(".weight") and len(shape) == 2}
    last = [shape[0] for name, shape in found.items() if name.endswith(("score.weight", ".out_proj.weight"))]
    last = last or [shape[0] for name, shape in found.items() if name in ("classifier.weight", "qa_outputs.weight")]
    return last[0] if len(last) == 1 else None
