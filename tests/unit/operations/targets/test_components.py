from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.errors import IncompatibleError, OptionError
from adapterops.operations.targets.components import in_components
from adapterops.updates.lowrank import LowRank


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """Two components that differ in shape, and each in what stands before its layers."""
    for name, width, prefix in (("text_encoder", 8, "text_model."), ("unet", 6, "")):
        (tmp_path / name).mkdir()
        tensors = {f"{prefix}layers.{number}.q.weight": torch.ones(width, width) for number in range(2)}
        save_file(tensors, tmp_path / name / "model.safetensors")
    (tmp_path / "model_index.json").write_text(json.dumps({"text_encoder": ["t", "T"], "unet": ["d", "U"]}))
    return tmp_path


def adapter(names: list[str], width: int) -> Adapter:
    return Adapter.of({name: LowRank(np.ones((width, 1)), np.ones((1, width))) for name in names})


@pytest.mark.parametrize(
    ("names", "width", "component", "expected"),
    [
        (["layers.0.q", "layers.1.q"], 6, None, ["unet.layers.0.q", "unet.layers.1.q"]),
        (["layers.0.q", "layers.1.q"], 8, None, ["text_encoder.text_model.layers.0.q", "text_encoder.text_model.layers.1.q"]),
        (["unet.layers.1.q"], 6, None, ["unet.layers.1.q"]),
        (["unet.layers.1.q"], 6, "text_encoder", ["unet.layers.1.q"]),
        (["text_encoder.layers.1.q"], 8, None, ["text_encoder.text_model.layers.1.q"]),
        (["text_encoder.text_model.layers.1.q"], 8, None, ["text_encoder.text_model.layers.1.q"]),
    ],
)  # fmt: skip
def test_every_module_gets_the_name_that_the_pipeline_has_for_it(
    pipeline: Path, names: list[str], width: int, component: str | None, expected: list[str]
) -> None:
    found = in_components(adapter(names, width), open_checkpoint(pipeline), component)
    assert list(found.layout) == expected
    assert found.updates[expected[0]].shape == (width, width)


def test_names_without_a_part_may_be_of_a_convolution_and_of_the_authors(tmp_path: Path) -> None:
    """Of the only component that has all of them: by its own names, or by those of another program, joined or in parts."""
    parts = {
        "text_encoder": {"text_model.encoder.layers.0.mlp.fc1.weight": (6, 6)},
        "transformer": {
            "patch_embed.proj.weight": (6, 2, 3, 1),
            **{f"transformer_blocks.0.attn.to_{each}.weight": (6, 6) for each in "qkv"},
            "transformer_blocks.0.ff.net.0.proj.weight": (6, 6),
        },
    }
    for part, shapes in parts.items():
        (tmp_path / part).mkdir()
        save_file({name: torch.ones(shape) for name, shape in shapes.items()}, tmp_path / part / "model.safetensors")
    (tmp_path / "model_index.json").write_text(json.dumps({part: ["d", "D"] for part in parts}))
    names = ["lycoris_double_blocks_0_img_mlp_0", "patch_embed.proj"]
    both = adapter(names, 6).updates | adapter(["double_blocks.0.img_attn.qkv"], 6).updates
    both["double_blocks.0.img_attn.qkv"] = LowRank(np.ones((18, 1)), np.ones((1, 6)))
    found = in_components(Adapter.of(both), open_checkpoint(tmp_path))
    assert {name.partition(".")[0] for name in found.layout} == {"transformer"}


def test_what_fits_nowhere_is_counted(pipeline: Path) -> None:
    with pytest.raises(IncompatibleError, match="none has all of its 2 modules: text_encoder 0, unet 1"):
        in_components(adapter(["layers.0.q", "layers.5.q"], 6), open_checkpoint(pipeline))


def test_a_single_model_has_no_components(pipeline: Path) -> None:
    base, given = open_checkpoint(pipeline / "unet"), adapter(["layers.0.q"], 6)
    assert in_components(given, base) is given
    with pytest.raises(OptionError, match="it is a single model"):
        in_components(given, base, "unet")
