"""A quantized model and its original, where an adapter reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from codes import normal
from corpus import config, write_adapter
from safetensors.torch import save_file

import adapterops as ao
from adapterops.engine.execution import Execution
from adapterops.errors import IncompatibleError
from adapterops.operations.comparing.bases import bases

MODULE, SIZE, RANK = "model.layers.0.mlp.up_proj", 128, 4


def test_how_far_codes_are_from_their_original_where_the_adapter_reads(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    tensor = (0.02 * normal(1, SIZE, SIZE)).bfloat16()
    save_file({f"{MODULE}.weight": tensor}, tmp_path / "base/model.safetensors", {"format": "pt"})
    (tmp_path / "base/config.json").write_text(json.dumps({"model_type": "llama", "dtype": "bfloat16"}))
    base = ao.open_checkpoint(tmp_path / "base")
    ao.save_checkpoint(ao.quantize(base, "nf4"), tmp_path / "nf4", how=Execution(sync=False))
    coded = ao.open_checkpoint(tmp_path / "nf4")
    B, A = 0.0005 * normal(2, SIZE, RANK), normal(3, RANK, SIZE)
    tensors = {f"base_model.model.{MODULE}.lora_{role}.weight": each for role, each in (("A", A), ("B", B))}
    adapter = ao.open_adapter(write_adapter(tmp_path / "a", tensors, config(RANK, lora_alpha=RANK)))
    W, V = (each.tensors[f"{MODULE}.weight"].double() for each in (base, ao.dequantize(coded)))
    Q = torch.linalg.qr(A.T.double())[0]
    expected = float(((V - W) @ Q).norm() / (B.double() @ A.double()).norm())
    found = bases(adapter, coded, base)
    assert found.modules[MODULE].of_update == pytest.approx(expected, rel=1e-3)
    assert found.total.of_weights == pytest.approx(float((V - W).norm() / W.norm()), rel=1e-3)
    fused = ao.fuse(ao.viewed(coded, base), adapter)
    saved = ao.save_checkpoint(fused, tmp_path / "out", how=Execution(sync=False), accept_loss=True)
    assert saved.total.original == pytest.approx(expected, rel=1e-3)  # one tile is all of it
    assert saved.total.as_json()["original"] == saved.total.original
    with pytest.raises(IncompatibleError, match="none of the weights"):
        bases(adapter, base, base)
