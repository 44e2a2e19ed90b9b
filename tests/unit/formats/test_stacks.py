"""Experts of one parameter, saved together as PEFT has them."""

from __future__ import annotations

import numpy as np
import pytest

from adapterops.formats.stacks import is_single_expert, keys, padded, parameter_of, shapes, stacked_factors, stacks
from adapterops.updates.layout import Layout

EXPERTS = {"mlp.experts.gate_up_proj": 3, "mlp.experts.down_proj": 3}


@pytest.mark.parametrize(
    ("module", "stack"),
    [
        ("mlp.experts.2.down_proj", "mlp.experts.down_proj"),
        ("mlp.experts.2.up_proj", "mlp.experts.2.up_proj"),
        ("q_proj", "q_proj"),
    ],
)
def test_the_stack_of_a_module(module: str, stack: str) -> None:
    assert parameter_of(module, EXPERTS) == stack
    assert stacks([module], EXPERTS) == {stack: [module]}
    assert is_single_expert(module) == module.startswith("mlp.experts.2")


def test_the_first_parameter_is_the_innermost() -> None:
    start = "base_model.model.mlp.experts"
    assert keys("mlp.experts.down_proj", EXPERTS) == (f"{start}.lora_A.weight", f"{start}.lora_B.weight")
    assert keys("mlp.experts.gate_up_proj", EXPERTS)[0] == f"{start}.base_layer.lora_A.weight"
    assert keys("q_proj", EXPERTS)[1] == "base_model.model.q_proj.lora_B.weight"


def test_an_expert_owns_rows_of_a_and_every_so_many_columns_of_b() -> None:
    random, name = np.random.default_rng(0), "mlp.experts.down_proj"
    factors = {
        f"mlp.experts.{number}.down_proj": (random.standard_normal((rank, 4)), random.standard_normal((5, rank)))
        for number, rank in enumerate((1, 2, 2))
    }
    A, B, rank = stacked_factors(name, factors, EXPERTS)
    assert (A.shape, B.shape, rank) == ((6, 4), (5, 6), 2)
    for number, (a, b) in enumerate(factors.values()):
        np.testing.assert_allclose(B[:, number::3] @ A[2 * number : 2 * number + 2], b @ a)
    layouts = [Layout((5, 4), each, "F32") for each in (1, 2, 2)]
    assert shapes(name, layouts, EXPERTS) == (A.shape, B.shape)


def test_zeros_change_no_product() -> None:
    random = np.random.default_rng(0)
    A, B = random.standard_normal((2, 4)), random.standard_normal((5, 2))
    wide = padded(A, B, 3)
    assert (wide[0].shape, wide[1].shape) == ((3, 4), (5, 3))
    np.testing.assert_allclose(wide[1] @ wide[0], B @ A)
    assert padded(A, B, 2)[0] is A
