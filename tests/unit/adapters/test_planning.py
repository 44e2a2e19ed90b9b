"""What saving will write, from headers alone."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from corpus import tree
from peft_folders import adapter
from peft_models import base, make
from safetensors.torch import save_file
from strategies import low_rank
from torch import Generator, randn

from adapterops import Adapter, Execution, extract, merge, open_adapter, open_checkpoint, save_adapter, truncate
from adapterops.adapters import planning
from adapterops.adapters.planning import plan_adapter, working_memory
from adapterops.arrays import parallel
from adapterops.errors import OptionError, ResourceError
from adapterops.linalg import factor
from adapterops.methods import entries
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


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("what", ["extract", "merge"])
def test_a_cut_to_a_rank_holds_the_entries_of_a_module_as_often_as_is_stated(
    what: str, transposed: bool, tmp_path: Path
) -> None:
    """Also where the rank is all that there is, so that the error is measured and no difference of squares."""
    shape = (512, 2048) if transposed else (2048, 512)
    model = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"} if transposed else {"model_type": "llama"}
    name = "transformer.h.0.mlp.c_fc.weight" if transposed else "model.layers.0.mlp.up_proj.weight"
    a, b = (
        randn(shape[0], 4, generator=Generator().manual_seed(0)),
        randn(4, shape[1], generator=Generator().manual_seed(0)),
    )
    for folder, weight in (("base", 0 * (a @ b)), ("tuned", a @ b)):
        (tmp_path / folder).mkdir()
        save_file({name: weight}, tmp_path / folder / "model.safetensors", {"format": "pt"})
        (tmp_path / folder / "config.json").write_text(json.dumps(model))
    found = extract(open_checkpoint(tmp_path / "tuned"), open_checkpoint(tmp_path / "base"), 4)
    if what == "merge":
        save_adapter(found, tmp_path / "a")
        found = truncate(merge([open_adapter(tmp_path / "a")] * 2, "ties", density=1.0), 4)

    tracemalloc.start()
    try:
        save_adapter(found, tmp_path / "out", how=Execution(1))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.2 * working_memory(found, None, 1) < peak <= working_memory(found, None, 1)


def test_of_large_merges_all_workers_have_one_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And write the same bytes, whoever multiplies which piece of it."""
    size, modules = 600, [f"layers.{index}.q_proj" for index in range(4)]
    both = [Adapter.of({name: low_rank(seed, size, size, 3) for seed, name in enumerate(modules, k)}) for k in (0, 9)]
    found = truncate(merge(both, "ties", scale="sum"), 4)
    small = [working_memory(found, None, workers) for workers in (1, 2)]
    assert small[1] == 2 * small[0]
    for module in (planning, parallel):
        monkeypatch.setattr(module, "LARGE", 1000)
    monkeypatch.setattr(entries, "TILE", 40_000)
    monkeypatch.setattr(factor, "PIECE", 40_000)
    one, two, three = (working_memory(found, None, workers) for workers in (1, 2, 3))
    assert one < small[0]
    assert three - two == two - one == one - 8 * size**2, "numbers of float64"
    for workers in (1, 3):
        tracemalloc.start()
        try:
            save_adapter(found, tmp_path / str(workers), how=Execution(workers))
            assert tracemalloc.get_traced_memory()[1] <= (one, three)[workers > 1]
        finally:
            tracemalloc.stop()
    assert tree(tmp_path / "1") == tree(tmp_path / "3")


def test_all_singular_values_take_more_than_the_first(tmp_path: Path) -> None:
    merged = merge([open_adapter(adapter(tmp_path, {}))] * 2, "ties")
    few, all_, energy = truncate(merged, 1), truncate(merged, 1, exact=True), truncate(merged, energy=0.9)
    assert working_memory(few, None, 1) < working_memory(all_, None, 1) <= working_memory(energy, None, 1)
