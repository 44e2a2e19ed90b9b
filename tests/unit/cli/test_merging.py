"""Weights of blocks on the command line are those of `scale` in an expression; and the method where none is named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from corpus import factors, write_adapter

import adapterops as ao
from adapterops.cli.main import run


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_adapter(tmp_path / "a")
    write_adapter(tmp_path / "b")
    monkeypatch.chdir(tmp_path)


def test_a_weight_for_each_range_of_blocks() -> None:
    assert run(["merge", "a", "b", "-w", "layers.0=0.3,layers.1=-2", "-w", "0.5", "-o", "merged"]) == 0
    expression = 'scale(a, {"layers.0": 0.3, "layers.1": -2}) + 0.5*b'
    assert run(["calc", expression, "a=a", "b=b", "-o", "calculated"]) == 0
    a, b, merged = map(ao.open_adapter, ("a", "b", "merged"))
    for module, update in merged.updates.items():
        factor = 0.3 if ".0." in module else -2
        expected = factor * a.updates[module].dense() + 0.5 * b.updates[module].dense()
        np.testing.assert_allclose(update.dense(), expected, rtol=1e-5, atol=1e-6)
        found = ao.open_adapter("calculated").updates[module].dense()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_blocks_that_are_not_named_keep_their_weight() -> None:
    assert run(["merge", "a", "-w", "layers.0=0.3", "-o", "merged"]) == 0
    a, merged = ao.open_adapter("a"), ao.open_adapter("merged")
    for module, update in merged.updates.items():
        expected = (0.3 if ".0." in module else 1) * a.updates[module].dense()
        np.testing.assert_allclose(update.dense(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("weight", ["layers.0=x", "=1", "layers.0=1,0.5", "layers.0=1,layers.0=2", "layer.0=1"])
def test_what_is_no_weight_is_refused(weight: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", "a", "-w", weight, "-o", "merged"]) == 2
    assert "layers" in capsys.readouterr().err


def test_three_adapters_are_evened_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    write_adapter(Path("c"), seed=2)
    assert run(["merge", "a", "b", "c", "-o", "merged"]) == 0
    said = capsys.readouterr().out
    assert "method even, the default for 3 to 8 adapters" in said
    assert "--linear is the sum everywhere" in said
    assert run(["merge", "a", "b", "c", "--even", "-o", "evened"]) == 0
    assert "the default for" not in capsys.readouterr().out
    assert digest("merged") == digest("evened")


def test_what_the_default_keeps_at_other_scales_is_what_these_make(capsys: pytest.CaptureFixture[str]) -> None:
    for index, name in enumerate("xyz"):
        write_adapter(Path(name), {key: 0.05 * value for key, value in factors(seed=index).items()})

    def kept(*given: str) -> dict[str, list[str]]:
        assert run(["merge", "x", "y", "z", "--dry-run", *given]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()]
        return {row[0]: row[1:] for row in rows if row and row[0] in "xyz"}

    default, summed, evened = kept(), kept("--scale", "sum"), kept("--even")
    assert {name: row[-2] for name, row in default.items()} == {name: row[0] for name, row in summed.items()}
    assert {name: row[0] for name, row in default.items()} == {name: row[0] for name, row in evened.items()}
    assert {name: row[-2] for name, row in evened.items()} != {name: row[-2] for name, row in default.items()}


@pytest.mark.parametrize("given", [["-w", "1,1,1"], ["--scale", "sum"], ["--linear"]])
def test_who_gives_weights_or_a_scale_gets_the_weighted_sum(given: list[str]) -> None:
    write_adapter(Path("c"), seed=2)
    assert run(["merge", "a", "b", "c", *given, "-o", "merged"]) == 0
    assert formula("merged").startswith("linear(a, b, c, ")


def formula(folder: str) -> str:
    found: str = json.loads(Path(folder, "adapterops.json").read_text())["request"]["result"]
    return found


def digest(folder: str) -> str:
    return hashlib.sha256(Path(folder, "adapter_model.safetensors").read_bytes()).hexdigest()
