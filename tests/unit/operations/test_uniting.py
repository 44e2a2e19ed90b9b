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


@pytest.mark.parametrize("numbers", [(0, 1), (0, 2)], ids=["all", "one is missing"])
def test_experts_without_gates(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    """Nemotron-H has them in parameters that PEFT fills from no module; all of a layer have to be there."""
    folder = tmp_path / "base"
    folder.mkdir()
    names = [f"backbone.layers.1.mixer.experts.{number}.up_proj" for number in numbers]
    save_file({f"{name}.weight": np.zeros((8, 6), np.float32) for name in names}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "nemotron_h", "architectures": ["NemotronHForCausalLM"]}')
    adapter, model = Adapter.of({name: update(8) for name in names}), ao.open_checkpoint(folder)
    if numbers == (0, 1):
        assert named_as(adapter, model).config.experts == {"model.layers.1.mixer.experts.up_proj": 2}
        return
    with pytest.raises(UnsupportedError, match=r"experts\.0\.up_proj: is LoRA on one expert"):
        named_as(adapter, model)


GTE = "gte.encoder.layer.0.attention.qkv_proj"


def encoder(folder: Path, rows: int = 12) -> ao.Checkpoint:
    """A base that has q, k and v in one matrix, and whose model has each by itself."""
    folder.mkdir()
    save_file({f"{GTE}.weight": np.zeros((rows, 6), np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "gte", "architectures": ["GteForMaskedLM"]}')
    return ao.open_checkpoint(folder)


def test_rows_that_the_model_has_by_themselves(tmp_path: Path) -> None:
    """LoRA on the matrix of the files is LoRA on each of its parts, and is merged with LoRA on these."""
    model = encoder(tmp_path / "base")
    whole, part = update(12), update(4)
    attention = "gte.layers.0.self_attn"
    first, second = united([Adapter.of({GTE: whole}), Adapter.of({f"{attention}.k_proj": part})], model)
    assert sorted(first.layout) == [f"{attention}.{name}_proj" for name in "kqv"]
    rows = np.split(whole.dense(), 3)
    for name, expected in zip("qkv", rows, strict=True):
        np.testing.assert_allclose(first.updates[f"{attention}.{name}_proj"].dense(), expected)
    np.testing.assert_allclose(second.updates[f"{attention}.k_proj"].dense(), part.dense())
    fused = ao.fuse(model, Adapter.of({f"{attention}.k_proj": part}))
    found = fused.used(f"{GTE}.weight")(0, 12).values
    np.testing.assert_allclose(found, np.concatenate([np.zeros((4, 6)), part.dense(), np.zeros((4, 6))]), atol=1e-6)


def test_a_part_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match=r"one of 3 equal parts of gte\.encoder"):
        named_as(Adapter.of({"gte.layers.0.self_attn.k_proj": update(6)}), encoder(tmp_path / "base"))


def test_rows_that_are_no_equal_parts_are_one_matrix(tmp_path: Path) -> None:
    """Of hrm_text with fewer heads of keys and values the files do not show which rows are whose."""
    folder, name = tmp_path / "base", "model.H_module.layers.0.attn.gqkv_proj"
    folder.mkdir()
    save_file({f"{name}.weight": np.zeros((10, 6), np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "hrm_text", "architectures": ["HrmTextForCausalLM"]}')
    with pytest.raises(UnsupportedError, match="is gate_proj, q_proj, k_proj, v_proj in the model, and of 10 rows"):
        named_as(Adapter.of({name: update(10)}), ao.open_checkpoint(folder))
