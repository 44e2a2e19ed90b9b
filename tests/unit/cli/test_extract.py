"""`extract`: which of two models is the base, and the difference as an adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.cli.main import run


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    assert run(["fuse", "base", "a", "--dtype", "float32", "-o", "fused"]) == 0


@pytest.mark.parametrize("how", [["fused", "--base", "base"], ["fused", "base"]])
def test_the_adapter_comes_back(how: list[str]) -> None:
    assert run(["extract", *how, "--rank", "2", "-o", "out"]) == 0
    a, out = ao.open_adapter("a"), ao.open_adapter("out")
    assert {each.rank for each in out.layout.values()} == {2}
    for module, update in out.updates.items():
        np.testing.assert_allclose(update.dense(), a.updates[module].dense(), atol=1e-4)


@pytest.mark.parametrize("how", [["fused"], ["base", "fused"], ["fused", "base", "--base", "base"]])
def test_a_base_is_not_guessed(how: list[str]) -> None:
    assert run(["extract", *how, "-o", "out"]) == 2
    assert not Path("out").exists()


def test_a_gguf_file_is_written_in_the_names_of_the_model() -> None:
    layers = [
        f"model.layers.{number}.{name}.weight" for number in (0, 1) for name in ("self_attn.q_proj", "mlp.up_proj")
    ]
    for seed, folder in enumerate(("base", "fused")):
        random = np.random.default_rng(seed)
        tensors = {name: random.standard_normal((8, 8)).astype("float32") for name in layers}
        shutil.rmtree(folder)
        Path(folder).mkdir()
        save_file(tensors, f"{folder}/model.safetensors")
        stated = {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "num_attention_heads": 2,
            "hidden_size": 8,
        }
        Path(folder, "config.json").write_text(json.dumps(stated))
    assert run(["extract", "fused", "--base", "base", "--rank", "8", "--format", "gguf", "-o", "out"]) == 0
    assert run(["fuse", "base", "out", "--dtype", "float32", "-o", "again"]) == 0
    there, again = (load_file(f"{folder}/model.safetensors") for folder in ("fused", "again"))
    for name, each in there.items():
        np.testing.assert_allclose(again[name], each, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("form", ["kohya", "comfy", "diffusers"])
@pytest.mark.parametrize("name", ["LlamaModel", "GPT2LMHeadModel"])
def test_no_format_of_image_models_is_written_of_a_model_of_transformers(
    form: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("base", "fused"):
        stated = json.loads(Path(folder, "config.json").read_text())
        stated |= {"architectures": [name], "transformers_version": "5.24.0"}
        Path(folder, "config.json").write_text(json.dumps(stated))
    assert run(["extract", "fused", "--base", "base", "--rank", "2", "--format", form, "-o", "out"]) == 4
    said = capsys.readouterr().err
    assert "this format is of image and video models" in said
