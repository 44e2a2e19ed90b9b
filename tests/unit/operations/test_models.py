"""What is inside a checkpoint, by kind, shape and how it is stored."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_models import write_base

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.operations.models import inspect_model
from adapterops.operations.quantization import quantize


def test_tensors_are_counted_by_kind_and_bytes(tmp_path: Path) -> None:
    found = inspect_model(open_checkpoint(write_base(tmp_path / "base")))
    kinds = {(each.kind, each.shape): each for each in found.kinds}
    assert (found.model_type, found.files, found.tensors, found.quantized) == ("tiny", 4, 12, 0)
    assert kinds["q_proj", (12, 8)].count == 3
    assert kinds["q_proj", (12, 8)].bytes == 3 * 12 * 8 * 2
    assert found.parameters == sum(each.parameters for each in found.kinds) == 6 * 96 + 3 * 8 + 96 + 8 + 1
    assert found.as_json()["kinds"][0]["shape"] == list(found.kinds[0].shape)


def test_codes_count_as_what_they_stand_for(tmp_path: Path) -> None:
    base = open_checkpoint(write_base(tmp_path / "base", out=64, into=64))
    found = inspect_model(quantize(base, "nf4"))
    before = inspect_model(base)
    assert found.quantized == 6
    assert found.parameters == before.parameters
    assert found.bytes < before.bytes


def test_a_part_of_a_pipeline_is_called_by_its_class(tmp_path: Path) -> None:
    save_file({"down_blocks.0.x.weight": torch.zeros(2, 2)}, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    assert inspect_model(open_checkpoint(tmp_path)).what == "UNet2DConditionModel"
