"""`check` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from corpus import config, factors, write_adapter
from safetensors.torch import save_file

from adapterops.cli.main import run
from adapterops.formats.runtimes.table import RUNTIMES

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_adapter(tmp_path / "rs", fields=config(2, use_rslora=True))
    write_adapter(tmp_path / "plain", fields=config(2, lora_alpha=2))
    monkeypatch.chdir(tmp_path)


def test_a_table_of_all(capsys: Capture) -> None:
    assert run(["check", "rs"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name}: " in shown for name in RUNTIMES)
    assert "sglang: silently wrong" in shown
    assert "use_rslora" in shown


def test_what_is_wrong_ends_with_8_and_names_what_mends_it(capsys: Capture) -> None:
    assert run(["check", "rs", "--for", "sglang"]) == 8
    shown = capsys.readouterr()
    assert "(0.707 of the trained scale)" in shown.out
    assert "adapterops normalize rs -o normalized" in shown.out
    assert "SGLang does not apply it as it was trained: use_rslora" in shown.err
    assert "adapterops normalize rs -o normalized" in shown.err
    assert run(["normalize", "rs", "-o", "normalized"]) == 0
    assert run(["check", "normalized", "--for", "sglang"]) == 0
    assert run(["check", "plain", "--for", "vllm", "--max-rank", "1"]) == 8


@pytest.mark.parametrize("runtime", ["diffusers", "comfyui"])
def test_a_language_adapter_has_no_place_in_programs_for_images(runtime: str, capsys: Capture) -> None:
    write_adapter(Path("llama"), factors(["model.layers.0.q_proj"]), config(2, lora_alpha=2, task_type="CAUSAL_LM"))
    assert run(["check", "llama", "--for", runtime]) == 8
    assert "an adapter of a language model (task_type CAUSAL_LM): refused" in capsys.readouterr().err
    assert run(["check", "llama", "--for", "vllm"]) == 0


def test_trained_weights_in_other_files_are_told(capsys: Capture) -> None:
    (write_adapter(Path("seen"), fields=config(2, lora_alpha=2)) / "vit.safetensors").touch()
    assert run(["check", "seen", "--for", "vllm"]) == 9
    assert "other files that may hold trained weights (vit.safetensors)" in capsys.readouterr().err
    write_adapter(Path("part"), fields=config(2)).joinpath("adapter_model.safetensors").rename(
        "part/adapter_model-00001-of-00002.safetensors"
    )
    assert run(["check", "part", "--for", "vllm"]) == 3
    assert "is an adapter in 2 files" in capsys.readouterr().err


def test_what_is_not_established_ends_with_9(capsys: Capture) -> None:
    """Something that is wrong, and established, comes first."""
    write_adapter(Path("dotted"), fields=config(2, lora_alpha=2, target_modules=["layers.0.q_proj"]))
    assert run(["check", "dotted", "--for", "vllm", "--sarif", "check.sarif"]) == 9
    assert "whether vLLM applies it as it was trained cannot be judged: full names" in capsys.readouterr().err
    assert json.loads(Path("check.sarif").read_text())["runs"][0]["results"] == []
    assert run(["check", "dotted", "--for", "vllm", "--json"]) == 9
    (verdict,) = json.loads(capsys.readouterr().out)["error"]["details"]["runtimes"].values()
    assert (verdict["ok"], verdict["judged"]) == (True, False)
    write_adapter(Path("both"), fields=config(2, target_modules=["layers.0.q_proj"], use_rslora=True))
    assert run(["check", "both", "--for", "sglang"]) == 8


def test_programs_in_any_case() -> None:
    assert run(["check", "plain", "--for", "vLLM"]) == 0


def test_it_can_be_read_by_scripts(capsys: Capture) -> None:
    assert run(["check", "plain", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["kind"], found["ok"]) == (1, "check", True)
    assert found["runtimes"].keys() == RUNTIMES.keys()
    assert found["runtimes"]["vllm"]["ok"] is True
    assert found["runtimes"]["mlx"]["findings"][0]["severity"] == "refused"
    assert run(["check", "rs", "--for", "lorax", "--json"]) == 8
    error = json.loads(capsys.readouterr().out)["error"]
    (verdict,) = error["details"]["runtimes"].values()
    assert error["code"] == "E-RUNTIME"
    assert verdict["strength"]["layers.0.q_proj"] == pytest.approx(0.5**0.5)
    assert verdict["findings"][0]["factor"] == pytest.approx([0.5**0.5] * 2)


def test_a_base_says_what_depends_on_it(capsys: Capture) -> None:
    Path("base").mkdir()
    weights = {name: torch.ones(12, 8) for name in ("layers.0.q_proj.weight", "layers.0.v_proj.weight")}
    save_file(weights, "base/model.safetensors", {"format": "pt"})
    Path("base/config.json").write_text('{"model_type": "llama"}')
    write_adapter(Path("two"), factors(["layers.0.q_proj", "layers.0.v_proj"]), config(2, lora_alpha=2))
    assert run(["check", "two", "--for", "ollama"]) == 9
    assert "cannot be judged: the architecture of the base: not established" in capsys.readouterr().err
    assert run(["check", "two", "--for", "ollama", "--base", "base"]) == 8
    assert run(["check", "two", "--for", "vllm", "--base", "base"]) == 0
    assert run(["check", "plain", "--for", "vllm", "--base", "base"]) == 8
    assert "layers.1.q_proj" in capsys.readouterr().err


def test_what_cannot_be_read_is_said_as_elsewhere(capsys: Capture) -> None:
    write_adapter(Path("alora"), fields=config(2, alora_invocation_tokens=[1]))
    assert run(["check", "alora", "--for", "vllm"]) == 4
    assert run(["check", "nothing"]) == 5
    assert run(["check", "rs", "--for", "nobody"]) == 2


def test_a_fact_is_not_said_twice(capsys: Capture) -> None:
    tensors = factors() | {
        name.replace("lora_B.weight", "lora_magnitude_vector"): torch.ones(len(tensor))
        for name, tensor in factors().items()
        if "lora_B" in name
    }
    write_adapter(Path("dora"), tensors, config(2, use_dora=True))
    assert run(["check", "dora", "--for", "vllm"]) == 8
    assert "refused: DoRA: use_dora is an error" in capsys.readouterr().out


def test_what_mends_it_can_be_pasted(capsys: Capture) -> None:
    write_adapter(Path("my $style"), fields=config(2, use_rslora=True))
    assert run(["check", "my $style", "--for", "sglang"]) == 8
    assert capsys.readouterr().err.rstrip().endswith("adapterops normalize 'my $style' -o normalized")
