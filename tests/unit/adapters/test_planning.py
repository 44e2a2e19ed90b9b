"""What saving will write, from headers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from peft_folders import adapter
from peft_models import base, make

from adapterops import Execution, merge, open_adapter, open_checkpoint, save_adapter
from adapterops.adapters.planning import plan_adapter, working_memory
from adapterops.errors import OptionError, ResourceError
from adapterops.operations.targets.based import on_base
from adapterops.operations.uniting import named_alike


def test_every_tensor_is_planned_in_its_dtype(tmp_path: Path) -> None:
    opened = open_adapter(adapter(tmp_path, {}))
    plan = plan_adapter(opened, dtype="F16")
    assert plan.bytes == 2 * (2 * 4 + 6 * 2)
    assert plan.hash != plan_adapter(opened, dtype="F32").hash


def test_each_worker_takes_memory(tmp_path: Path) -> None:
    both = [open_adapter(adapter(tmp_path, {}))] * 2
    for method in ("linear", "ties"):
        merged = merge(both, method)
        assert working_memory(merged, None, 2) == 2 * working_memory(merged, None, 1) > 0


def test_what_cannot_be_done(tmp_path: Path) -> None:
    opened = open_adapter(adapter(tmp_path, {}))
    with pytest.raises(OptionError, match="int8"):
        plan_adapter(opened, dtype="int8")
    with pytest.raises(OptionError, match="no format 'other'"):
        plan_adapter(opened, format="other")
    with pytest.raises(ResourceError):
        plan_adapter(opened, how=Execution(memory=1))


@pytest.mark.parametrize("config", [{"use_dora": True}, {"lora_bias": True}, {"bias": "all"}, {}])
def test_every_kind_is_planned_before_it_is_saved(config: dict[str, Any], tmp_path: Path) -> None:
    opened = open_adapter(make(tmp_path / "a", 1, **config))
    plan = plan_adapter(opened)
    assert plan.memory > 0
    save_adapter(opened, tmp_path / "out", how=Execution(memory=1 << 30))
    assert (tmp_path / "out/adapter_model.safetensors").exists()


def test_what_is_computed_from_a_base_holds_all_of_a_weight(tmp_path: Path) -> None:
    """In float64, of each adapter of a merge, with what that becomes."""
    base().save_pretrained(tmp_path / "base")
    model = open_checkpoint(tmp_path / "base")
    for dora in (False, True):
        config = {"use_dora": dora, "r": 2, "target_modules": ["down_proj"]}
        both = [open_adapter(make(tmp_path / f"{seed} {dora}", seed, **config)) for seed in (1, 2)]
        merged = merge(named_alike(both, model), "linear")
        assert (working_memory(merged, None, 1) >= 2 * 32 * 64 * 112) == dora
    started = open_adapter(make(tmp_path / "pissa", 1, r=2, target_modules=["down_proj"], init_lora_weights="pissa"))
    assert working_memory(on_base(started, model), None, 1) >= 32 * 64 * 112
