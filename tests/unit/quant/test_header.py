"""Roles and names of parts, and what a config says."""

from __future__ import annotations

from typing import Any

import pytest

from adapterops.quant.header import Header, key
from adapterops.quant.scheme import Part

NAMES = ["a.weight", "a.SCB", "b.weight", "b.weight.absmax", "experts.down_proj_blocks", "weight", "c.bias"]


def header(**config: Any) -> Header:
    return Header({name: Part("F32", (2, 3)) for name in NAMES}, config, lambda name: b"", lambda name: None)


@pytest.mark.parametrize(
    ("role", "weights"),
    [
        ("SCB", ["a.weight"]),
        ("weight", ["a.weight", "b.weight"]),
        ("weight.absmax", ["b.weight"]),
        ("_blocks", ["experts.down_proj"]),
        ("qweight", []),
    ],
)
def test_weights_are_found_by_the_roles_of_their_parts(role: str, weights: list[str]) -> None:
    assert list(header().weights(role)) == weights
    for tensor in weights:
        assert key(tensor, role) in NAMES
        assert header().part(tensor, role) == Part("F32", (2, 3))
        assert header().roles(tensor, (role, "none")) == [role]
    assert header().part("a.weight", "none") is None


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({}, "BF16"),
        ({"dtype": "float16"}, "F16"),
        ({"torch_dtype": "float32"}, "F32"),
        ({"dtype": "bfloat16", "torch_dtype": "float16"}, "BF16"),
        ({"dtype": ["float16"]}, "BF16"),
        ({"dtype": "float64"}, "BF16"),
    ],
    ids=str,
)
def test_the_dtype_that_weights_are_used_in(config: dict[str, Any], dtype: str) -> None:
    assert header(**config).used_as == dtype


@pytest.mark.parametrize(("section", "expected"), [(None, {}), ("nf4", {}), ([], {}), ({"bits": 4}, {"bits": 4})])
def test_a_section_is_an_object_or_nothing(section: Any, expected: dict[str, int]) -> None:
    assert header(quantization_config=section).section == expected
    assert header().section == {}
