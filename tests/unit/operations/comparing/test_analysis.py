"""What is inside an adapter, by its headers and by its singular values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import MODULES, config, factors, write_adapter

from adapterops.adapters.opening import open_adapter
from adapterops.operations.comparing.analysis import inspect, kept_energy, measured, rank_of, spectra


def test_groups_are_modules_of_one_kind_shape_and_scale(tmp_path: Path) -> None:
    found = inspect(write_adapter(tmp_path / "a", fields=config(2, alpha_pattern={"layers.1.q_proj": 8})))
    groups = {(each.kind, each.alpha): each.modules for each in found.groups}
    assert groups == {
        ("q_proj", 4): ("layers.0.q_proj",),
        ("q_proj", 8): ("layers.1.q_proj",),
        ("v_proj", 4): ("layers.0.v_proj",),
    }
    assert (found.modules, found.parameters, found.dense, found.base_model) == (3, 3 * 40, 3 * 96, "some/base")
    assert found.as_json()["path"] == str(tmp_path / "a")


def test_a_b_of_zeros_was_never_trained(tmp_path: Path) -> None:
    tensors = factors()
    tensors["base_model.model.layers.0.v_proj.lora_B.weight"] = torch.zeros(12, 2)
    assert inspect(write_adapter(tmp_path / "a", tensors, config(2))).zero == ("layers.0.v_proj",)


def test_spectra_are_those_of_the_matrices(tmp_path: Path) -> None:
    adapter = open_adapter(write_adapter(tmp_path / "a", rank=3, fields=config(3)))
    found = spectra(adapter)
    for module in MODULES:
        values = np.linalg.svd(adapter.updates[module].dense().astype(np.float64), compute_uv=False)[:3]
        np.testing.assert_allclose(found.modules[module].values, values, rtol=1e-4)
        assert found.modules[module].norm == pytest.approx(np.linalg.norm(values), rel=1e-4)
        shares = values**2 / np.sum(values**2)
        assert 1 <= found.modules[module].effective_rank <= 3
        assert found.modules[module].effective_rank == pytest.approx(np.exp(-np.sum(shares * np.log(shares))), rel=1e-3)


def test_an_energy_over_all_modules() -> None:
    one, other = measured(np.array([3.0, 4.0])[::-1]), measured(np.array([5.0]))
    assert kept_energy([one, other], 1) == pytest.approx((16 + 25) / 50)
    assert [rank_of([one, other], share) for share in (0.8, 0.83, 1.0)] == [1, 2, 2]


def test_what_is_inside_is_told_of_a_file_that_states_no_scale(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", modules=MODULES)
    (folder / "adapter_config.json").unlink()
    lone = folder / "adapter_model.safetensors"
    unknown, given = inspect(lone), inspect(lone, alpha=4)
    assert {(group.alpha, group.scale) for group in unknown.groups} == {(None, None)}
    assert {(group.alpha, group.scale) for group in given.groups} == {(4, 2)}
    assert [group.modules for group in unknown.groups] == [group.modules for group in given.groups]
    assert json.loads(json.dumps(unknown.as_json(), default=str))["groups"][0]["scale"] is None
