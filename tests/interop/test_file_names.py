"""Adapters whose modules have the names of files, where the model in memory has others: what PEFT loads, and what is said of it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import TOKENS, adapted, load, save
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
)

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]


def neox(folder: Path) -> Path:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4
    )
    return save(GPTNeoXForCausalLM(config), folder)


def logits(base: Path, adapter: Path) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = peft.PeftModel.from_pretrained(load(base), adapter).eval()(input_ids=TOKENS).logits
    return found


def test_a_module_that_target_modules_do_not_name_is_said_and_settled_by_the_base(
    tmp_path: Path, capsys: Capture
) -> None:
    base = neox(tmp_path / "base")
    adapter = adapted(base, tmp_path / "a", target_modules=["query_key_value", "lm_head"])
    expected = logits(base, adapter)
    path = adapter / "adapter_model.safetensors"
    save_file({key.replace("lm_head", "embed_out"): each for key, each in load_file(path).items()}, path)
    assert run(["truncate", str(adapter), "--rank", "4", "-o", str(tmp_path / "out")]) == 0
    assert "target_modules do not name embed_out" in capsys.readouterr().err
    merged = ["merge", str(adapter), str(adapter), "-w", "0.5", "-w", "0.5", "--base", str(base)]
    assert run([*merged, "-o", str(tmp_path / "settled")]) == 0
    assert "target_modules" not in capsys.readouterr().err
    config = json.loads((tmp_path / "settled/adapter_config.json").read_text())
    assert config["target_modules"] == ["lm_head", "query_key_value"]
    torch.testing.assert_close(logits(base, tmp_path / "settled"), expected, rtol=1e-4, atol=1e-5)


SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
}  # fmt: skip
CONVOLUTIONS = {"conv_dim": (8,), "conv_stride": (2,), "conv_kernel": (3,), "num_feat_extract_layers": 1}
POSITIONS = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
OLD: dict[type[PreTrainedModel], tuple[Any, str, dict[str, str]]] = {
    BertForMaskedLM: (
        BertConfig(vocab_size=96, **SIZES),
        "LayerNorm",
        {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"},
    ),
    Wav2Vec2ForCTC: (
        Wav2Vec2Config(**SIZES, **CONVOLUTIONS, **POSITIONS),
        "pos_conv_embed",
        {f"parametrizations.weight.original{i}": f"weight_{end}" for i, end in enumerate("gv")},
    ),
}


@pytest.mark.parametrize("kind", OLD)
def test_full_tensors_whose_base_has_the_names_of_older_libraries(kind: Any, tmp_path: Path) -> None:
    config, module, names = OLD[kind]
    base, out = tmp_path / "base", tmp_path / "out"
    kind(config).save_pretrained(base)
    files = load_file(base / "model.safetensors")
    for new, old in names.items():
        files = {name.replace(new, old): tensor for name, tensor in files.items()}
    save_file(files, base / "model.safetensors", {"format": "pt"})
    targets = peft.LoraConfig(target_modules=["query", "q_proj"], modules_to_save=[module], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        live = peft.get_peft_model(kind.from_pretrained(base), targets).eval()
        with torch.no_grad():
            for name, parameter in live.named_parameters():
                if "modules_to_save" in name:
                    parameter.normal_()
        live.save_pretrained(tmp_path / "a", save_embedding_layers=False)
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(out)]) == 0
    assert load_file(out / "model.safetensors").keys() == files.keys()
    assert run(["verify", str(out), "--base", str(base), "--adapter", str(tmp_path / "a")]) == 0
    inputs = TOKENS if kind is BertForMaskedLM else torch.linspace(-1, 1, 400)[None]
    with torch.no_grad():
        torch.testing.assert_close(kind.from_pretrained(out).eval()(inputs).logits, live(inputs).logits)


UNSAVED: dict[type[PreTrainedModel], tuple[Any, str, dict[str, str | torch.Tensor]]] = {
    GPT2LMHeadModel: (
        GPT2Config(vocab_size=96, n_embd=32, n_layer=1, n_head=4),
        "c_attn",
        {"transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8).tril()},
    ),
    T5ForConditionalGeneration: (
        T5Config(vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4),
        "wi",
        {
            **dict.fromkeys(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"), "shared.weight"),
            "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": torch.ones(32, 4),
        },
    ),
}


def test_what_transformers_leaves_out_of_a_merged_model_is_not_taken_for_changed(
    tmp_path: Path, capsys: Capture
) -> None:
    for kind, (config, target, more) in UNSAVED.items():
        base, adapter, merged = (tmp_path / f"{kind.__name__}-{each}" for each in ("base", "a", "merged"))
        torch.manual_seed(0)
        kind(config).save_pretrained(base)
        files = load_file(base / "model.safetensors")
        added = {name: (files[each] if isinstance(each, str) else each).clone() for name, each in more.items()}
        save_file({**files, **added}, base / "model.safetensors", {"format": "pt"})
        live = peft.get_peft_model(kind.from_pretrained(base), peft.LoraConfig(target_modules=[target], r=4))
        with torch.no_grad():
            for name, parameter in live.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
        live.save_pretrained(adapter)
        live.merge_and_unload().save_pretrained(merged)
        assert not {*load_file(merged / "model.safetensors")} & {*added}
        given = ["--base", str(base), "--adapter", str(adapter)]
        assert run(["diagnose", str(merged), *given]) == 0
        assert run(["verify", str(merged), *given, "--made-by", "peft"]) == 0
        assert run(["extract", str(merged), "--base", str(base), "--rank", "4", "-o", f"{merged}-x"]) == 0
        assert run(["fuse", str(base), "--tuned", str(merged), "-o", f"{merged}-t"]) == 0
        inputs = {"input_ids": TOKENS, **({"decoder_input_ids": TOKENS} if kind is T5ForConditionalGeneration else {})}
        tuned, again = (kind.from_pretrained(each).eval() for each in (merged, f"{merged}-t"))
        extracted = peft.PeftModel.from_pretrained(kind.from_pretrained(base), f"{merged}-x").eval()
        with torch.no_grad():
            for each in (again, extracted):
                torch.testing.assert_close(each(**inputs).logits, tuned(**inputs).logits, rtol=1e-4, atol=1e-4)
    said = capsys.readouterr()
    assert "without 1 tensor of the base that transformers does not load: decoder.block.0" in said.out + said.err
