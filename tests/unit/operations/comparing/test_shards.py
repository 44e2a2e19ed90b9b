"""Layers of which B has one of several equal shares, as where the parts of a layer were not gathered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from corpus import PREFIX, config, factors, write_adapter

import adapterops as ao
from adapterops.cli.main import run

Q = ["layers.0.q_proj", "layers.1.q_proj"]


def written(folder: Path, zero: slice, modules: list[str] = Q, height: int = 32) -> Path:
    tensors = factors(modules, rank=2, out=height, into=8)
    for module in modules:
        tensors[f"{PREFIX}{module}.lora_B.weight"][zero] = 0
    return write_adapter(folder, tensors, config(2, target_modules=sorted({each[9:] for each in modules})))


@pytest.mark.parametrize(
    ("zero", "modules", "height", "expected"),
    [
        (slice(4, None), Q, 32, [(0, 4)]),
        (slice(16, None), Q, 32, [(0, 16)]),
        (slice(0, 16), Q, 32, [(16, 32)]),
        (slice(0, 28), Q, 32, [(28, 32)]),
        (slice(0, 0), Q, 32, []),
        (slice(5, None), Q, 32, []),
        (slice(0, 1), Q, 32, []),
        (slice(10, None), Q, 30, []),
        (slice(0, None), Q, 32, []),
        (slice(16, None), Q[:1], 32, []),
        (slice(16, None), ["layers.0.gate_up_proj", "layers.1.gate_up_proj"], 32, []),
    ],
    ids=["8", "2", "last of 2", "last of 8", "all", "no share", "a row", "a third", "none", "one", "two layers in one"],
)
def test_equal_shares_of_all_modules_of_a_kind(
    zero: slice, modules: list[str], height: int, expected: list[tuple[int, int]], tmp_path: Path
) -> None:
    found = ao.inspect(written(tmp_path / "a", zero, modules, height)).shares
    assert [(each.begin, each.end) for each in found or ()] == expected


def test_modules_of_a_kind_that_differ_have_no_share(tmp_path: Path) -> None:
    tensors = factors(Q, rank=2, out=32, into=8)
    tensors[f"{PREFIX}{Q[0]}.lora_B.weight"][16:] = 0
    assert ao.inspect(write_adapter(tmp_path / "a", tensors, config(2))).shares == ()


@pytest.mark.parametrize("command", [["show"], ["check", "--for", "tensorrt-llm"]])
def test_it_is_told(command: list[str], tmp_path: Path, capsys: Any) -> None:
    run([*command, str(written(tmp_path / "a", slice(4, None)))])
    assert "rows 0 to 3 of 32 in all 2 q_proj" in capsys.readouterr().out
