"""Files of the model in one with a head, whose config names the one with a head: real classes, and what the real PEFT loads."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import architectures
import peft
import pytest
import torch
import transformers as t

import adapterops as ao
from adapterops.cli.main import run

CLASSES = ["Data2VecTextForMaskedLM", "GteForMaskedLM", "PaddleOCRVLForConditionalGeneration", "XGLMForCausalLM"]
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def bare(model: Any, folder: Path) -> Path:
    """What the inner model saves, under the config of the one around it."""
    getattr(model, model.base_model_prefix).save_pretrained(folder)
    (folder / "config.json").unlink()
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    return folder


def whole(model: Any, adapter: Path) -> Any:
    """What the real PEFT makes of an adapter; it must find all of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FutureWarning)
        return peft.PeftModel.from_pretrained(model, adapter).eval()


@pytest.mark.parametrize("name", CLASSES)
def test_names_are_those_of_the_model_with_a_head(name: str, tmp_path: Path) -> None:
    model = architectures.build(name)
    cls, inner = type(model), f"{model.base_model_prefix}."
    base = bare(model, tmp_path / "base")
    state = cls.from_pretrained(base).state_dict()

    def loaded() -> Any:
        again = cls.from_pretrained(base).eval()
        again.load_state_dict(state)  # the head is in no file
        return again

    linear = [each for each, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    targets = [each for each in linear if each.startswith(inner)]
    trained = peft.get_peft_model(
        loaded(), peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False)
    ).eval()
    trained.save_pretrained(tmp_path / "a", save_embedding_layers=False)
    files = ["truncate", tmp_path / "a", "--rank", "2", "--base", base, "-o", tmp_path / "named"]
    assert run([str(each) for each in files]) == 0
    assert architectures.far(whole(loaded(), tmp_path / "named"), trained) < architectures.TOLERANCE

    tuned = loaded()
    architectures.change(tuned, False)
    tuned.load_state_dict({**tuned.state_dict(), **{each: state[each] for each in state if not each.startswith(inner)}})
    found = ao.extract(ao.open_checkpoint(bare(tuned, tmp_path / "tuned")), ao.open_checkpoint(base), rank=8)
    ao.save_adapter(found, tmp_path / "extracted")
    assert architectures.far(whole(loaded(), tmp_path / "extracted"), tuned) < architectures.TOLERANCE

    opened, adapter = ao.open_checkpoint(base), ao.open_adapter(tmp_path / "a")
    ao.save_checkpoint(ao.fuse(opened, adapter), tmp_path / "fused")
    fused = cls.from_pretrained(tmp_path / "fused").eval()
    fused.load_state_dict({each: tensor for each, tensor in state.items() if not each.startswith(inner)}, strict=False)
    assert architectures.far(fused, trained) < architectures.TOLERANCE
    assert ao.verify(ao.open_checkpoint(tmp_path / "fused"), opened, adapter).problems == []


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("WhisperForConditionalGeneration", "decoder.embed_tokens"),
        ("DiffusionGemmaForBlockDiffusion", "decoder.layers.0.mlp.up_proj"),
        ("PI0ForConditionalGeneration", "q_proj"),
        ("Kimi_K25ForConditionalGeneration", "mlp.fc1"),
    ],
    ids=[
        "a head tied to what changes",
        "a head tied to what is tied to what changes",
        "other names than those of the whole",
        "numbers in other names",
    ],
)
def test_an_adapter_of_a_class_with_a_head_is_fused_into_the_model_in_it(
    name: str, module: str, tmp_path: Path
) -> None:
    model = architectures.build(name)
    model.base_model.save_pretrained(tmp_path / "base")
    live, told = type(model).from_pretrained(tmp_path / "base", output_loading_info=True)
    state = {each: live.state_dict()[each].clone() for each in told["missing_keys"]}
    targets = [each for each, _ in live.named_modules() if each.endswith(module)]
    config = peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False)
    trained = peft.get_peft_model(live, config).eval()
    trained.save_pretrained(tmp_path / "a", save_embedding_layers=False)
    base, adapter = ao.open_checkpoint(tmp_path / "base"), ao.open_adapter(tmp_path / "a")
    ao.save_checkpoint(ao.fuse(base, adapter), tmp_path / "fused")
    fused, told = type(model).from_pretrained(tmp_path / "fused", output_loading_info=True)
    assert told["missing_keys"] == state.keys()
    fused.load_state_dict(state, strict=False)
    assert architectures.far(fused.eval(), trained) < architectures.TOLERANCE
    assert ao.verify(ao.open_checkpoint(tmp_path / "fused"), base, adapter).problems == []


@pytest.mark.parametrize(
    ("saved", "trained", "task"),
    [
        (t.BertModel, t.BertForSequenceClassification, "SEQ_CLS"),
        (t.BertForMaskedLM, t.BertModel, "FEATURE_EXTRACTION"),
        (t.BertForMaskedLM, t.BertModel, None),
        (t.GPT2Model, t.GPT2LMHeadModel, "CAUSAL_LM"),
        (t.GPT2LMHeadModel, t.GPT2ForTokenClassification, "TOKEN_CLS"),
    ],
)
def test_names_are_those_of_the_class_that_the_adapter_is_for(
    saved: Any, trained: Any, task: str | None, tmp_path: Path
) -> None:
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2} if "GPT2" in saved.__name__ else SIZES
    torch.manual_seed(0)
    saved(saved.config_class(vocab_size=32, **sizes)).save_pretrained(tmp_path / "base")
    torch.manual_seed(0)
    model = trained.from_pretrained(tmp_path / "base").eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = peft.LoraConfig(r=2, target_modules=["query", "c_attn"], task_type=task, init_lora_weights=False)
    adapted = peft.get_peft_model(model, config).eval()
    adapted.save_pretrained(tmp_path / "a")
    command = ["truncate", tmp_path / "a", "--rank", "2", "--base", tmp_path / "base", "-o", tmp_path / "named"]
    assert run([str(each) for each in command]) == 0
    again = trained.from_pretrained(tmp_path / "base").eval()
    again.load_state_dict(state)
    tokens = torch.arange(8)[None]
    torch.testing.assert_close(whole(again, tmp_path / "named")(tokens)[0], adapted(tokens)[0], rtol=1e-4, atol=1e-5)


class Ranker(t.LlamaForCausalLM):
    """A class that transformers does not have."""


@pytest.mark.parametrize(
    ("trained", "stated", "task"),
    [
        (Ranker, "Ranker", None),
        (t.T5ForConditionalGeneration, "T5WithLMHeadModel", "SEQ_2_SEQ_LM"),
        (t.LlamaForCausalLM, "LlamaForCausalLM", "FEATURE_EXTRACTION"),
        (t.WhisperForConditionalGeneration, "WhisperForConditionalGeneration", "FEATURE_EXTRACTION"),
    ],
)
def test_names_that_an_adapter_has_are_kept(trained: Any, stated: str, task: str | None, tmp_path: Path) -> None:
    kinds: dict[Any, dict[str, Any]] = {
        t.T5Config: {"d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2, "vocab_size": 16},
        t.LlamaConfig: {**SIZES, "vocab_size": 16},
        t.WhisperConfig: {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
                          "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "vocab_size": 64,
                          "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
    }  # fmt: skip
    model = trained(trained.config_class(**kinds[trained.config_class])).eval()
    model.save_pretrained(tmp_path / "base")
    model.config.architectures = [stated]
    model.config.save_pretrained(tmp_path / "base")
    config = peft.LoraConfig(r=2, target_modules=["q", "q_proj"], task_type=task, init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "a")
    assert run(["normalize", str(tmp_path / "a"), "--base", str(tmp_path / "base"), "-o", str(tmp_path / "n")]) == 0
    assert set(ao.open_adapter(tmp_path / "n").layout) == set(ao.open_adapter(tmp_path / "a").layout)
    whole(trained.from_pretrained(tmp_path / "base"), tmp_path / "n")
