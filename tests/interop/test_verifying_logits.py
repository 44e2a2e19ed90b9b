"""`verify --logits` on whole models that are no causal language models: encoders, encoder-decoders, and those that see."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from adapterops.cli.main import run

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def bert() -> PreTrainedModel:
    return BertModel(BertConfig(**SIZES, vocab_size=64))


def classifier() -> PreTrainedModel:
    return BertForSequenceClassification(BertConfig(**SIZES, vocab_size=64, num_labels=3))


def t5() -> PreTrainedModel:
    return T5ForConditionalGeneration(T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4))


def llava() -> PreTrainedModel:
    vision = CLIPVisionConfig(**SIZES, image_size=16, patch_size=8)
    text = LlamaConfig(**SIZES, num_key_value_heads=4, vocab_size=64)
    return LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=63))


def clip() -> PreTrainedModel:
    return CLIPVisionModel(CLIPVisionConfig(**SIZES, image_size=16, patch_size=8))


MODELS: dict[str, tuple[Callable[[], PreTrainedModel], list[str]]] = {
    "encoder": (bert, ["query", "value"]),
    "classifier": (classifier, ["query", "value"]),
    "encoder-decoder": (t5, ["q", "v"]),
    "vision and language": (llava, ["q_proj", "v_proj"]),
    "vision": (clip, ["q_proj", "v_proj"]),
}


@pytest.mark.parametrize("name", MODELS)
def test_logits_of(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, modules = MODELS[name]
    torch.manual_seed(0)
    model = make().to(torch.bfloat16)
    model.save_pretrained(tmp_path / "base")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=modules))
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        adapted.save_pretrained(tmp_path / "a")
    out = str(tmp_path / "out")
    assert run(["fuse", str(tmp_path / "base"), str(tmp_path / "a"), "-o", out]) == 0
    capsys.readouterr()
    told = ["--base", str(tmp_path / "base"), "--adapter", str(tmp_path / "a")]
    code = run(["verify", out, *told, "--logits", "--json"])
    shown, said = capsys.readouterr()
    assert code == 0, shown + said
    found = json.loads(shown)["logits"]
    assert 0 < found["relative"] < found["bound"]
