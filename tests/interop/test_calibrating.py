"""What a real model takes in, and codes chosen by it: nearer to base and live adapter than by chance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf_models import write as write_gguf
from quantized_models import write_lora, write_model, write_quantized
from safetensors import safe_open
from safetensors.numpy import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from turns import some

from adapterops.cli.main import run

WORDS = [f"w{index}" for index in range(48)]
TEXTS = [" ".join(WORDS[(7 * line + 3 * place * place) % 48] for place in range(4 + line % 9)) for line in range(60)]


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    words = {word: index for index, word in enumerate(["<s>", "</s>", *WORDS])}
    plain = Tokenizer(models.WordLevel(words, unk_token="<s>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("calibrating")
    write_model(place / "base", "llama")
    write_lora(place / "adapter", place / "base", "llama")
    write_quantized(place / "nf4", place / "base", "nf4")
    for model in ("base", "nf4"):
        tokenizer().save_pretrained(place / model)
    (place / "lines.txt").write_text("\n".join(TEXTS) + "\n\n")
    return place


def typed(*arguments: Path | str, code: int = 0) -> None:
    assert run([str(argument) for argument in arguments]) == code


def test_the_matrices_are_those_of_hooks(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "grams.safetensors"
    typed("gram", place / "base", place / "lines.txt", "--adapter", place / "adapter", "-o", out, "--json")
    told = json.loads(capsys.readouterr().out)
    typed("gram", place / "base", place / "lines.txt", "--limit", "1", "-o", tmp_path / "one.safetensors", "-q")
    assert capsys.readouterr() == ("", "")
    network = AutoModelForCausalLM.from_pretrained(place / "base", dtype="auto").eval()
    peft.PeftModel.from_pretrained(network, place / "adapter")
    fast = PreTrainedTokenizerFast.from_pretrained(place / "base")
    seen: dict[str, list[Tensor]] = {}
    found = load_file(out)
    for name in found:
        network.get_submodule(f"{name}.base_layer").register_forward_pre_hook(
            lambda layer, given, name=name: seen.setdefault(name, []).append(given[0][0].double())
        )
    with torch.no_grad():
        for text in TEXTS:  # one by one: without padding
            network(input_ids=fast(text, return_tensors="pt")["input_ids"])
    tokens = sum(len(each) for each in next(iter(seen.values())))
    assert (told["tokens"], told["texts"], told["modules"]) == (tokens, len(TEXTS), len(found))
    for name, gram in found.items():
        x = torch.cat(seen[name])
        assert np.allclose(gram, (x.T @ x / len(x)).numpy(), rtol=2e-2, atol=2e-2 * float(np.abs(gram).max()))
    with safe_open(out, "np") as file:
        known = file.metadata()
        assert len(known.pop("adapter")) == 64
        assert known == {"format": "adapterops-grams", "schema": "1", "tokens": str(tokens)}


def test_codes_by_inputs_are_nearer_to_base_and_live_adapter(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grams, adapter, base = tmp_path / "grams.safetensors", place / "adapter", place / "nf4"
    typed("gram", base, place / "lines.txt", "--adapter", adapter, "-o", grams)
    typed("fuse", base, adapter, "--rounding", "calibrated", "--grams", grams, "-o", tmp_path / "calibrated")
    assert "survived rounding, for its inputs" in capsys.readouterr().out
    typed("fuse", base, adapter, "--rounding", "stochastic", "-o", tmp_path / "stochastic")
    typed("dequantize", base, "--dtype", "float32", "-o", tmp_path / "float")
    fast = PreTrainedTokenizerFast.from_pretrained(base)
    ids = [fast(text, return_tensors="pt")["input_ids"] for text in TEXTS[::7]]

    def answers(folder: Path, live: Path | None = None) -> Tensor:
        network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        network = peft.PeftModel.from_pretrained(network, live) if live else network
        with torch.no_grad():
            return torch.cat([network(input_ids=each).logits.flatten(0, 1) for each in ids])

    wanted = answers(tmp_path / "float", adapter)
    far = {}
    for way in ("calibrated", "stochastic"):
        typed("dequantize", tmp_path / way, "--dtype", "float32", "-o", tmp_path / f"{way} floats")
        far[way] = float((answers(tmp_path / f"{way} floats") - wanted).norm() / wanted.norm())
    assert far["calibrated"] < 0.7 * far["stochastic"]
    typed("verify", tmp_path / "calibrated", "--base", base, "--adapter", adapter, "--grams", grams)
    made = json.loads((tmp_path / "calibrated/adapterops.json").read_text())
    assert made["request"]["rounding"] == "calibrated"
    assert 0.5 < made["survival"]["for_inputs"] < 1.5


@pytest.mark.parametrize("kind", some([Type.Q4_K, Type.Q8_0, Type.Q4_0], 3), ids=lambda each: each.name)
def test_experts_of_a_gguf_model_are_rounded_for_what_each_takes_in(kind: Type, tmp_path: Path) -> None:
    """The matrices are made of the dequantized model, with the adapter at work in its experts."""
    model, out, adapter = write_gguf(tmp_path / "a.gguf", "qwen3moe", kind), tmp_path / "floats", tmp_path / "adapter"
    typed("dequantize", model, "--dtype", "float32", "-o", out)
    tokenizer().save_pretrained(out)
    torch.manual_seed(1)
    parameters = ["experts.gate_up_proj", "experts.down_proj"]
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "o_proj"], target_parameters=parameters)
    live = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(out), config)
    with torch.no_grad():
        for name, each in live.named_parameters():
            if "lora_" in name:
                each.normal_(std=0.03)
    live.save_pretrained(adapter)
    (tmp_path / "lines.txt").write_text("\n".join(TEXTS))
    grams = tmp_path / "grams.safetensors"
    typed("gram", out, tmp_path / "lines.txt", "--adapter", adapter, "-o", grams)
    check_of_hooks(live.eval(), load_file(grams))
    ids = [tokenizer()(text, return_tensors="pt")["input_ids"] for text in TEXTS[::7]]

    def answers(network: Any) -> Tensor:
        with torch.no_grad():
            return torch.cat([network(input_ids=each).logits.flatten(0, 1) for each in ids])

    wanted, far = answers(live), {}
    for way, options in (("calibrated", ["--grams", grams]), ("stochastic", [])):
        made = tmp_path / f"{way}.gguf"
        typed("fuse", model, adapter, "--rounding", way, *options, "-o", made)
        if kind == Type.Q4_K:  # it rounds all anew
            typed("verify", made, *options)
        typed("dequantize", made, "--dtype", "float32", "-o", tmp_path / way)
        found = answers(AutoModelForCausalLM.from_pretrained(tmp_path / way).eval())
        far[way] = float((found - wanted).norm() / wanted.norm())
    assert far["calibrated"] < 0.9 * far["stochastic"], far


def check_of_hooks(live: Any, found: Mapping[str, np.ndarray]) -> None:
    """Of one layer, by what its experts are asked: every token with its numbers of experts."""
    module = next(each for name, each in live.named_modules() if type(each).__name__ == "Qwen3MoeExperts")
    seen: list[tuple[Tensor, Tensor]] = []
    hook = module.register_forward_pre_hook(lambda module, given: seen.append((given[0].double(), given[1])))
    with torch.no_grad():
        for text in TEXTS:
            live(input_ids=tokenizer()(text, return_tensors="pt")["input_ids"])
    hook.remove()
    x, chosen = (torch.cat(each) for each in zip(*seen, strict=True))
    for number in range(3):
        rows = x[(chosen == number).any(dim=1)]
        gram = found[f"model.layers.0.mlp.experts.{number}.gate_up_proj"]
        assert np.allclose(gram, (rows.T @ rows / len(rows)).numpy(), rtol=1e-3, atol=1e-3 * float(np.abs(gram).max()))
    assert sum("experts" in name for name in found) == 12


def test_what_does_not_fit_is_said(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grams, adapter = tmp_path / "grams.safetensors", place / "adapter"
    typed("gram", place / "nf4", place / "lines.txt", "--limit", "4", "-o", grams)
    for arguments, code, said in (
        (("fuse", place / "nf4", adapter, "--rounding", "calibrated"), 2, "--grams FILE"),
        (("fuse", place / "base", adapter, "--rounding", "calibrated", "--grams", grams), 2, "this base has none"),
        (("fuse", place / "nf4", adapter, "--grams", grams), 2, "--rounding calibrated"),
        (("fuse", place / "nf4", adapter, "--rounding", "calibrated", "--grams", place / "lines.txt"), 3, "lines.txt"),
        (("fuse", place / "nf4", adapter, "--rounding", "calibrated", "--grams", place / "base"), 4, "adapterops gram"),
    ):
        capsys.readouterr()
        typed(*arguments, "-o", tmp_path / "out", code=code)
        assert said in capsys.readouterr().err
    typed("gram", place / "nf4", place / "lines.txt", "-o", grams, code=6)
    typed("gram", adapter, place / "lines.txt", "-o", tmp_path / "other", code=3)
    (tmp_path / "empty.txt").write_text("\n")
    typed("gram", place / "base", tmp_path / "empty.txt", "-o", tmp_path / "other", code=2)
