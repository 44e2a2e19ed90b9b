from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from corpus import PREFIX, config, write_adapter
from safetensors.torch import load_file
from strategies import entries
from torch import Tensor

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.opening import open_adapter
from adapterops.adapters.saving import save_adapter
from adapterops.errors import AdapterOpsError, AdapterWarning, IncompatibleError, InputError, UnsupportedError
from adapterops.formats.stacks import stacked_factors
from adapterops.operations.algebra import merge
from adapterops.operations.comparing.analysis import inspect
from adapterops.operations.truncation import truncate

E, R, H, I = 3, 2, 8, 5  # noqa: E741  # experts, rank, hidden and intermediate size, as in the reference
MLP = "model.layers.0.mlp"
UP, DOWN = (2 * I, H), (H, I)
BOTH = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def lora(module: str, shape: tuple[int, int], rank: int = E * R, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{PREFIX}{module}.lora_A.weight": torch.randn(rank, shape[1], generator=generator),
        f"{PREFIX}{module}.lora_B.weight": torch.randn(shape[0], rank, generator=generator),
    }


def nested(inner: tuple[int, int] = UP, outer: tuple[int, int] = DOWN) -> dict[str, Tensor]:
    return lora(f"{MLP}.experts.base_layer", inner) | lora(f"{MLP}.experts", outer, seed=1)


def opened(folder: Path, tensors: dict[str, Tensor], targets: Any, **fields: Any) -> Adapter:
    return open_adapter(
        write_adapter(folder, tensors, config(R, **{"target_modules": [], "target_parameters": targets, **fields}))
    )


def by_definition(tensors: dict[str, Tensor], module: str, expert: int, scale: float = 2.0) -> Tensor:
    """B has the experts' columns in turn, A their rows together."""
    A, B = (tensors[f"{PREFIX}{module}.lora_{role}.weight"].double() for role in "AB")
    return sum(
        (scale * torch.outer(B[:, dimension * E + expert], A[expert * R + dimension]) for dimension in range(R)),
        torch.zeros(1),
    )


@pytest.mark.parametrize(
    "targets",
    [
        BOTH,
        BOTH[::-1],
        ["gate_up_proj", "experts.down_proj"],
        [f"{MLP}.experts.{name}" for name in ("down_proj", "gate_up_proj")],
    ],
)
@pytest.mark.parametrize("outer", ["down_proj", "gate_up_proj"])
def test_the_shapes_tell_which_is_which_and_every_expert_has_its_own(
    tmp_path: Path, targets: list[str], outer: str
) -> None:
    tensors = nested() if outer == "down_proj" else nested(inner=DOWN, outer=UP)
    inner = "gate_up_proj" if outer == "down_proj" else "down_proj"
    adapter = opened(tmp_path / "a", tensors, targets)
    assert set(adapter.layout) == {
        f"{MLP}.experts.{expert}.{name}" for expert in range(E) for name in ("down_proj", "gate_up_proj")
    }
    assert {layout.rank for layout in adapter.layout.values()} == {R}
    for expert in range(E):
        for module, name in ((f"{MLP}.experts", outer), (f"{MLP}.experts.base_layer", inner)):
            found = entries(adapter.updates[f"{MLP}.experts.{expert}.{name}"]).double()
            torch.testing.assert_close(found, by_definition(tensors, module, expert), atol=1e-5, rtol=1e-5)


def test_factors_that_are_the_other_way_round_are_turned(tmp_path: Path) -> None:
    """PEFT before 0.19."""
    tensors = nested(UP[::-1], DOWN[::-1])
    adapter = opened(tmp_path / "a", tensors, BOTH)
    assert adapter.layout[f"{MLP}.experts.1.gate_up_proj"].shape == UP
    found = entries(adapter.updates[f"{MLP}.experts.1.down_proj"]).double()
    torch.testing.assert_close(found, by_definition(tensors, f"{MLP}.experts", 1).T, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("inner", "outer"), [((2 * I, 2 * I), (2 * I, I)), ((2 * H, H), (H, H))])
def test_a_square_parameter_beside_the_other(tmp_path: Path, inner: tuple[int, int], outer: tuple[int, int]) -> None:
    for turned in (False, True):
        shapes = (inner[::-1], outer[::-1]) if turned else (inner, outer)
        tensors = nested(*shapes)
        adapter = opened(tmp_path / str(turned), tensors, BOTH)
        for name, module in (("gate_up_proj", f"{MLP}.experts.base_layer"), ("down_proj", f"{MLP}.experts")):
            delta = by_definition(tensors, module, 2)
            found = entries(adapter.updates[f"{MLP}.experts.2.{name}"]).double()
            torch.testing.assert_close(found, delta.T if turned else delta, atol=1e-5, rtol=1e-5)


def test_patterns_name_parameters(tmp_path: Path) -> None:
    tensors = lora(f"{MLP}.experts.base_layer", UP, E * 4) | lora(f"{MLP}.experts", DOWN)
    fields = {
        "rank_pattern": {"gate_up_proj": 4},
        "alpha_pattern": {f"^{MLP}.experts.down_proj": 3},
        "use_rslora": True,
    }
    adapter = opened(tmp_path / "a", tensors, BOTH, **fields)
    up, down = adapter.scalings[f"{MLP}.experts.0.gate_up_proj"], adapter.scalings[f"{MLP}.experts.0.down_proj"]
    assert (up.rank, up.scale) == (4, 4 / 4**0.5)
    assert (down.rank, down.scale) == (R, 3 / R**0.5)


def test_targets_without_a_dot_are_no_parameters_of_other_modules(tmp_path: Path) -> None:
    tensors = nested() | lora("model.layers.0.self_attn.q_proj", (8, 8), R) | lora(f"{MLP}.gate", (E, H), R)
    adapter = opened(tmp_path / "a", tensors, ["down_proj", "gate_up_proj", "gate.weight"], target_modules=["q_proj"])
    assert {"model.layers.0.self_attn.q_proj", f"{MLP}.gate"} < set(adapter.layout)
    assert adapter.config.experts == {
        f"{MLP}.gate.weight": 1,
        f"{MLP}.experts.gate_up_proj": E,
        f"{MLP}.experts.down_proj": E,
    }
    save_adapter(2 * adapter, tmp_path / "out")
    fields = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert fields["target_modules"] == ["q_proj"]
    assert fields["target_parameters"] == ["down_proj", "gate.weight", "gate_up_proj"]


def gate(shape: tuple[int, int] = (E, H), rank: int = R, module: str = f"{MLP}.gate") -> dict[str, Tensor]:
    return lora(module, shape, rank)


REFUSED: dict[str, tuple[dict[str, Tensor], Any, type[AdapterOpsError], str]] = {
    "no targets": (nested(), None, UnsupportedError, "target_parameters names none"),
    "no targets for one": (lora(f"{MLP}.experts", DOWN, R), None, UnsupportedError, "target_parameters names none"),
    "more targets than wrappers": (lora(f"{MLP}.experts", DOWN), BOTH, UnsupportedError, "names down_proj, gate_up_proj"),
    "fewer targets than wrappers": (nested(), BOTH[:1], UnsupportedError, "on 2 of its parameters"),
    "targets of another layer": (nested(), [f"layers.1.{name}" for name in BOTH], UnsupportedError, "names none"),
    "only an inner wrapper": (lora(f"{MLP}.experts.base_layer", UP), BOTH[:1], InputError, "inside another that is not there"),
    "shapes of other parameters": (nested(UP, (H, I + 1)), BOTH, UnsupportedError, "no pair of gate_up_proj and down_proj has"),
    "square and alone": (lora(f"{MLP}.experts", (H, H)), BOTH[1:], UnsupportedError, "square"),
    "another parameter": (lora(f"{MLP}.experts", DOWN), ["experts.w2"], UnsupportedError, "its parameter w2"),
    "experts of another name": (lora(f"{MLP}.moe", DOWN), ["moe.down_proj"], UnsupportedError, "its parameter down_proj"),
    "one expert": (lora(f"{MLP}.experts", DOWN, R), BOTH[1:], UnsupportedError, "of 1 experts"),
    "a weight of several experts": (gate(rank=E * R), ["gate.weight"], UnsupportedError, "parameter weight, of 3 experts"),
    "a weight of Conv1D": (gate((8, 8), module="h.0.attn.c_proj"), ["c_proj.weight"], UnsupportedError, "its parameter weight"),
    "inside an adapted module": (gate(module=f"{MLP}.base_layer.gate"), None, UnsupportedError, "a weight of the base model"),
    "a rank that does not divide": (lora(f"{MLP}.experts", DOWN, 7), BOTH[1:], InputError, "rank 7 for all experts"),
    "different numbers of experts": (
        lora(f"{MLP}.experts.base_layer", UP) | lora(f"{MLP}.experts", DOWN, 2 * E * R), BOTH, InputError, "by one of its parameters"
    ),
    "a single expert, too": (nested() | lora(f"{MLP}.experts.1.down_proj", DOWN, R), BOTH, InputError, "by itself"),
    "names of the wrong kind": (nested(), "down_proj", InputError, "expected names"),
}  # fmt: skip


def test_experts_without_a_projection(tmp_path: Path) -> None:
    """LongCat's parameter of gate and up has experts that down has not: they are not as many."""
    more = {
        name: torch.cat([each, each], dim=index)
        for index, (name, each) in enumerate(lora(f"{MLP}.experts.base_layer", UP).items())
    }
    adapter = opened(tmp_path / "a", more | lora(f"{MLP}.experts", DOWN), BOTH)
    assert sorted(adapter.config.experts.values()) == [E, 2 * E]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_ambiguous_or_not_handled_is_refused(tmp_path: Path, kind: str) -> None:
    tensors, targets, error, said = REFUSED[kind]
    with pytest.raises(error, match=said) as caught:
        opened(tmp_path / "a", tensors, targets)
    assert caught.value.path
    assert kind == "names of the wrong kind" or caught.value.tensor


def test_a_lone_file_does_not_say_which_parameter_it_adapts(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", lora(f"{MLP}.experts", DOWN))
    (folder / "adapter_config.json").unlink()
    with pytest.raises(UnsupportedError, match="target_parameters names none"):
        open_adapter(folder / "adapter_model.safetensors", alpha=4)


def test_single_experts_and_a_parameter_of_all_are_not_merged(tmp_path: Path) -> None:
    fused = opened(tmp_path / "a", nested(), BOTH)
    single = lora(f"{MLP}.experts.1.down_proj", DOWN, R)
    other = open_adapter(write_adapter(tmp_path / "b", single, config(R)))
    for pair in ([fused, other], [other, fused]):
        with pytest.raises(IncompatibleError, match="single expert") as caught:
            merge(pair)
        assert caught.value.path == str(tmp_path / "b")


def test_another_number_of_experts_is_not_merged(tmp_path: Path) -> None:
    one, other = (
        opened(tmp_path / "a", lora(f"{MLP}.experts", DOWN), BOTH[1:]),
        opened(tmp_path / "b", lora(f"{MLP}.experts", DOWN, 8), BOTH[1:]),
    )
    with pytest.raises(IncompatibleError, match="4 experts here, and 3 in another"):
        one + other


def test_a_pattern_that_matches_no_parameter_is_told(tmp_path: Path) -> None:
    with pytest.warns(AdapterWarning, match="matches no module"):
        opened(tmp_path / "a", nested(), BOTH, rank_pattern={"experts": 9})


def test_experts_that_nothing_was_learned_for(tmp_path: Path) -> None:
    tensors = nested()
    tensors[f"{PREFIX}{MLP}.experts.lora_B.weight"][:, 1::E] = 0
    opened(tmp_path / "a", tensors, BOTH)
    assert inspect(tmp_path / "a").zero == (f"{MLP}.experts.1.down_proj",)


def test_ranks_are_filled_up_with_zeros() -> None:
    random = np.random.default_rng(0)
    ranks = {0: 0, 2: 2, 3: 1}
    factors = {
        f"experts.{e}.down_proj": (random.standard_normal((r, 4)), random.standard_normal((3, r)))
        for e, r in ranks.items()
    }
    A, B, rank = stacked_factors("experts.down_proj", factors, {"experts.down_proj": 4})
    assert (A.shape, B.shape, rank) == ((8, 4), (3, 8), 2)
    for expert in range(4):
        A_e, B_e = factors.get(f"experts.{expert}.down_proj", (np.zeros((1, 4)), np.zeros((3, 1))))
        np.testing.assert_allclose(B[:, expert::4] @ A[2 * expert : 2 * expert + 2], B_e @ A_e)


@pytest.mark.parametrize("unit", ["parameters", "bytes"])
def test_a_budget_holds_for_what_is_saved(tmp_path: Path, unit: str) -> None:
    """All experts of a parameter are saved with the same rank; one that gets none is not saved at all."""
    tensors = nested() | lora("model.layers.0.self_attn.q_proj", (8, 8), R)
    tensors[f"{PREFIX}{MLP}.experts.lora_B.weight"] *= 1e-3
    adapter = opened(tmp_path / "a", tensors, BOTH, target_modules=["q_proj"])
    one = {"gate_up_proj": E * sum(UP), "q_proj": 16}
    budget = (2 * one["gate_up_proj"] + one["q_proj"]) * (4 if unit == "bytes" else 1)
    small = truncate(adapter, budget=budget, unit=unit)
    saved = save_adapter(small, tmp_path / "out")
    assert saved.dropped == tuple(f"{MLP}.experts.{expert}.down_proj" for expert in range(E))
    found = load_file(tmp_path / "out/adapter_model.safetensors")
    assert sum(tensor.numel() for tensor in found.values()) * (4 if unit == "bytes" else 1) == budget
    assert json.loads((tmp_path / "out/adapter_config.json").read_text())["target_parameters"] == [
        f"{MLP}.experts.gate_up_proj"
    ]
    again = open_adapter(tmp_path / "out")
    for module in again.layout:
        torch.testing.assert_close(
            entries(again.updates[module]), entries(small.updates[module]).float(), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("name", ["7", "²", "01"])
def test_a_module_that_looks_like_an_expert_is_refused_beside_them(tmp_path: Path, name: str) -> None:
    tensors = nested() | lora(f"{MLP}.experts.{name}.down_proj", DOWN, R)
    if name == "²":  # no number
        assert f"{MLP}.experts.².down_proj" in opened(tmp_path / "a", tensors, BOTH).layout
        return
    with pytest.raises(InputError, match="by itself"):
        opened(tmp_path / "a", tensors, BOTH)
