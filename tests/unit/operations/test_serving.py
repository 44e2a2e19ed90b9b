"""Verdicts: how bad, by which factor, and which command mends it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import gguf_files
import pytest
import torch
from corpus import MODULES, PREFIX, config, factors, write_adapter
from safetensors.torch import save_file

import adapterops as ao
from adapterops.formats.runtimes.rules import FINE, REFUSED, SEVERITIES, UNKNOWN, WRONG
from adapterops.formats.runtimes.table import RUNTIMES
from adapterops.operations.serving import Judgement, Verdict

Q, V = "layers.0.q_proj", "layers.0.v_proj"


def finding(verdict: Verdict, fact: str) -> Judgement:
    (found,) = (each for each in verdict.findings if each.fact.name == fact)
    return found


def scaled(folder: Path) -> Path:
    """rsLoRA with a rank and an alpha of its own for each module: scales of 4 / √8 and 16 / √16."""
    tensors = {
        **factors([Q], rank=8, out=32, into=32),
        **factors([V], rank=16, out=32, into=32),
    }
    fields = config(16, use_rslora=True, lora_alpha=16.0, rank_pattern={"q_proj": 8}, alpha_pattern={"q_proj": 4})
    return write_adapter(folder, tensors, fields)


APPLIED = {
    "vllm": {Q: 16 / math.sqrt(16)},
    "sglang": {Q: 16 / 8, V: 16 / 16},
    "llama.cpp": {Q: 16 / 8, V: 16 / 16},
    "ollama": {Q: 16 / 8, V: 16 / 16},
    "tensorrt-llm": {Q: 16 / math.sqrt(8)},
    "lorax": {Q: 16 / 16, V: 16 / 16},
    "diffusers": {Q: 1.0, V: 1.0},
    "comfyui": {Q: 1.0, V: 1.0},
    "mlx": {},
}
"""Runtime → the scale that it applies, where that is not the one that was trained."""


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_wrong_scale_is_wrong_by_a_factor(name: str, tmp_path: Path) -> None:
    verdict = ao.check(scaled(tmp_path / "a"), [name])[name]
    trained = {Q: 4 / math.sqrt(8), V: 16 / math.sqrt(16)}
    assert verdict.strength == pytest.approx(
        {module: scale / trained[module] for module, scale in APPLIED[name].items()}
    )
    assert not verdict.ok
    assert verdict.severity == (REFUSED if name in ("ollama", "mlx") else WRONG)
    severities = [SEVERITIES.index(each.rule.severity) for each in verdict.findings]
    assert severities == sorted(severities)


def test_each_finding_has_the_factor_of_its_own_fact(tmp_path: Path) -> None:
    verdict = ao.check(scaled(tmp_path / "a"))["lorax"]
    assert finding(verdict, "rslora").factor == pytest.approx((1 / math.sqrt(16), 1 / math.sqrt(8)))
    assert finding(verdict, "alpha_pattern").factor == pytest.approx((4, 4))
    assert finding(verdict, "rank_pattern").factor == pytest.approx((math.sqrt(8 / 16), math.sqrt(8 / 16)))
    assert finding(verdict, "format").factor is None


def test_normalized_nothing_is_wrong_any_more(tmp_path: Path) -> None:
    ao.save_adapter(ao.normalize(ao.open_adapter(scaled(tmp_path / "a"))), tmp_path / "normalized")
    for name, verdict in ao.check(tmp_path / "normalized").items():
        assert not verdict.strength
        if name in ("mlx", "diffusers", "comfyui"):
            assert finding(verdict, "format").rule.severity in (REFUSED, WRONG)
        elif name == "ollama":
            assert verdict.severity == UNKNOWN  # what it does depends on the base
        else:
            assert verdict.severity == FINE, name


def test_the_rank_is_compared_with_the_limit(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", factors(rank=20, out=32, into=32), config(20, lora_alpha=20))
    rank = finding(ao.check(folder)["vllm"], "rank")
    assert rank.rule.severity == REFUSED
    assert rank.remedy == f"adapterops truncate {folder} --rank 16 -o truncated"
    assert ao.check(folder, max_rank=32)["vllm"].ok
    assert ao.check(folder)["sglang"].ok
    assert not ao.check(folder, max_rank=8)["sglang"].ok
    assert ao.check(folder)["lorax"].ok


def test_a_remedy_that_cannot_help_is_not_named(tmp_path: Path) -> None:
    tensors = {**factors(), f"{PREFIX}norm.weight": torch.ones(8)}
    folder = write_adapter(tmp_path / "a", tensors, config(2, use_rslora=True, modules_to_save=["norm"]))
    found = ao.check(folder)
    assert finding(found["sglang"], "rslora").remedy == f"adapterops fuse BASE {folder} -o fused"
    assert finding(found["mlx"], "format").remedy == f"adapterops fuse BASE {folder} -o fused"
    lengths = {f"{PREFIX}{module}.lora_magnitude_vector": torch.ones(12) for module in MODULES}
    dora = write_adapter(tmp_path / "dora", {**factors(), **lengths}, config(2, use_dora=True))
    for verdict in ao.check(dora).values():
        assert not any("normalize" in each.remedy or "convert" in each.remedy for each in verdict.findings)


def test_of_an_adapter_for_other_models_nothing_else_is_said(tmp_path: Path) -> None:
    language = write_adapter(tmp_path / "a", fields=config(2, task_type="CAUSAL_LM", use_rslora=True))
    image = write_adapter(tmp_path / "b", factors(["down_blocks.0.attentions.0.to_q"]), config(2, use_rslora=True))
    for name, (language_alone, image_alone) in {"vllm": (False, True), "comfyui": (True, False)}.items():
        for folder, fact, alone in ((language, "language", language_alone), (image, "images", image_alone)):
            verdict = ao.check(folder)[name]
            assert ([each.fact.name for each in verdict.findings] == [fact]) == alone
            assert not alone or verdict.severity == REFUSED
            assert not alone or not verdict.strength


def test_of_a_refused_format_scales_are_no_matter(tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "a.gguf")
    found = ao.check(path)
    assert {name for name, verdict in found.items() if verdict.ok} == {"llama.cpp", "ollama"}
    vllm = found["vllm"]
    assert [each.fact.name for each in vllm.findings] == ["format", "rank"]
    assert vllm.findings[0].remedy == f"adapterops convert {path} --base BASE --to peft -o converted"
    assert not vllm.strength


def test_loha_with_patterns_has_an_alpha_of_another_name(tmp_path: Path) -> None:
    tensors = {
        f"{PREFIX}{module}.hada_w{number}_{side}": torch.randn((12, 2) if side == "a" else (2, 8))
        for module in (Q, V)
        for number in (1, 2)
        for side in "ab"
    }
    fields = {
        "peft_type": "LOHA",
        "r": 2,
        "alpha": 8,
        "alpha_pattern": {"q_proj": 4},
        "target_modules": ["q_proj", "v_proj"],
    }
    verdict = ao.check(write_adapter(tmp_path / "a", tensors, fields), ["vllm"])["vllm"]
    assert verdict.severity == REFUSED
    assert finding(verdict, "loha").fact.modules == (Q, V)
    assert finding(verdict, "alpha_pattern").factor == pytest.approx((2, 2))


def test_adapters_of_the_first_mlx_vlm_are_not_what_mlx_lm_loads(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    save_file(
        {"layers.0.q_proj.A": torch.randn(8, 2), "layers.0.q_proj.B": torch.randn(2, 12)},
        folder / "adapters.safetensors",
    )
    (folder / "adapter_config.json").write_text(json.dumps({"rank": 2, "alpha": 0.1, "dropout": 0.0}))
    found = ao.check(folder)
    assert finding(found["mlx"], "first_mlx_vlm").rule.severity == REFUSED
    assert finding(found["ollama"], "mlx_scale").factor == pytest.approx((10, 10))
    ao.save_adapter(ao.open_adapter(folder), tmp_path / "new", format="mlx")
    assert ao.check(tmp_path / "new", ["mlx"])["mlx"].severity == FINE
