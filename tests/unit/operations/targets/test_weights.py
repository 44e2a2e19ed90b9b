from __future__ import annotations

from typing import Any

import pytest

from adapterops.errors import IncompatibleError
from adapterops.operations.targets.weights import ModelWeight, RowRun, check_oriented, owners, weights
from adapterops.storage.tensors import Spec


def specs(**shapes: tuple[int, ...]) -> dict[str, Spec]:
    """Keyword arguments have no dots, so `__` stands for one."""
    return {name.replace("__", "."): Spec("F32", shape) for name, shape in shapes.items()}


def test_a_linear_weight_is_a_module_and_an_embedding_or_a_norm_is_none() -> None:
    found = weights(specs(a__q_proj__weight=(6, 4), norm__weight=(4,), embed_tokens__weight=(9, 4)), None)
    assert found == {"a.q_proj": ModelWeight((6, 4), (RowRun("a.q_proj.weight", 0, 6),))}


def test_a_convolution_that_peft_has_no_lora_for_is_no_module() -> None:
    block = "transformer_blocks.0.ff"
    shapes = {f"{block}.conv_depth.weight": (6, 1, 3, 3), f"{block}.conv_point.weight": (4, 6, 1, 1)}
    named = {name: Spec("F32", shape) for name, shape in shapes.items()}
    assert list(weights(named, {"_class_name": "SanaTransformer2DModel"})) == [f"{block}.conv_point"]


@pytest.mark.parametrize(
    ("config", "transposed"), [(None, None), ({"model_type": "gpt2"}, True), ({"model_type": "llama"}, False)]
)
def test_how_a_conv1d_is_stored_is_known_by_the_type_of_model(
    config: dict[str, Any] | None, transposed: bool | None
) -> None:
    found = weights(specs(h__0__c_fc__weight=(6, 4)), config)["h.0.c_fc"]
    assert found.transposed is transposed
    if transposed is None:
        with pytest.raises(IncompatibleError, match="stored as"):
            check_oriented("h.0.c_fc", found)


def test_gate_and_up_of_experts_that_are_stored_each_by_itself_are_one_weight() -> None:
    shapes = {"w1": (6, 4), "w3": (6, 4), "w2": (4, 6)}
    one = {f"mlp.experts.{e}.{part}.weight": Spec("F32", shape) for e in (0, 1) for part, shape in shapes.items()}
    found = weights(one, {"model_type": "mixtral"})
    gate, up = RowRun("mlp.experts.1.w1.weight", 0, 6), RowRun("mlp.experts.1.w3.weight", 0, 6)
    assert found["mlp.experts.1.gate_up_proj"] == ModelWeight((12, 4), (gate, up), False, "mlp.experts.gate_up_proj", 2)
    assert owners(found)["mlp.experts.1.w3.weight"] == ["mlp.experts.1.gate_up_proj"]
    assert "mlp.experts.0.w1" in weights(one, {"model_type": "remote"})


def test_half_of_an_expert_is_no_weight() -> None:
    assert not weights(specs(mlp__experts__0__w1__weight=(6, 4)), {"model_type": "mixtral"})


@pytest.mark.parametrize(
    ("model_type", "up", "down", "transposed"),
    [
        ("qwen3_moe", (2, 12, 4), (2, 4, 6), False),
        ("gpt_oss", (2, 4, 12), (2, 6, 4), True),
        ("llama4_text", (2, 4, 12), (2, 6, 4), False),  # PEFT takes the first side for the outputs
        ("qwen3_vl_moe", (2, 12, 4), (2, 4, 6), False),
        ("qwen3_vl_moe", (2, 4, 12), (2, 6, 4), True),
        (None, (2, 12, 4), (2, 4, 6), False),
        (None, (2, 4, 12), (2, 6, 4), None),
    ],
)
def test_experts_in_one_tensor_are_a_weight_each(
    model_type: str | None, up: tuple[int, ...], down: tuple[int, ...], transposed: bool | None
) -> None:
    layout = specs(mlp__experts__gate_up_proj=up, mlp__experts__down_proj=down)
    found = weights(layout, {"model_type": model_type} if model_type else None)
    piece = RowRun("mlp.experts.gate_up_proj", up[1], 2 * up[1])
    wanted = ModelWeight((up[1], up[2]), (piece,), transposed, "mlp.experts.gate_up_proj", 2)
    assert found["mlp.experts.1.gate_up_proj"] == wanted


def test_a_module_that_peft_takes_for_an_expert_is_adapted_as_a_parameter() -> None:
    found = weights(specs(mlp__shared_experts__up_proj__weight=(6, 4)), {"model_type": "deepseek_v3"})
    assert found["mlp.shared_experts.up_proj"].parameter == "mlp.shared_experts.up_proj.weight"
