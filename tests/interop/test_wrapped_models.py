"""Models whose files have what training put around them in the names of their tensors: no class of transformers loads these."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import TOKENS, adapted, load, qwen
from transformers import ColPaliConfig, ColPaliForRetrieval, GemmaConfig, PaliGemmaConfig, SiglipVisionConfig

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]

WRAPPED: dict[str, Callable[[str], str]] = {
    "_orig_mod": lambda name: f"_orig_mod.{name}",
    "module": lambda name: f"module.{name}",
    "base_model": lambda name: f"base_model.model.{name}",
    "_fsdp_wrapped_module": lambda name: re.sub(r"\.(\d+)\.", r".\1._fsdp_wrapped_module.", name),
    "model.model": lambda name: f"model.{name}",
}


def renamed(folder: Path, to: Path, wrap: Callable[[str], str]) -> Path:
    shutil.copytree(folder, to)
    for path in to.glob("*.safetensors"):
        save_file({wrap(name): each for name, each in load_file(path).items()}, path, {"format": "pt"})
    for path in to.glob("*.index.json"):
        path.write_text(re.sub(r'"([^"]+)": "model-', lambda match: f'"{wrap(match[1])}": "model-', path.read_text()))
    return to


@pytest.mark.parametrize("kind", WRAPPED)
@torch.no_grad()
def test_what_is_written_has_the_names_of_the_model(kind: str, tmp_path: Path, capsys: Capture) -> None:
    base = qwen(tmp_path / "base")
    adapter = adapted(base, tmp_path / "a", target_modules=["q_proj", "down_proj"])
    expected = peft.PeftModel.from_pretrained(load(base), adapter).eval()(input_ids=TOKENS).logits
    assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "tuned")]) == 0
    capsys.readouterr()
    wrapped = renamed(base, tmp_path / "wrapped", WRAPPED[kind])
    tuned = renamed(tmp_path / "tuned", tmp_path / "wrapped-tuned", WRAPPED[kind])

    def made(*command: object) -> Path:
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        assert run([*map(str, command), "-o", str(out)]) == 0
        told = capsys.readouterr().err
        assert kind in told
        assert "which transformers does not load" in told
        return out

    fused = made("fuse", wrapped, adapter)
    torch.testing.assert_close(load(fused).eval()(input_ids=TOKENS).logits, expected, rtol=1e-4, atol=1e-5)
    assert run(["verify", str(fused), "--base", str(wrapped), "--adapter", str(adapter)]) == 0
    capsys.readouterr()
    for model, before in ((tuned, base), (tmp_path / "tuned", wrapped), (tuned, wrapped)):
        found = made("extract", model, "--base", before, "--rank", "8")
        loaded = peft.PeftModel.from_pretrained(load(base), found).eval()
        torch.testing.assert_close(loaded(input_ids=TOKENS).logits, expected, rtol=1e-3, atol=1e-4)
    mean = made("merge", adapter, adapter, "--linear", "-w", "0.5", "-w", "0.5", "--base", wrapped)
    loaded = peft.PeftModel.from_pretrained(load(base), mean).eval()
    torch.testing.assert_close(loaded(input_ids=TOKENS).logits, expected, rtol=1e-4, atol=1e-5)


def test_one_tensor_inside_and_outside_of_a_wrapper_is_refused(tmp_path: Path, capsys: Capture) -> None:
    base = qwen(tmp_path / "base")
    path = next(path for path in base.glob("*.safetensors") if "model.norm.weight" in load_file(path))
    tensors = load_file(path)
    shutil.copy(base / "config.json", tmp_path)
    save_file(
        {**tensors, "model._orig_mod.norm.weight": tensors["model.norm.weight"] + 1}, tmp_path / "lone.safetensors"
    )
    assert run(["show", str(tmp_path / "lone.safetensors")]) == 3
    assert "are one tensor of the model" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_a_retriever_around_a_model_that_sees(tmp_path: Path) -> None:
    """The files of ColPali call the language model inside as those of PaliGemma do, the model in memory otherwise."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = GemmaConfig(vocab_size=64, num_key_value_heads=1, head_dim=8, **sizes)
    sight = SiglipVisionConfig(image_size=28, patch_size=14, projection_dim=16, **sizes)
    inner = PaliGemmaConfig(
        text_config=text, vision_config=sight, projection_dim=16, hidden_size=16, image_token_index=63
    )
    torch.manual_seed(0)
    model = ColPaliForRetrieval(ColPaliConfig(vlm_config=inner, embedding_dim=8)).eval()
    model.save_pretrained(tmp_path / "base")
    fields = peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    live = peft.get_peft_model(model, fields).eval()
    live.save_pretrained(tmp_path / "a")
    expected = live(input_ids=TOKENS).embeddings
    base, adapter, out = (str(tmp_path / name) for name in ("base", "a", "out"))
    assert run(["fuse", base, adapter, "-o", out]) == 0
    assert run(["verify", out, "--base", base, "--adapter", adapter]) == 0
    found = ColPaliForRetrieval.from_pretrained(out).eval()(input_ids=TOKENS).embeddings
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
