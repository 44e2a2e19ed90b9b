"""Adapters by the names of a base: the update of every tensor stays what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import adapterops as ao
from adapterops.adapters.adapter import Adapter
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.operations.uniting import named_as, united
from adapterops.updates.dense import Dense
from adapterops.updates.lowrank import LowRank

ATTENTION = "model.layers.0.self_attn"
HEIGHTS = {"q_proj": 8, "k_proj": 2, "v_proj": 2}


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def update(out: int, rank: int = 2) -> LowRank:
    return LowRank(random(out, rank), random(rank, 6), scale=0.5)


def base(folder: Path, **shapes: tuple[int, ...]) -> ao.Checkpoint:
    folder.mkdir()
    tensors = {f"{ATTENTION}.{name}.weight": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text('{"model_type": "phi3"}')
    return ao.open_checkpoint(folder)


def in_parts(prefix: str = "") -> Adapter:
    return Adapter.of({f"{prefix}layers.0.self_attn.{name}": update(height) for name, height in HEIGHTS.items()})


@pytest.mark.parametrize("dense", [False, True])
def test_parts_become_the_rows_of_one_matrix(dense: bool, tmp_path: Path) -> None:
    adapter = in_parts()
    if dense:
        adapter = Adapter.of({module: Dense(each.dense()) for module, each in adapter.updates.items()})
    found = named_as(adapter, base(tmp_path / "base", qkv_proj=(12, 6)))
    rows = np.concatenate([adapter.updates[f"layers.0.self_attn.{name}"].dense() for name in HEIGHTS])
    assert list(found.layout) == [f"{ATTENTION}.qkv_proj"]
    assert found.layout[f"{ATTENTION}.qkv_proj"].shape == (12, 6)
    np.testing.assert_allclose(found.updates[f"{ATTENTION}.qkv_proj"].dense(), rows)
    if not dense:
        assert found.updates[f"{ATTENTION}.qkv_proj"].lowrank().rank == 6


def test_one_matrix_becomes_its_parts(tmp_path: Path) -> None:
    whole = update(12)
    parts = {name: (height, 6) for name, height in HEIGHTS.items()}
    found = named_as(Adapter.of({"layers.0.self_attn.qkv_proj": whole}), base(tmp_path / "base", **parts))
    together = [found.updates[f"{ATTENTION}.{name}"].dense() for name in HEIGHTS]
    np.testing.assert_allclose(np.concatenate(together), whole.dense())


def test_adapters_that_agree_stay_as_they_are(tmp_path: Path) -> None:
    model = base(tmp_path / "base", qkv_proj=(12, 6))
    alike = [in_parts(), in_parts()]
    found = united(alike, model)
    assert [(each.layout, each.updates) for each in found] == [(each.layout, each.updates) for each in alike]
    assert all(each.config.settled for each in found)
    renamed = united([in_parts(), in_parts("model.")], model)
    assert [list(each.layout) for each in renamed] == 2 * [[f"{ATTENTION}.qkv_proj"]]


def test_what_is_not_in_the_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match="o_proj"):
        named_as(Adapter.of({"layers.0.self_attn.o_proj": update(6)}), base(tmp_path / "base", qkv_proj=(12, 6)))


def test_an_expert_that_peft_would_leave_out_is_refused(tmp_path: Path) -> None:
    """Nemotron-H has experts without gates, in parameters that PEFT fills from no module."""
    folder = tmp_path / "base"
    folder.mkdir()
    names = [f"backbone.layers.1.mixer.experts.{number}.up_proj" for number in range(2)]
    save_file({f"{name}.weight": np.zeros((8, 6), np.float32) for name in names}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "nemotron_h", "architectures": ["NemotronHForCausalLM"]}')
    with pytest.raises(UnsupportedError, match=r"experts\.0\.up_proj: is LoRA on one expert"):
        named_as(Adapter.of({name: update(8) for name in names}), ao.open_checkpoint(folder))
