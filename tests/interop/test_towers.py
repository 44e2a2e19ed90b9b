"""Models for text and images, and classes that are one tower of them: names in files begin with the tower, those in memory
need not.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as t
from safetensors.torch import load_file
from torch import Tensor, nn

from adapterops.cli.main import run

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = {
    **SIZES,
    "vocab_size": 64,
    "max_position_embeddings": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
VISION = {**SIZES, "image_size": 28, "patch_size": 14}
CLASSES = {
    "CLIP": {"whole": t.CLIPModel, "text": t.CLIPTextModel, "vision": t.CLIPVisionModel},
    "Siglip": {"whole": t.SiglipModel, "text": t.SiglipTextModel, "vision": t.SiglipVisionModel},
}
FAMILIES = pytest.mark.parametrize("family", CLASSES)
TOWERS = pytest.mark.parametrize("tower", ["text", "vision"])
Make = Any


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The folder of a model of a family; its towers have the numbers of the whole. What is in it must not be changed."""
    place = tmp_path_factory.mktemp("bases")

    def folder(family: str, part: str) -> Path:
        if not (place / family).exists():
            torch.manual_seed(0)
            config = {"CLIP": t.CLIPConfig, "Siglip": t.SiglipConfig}[family](text_config=TEXT, vision_config=VISION)
            model = CLASSES[family]["whole"](config)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.normal_(std=0.15)
            model.save_pretrained(place / family / "whole")
            for name in ("text", "vision"):
                load(family, name, place / family / "whole").save_pretrained(place / family / name)
        return place / family / part

    return folder


def load(family: str, part: str, folder: Path) -> Any:
    return CLASSES[family][part].from_pretrained(folder).eval()


def trained(family: str, part: str, base: Path, folder: Path, targets: list[str]) -> Path:
    torch.manual_seed(1)
    wrapped = peft.get_peft_model(load(family, part, base), peft.LoraConfig(r=3, lora_alpha=6, target_modules=targets))
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.3)
    wrapped.save_pretrained(folder)
    return folder


def unmerged(family: str, part: str, base: Path, adapter: Path) -> Any:
    """PEFT's model; nothing of the adapter is left over or missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FutureWarning)
        return peft.PeftModel.from_pretrained(load(family, part, base), adapter).eval()


@torch.no_grad()
def answer(model: Any) -> Tensor:
    image = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(2))
    given = {"input_ids": torch.arange(3, 15)[None], "pixel_values": image}
    name = type(model.get_base_model() if isinstance(model, peft.PeftModel) else model).__name__
    if "Text" in name or "Vision" in name:
        del given["pixel_values" if "Text" in name else "input_ids"]
        found: Tensor = model(**given).last_hidden_state
        return found
    both = model(**given)
    return torch.cat([both.text_embeds, both.image_embeds])


def assert_alike(found: Any, expected: Any) -> None:
    torch.testing.assert_close(answer(found), answer(expected), atol=1e-4, rtol=1e-4)


@TOWERS
@FAMILIES
def test_a_tower_goes_into_the_whole_model(family: str, tower: str, made: Make, tmp_path: Path) -> None:
    """PEFT's adapter says of which class it is, and its names are in both towers."""
    whole = made(family, "whole")
    adapter = trained(family, tower, made(family, tower), tmp_path / "a", ["q_proj", "v_proj", "fc1"])
    assert run(["fuse", str(whole), str(adapter), "-o", str(tmp_path / "out")]) == 0
    assert run(["verify", str(tmp_path / "out"), "--base", str(whole), "--adapter", str(adapter)]) == 0
    assert_alike(load(family, tower, tmp_path / "out"), unmerged(family, tower, made(family, tower), adapter))
    base, fused = (load_file(each / "model.safetensors") for each in (whole, tmp_path / "out"))
    assert all(torch.equal(base[name], fused[name]) for name in base if not name.startswith(f"{tower}_model"))
    assert run(["truncate", str(adapter), "--rank", "3", "--base", str(whole), "-o", str(tmp_path / "named")]) == 0
    assert_alike(unmerged(family, "whole", whole, tmp_path / "named"), load(family, "whole", tmp_path / "out"))


@FAMILIES
def test_a_tower_is_not_fused_into_the_other(
    family: str, made: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their names and shapes are the same, in files as in memory."""
    adapter = trained(family, "text", made(family, "text"), tmp_path / "a", ["q_proj"])
    load(family, "vision", made(family, "vision")).save_pretrained(tmp_path / "memory", save_original_format=False)
    projecting = tmp_path / "projecting"
    shutil.copytree(made(family, "vision"), projecting)
    config = json.loads((projecting / "config.json").read_text())
    config["architectures"] = [f"{family}VisionModelWithProjection"]
    (projecting / "config.json").write_text(json.dumps(config))
    for base in (made(family, "vision"), tmp_path / "memory", projecting):
        assert run(["fuse", str(base), str(adapter), "-o", str(tmp_path / "out")]) == 4
        assert f"is for {family}TextModel, and the base is a vision_model" in capsys.readouterr().err


@TOWERS
@FAMILIES
def test_what_is_extracted_of_a_tower_has_the_names_in_memory(
    family: str, tower: str, made: Make, tmp_path: Path
) -> None:
    base = made(family, tower)
    tuned = load(family, tower, base)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if name.endswith(("q_proj.weight", "out_proj.weight", "fc2.weight", "position_embedding.weight")):
                parameter.add_(torch.randn(len(parameter), 2) @ torch.randn(2, parameter.shape[1]) / 5)
    tuned.save_pretrained(tmp_path / "tuned")
    assert run(["extract", str(tmp_path / "tuned"), "--base", str(base), "--rank", "2", "-o", str(tmp_path / "a")]) == 0
    assert_alike(unmerged(family, tower, base, tmp_path / "a"), tuned)
    assert run(["fuse", str(base), str(tmp_path / "a"), "-o", str(tmp_path / "out")]) == 0
    assert_alike(load(family, tower, tmp_path / "out"), tuned)
    assert run(["verify", str(tmp_path / "out"), "--base", str(base), "--adapter", str(tmp_path / "a")]) == 0
