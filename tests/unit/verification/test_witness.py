"""A witness of what is there: every tensor, and every name. For planted faults see tests/fault/test_mutations.py."""

from __future__ import annotations

from pathlib import Path

import torch
from corpus import write_adapter
from safetensors.torch import save_file
from torch import Tensor

from adapterops.adapters.opening import open_adapter
from adapterops.checkpoints.opening import open_checkpoint
from adapterops.verification.witness import Doubt, witness

NAMES = ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"]


def doubts(place: Path, model: dict[str, Tensor], base: dict[str, Tensor]) -> list[Doubt]:
    for name, tensors in (("model", model), ("base", base)):
        (place / name).mkdir()
        save_file(tensors, place / name / "model.safetensors", {"format": "pt"})
    write_adapter(place / "a", modules=NAMES)
    opened = open_checkpoint(place / "model")
    found, lost = witness(opened, open_checkpoint(place / "base"), open_adapter(place / "a"))
    return [*lost, *(doubt for name in opened.layout if name in found.base.layout for doubt in found.tensor(name))]


def tensors(place: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    base = {f"{name}.weight": torch.randn(12, 8).bfloat16() for name in NAMES} | {"model.norm.weight": torch.ones(8)}
    write_adapter(place / "again", modules=NAMES)
    updates = open_adapter(place / "again").updates
    added = {f"{name}.weight": torch.from_numpy(updates[name].dense()) for name in NAMES}
    return {name: (each.double() + added.get(name, 0)).to(each.dtype) for name, each in base.items()}, base


def test_a_sum_is_a_sum(tmp_path: Path) -> None:
    assert not doubts(tmp_path, *tensors(tmp_path))


def test_one_entry(tmp_path: Path) -> None:
    model, base = tensors(tmp_path)
    model[f"{NAMES[0]}.weight"][3, 4] *= 1.01
    (doubt,) = doubts(tmp_path, model, base)
    assert doubt.place == f"{NAMES[0]}.weight"
    assert "1 of 96" in doubt.what


def test_what_nothing_is_added_to(tmp_path: Path) -> None:
    model, base = tensors(tmp_path)
    model["model.norm.weight"][0] = 2
    assert [doubt.place for doubt in doubts(tmp_path, model, base)] == ["model.norm.weight"]


def test_a_tensor_too_many_and_one_too_few(tmp_path: Path) -> None:
    model, base = tensors(tmp_path)
    model["other"] = model.pop("model.norm.weight")
    assert {doubt.place: doubt.what for doubt in doubts(tmp_path, model, base)} == {
        "model.norm.weight": "is missing",
        "other": "should not be there",
    }
