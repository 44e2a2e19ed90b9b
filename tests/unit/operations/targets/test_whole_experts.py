from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from adapterops.adapters.adapter import Adapter
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.operations.targets.whole_experts import FullRow, rows_of_experts
from adapterops.storage.tensors import Spec

PATH, CONFIG = "model.layers.0.mlp.experts", {"model_type": "qwen3_moe"}
SHAPES = {"gate_proj": (3, 4), "up_proj": (3, 4), "down_proj": (4, 3)}


def base(experts: int = 2, path: str = PATH) -> dict[str, Spec]:
    return {
        f"{path}.{number}.{part}.weight": Spec("F32", shape)
        for number in range(experts)
        for part, shape in SHAPES.items()
    }


def adapter(*shape: int, leaf: str = "gate_up_proj", path: str = PATH) -> Adapter:
    full: Any = {f"{path}.{leaf}": SimpleNamespace(spec=Spec("F32", shape), name=leaf)}
    return Adapter({}, {}, full=full)


@pytest.mark.parametrize("path", [PATH, "language_model.model.layers.0.mlp.experts", "layers.0.mlp.experts"])
def test_each_expert_has_its_rows(path: str) -> None:
    name = f"{path}.gate_up_proj"
    assert rows_of_experts(adapter(2, 6, 4, path=path), base(), CONFIG) == {
        f"{PATH}.0.gate_proj.weight": FullRow(name, 0),
        f"{PATH}.0.up_proj.weight": FullRow(name, 3),
        f"{PATH}.1.gate_proj.weight": FullRow(name, 6),
        f"{PATH}.1.up_proj.weight": FullRow(name, 9),
    }
    down = rows_of_experts(adapter(2, 4, 3, leaf="down_proj", path=path), base(), CONFIG)
    assert [first for _, first in down.values()] == [0, 4]


def test_layers_are_found_together() -> None:
    paths = [f"model.layers.{layer}.mlp.experts" for layer in range(3)]
    joined = Adapter(
        {}, {}, full={name: each for path in paths for name, each in adapter(2, 6, 4, path=path).full.items()}
    )
    layout = {name: spec for path in paths for name, spec in base(path=path).items()}
    found = rows_of_experts(joined, layout, CONFIG)
    assert len(found) == 12
    assert all(each.full.startswith(tensor.partition(".experts")[0]) for tensor, each in found.items())


def test_what_a_base_has_in_one_parameter_too_is_in_no_rows() -> None:
    assert rows_of_experts(adapter(2, 6, 4), {f"{PATH}.gate_up_proj": Spec("F32", (2, 6, 4))}, CONFIG) == {}
    assert rows_of_experts(adapter(2, 6, 4), {}, CONFIG) == {}
    assert rows_of_experts(adapter(6, 4), base(), CONFIG) == {}


@pytest.mark.parametrize("shape", [(3, 6, 4), (1, 6, 4), (2, 8, 4), (2, 6, 5), (2, 4, 6)])
def test_other_experts_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(IncompatibleError, match="the base has 2 experts, each by itself"):
        rows_of_experts(adapter(*shape), base(), CONFIG)


@pytest.mark.parametrize(("config", "way"), [({"model_type": "remote"}, "merge_and_unload"), ({}, "model_type")])
def test_how_experts_are_put_together_has_to_be_known(config: dict[str, str], way: str) -> None:
    with pytest.raises(UnsupportedError, match=r"how a model of type .* makes one of them is not known") as caught:
        rows_of_experts(adapter(2, 6, 4), base(), config)
    assert way in str(caught.value)
