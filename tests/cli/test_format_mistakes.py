"""Mistakes with formats: each ends in one message that says what to do next."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from corpus import config, factors, write_adapter
from safetensors.torch import save_file

from adapterops.cli.main import run

KOHYA = "lora_unet_double_blocks_0_img_attn_qkv"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pair = {f"{KOHYA}.lora_down.weight": torch.ones(2, 6), f"{KOHYA}.lora_up.weight": torch.ones(15, 2)}
    save_file(pair, "kohya.safetensors")
    image = "transformer.transformer_blocks.0.attn.to_q"
    save_file(
        {f"{image}.lora_A.weight": torch.ones(2, 6), f"{image}.lora_B.weight": torch.ones(5, 2)}, "image.safetensors"
    )
    save_file({"transformer_blocks.0.attn.to_q.weight": torch.ones(5, 6)}, "model.safetensors")
    Path("model").mkdir()
    save_file({"transformer_blocks.0.attn.to_q.weight": torch.ones(5, 6)}, "model/diffusion_pytorch_model.safetensors")
    Path("empty").mkdir()
    magnitude = {"base_model.model.layers.0.q_proj.lora_magnitude_vector": torch.ones(12)}
    write_adapter(Path("language"), fields=config(2, task_type="CAUSAL_LM"))
    write_adapter(Path("dora"), {**factors(["layers.0.q_proj"]), **magnitude}, config(2, use_dora=True))


MISTAKES = {
    "convert kohya.safetensors": (2, "one of comfy, diffusers, gguf, kohya"),
    "convert kohya.safetensors --to safetensors": (2, "did you mean peft? There are comfy, diffusers, gguf, kohya"),
    "convert kohya.safetensors --to peft -o out": (4, "--base"),
    "normalize kohya.safetensors -o out": (4, "--base"),
    "convert model.safetensors --to peft -o out": (3, "the denoiser of an image or video model, where an adapter is"),
    "convert model --to kohya -o out": (3, "is a model, where an adapter is expected"),
    "convert kohya.safetensors --to peft --base kohya.safetensors -o out": (
        3,
        "is an adapter, where a model is expected",
    ),
    "convert language --to kohya -o out": (4, "--to peft, mlx and gguf are for language models"),
    "convert language --to diffusers -o out": (4, "is of a language model (task_type CAUSAL_LM)"),
    "convert image.safetensors --to mlx -o out": (4, "of an image or video model, and MLX-LM runs models of language"),
    "convert image.safetensors --to gguf -o out": (
        4,
        "of an image or video model, and llama.cpp runs models of language",
    ),
    "convert image.safetensors --to gguf --base model -o out": (4, "--to kohya, comfy and diffusers are for image"),
    "convert kohya.safetensors --to mlx -o out": (4, "of an image or video model, and MLX-LM runs models of language"),
    "convert empty --to peft -o out": (3, "name the folder or the file of an adapter"),
    "check kohya.safetensors --for comfy": (2, "did you mean comfyui?"),
    "merge dora dora -o out": (4, "name the model with --base"),
    "merge dora dora --ties -o out": (4, "name the model with --base"),
    "compare dora dora": (4, "name the model with --base"),
    "card model.safetensors": (3, "name the folder"),
    "show kohya.safetensor": (5, "did you mean kohya.safetensors"),
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_says_what_to_do_next(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = MISTAKES[typed]
    assert run(typed.split()) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("error:") == 1
    assert not Path("out").exists()


def test_a_format_may_be_written_in_capitals_and_show_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["convert", "kohya.safetensors", "--to", "Kohya", "-o", "out"]) == 0
    assert run(["show", "out"]) == 0
    assert "LoRA in the format kohya on an unknown base" in capsys.readouterr().out
