"""LoRA on embeddings: PEFT's factors of words and positions, in and out, and below them what was resized."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from resized_models import MODELS, MORE, WORDS, logits, make, trained
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]
CAUSAL = [name for name in MODELS if name.startswith(("llama", "gpt2", "llava"))]


def fused(name: str, base: Path, adapter: Path, out: Path, words: int) -> torch.Tensor:
    assert run(["fuse", str(base), str(adapter), "-o", str(out)]) == 0
    assert run(["verify", str(out), "--base", str(base), "--adapter", str(adapter)]) == 0
    return logits(type(MODELS[name].model(True)).from_pretrained(out).eval(), words)


@pytest.mark.parametrize("ends", [("takes",), ("gives",), ("takes", "gives")], ids="+".join)
@pytest.mark.parametrize("name", CAUSAL)
def test_the_ends_of_a_model(name: str, ends: tuple[str, ...], tmp_path: Path) -> None:
    """Where they are tied, the other one stays what it was: that is what the adapter was trained with."""
    base = make(name, tmp_path / "base")
    live = trained(name, base, tmp_path / "a", words=WORDS, target=[getattr(MODELS[name], end) for end in ends])
    found = fused(name, base, tmp_path / "a", tmp_path / "out", WORDS)
    torch.testing.assert_close(found, logits(live, WORDS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_the_ends_of_a_resized_model(name: str, tmp_path: Path) -> None:
    base = make(name, tmp_path / "base")
    live = trained(name, base, tmp_path / "a", target=[MODELS[name].takes, MODELS[name].gives])
    found = fused(name, base, tmp_path / "a", tmp_path / "out", MORE)
    torch.testing.assert_close(found, logits(live), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("end", ["takes", "gives"])
def test_one_end_of_a_resized_model_that_ties_both(end: str, tmp_path: Path) -> None:
    base = make("llama, tied", tmp_path / "base")
    live = trained("llama, tied", base, tmp_path / "a", target=[getattr(MODELS["llama"], end)])
    found = fused("llama, tied", base, tmp_path / "a", tmp_path / "out", MORE)
    torch.testing.assert_close(found, logits(live), rtol=1e-5, atol=1e-5)


def test_positions(tmp_path: Path) -> None:
    base = make("gpt2, tied", tmp_path / "base")
    live = trained("gpt2, tied", base, tmp_path / "a", words=WORDS, target=["wpe"])
    found = fused("gpt2, tied", base, tmp_path / "a", tmp_path / "out", WORDS)
    torch.testing.assert_close(found, logits(live, WORDS), rtol=1e-5, atol=1e-5)
    assert json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"]


def test_all_embeddings_of_an_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = BertForSequenceClassification(BertConfig(vocab_size=96, intermediate_size=48, **sizes))
    model.save_pretrained(tmp_path / "base")
    targets = ["word_embeddings", "position_embeddings", "token_type_embeddings", "query"]
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "a")
    assert run(["fuse", str(tmp_path / "base"), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 0
    found = BertForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    ids = {"input_ids": torch.arange(20).reshape(2, 10)}
    with torch.no_grad():
        torch.testing.assert_close(found(**ids).logits, adapted.eval()(**ids).logits, rtol=1e-5, atol=1e-5)


def loaded(name: str, base: Path, adapter: Path) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = type(MODELS[name].model(True)).from_pretrained(base)
        return logits(peft.PeftModel.from_pretrained(plain, adapter).eval(), WORDS)


@pytest.mark.parametrize("name", ["llama", "gpt2, tied"])
def test_what_is_written_of_an_embedding_is_loaded_by_peft(name: str, tmp_path: Path) -> None:
    base = make(name, tmp_path / "base")
    for folder in "ab":
        trained(name, base, tmp_path / folder, words=WORDS, save=False, target=[MODELS[name].takes])
    a, b, out = (str(tmp_path / each) for each in ("a", "b", "out"))
    assert run(["truncate", a, "--rank", "4", "-o", out]) == 0
    torch.testing.assert_close(loaded(name, base, Path(out)), loaded(name, base, Path(a)), rtol=1e-4, atol=1e-4)
    for based in ([], ["--base", str(base)]):
        assert run(["merge", a, b, "-w", "0.5", "-w", "0.5", *based, "-o", out, "--force"]) == 0
        torch.testing.assert_close(loaded(name, base, Path(out)), loaded(name, base, Path(a)), rtol=1e-4, atol=1e-4)
        stored = load_file(Path(out) / "adapter_model.safetensors")
        assert {key.rpartition(".")[2] for key in stored if MODELS[name].takes in key} == {
            "lora_embedding_A",
            "lora_embedding_B",
        }
    assert run(["merge", a, "--format", "mlx", "-o", str(tmp_path / "mlx")]) == 4


@pytest.mark.parametrize("name", ["llama", "llama, tied"])
def test_dora_on_an_embedding(name: str, tmp_path: Path, capsys: Capture) -> None:
    """A length for each dimension, over all words."""
    base = make(name, tmp_path / "base")
    trained(name, base, tmp_path / "a", words=WORDS, target=["embed_tokens", "q_proj"], use_dora=True)
    path = tmp_path / "a/adapter_model.safetensors"
    stored = load_file(path)
    stored = {key: each * (1.3 if "magnitude" in key else 1) for key, each in stored.items()}
    save_file(stored, path, {"format": "pt"})
    found = fused(name, base, tmp_path / "a", tmp_path / "out", WORDS)
    torch.testing.assert_close(found, loaded(name, base, tmp_path / "a"), rtol=1e-5, atol=1e-5)
    assert run(["truncate", str(tmp_path / "a"), "--rank", "1", "-o", str(tmp_path / "cut")]) == 4
    assert "DoRA" in capsys.readouterr().err


@pytest.mark.parametrize("end", ["takes", "gives"])
def test_one_update_of_two_ends_that_peft_keeps_tied(end: str, tmp_path: Path) -> None:
    """PEFT has it under the names of both, and each applies it once; what PEFT merges has it twice."""
    base = make("llama, tied", tmp_path / "base")
    target = [getattr(MODELS["llama, tied"], end), "q_proj"]
    live = trained("llama, tied", base, tmp_path / "a", words=WORDS, target=target, ensure_weight_tying=True)
    found = fused("llama, tied", base, tmp_path / "a", tmp_path / "out", WORDS)
    torch.testing.assert_close(found, logits(live, WORDS), rtol=1e-5, atol=1e-5)
    for command in (
        ["truncate", "--energy", "1"],
        ["merge", str(tmp_path / "a"), "--linear", "-w", "0.5", "-w", "0.5"],
    ):
        out = tmp_path / command[0]
        assert run([command[0], str(tmp_path / "a"), *command[1:], "-o", str(out)]) == 0
        torch.testing.assert_close(loaded("llama, tied", base, out), logits(live, WORDS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "llama, tied", "gpt2, tied"])
def test_an_embedding_that_peft_saved_and_did_not_train_is_left_to_the_base(
    name: str, tmp_path: Path, capsys: Capture
) -> None:
    """PEFT saves the weight under LoRA on an embedding: with the base it is known to be the base's own."""
    base, q = make(name, tmp_path / "base"), "c_attn" if name.startswith("gpt2") else "q_proj"
    live = logits(trained(name, base, tmp_path / "a", words=WORDS, target=[MODELS[name].takes]), WORDS)
    trained(name, base, tmp_path / "b", words=WORDS, save=False, target=[q])
    a, b, out = (str(tmp_path / each) for each in ("a", "b", "out"))
    assert run(["normalize", a, "-o", out]) == 4
    assert "--base leaves out" in capsys.readouterr().err
    for command in (["normalize", a], ["truncate", a, "--rank", "64"], ["merge", a]):
        assert run([*command, "--base", str(base), "-o", out, "--force"]) == 0
        torch.testing.assert_close(loaded(name, base, Path(out)), live, rtol=1e-4, atol=1e-4)
        assert all("lora_" in key for key in load_file(Path(out) / "adapter_model.safetensors"))
    assert run(["merge", a, b, "--linear", "--base", str(base), "-o", out, "--force"]) == 0
    assert run(["fuse", str(base), a, b, "--linear", "-o", str(tmp_path / "model")]) == 0
    together = logits(type(MODELS[name].model(True)).from_pretrained(tmp_path / "model").eval(), WORDS)
    torch.testing.assert_close(loaded(name, base, Path(out)), together, rtol=1e-4, atol=1e-4)
