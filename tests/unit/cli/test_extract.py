"""`extract`: which of two models is the base, and the difference as an adapter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.cli.main import run


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    assert run(["fuse", "base", "a", "--dtype", "float32", "-o", "fused"]) == 0


@pytest.mark.parametrize("how", [["fused", "--base", "base"], ["fused", "base"]])
def test_the_adapter_comes_back(how: list[str]) -> None:
    assert run(["extract", *how, "--rank", "2", "-o", "out"]) == 0
    a, out = ao.open_adapter("a"), ao.open_adapter("out")
    assert {each.rank for each in out.layout.values()} == {2}
    for module, update in out.updates.items():
        np.testing.assert_allclose(update.dense(), a.updates[module].dense(), atol=1e-4)


@pytest.mark.parametrize("how", [["fused"], ["base", "fused"], ["fused", "base", "--base", "base"]])
def test_a_base_is_not_guessed(how: list[str]) -> None:
    assert run(["extract", *how, "-o", "out"]) == 2
    assert not Path("out").exists()
