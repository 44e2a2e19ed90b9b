"""Models whose config chooses a backbone: what is extracted has the names that PEFT finds, whichever it is."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as t
from turns import in_turn

from adapterops.cli.main import run

STAGES = ["stage1", "stage2", "stage3", "stage4"]
SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1] * 4, "num_heads": [2] * 4, "window_size": 1}
VIT = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 16}
BACKBONES: dict[str, dict[str, Any]] = {
    "swin": SWIN,
    "swinv2": SWIN,
    "maskformer-swin": SWIN,
    "beit": {**VIT, "image_size": 32, "patch_size": 4},
    "dinov2": {**VIT, "image_size": 32, "patch_size": 4},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8] * 4, "depths": [1] * 4},
}
LAYERS = {"encoder_layers": 1, "encoder_attention_heads": 2}
DETR = {
    **LAYERS,
    "d_model": 32,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "num_queries": 4,
}
MASKS = {
    "hidden_dim": 32,
    "encoder_feedforward_dim": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "dim_feedforward": 16,
    "num_queries": 4,
}
DEPTH = {"neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8}
MODELS: dict[str, dict[str, Any]] = {
    "MaskFormerModel": {"fpn_feature_size": 32, "mask_feature_size": 32, "decoder_config": t.DetrConfig(**DETR)},
    "Mask2FormerModel": {"feature_size": 32, "mask_feature_size": 32, **MASKS},
    "DPTForDepthEstimation": {**DEPTH, "hidden_size": 16, "reassemble_factors": [4, 2, 1, 0.5]},
    "DetrForObjectDetection": DETR,
}


def made(name: str, backbone: str) -> Any:
    inner = t.AutoConfig.for_model(backbone, out_features=STAGES, **BACKBONES[backbone])
    cls = getattr(t, name)
    torch.manual_seed(0)
    return cls(cls.config_class(backbone_config=inner, **MODELS[name])).eval()


def change(model: Any) -> set[str]:
    """Add something of rank 1 to every Linear layer but heads: their names."""
    generator = torch.Generator().manual_seed(1)
    found = {name for name, each in model.named_modules() if isinstance(each, torch.nn.Linear)}
    for name in found:
        weight = model.get_submodule(name).weight
        with torch.no_grad():
            left, right = (
                torch.randn(len(weight), 1, generator=generator),
                torch.randn(1, weight.shape[1], generator=generator),
            )
            weight.add_(0.05 * left @ right)
    return found


def extracted(place: Path, cls: Any) -> tuple[Any, list[str]]:
    """The base with the extracted adapter, merged by PEFT, and what PEFT says that it did not find."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = peft.PeftModel.from_pretrained(cls.from_pretrained(place / "base"), place / "out")
    said = [str(each.message) for each in caught]
    return loaded.merge_and_unload(), [each for each in said if "missing" in each or "unexpected" in each.lower()]


def check(name: str, backbone: str, stated: str, place: Path) -> None:
    """Extract a change of every Linear layer, of a model whose config states this backbone; PEFT makes the changed model."""
    model = made(name, backbone)
    model.save_pretrained(place / "base")
    names = change(model)
    model.save_pretrained(place / "tuned")
    for path in (place / "base/config.json", place / "tuned/config.json"):
        config = json.loads(path.read_text())
        config["backbone_config"]["model_type"] = stated
        path.write_text(json.dumps(config))
    assert run(["extract", "tuned", "--base", "base", "--rank", "1", "-o", "out"]) == 0
    loaded, said = extracted(place, type(model))
    assert not said
    for each in names:
        weight, expected = loaded.get_submodule(each).weight, model.get_submodule(each).weight
        torch.testing.assert_close(weight, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("backbone", "name"), in_turn(BACKBONES, MODELS, times=2))
def test_what_is_extracted_is_found_by_peft(
    name: str, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stated = "maskformer-swin" if (name, backbone) == ("MaskFormerModel", "swin") else backbone
    check(name, backbone, stated, tmp_path)


def test_what_peft_looks_for_elsewhere_is_a_full_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MaskFormer's published configs name `swin`, whose layers are called otherwise than those that it makes."""
    monkeypatch.chdir(tmp_path)
    check("MaskFormerModel", "swin", "swin", tmp_path)
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert any(each.endswith("attention.self.query") for each in config["modules_to_save"])
