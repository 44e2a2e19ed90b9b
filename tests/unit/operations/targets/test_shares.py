"""The modules of an adapter as a base stores them."""

from __future__ import annotations

import pytest

from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.models.naming import Names
from adapterops.operations.targets.shares import RowShare, check_experts, shares
from adapterops.storage.tensors import Spec

H, I = 5, 7  # noqa: E741  # hidden and intermediate size
EXPERTS = "model.layers.0.mlp.experts"


def single(count: int = 2) -> dict[str, Spec]:
    """Every expert by itself."""
    shapes = {"gate_proj": (I, H), "up_proj": (I, H), "down_proj": (H, I)}
    return {f"{EXPERTS}.{e}.{name}.weight": Spec("BF16", shape) for e in range(count) for name, shape in shapes.items()}


def fused(count: int = 2) -> dict[str, Spec]:
    return {f"{EXPERTS}.gate_up_proj": Spec("BF16", (count, 2 * I, H))}


def found(
    shape: tuple[int, int], base: dict[str, Spec], model_type: str = "qwen3_moe", experts: int = 2
) -> list[RowShare]:
    modules = {f"{EXPERTS}.1.gate_up_proj": shape, "q_proj": (3, 3)}
    parameters = {f"{EXPERTS}.gate_up_proj": experts} if experts else {}
    return list(shares(modules, parameters, Names(base, {"model_type": model_type})))


@pytest.mark.parametrize("transposed", [False, True])
def test_gate_and_up_are_the_first_and_the_last_rows_of_gate_up(transposed: bool) -> None:
    source = f"{EXPERTS}.1.gate_up_proj"
    assert found((H, 2 * I) if transposed else (2 * I, H), single()) == [
        RowShare(source, f"{EXPERTS}.1.gate_proj", (I, H), 0, transposed),
        RowShare(source, f"{EXPERTS}.1.up_proj", (I, H), I, transposed),
        RowShare("q_proj", "q_proj", (3, 3)),
    ]


@pytest.mark.parametrize(("base", "experts"), [(fused(), 2), (single(), 0), ({}, 2)])
def test_what_a_base_stores_as_it_is_or_not_at_all_is_not_divided(base: dict[str, Spec], experts: int) -> None:
    assert [share.module for share in found((2 * I, H), base, experts=experts)] == [
        f"{EXPERTS}.1.gate_up_proj",
        "q_proj",
    ]


def test_rows_in_turn_are_not_divided() -> None:
    with pytest.raises(UnsupportedError, match="mixed"):
        found((2 * I, H), single(), "gpt_oss")


@pytest.mark.parametrize("shape", [(2 * I + 1, H), (2 * I, H + 1), (I, H)])
def test_experts_of_another_size_do_not_fit(shape: tuple[int, int]) -> None:
    with pytest.raises(IncompatibleError, match="half of"):
        found(shape, single())


@pytest.mark.parametrize("base", [single(3), fused(3)])
def test_another_number_of_experts(base: dict[str, Spec]) -> None:
    parameter = f"{EXPERTS}.gate_up_proj"
    check_experts({parameter: 3}, Names(base, {}))
    with pytest.raises(IncompatibleError, match="2 experts in the adapter, and 3 in the base") as caught:
        check_experts({parameter: 2}, Names(base, {}))
    assert caught.value.tensor == parameter
