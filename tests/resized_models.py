"""Tiny models of many architectures, and adapters that PEFT trains on them after their vocabulary was resized."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import peft
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    CLIPVisionConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    ModernBertConfig,
    ModernBertForMaskedLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

WORDS, MORE = 96, 101
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}


def llama(tied: bool) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, num_key_value_heads=2, tie_word_embeddings=tied, **SMALL))


def gpt2(tied: bool) -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=WORDS, n_embd=32, n_layer=1, n_head=4, n_positions=32, tie_word_embeddings=tied)
    )


def llava(tied: bool) -> LlavaForConditionalGeneration:
    text = LlamaConfig(vocab_size=WORDS, num_key_value_heads=2, tie_word_embeddings=tied, **SMALL)
    vision = CLIPVisionConfig(image_size=28, patch_size=14, projection_dim=32, **SMALL)
    config = LlavaConfig(
        text_config=text, vision_config=vision, image_token_index=95, vision_feature_layer=-1, tie_word_embeddings=tied
    )
    return LlavaForConditionalGeneration(config)


def bert(tied: bool) -> BertForMaskedLM:
    return BertForMaskedLM(BertConfig(vocab_size=WORDS, tie_word_embeddings=tied, **SMALL))


def roberta(tied: bool) -> RobertaForMaskedLM:
    return RobertaForMaskedLM(RobertaConfig(vocab_size=WORDS, tie_word_embeddings=tied, pad_token_id=1, **SMALL))


def openai_gpt(tied: bool) -> OpenAIGPTLMHeadModel:
    """Its input embedding is the one of two of this width whose name no other model has."""
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": WORDS}
    return OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=WORDS, tie_word_embeddings=tied, **sizes))


def modernbert(tied: bool) -> ModernBertForMaskedLM:
    """Its output embedding is at the top, with the name of other models' halves."""
    words = {"vocab_size": WORDS, "pad_token_id": 0, "tie_word_embeddings": tied, "attn_implementation": "eager"}
    return ModernBertForMaskedLM(ModernBertConfig(**SMALL, **words))


def t5(tied: bool) -> T5ForConditionalGeneration:
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(T5Config(vocab_size=WORDS, tie_word_embeddings=tied, **sizes))


def of_bart(kind: Any, model: Any) -> Callable[[bool], Any]:
    """A model with a bias of all logits, which no adapter has."""
    sizes = {f"{part}_{size}": each for part in ("encoder", "decoder") for size, each in LAYERS.items()}

    def made(tied: bool) -> Any:
        words = {"pad_token_id": 1, "decoder_start_token_id": 2, "eos_token_id": 2, "bos_token_id": 0}
        config = kind(
            vocab_size=WORDS, d_model=32, max_position_embeddings=32, tie_word_embeddings=tied, **sizes, **words
        )
        found = model(config)
        found.final_logits_bias.normal_()
        return found

    return made


LAYERS = {"layers": 1, "attention_heads": 4, "ffn_dim": 48}
bart, marian = of_bart(BartConfig, BartForConditionalGeneration), of_bart(MarianConfig, MarianMTModel)


def whisper(tied: bool) -> WhisperForConditionalGeneration:
    """Its output embedding has a name of its own."""
    sizes = {f"{part}_{size}": each for part in ("encoder", "decoder") for size, each in LAYERS.items()}
    words = {"pad_token_id": 1, "decoder_start_token_id": 2, "eos_token_id": 2, "bos_token_id": 0}
    config = WhisperConfig(
        vocab_size=WORDS,
        d_model=32,
        num_mel_bins=8,
        max_source_positions=20,
        tie_word_embeddings=tied,
        **sizes,
        **words,
    )
    return WhisperForConditionalGeneration(config)


class Family(NamedTuple):
    """A model, whether it ties its ends, what of it is adapted, and what its ends are called."""

    model: Callable[[bool], Any]
    tied: bool
    targets: Any
    takes: str
    gives: str


LANGUAGE = r".*language_model.*q_proj"
MODELS = {
    "llama": Family(llama, False, ["q_proj"], "embed_tokens", "lm_head"),
    "llama, tied": Family(llama, True, ["q_proj"], "embed_tokens", "lm_head"),
    "gpt2": Family(gpt2, False, ["c_attn"], "wte", "lm_head"),
    "gpt2, tied": Family(gpt2, True, ["c_attn"], "wte", "lm_head"),
    "llava": Family(llava, False, LANGUAGE, "embed_tokens", "lm_head"),
    "llava, tied": Family(llava, True, LANGUAGE, "embed_tokens", "lm_head"),
    "bert, tied": Family(bert, True, ["query"], "word_embeddings", "cls.predictions.decoder"),
    "roberta, tied": Family(roberta, True, ["query"], "word_embeddings", "lm_head.decoder"),
    "bart": Family(bart, False, ["q_proj"], "shared", "lm_head"),
    "bart, tied": Family(bart, True, ["q_proj"], "shared", "lm_head"),
    "marian, tied": Family(marian, True, ["q_proj"], "shared", "lm_head"),
    "whisper, tied": Family(whisper, True, ["q_proj"], "embed_tokens", "proj_out"),
    "openai-gpt, tied": Family(openai_gpt, True, ["c_attn"], "tokens_embed", "lm_head"),
    "modernbert, tied": Family(modernbert, True, ["Wqkv"], "tok_embeddings", "decoder"),
    "t5, tied": Family(t5, True, ["q"], "shared", "lm_head"),
}


def make(name: str, folder: Path) -> Path:
    """The base, saved."""
    model, tied, *_ = MODELS[name]
    torch.manual_seed(0)
    made = model(tied)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.2)
    made.save_pretrained(folder)
    return folder


def trained(name: str, base: Path, folder: Path, *, words: int = MORE, save: Any = True, **config: Any) -> Any:
    """An adapter that PEFT saves of the base with another vocabulary, every trained number moved; and the model."""
    model, tied, modules, *_ = MODELS[name]
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resized = type(model(tied)).from_pretrained(base)
        if words != WORDS:
            resized.resize_token_embeddings(words)
        extra = config.pop("target", [])
        targets = (
            [*modules, *extra] if isinstance(modules, list) else "|".join([modules, *(rf"(.*\.)?{e}" for e in extra)])
        )
        found = peft.get_peft_model(resized, peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, **config))
        with torch.no_grad():
            for parameter in found.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        found.save_pretrained(folder, save_embedding_layers=save)
    return found.eval()


def logits(model: Any, words: int = MORE) -> torch.Tensor:
    """Of ids that reach the last word, and none of which stands for an image."""
    known = [word for word in range(words - 31, words) if word != 95]
    ids = {"input_ids": torch.tensor([known[:10], known[-10:]])}
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        ids["decoder_input_ids"] = ids["input_ids"]
    if model.main_input_name == "input_features":
        ids["input_features"] = torch.randn(2, 8, 40, generator=torch.Generator().manual_seed(0))
        del ids["input_ids"]
    with torch.no_grad():
        found: torch.Tensor = model(**ids).logits.double()
    return found
