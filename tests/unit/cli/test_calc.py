"""`calc`: each name of an expression once, with a source."""

from __future__ import annotations

from pathlib import Path

import gguf_files
import numpy as np
import pytest
import torch
from corpus import config, factors, write_adapter

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


def test_full_tensors_that_are_kept_beside_a_scaled_sum_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    for seed, name in enumerate(("one", "two")):
        head = {"base_model.model.score.weight": torch.ones(3, 8)}
        write_adapter(Path(name), {**factors(seed=seed), **head}, config(modules_to_save=["score"]))
    assert run(["calc", "(-1*(x + y))", "x=one", "y=two", "-o", "out"]) == 0
    assert capsys.readouterr().err.count("1 full tensor is kept as it is, and not scaled") == 1


@pytest.mark.parametrize(
    "line",
    ["calc 0.5*linear(x) x=a.gguf --format peft -o out", "merge a.gguf --format peft -o out", "merge a.gguf a -o out"],
)
def test_an_adapter_in_the_order_of_llama_cpp_is_not_computed_with_without_its_base(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gguf_files.write(Path("a.gguf"))
    assert run(line.split()) == 4
    assert "its rows are in llama.cpp's order" in (told := capsys.readouterr().err)
    assert "name the model that it is for with --base" in told
    assert not Path("out").exists()
