"""Which modules transformers converts: by its own rules, on models without weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from bitsandbytes.nn import Linear4bit
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from recognition import NAME, SHAPE
from transformers import BitsAndBytesConfig
from transformers.integrations.bitsandbytes import replace_with_bnb_linear
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module

from adapterops.formats.models.converted import TIED_HEADS, convertible, described, matches, skipped, without
from adapterops.quant.fourbit import FourBit
from adapterops.quant.int8 import Int8
from adapterops.quant.scheme import Writable
from adapterops.quant.transposed import Transposed
from adapterops.storage.tensors import Spec

COMPONENTS = ["model", "layers", "1", "11", "mlp", "gate", "proj", "up", "fc1", "lm", "head"]
NAMES = st.lists(st.sampled_from(COMPONENTS), min_size=1, max_size=4).map(".".join)


@examples(max_examples=200)
@given(NAMES, NAMES, st.data())
def test_an_entry_of_the_skip_list_means_what_transformers_takes_it_for(
    module: str, entry: str, data: st.DataObject
) -> None:
    pieces = module.split(".")
    begin = data.draw(st.integers(0, len(pieces) - 1))
    end = data.draw(st.integers(begin + 1, len(pieces)))
    for each in (
        entry,
        ".".join(pieces[begin:end]),
        module,
        f"{module}.{entry}",
        module[begin:],
        entry[1:].strip(".") or entry,
    ):
        of_5 = not should_convert_module(module, [each])
        of_4 = module.rpartition(".")[2] == each or module == each or f"{each}." in module
        assert matches(each, module) == (of_4 or of_5), each


SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "vocab_size": 160,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
HEADS = {**GROUPED, "head_dim": 8}
OLD = {"n_embd": 32, "n_layer": 1, "n_head": 4, "vocab_size": 160}
MOE = {**HEADS, "moe_intermediate_size": 16}
LATENT = {
    **SIZES, "num_key_value_heads": 4, "n_routed_experts": 4, "moe_intermediate_size": 16, "first_k_dense_replace": 0,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "v_head_dim": 8, "qk_nope_head_dim": 8, "n_group": 1,
    "topk_group": 1, "num_experts_per_tok": 2,
}  # fmt: skip
SSM = {"hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 160, "state_size": 4}
SEEN = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "patch_size": 4,
    "image_size": 16,
}
ROPE = {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}}
CLIP = {"model_type": "clip_vision_model", "projection_dim": 16, **SEEN}

MODELS: dict[str, dict[str, Any]] = {
    "Llama": GROUPED,
    "Mistral": GROUPED,
    "Qwen2": GROUPED,
    "Qwen3": HEADS,
    "Gemma": HEADS,
    "Gemma2": HEADS,
    "Gemma3Text": HEADS,
    "Phi": SIZES,
    "Phi3": {**GROUPED, "pad_token_id": 0},
    "GPT2": OLD,
    "GPTJ": {**OLD, "rotary_dim": 4},
    "GPTNeo": {
        "hidden_size": 32,
        "num_layers": 1,
        "num_heads": 4,
        "vocab_size": 160,
        "attention_types": [[["global"], 1]],
    },
    "GPTNeoX": SIZES,
    "GPTBigCode": OLD,
    "OPT": {**SIZES, "ffn_dim": 48, "word_embed_proj_dim": 16},
    "Bloom": {"hidden_size": 32, "n_layer": 1, "n_head": 4, "vocab_size": 160},
    "Mpt": {"d_model": 32, "n_heads": 4, "n_layers": 1, "vocab_size": 160},
    "Starcoder2": GROUPED,
    "StableLm": GROUPED,
    "Cohere": GROUPED,
    "Olmo2": GROUPED,
    "Granite": GROUPED,
    "Glm4": {**HEADS, "pad_token_id": 0},
    "SmolLM3": {**GROUPED, "pad_token_id": 0},
    "Qwen2Moe": {**GROUPED, "num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "Qwen3Moe": {**MOE, "num_experts": 4},
    "Mixtral": {**GROUPED, "num_local_experts": 4},
    "Olmoe": {**GROUPED, "num_experts": 4},
    "Glm4Moe": {
        **MOE,
        "n_routed_experts": 4,
        "first_k_dense_replace": 0,
        "n_group": 1,
        "topk_group": 1,
        "num_experts_per_tok": 2,
    },
    "GptOss": {**HEADS, "num_local_experts": 4},
    "Llama4Text": {**HEADS, "num_local_experts": 4, "intermediate_size_mlp": 48},
    "DeepseekV2": LATENT,
    "DeepseekV3": LATENT,
    "Mamba": SSM,
    "Mamba2": {**SSM, "num_heads": 8, "head_dim": 8, "n_groups": 1},
    "FalconH1": {**GROUPED, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_ssm": 64, "mamba_d_state": 8},
    "Qwen2VL": {
        "text_config": {**GROUPED, **ROPE},
        "vision_config": {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 4},
    },
    "Llava": {"text_config": {"model_type": "llama", **GROUPED}, "vision_config": CLIP},
    "Gemma3": {"text_config": HEADS, "vision_config": {**SEEN, "vision_use_head": False}, "mm_tokens_per_image": 4},
}


WIDE = {
    "d_model": 32, "vocab_size": 160, "encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 48,
    "decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 48,
}  # fmt: skip
FOLDED = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4, "vocab_size": 160}
BERT = {"model_type": "bert", **SIZES}
TOWERS = {"text_config": SIZES, "vision_config": SEEN, "projection_dim": 16}
SPARSE = {**LATENT, "index_n_heads": 4, "index_head_dim": 8, "index_topk": 4}
OTHERS: dict[str, dict[str, Any]] = {
    "WhisperForConditionalGeneration": {**WIDE, "num_mel_bins": 8, "pad_token_id": 0},
    "ModernBertForMaskedLM": {**SIZES, "pad_token_id": 0, "sep_token_id": 2, "cls_token_id": 1, "bos_token_id": 1, "eos_token_id": 2},
    "DistilBertForMaskedLM": {"dim": 32, "hidden_dim": 48, "n_layers": 1, "n_heads": 4, "vocab_size": 160},
    "BertForMaskedLM": SIZES,
    "AlbertForMaskedLM": {**SIZES, "embedding_size": 16},
    "RobertaForMaskedLM": SIZES,
    "ElectraForMaskedLM": {**SIZES, "embedding_size": 16},
    "GPTNeoXJapaneseForCausalLM": {**SIZES, "intermediate_multiple_size": 2},
    "XLNetLMHeadModel": {"d_model": 32, "n_layer": 1, "n_head": 4, "d_inner": 48, "vocab_size": 160},
    "XLMWithLMHeadModel": {"emb_dim": 32, "n_layers": 1, "n_heads": 4, "n_words": 160},
    "BioGptForCausalLM": SIZES,
    "TrOCRForCausalLM": WIDE,
    "EncoderDecoderModel": {"encoder": BERT, "decoder": {**BERT, "is_decoder": True, "add_cross_attention": True}},
    "BartForConditionalGeneration": WIDE,
    "T5ForConditionalGeneration": FOLDED,
    "Pop2PianoForConditionalGeneration": {**FOLDED, "composer_vocab_size": 21},
    "UdopForConditionalGeneration": {**FOLDED, "image_size": 16, "patch_size": 4, "max_2d_position_embeddings": 32},
    "OpenAIGPTLMHeadModel": OLD,
    "CLIPModel": TOWERS,
    "LayoutLMModel": {**SIZES, "max_2d_position_embeddings": 32},
    "TapasModel": SIZES,
    "CanineModel": {**{name: SIZES[name] for name in SIZES if name != "vocab_size"}, "num_hash_buckets": 32},
    "LukeForMaskedLM": {**SIZES, "entity_vocab_size": 24, "entity_emb_size": 16},
    "CTRLLMHeadModel": {"n_embd": 32, "dff": 48, "n_layer": 1, "n_head": 4, "vocab_size": 160},
    "Gemma3nForCausalLM": {
        **HEADS, "vocab_size_per_layer_input": 128, "hidden_size_per_layer_input": 16, "laurel_rank": 16, "num_kv_shared_layers": 0,
        "layer_types": ["full_attention"], "activation_sparsity_pattern": [0.0],
    },
    "Gemma4ForCausalLM": {**HEADS, "global_head_dim": 8, "vocab_size_per_layer_input": 160, "hidden_size_per_layer_input": 16},
    "GlmMoeDsaForCausalLM": {**SPARSE, "pad_token_id": 0},
    "Blip2ForConditionalGeneration": {
        "vision_config": SEEN, "qformer_config": {**SIZES, "encoder_hidden_size": 32}, "num_query_tokens": 4,
        "text_config": {"model_type": "opt", **SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32},
    },
}  # fmt: skip
"""Classes whose output embedding has another name, and is not in the file; with other embeddings;
that keep modules in 32 bits.
"""


def made(name: str) -> tuple[Any, dict[str, Spec]]:
    """A model without weights, and the layout of its checkpoint."""
    if name in OTHERS:
        kind = getattr(transformers, name)
        with torch.device("meta"):
            model = kind(kind.config_class(**OTHERS[name]))
    else:
        config = getattr(transformers, f"{name}Config")(**MODELS[name])
        auto = (
            transformers.AutoModelForImageTextToText
            if "text_config" in MODELS[name]
            else transformers.AutoModelForCausalLM
        )
        with torch.device("meta"):
            model = auto.from_config(config)
    tied = set(model.all_tied_weights_keys)
    return model, {
        key: Spec("BF16", tuple(tensor.shape)) for key, tensor in model.state_dict().items() if key not in tied
    }


def converted(model: Any, skip: list[str] | None) -> set[str]:
    """The weights that transformers replaces, given a skip list."""
    kept = HfQuantizer.get_modules_to_not_convert(model, skip, model._keep_in_fp32_modules)
    replace_with_bnb_linear(model, kept, BitsAndBytesConfig(load_in_4bit=True))
    return {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, Linear4bit)}


ROUTED_SHARED = {"Qwen2Moe"}
"""Of these transformers quantizes the gate of the shared expert, too, unless told otherwise; it is one row."""


@pytest.mark.parametrize("name", MODELS)
def test_what_is_quantized_is_what_transformers_converts(name: str) -> None:
    model, layout = made(name)
    chosen = set(convertible(layout, model.config.to_dict()))
    assert chosen
    assert converted(made(name)[0], skipped(layout, chosen, model.config.to_dict())) == chosen
    by_itself = converted(model, None)
    assert chosen == by_itself - (
        {each for each in by_itself if "shared_expert_gate" in each} if name in ROUTED_SHARED else set()
    )


LAST = {"CLIPModel": "text_projection", "Gemma3nForCausalLM": "model.altup_unembed_projections.2"}
"""Where transformers leaves a module that is no head, unless told otherwise: that of the last parameter."""


@pytest.mark.parametrize("name", OTHERS)
def test_so_it_is_where_heads_and_embeddings_have_other_names(name: str) -> None:
    model, layout = made(name)
    chosen = set(convertible(layout, model.config.to_dict()))
    assert chosen
    assert converted(made(name)[0], skipped(layout, chosen, model.config.to_dict())) == chosen
    by_itself = converted(model, None) - {"lm_head.dense.weight"}
    assert chosen == by_itself | ({f"{LAST[name]}.weight"} if name in LAST else set())


def module(name: str) -> dict[str, Spec]:
    """The layout of a matrix beside one that is quantized."""
    return {NAME: Spec("BF16", SHAPE), f"{name}.weight": Spec("BF16", (7, 32))}


EMBEDDINGS = [
    "embed", "embed_char", "embed_tokens", "embed_tokens_per_layer", "tokens_embed", "positions_embed", "query_embed", "embedding",
    "word_embedding", "x_position_embeddings", "token_type_embeddings_3", "input_embeds_layer", "row_embedder", "codebook", "wte",
    "HashBucketCodepointEmbedder_0", "rel_pos_emb", "mask_tokens", "iou_token", "position_embedding_table", "shared",
    "xpath_tag_sub_embeddings.7",
]  # fmt: skip
HEADS_AND_ROUTERS = [
    "audio_lm_head",
    "lm_head.dense",
    "lm_heads.0",
    "classifier.2",
    "gate",
    "router.layer",
    "weights_proj",
]


@pytest.mark.parametrize("name", [*EMBEDDINGS, *HEADS_AND_ROUTERS])
def test_what_has_such_a_name_stays(name: str) -> None:
    for full in (name, f"model.layers.0.{name}"):
        assert convertible(module(full), {}) == [NAME]


@pytest.mark.parametrize(
    "name", ["embedding_projection", "patch_embedding", "embedding_hidden_mapping_in", "tokenwise", "wo", "mlp.0"]
)
def test_what_has_another_does_not(name: str) -> None:
    assert set(convertible(module(f"model.{name}"), {})) == set(module(f"model.{name}"))


@pytest.mark.parametrize("key", ["vocab_size", "vocab_size_per_layer_input"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_vocabulary_is_known_by_its_size(key: str, nested: bool) -> None:
    config = {key: 7, "vision_config": {"hidden_size": 6}}
    assert convertible(module("model.x"), {"text_config": config} if nested else config) == [NAME]
    assert set(convertible(module("model.layers.0.x"), config)) == set(module("model.layers.0.x"))


def test_a_part_of_a_model_is_of_a_type_of_its_own() -> None:
    layout = module("language_model.encoder.block.0.wo")
    assert len(convertible(layout, {"model_type": "blip-2"})) == 2
    config = {"model_type": "blip-2", "text_config": {"model_type": "t5"}}
    assert convertible(layout, config) == [NAME]
    assert {"wo", "qformer"} <= set(skipped(layout, [NAME], config))
    assert convertible(layout, {"model_type": "llava", "text_config": {"model_type": "falcon"}}) == []


def test_a_skip_list_is_never_empty_and_names_what_has_a_matrix() -> None:
    layout = {
        "model.embed_tokens.weight": Spec("BF16", (160, 32)),
        NAME: Spec("BF16", SHAPE),
        "model.layers.0.mlp.gate.weight": Spec("BF16", (4, 96)),
        "model.layers.0.mlp.experts.0.up_proj.weight": Spec("BF16", SHAPE),
        "model.layers.0.mlp.experts.1.up_proj.weight": Spec("BF16", SHAPE),
        "model.layers.0.input_layernorm.weight": Spec("BF16", (96,)),
        "model.conv.weight": Spec("BF16", (3, 4, 5)),
        "vision.attn.in_proj_weight": Spec("BF16", (96, 32)),
        "vision.attn.out_proj.weight": Spec("BF16", (32, 32)),
        "vision.mlp.up_proj.2.weight": Spec("I8", (32, 32)),
    }
    assert convertible(layout, {"vocab_size": 160}) == [NAME]
    assert set(skipped(layout, [NAME], {})) - TIED_HEADS == {
        "embed_tokens", "gate", "model.layers.0.mlp.experts", "vision.attn", "out_proj", "vision.mlp.up_proj.2",
    }  # fmt: skip
    assert skipped({}, [], None) == sorted(TIED_HEADS)
    assert "lm_head" in TIED_HEADS


def test_a_head_that_shares_its_weight_is_known_by_its_bias() -> None:
    bias = {
        "decoder.bias": Spec("BF16", (160,)),
        "model.norm.weight": Spec("BF16", (32,)),
        "model.norm.bias": Spec("BF16", (32,)),
    }
    assert set(skipped(module("x") | bias, [NAME, "x.weight"], {})) - TIED_HEADS == {"decoder"}
    assert "decoder" not in skipped(
        {"decoder.layers.0.q_proj.weight": Spec("BF16", SHAPE)} | bias, ["decoder.layers.0.q_proj.weight"], {}
    )


def test_an_entry_that_would_hit_what_is_quantized_is_not_written() -> None:
    names = [NAME, "model.layers.0.attn.proj_out.weight", "embed_out.0.dense.weight"]
    layout = dict.fromkeys([*names, "vision.up_proj.weight"], Spec("BF16", SHAPE))
    skip = set(skipped(layout, names, {}))
    assert TIED_HEADS - skip == {"proj_out", "embed_out"}
    assert skip - TIED_HEADS == {"vision.up_proj"}


def test_what_no_skip_list_tells_from_what_is_not_quantized_stays_as_it_is() -> None:
    layout = dict.fromkeys(
        ["classifier.weight", "pre_classifier.weight", "encoder.layer.0.dense.weight"], Spec("BF16", (8, 8))
    )
    chosen = convertible(layout, {"model_type": "distilbert"})
    assert chosen == ["encoder.layer.0.dense.weight"]
    assert set(skipped(layout, chosen, {})) - TIED_HEADS == {"classifier", "pre_classifier"}


@pytest.mark.parametrize("dtype", ["I8", "U8", "F8_E4M3", "F64"])
def test_only_ordinary_floats_are_quantized(dtype: str) -> None:
    assert convertible({NAME: Spec(dtype, SHAPE)}, {}) == []


SCHEMES: dict[str, tuple[Writable, Callable[[], BitsAndBytesConfig]]] = {
    "nf4": (
        FourBit(),
        lambda: BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype="bfloat16"),
    ),
    "fp4, nested, transposed": (
        Transposed(FourBit("fp4", nested=True, dtype="F16")),
        lambda: BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="fp4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype="float16",
        ),
    ),
    "int8": (Int8(), lambda: BitsAndBytesConfig(load_in_8bit=True)),
}


@pytest.mark.parametrize(("scheme", "theirs"), SCHEMES.values(), ids=SCHEMES)
def test_the_config_says_what_transformers_writes(scheme: Writable, theirs: Callable[[], BitsAndBytesConfig]) -> None:
    before = {"model_type": "llama", "dtype": "bfloat16"}
    found = described(before, scheme, ["lm_head"])
    assert found.pop("quantization_config") == {**theirs().to_dict(), "llm_int8_skip_modules": ["lm_head"]}
    assert found == before == without(described(before, scheme, []))
    assert without(None) is None
