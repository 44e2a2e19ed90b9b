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
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    SiglipConfig,
    SiglipModel,
    T5Config,
    T5ForConditionalGeneration,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTForImageClassification,
    WhisperConfig,
    WhisperForConditionalGeneration,
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


def both() -> PreTrainedModel:
    """CLIP: tokens and an image. Its neighbour SigLIP reads the weight of one layer without calling it."""
    text, vision = {**SIZES, "vocab_size": 64, "eos_token_id": 2}, {**SIZES, "image_size": 16, "patch_size": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision))


def siglip() -> PreTrainedModel:
    text, vision = {**SIZES, "vocab_size": 64}, {**SIZES, "image_size": 16, "patch_size": 8}
    return SiglipModel(SiglipConfig(text_config=text, vision_config=vision))


def photographs() -> PreTrainedModel:
    """Its files have other names than the model."""
    return ViTForImageClassification(ViTConfig(**SIZES, image_size=16, patch_size=8, num_labels=3))


def captions() -> PreTrainedModel:
    vision, text = (
        ViTConfig(**SIZES, image_size=16, patch_size=8),
        BertConfig(**SIZES, vocab_size=64, is_decoder=True, add_cross_attention=True),
    )
    return VisionEncoderDecoderModel(VisionEncoderDecoderConfig(encoder=vision.to_dict(), decoder=text.to_dict()))


def whisper() -> PreTrainedModel:
    sizes = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "num_mel_bins": 8, "max_source_positions": 10}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    words = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    return WhisperForConditionalGeneration(WhisperConfig(**sizes, **heads, **words, max_target_positions=64))


MODELS: dict[str, tuple[Callable[[], PreTrainedModel], list[str]]] = {
    "encoder": (bert, ["query", "value"]),
    "classifier": (classifier, ["query", "value"]),
    "encoder-decoder": (t5, ["q", "v"]),
    "vision and language": (llava, ["q_proj", "v_proj"]),
    "vision": (clip, ["q_proj", "v_proj"]),
    "vision and language, each by itself": (both, ["q_proj", "v_proj"]),
    "a weight that is read": (siglip, ["q_proj", "out_proj"]),
    "image classifier": (photographs, ["q_proj", "v_proj"]),
    "image to text": (captions, ["query", "value"]),
    "speech": (whisper, ["q_proj", "v_proj"]),
}


def adapter(model: PreTrainedModel, modules: list[str], place: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=modules))
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        adapted.save_pretrained(place)


@pytest.mark.parametrize("name", MODELS)
def test_logits_of(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, modules = MODELS[name]
    torch.manual_seed(0)
    model = make().to(torch.bfloat16)
    model.save_pretrained(tmp_path / "base")
    adapter(model, modules, tmp_path / "a")
    out = str(tmp_path / "out")
    assert run(["fuse", str(tmp_path / "base"), str(tmp_path / "a"), "-o", out]) == 0
    capsys.readouterr()
    told = ["--base", str(tmp_path / "base"), "--adapter", str(tmp_path / "a")]
    code = run(["verify", out, *told, "--logits", "--json"])
    shown, said = capsys.readouterr()
    assert code == 0, shown + said
    found = json.loads(shown)["logits"]
    assert 0 < found["relative"] < found["bound"]


@pytest.mark.parametrize(("scheme", "width"), [("nf4", 64), ("fp4", 64), ("int8", 64), ("nf4", 48)])
def test_logits_of_a_base_in_codes(scheme: str, width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Decoded by bitsandbytes, and refused where that would decode to other numbers."""
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 64}
    model = LlamaForCausalLM(LlamaConfig(**sizes, hidden_size=width, intermediate_size=128)).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "plain")
    adapter(model, ["q_proj", "v_proj"], tmp_path / "a")
    base, out = str(tmp_path / "base"), str(tmp_path / "out")
    assert run(["quantize", str(tmp_path / "plain"), "--to", scheme, "-o", base]) == 0
    assert run(["fuse", base, str(tmp_path / "a"), "--dtype", "bfloat16", "-o", out]) == 0
    capsys.readouterr()
    code = run(["verify", out, "--base", base, "--adapter", str(tmp_path / "a"), "--logits", "--json"])
    shown, said = capsys.readouterr()
    if width % 64:
        assert code == 9
        assert "bitsandbytes decodes 4-bit rows of 48 wrongly on a CPU" in shown + said
        return
    assert code == 0, shown + said
    assert 0 < json.loads(shown)["logits"]["relative"] < 0.01
