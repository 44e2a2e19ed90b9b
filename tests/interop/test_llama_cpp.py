"""llama.cpp runs what is written for it: logits in float32 of the model and the adapter, against PEFT's of the model in memory.

Needs llama-cpp-python, which is built from its source, and is left out where that is not installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import conversions
import gguf
import gguf_models
import llama_cpp_runs as llama_cpp
import numpy as np
import peft
import pytest
import torch
from gguf import GGMLQuantizationType as Type

from adapterops.cli.main import run
from adapterops.formats.runtimes.table import RUNTIMES

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
TOKENS = list(range(3, 60, 4))
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
LINEAR = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]
JOINED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
MODULES = {"phi3": JOINED, **dict.fromkeys(("qwen2moe", "qwen3moe", "mixtral"), ATTENTION)}
NEAR = {"gemma2": 2e-3, "gemma3": 2e-3}
"""How far llama.cpp itself is from transformers, whose activation it takes from a table in float16."""

ARCHITECTURES = ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "qwen2moe", "qwen3moe", "mixtral"]
LORAS: dict[str, dict[str, Any]] = {
    "LoRA": {"r": 4, "lora_alpha": 6},
    "rsLoRA": {"r": 4, "lora_alpha": 6, "use_rslora": True},
    "patterns": {"r": 4, "lora_alpha": 6, "rank_pattern": {"q_proj": 2, "o_proj": 7}, "alpha_pattern": {"v_proj": 11}},
}


def logits(model: Any) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = model.eval()(torch.tensor([TOKENS])).logits[0].numpy()
    return found


class Made:
    """A model in GGUF, and in a folder; an adapter of PEFT for it; and the logits of both, and of the model alone."""

    def __init__(self, folder: Path, architecture: str, config: peft.PeftConfig, type_: Type = Type.F32) -> None:
        self.folder, self.near = folder, NEAR.get(architecture, 2e-5)
        self.model = gguf_models.write(
            folder / "model.gguf", architecture, type_, alter=lambda writer: writer.add_tokenizer_model("none")
        )
        base: Any = gguf_models.model(architecture)
        base.save_pretrained(folder / "base")
        self.alone = logits(base)
        torch.manual_seed(1)
        live = peft.get_peft_model(base, config)
        with torch.no_grad():
            for name, parameter in live.named_parameters():
                if parameter.requires_grad:
                    parameter.normal_(std=0.1 if "lora_" in name else 0.3)
        live.save_pretrained(folder / "adapter")
        self.wanted = logits(live)
        assert np.abs(self.wanted - self.alone).max() > 0.02

    def converted(self, *options: str) -> Path:
        out = self.folder / "lora.gguf"
        line = ["convert", str(self.folder / "adapter"), "--to", "gguf", "--base", str(self.folder / "base")]
        assert run([*line, *options, "-o", str(out)]) == 0
        return out

    def fused(self, adapter: Path) -> Path:
        out = self.folder / "fused.gguf"
        assert run(["fuse", str(self.model), str(adapter), "-o", str(out)]) == 0
        return out


def lora(architecture: str = "llama", **options: Any) -> peft.LoraConfig:
    modules = MODULES.get(architecture, LINEAR)
    return peft.LoraConfig(**{"target_modules": modules, "task_type": "CAUSAL_LM", **LORAS["LoRA"], **options})


def agree(found: np.ndarray, wanted: np.ndarray, near: float) -> None:
    np.testing.assert_allclose(found, wanted, atol=near, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_and_an_adapter_compute_what_peft_does(architecture: str, tmp_path: Path) -> None:
    """Order of the rows of q and k, names, and what both ends of a model share are seen in the logits."""
    made = Made(tmp_path, architecture, lora(architecture))
    adapter = made.converted()
    agree(llama_cpp.logits(made.model, TOKENS), made.alone, made.near)
    agree(llama_cpp.logits(made.model, TOKENS, adapter), made.wanted, made.near)
    agree(llama_cpp.logits(made.fused(tmp_path / "adapter"), TOKENS), made.wanted, made.near)


@pytest.mark.parametrize("form", LORAS)
def test_scales_are_those_of_peft(form: str, tmp_path: Path) -> None:
    made = Made(tmp_path, "llama", lora(**LORAS[form]))
    adapter = made.converted()
    agree(llama_cpp.logits(made.model, TOKENS, adapter), made.wanted, made.near)
    agree(llama_cpp.logits(made.fused(adapter), TOKENS), made.wanted, made.near)
    again = [str(adapter), "--to", "peft", "--base", str(tmp_path / "base"), "-o", str(tmp_path / "again")]
    assert run(["convert", *again]) == 0
    base = gguf_models.model("llama")
    agree(logits(peft.PeftModel.from_pretrained(base, tmp_path / "again")), made.wanted, made.near)


@pytest.mark.parametrize(("dtype", "near"), [("F16", 3e-3), ("BF16", 2e-2), ("q8_0", 6e-2)])
def test_narrow_factors(dtype: str, near: float, tmp_path: Path) -> None:
    """By llama.cpp's own arithmetic, which rounds what such a matrix is multiplied by, too."""
    made = Made(tmp_path, "llama", lora(r=32, lora_alpha=40))
    found = llama_cpp.logits(made.model, TOKENS, made.converted("--dtype", dtype))
    assert np.linalg.norm(found - made.wanted) < near * np.linalg.norm(made.wanted - made.alone)


def test_a_head_of_its_own(tmp_path: Path) -> None:
    made = Made(tmp_path, "llama", lora(target_modules=[*LINEAR, "lm_head"]))
    agree(llama_cpp.logits(made.model, TOKENS, made.converted()), made.wanted, made.near)


def test_an_embedding_and_a_head(tmp_path: Path) -> None:
    made = Made(tmp_path, "llama", lora(target_modules=["q_proj", "embed_tokens", "lm_head"]))
    adapter = made.converted()
    agree(llama_cpp.logits(made.model, TOKENS, adapter), made.wanted, made.near)
    agree(llama_cpp.logits(made.fused(adapter), TOKENS), made.wanted, made.near)


@pytest.mark.parametrize("architecture", ["qwen2moe", "qwen3moe", "mixtral"])
def test_experts(architecture: str, tmp_path: Path) -> None:
    """The parameters of all experts of a layer: gate and up are two tensors there, with one A."""
    parameters = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    made = Made(tmp_path, architecture, lora(architecture, target_parameters=parameters))
    adapter = made.converted()
    agree(llama_cpp.logits(made.model, TOKENS, adapter), made.wanted, made.near)
    agree(llama_cpp.logits(made.fused(adapter), TOKENS), made.wanted, made.near)


def test_of_an_adapter_in_parts_it_takes_the_first_for_the_whole(tmp_path: Path) -> None:
    """As `check` says; one file with all of them is what `convert` writes."""
    made = Made(tmp_path, "llama", lora())
    whole = gguf.GGUFReader(made.converted())
    writer = gguf.GGUFWriter(str(tmp_path / "parts.gguf"), "llama", split_max_tensors=10)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    for each in whole.tensors:
        writer.add_tensor(each.name, each.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    first = tmp_path / "parts-00001-of-00003.gguf"
    assert np.abs(llama_cpp.logits(made.model, TOKENS, first) - made.wanted).max() > 0.02
    line = ["convert", str(first), "--to", "gguf", "--base", str(tmp_path / "base"), "-o", str(tmp_path / "one.gguf")]
    assert run(line) == 0
    agree(llama_cpp.logits(made.model, TOKENS, tmp_path / "one.gguf"), made.wanted, made.near)


def test_an_adapter_of_another_architecture_is_refused_by_llama_cpp(tmp_path: Path) -> None:
    """As `check` says of an adapter that is not for the base."""
    made = Made(tmp_path, "llama", lora())
    other = gguf_models.write(tmp_path / "o.gguf", "qwen2", alter=lambda writer: writer.add_tokenizer_model("none"))
    assert llama_cpp.takes(made.model, made.converted())
    assert not llama_cpp.takes(other, tmp_path / "lora.gguf")


KINDS = {
    "PEFT: LoRA": lora(),
    "PEFT: rsLoRA, rank and alpha patterns": lora(**LORAS["patterns"], use_rslora=True),
    "PEFT: LoHa": peft.LoHaConfig(r=2, alpha=3, target_modules=LINEAR),
    "PEFT: LoKr": peft.LoKrConfig(r=2, alpha=3, target_modules=LINEAR),
    "PEFT: VeRA": peft.VeraConfig(r=4, target_modules=["q_proj"]),
    "PEFT: DoRA": lora(use_dora=True),
    "PEFT: full tensors (modules_to_save)": lora(modules_to_save=["lm_head"]),
}
"""Rows of the table of formats.md."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_peft(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What becomes GGUF is run, and what is refused is fused: llama.cpp runs that."""
    made = Made(tmp_path, "llama", KINDS[kind])
    if conversions.TABLE[kind]["gguf"] != conversions.NO:
        agree(llama_cpp.logits(made.model, TOKENS, made.converted()), made.wanted, made.near)
        return
    line = ["convert", str(tmp_path / "adapter"), "--to", "gguf", "--base", str(tmp_path / "base")]
    assert run([*line, "-o", str(tmp_path / "lora.gguf")]) == 4
    assert "fuse" in capsys.readouterr().err
    agree(llama_cpp.logits(made.fused(tmp_path / "adapter"), TOKENS), made.wanted, made.near)


def test_which_version_the_rules_are_of() -> None:
    assert f"llama-cpp-python {llama_cpp.llama_cpp.__version__}" in RUNTIMES["llama.cpp"].source
