"""`calc`: each name of an expression once, with a source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus import write_adapter

import adapterops as ao
from adapterops.cli.main import run


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate("ab"):
        write_adapter(tmp_path / name, seed=seed)
    monkeypatch.chdir(tmp_path)


def test_names_are_those_of_the_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calc", "2*x - y", "y=b", "x=a", "-o", "out"]) == 0
    a, b, out = (ao.open_adapter(name) for name in ("a", "b", "out"))
    for module, update in out.updates.items():
        np.testing.assert_allclose(update.dense(), 2 * a.updates[module].dense() - b.updates[module].dense(), atol=1e-5)
    capsys.readouterr()
    assert run(["calc", "x", "x=a", "--dry-run"]) == 0
    assert capsys.readouterr().out.endswith("  x\n"), "what is computed is the last line of a plan"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [(["a"], "'a' gives no name to an adapter"), (["x=a", "x=b"], "x is given twice"), (["x="], "gives no name")],
)
def test_each_input_has_a_name(inputs: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calc", "x", *inputs]) == 2
    assert message in capsys.readouterr().err
