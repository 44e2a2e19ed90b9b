"""Adapters of a class that is made of a base's files and has other names: real classes, and what the real PEFT loads."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import architectures
import peft
import pytest
import torch
import transformers as t
from safetensors.torch import load_file

from adapterops.cli.main import run

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def whole(model: Any, adapter: Path) -> Any:
    """What the real PEFT makes of an adapter; it must find all of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FutureWarning)
        return peft.PeftModel.from_pretrained(model, adapter).eval()


def trained(cls: Any, base: Path, folder: Path, targets: Any, task: str | None, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=2, target_modules=targets, task_type=task, init_lora_weights=False)
    torch.manual_seed(seed)
    found = peft.get_peft_model(cls.from_pretrained(base), config).eval()
    found.save_pretrained(folder, save_embedding_layers=False)
    return found


@pytest.mark.parametrize("task", ["CAUSAL_LM", None])
def test_names_of_the_class_for_words_alone_are_kept(task: str | None, tmp_path: Path) -> None:
    saved, name = "Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM"
    architectures.build(saved).save_pretrained(tmp_path / "base")
    cls = getattr(t, name)
    adapted = trained(cls, tmp_path / "base", tmp_path / "a", r".*layers\.0\..*(q_proj|o_proj|in_proj_a)", task)
    args = ["truncate", tmp_path / "a", "--rank", "2", "--base", tmp_path / "base", "-o", tmp_path / "out"]
    assert run([str(each) for each in args]) == 0
    assert architectures.far(whole(cls.from_pretrained(tmp_path / "base"), tmp_path / "out"), adapted) < 1e-5


@pytest.mark.parametrize(
    ("saved", "named"),
    [(t.BertForMaskedLM, t.BertForMaskedLM), (t.BertModel, t.BertModel)],
    ids=["with a head", "bare"],
)
def test_a_bare_adapter_and_one_of_a_class_with_a_head_are_merged_by_the_names_of_the_base(
    saved: Any, named: Any, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    torch.manual_seed(0)
    saved(t.BertConfig(vocab_size=32, **SIZES)).save_pretrained(base)
    one = trained(t.BertModel, base, tmp_path / "one", ["query"], None, 1)
    other = trained(t.BertForMaskedLM, base, tmp_path / "other", ["query"], None, 2)
    args = ["merge", tmp_path / "one", tmp_path / "other", "-w", "1", "-w", "1", "--base", base, "-o", tmp_path / "out"]
    assert run([str(each) for each in args]) == 0
    merged = whole(named.from_pretrained(base), tmp_path / "out").merge_and_unload().state_dict()
    before = named.from_pretrained(base).state_dict()
    left, right = one.merge_and_unload().state_dict(), other.merge_and_unload().state_dict()
    changed = [name for name in merged if name.endswith("query.weight")]
    assert len(changed) == 2
    for name in changed:
        inner = name.removeprefix("bert.")
        expected = left[inner] + right[f"bert.{inner}"] - before[name]
        torch.testing.assert_close(merged[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["vision-encoder-decoder", "encoder-decoder"])
def test_square_weights_of_a_decoder_that_stores_them_transposed(kind: str, tmp_path: Path) -> None:
    """Their type is that of the decoder, and not that of the model that it is in."""
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    decoder = t.GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=64, n_positions=32, add_cross_attention=True)
    decoder.is_decoder = True
    if kind == "encoder-decoder":
        whole = t.EncoderDecoderConfig.from_encoder_decoder_configs(t.BertConfig(vocab_size=64, **small), decoder)
        made: Any = t.EncoderDecoderModel(whole)
    else:
        encoder = t.ViTConfig(image_size=16, patch_size=8, **small)
        made = t.VisionEncoderDecoderModel(t.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))
    made.save_pretrained(tmp_path / "base")
    model = peft.get_peft_model(made, peft.LoraConfig(r=2, target_modules=["c_proj", "c_attn", "q_attn", "c_fc"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "a")
    model.merge_and_unload().save_pretrained(tmp_path / "right")
    assert run(["fuse", str(tmp_path / "base"), str(tmp_path / "a"), "-o", str(tmp_path / "fused")]) == 0
    of = ["--base", str(tmp_path / "base"), "--adapter", str(tmp_path / "a")]
    assert run(["verify", str(tmp_path / "fused"), *of]) == 0
    right, fused = (load_file(tmp_path / name / "model.safetensors") for name in ("right", "fused"))
    assert right.keys() == fused.keys()
    for name, each in right.items():
        torch.testing.assert_close(fused[name], each, atol=1e-5, rtol=1e-5)
