"""Adapters that leave something to the base are diagnosed with it; tests/fault/test_diagnosis.py has what is found of others."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from merged_models import MODULES, base, write
from safetensors.torch import save_file

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.operations.diagnosing import diagnose
from adapterops.verification.diagnosis.verdicts import HEALTHY, SICK


def test_factors_of_rows_are_found_in_the_weights_that_they_scale(tmp_path: Path) -> None:
    before = base(1, torch.float32)
    chance = torch.Generator().manual_seed(2)
    factors = {module: 1 + 0.1 * torch.randn(shape[0], 1, generator=chance) for module, shape in MODULES.items()}
    place = tmp_path / "ia3"
    place.mkdir()
    save_file(
        {f"base_model.model.{name}.ia3_l": each for name, each in factors.items()}, place / "adapter_model.safetensors"
    )
    targets = sorted({name.rpartition(".")[2] for name in MODULES})
    config = {"peft_type": "IA3", "target_modules": targets, "feedforward_modules": []}
    (place / "adapter_config.json").write_text(json.dumps(config))
    merged = dict(before)
    for name, each in factors.items():
        merged[f"{name}.weight"] = before[f"{name}.weight"] * each
    models = [open_checkpoint(write(tmp_path / name, each)) for name, each in (("m", merged), ("b", before))]
    assert diagnose(*models, {"a": open_adapter(place)}).code == HEALTHY
    assert diagnose(models[1], models[1], {"a": open_adapter(place)}).code == SICK
