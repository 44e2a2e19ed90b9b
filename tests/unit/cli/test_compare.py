"""`compare`: numbers of pairs against formulas, and the merge as a recipe."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from corpus import write_adapter

import adapterops as ao
from adapterops.cli.main import run
from adapterops.operations.comparing import comparison

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate("ab"):
        write_adapter(tmp_path / name, seed=seed)
    monkeypatch.chdir(tmp_path)


def entries(name: str) -> np.ndarray:
    updates = ao.open_adapter(name).updates
    return np.concatenate([updates[module].dense().astype(np.float64).ravel() for module in sorted(updates)])


def test_the_cosine_is_that_of_all_entries(capsys: Capture) -> None:
    assert run(["compare", "a", "b", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["kind"]) == (1, "comparison")
    a, b = entries("a"), entries("b")
    (pair,) = found["pairs"]
    assert math.isclose(pair["cosine"], a @ b / np.linalg.norm(a) / np.linalg.norm(b), rel_tol=1e-5)


def test_modules_are_shown_when_asked_for(capsys: Capture) -> None:
    assert run(["compare", "a", "b"]) == 0
    assert "layers.1.q_proj" not in capsys.readouterr().out
    assert run(["compare", "a", "b", "-v"]) == 0
    assert capsys.readouterr().out.count("layers.1.q_proj") == 2


def test_the_plan_makes_the_merge(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    assert run(["compare", "a", "b", "--plan", "plans/plan.yaml"]) == 0
    assert "wrote plans/plan.yaml" in capsys.readouterr().out
    assert run(["run", "plans/plan.yaml", "-o", "planned"]) == 0
    assert run(["merge", "a", "b", "-o", "merged"]) == 0
    np.testing.assert_allclose(entries("planned"), entries("merged"), rtol=1e-4, atol=1e-5)
    assert run(["compare", "a", "b", "--plan", "plans/plan.yaml"]) == 6, "what is there is not replaced"


def test_that_adapters_cannot_be_merged_is_said_before_they_are_measured(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_adapter(tmp_path / "other", modules=["layers.7.q_proj"])
    assert run(["compare", "a", "other"]) == 0
    monkeypatch.setattr(comparison, "compare", lambda *given, **how: pytest.fail("it was measured"))
    capsys.readouterr()
    assert run(["compare", "a", "other", "--plan", "plan.yaml"]) == 4
    assert "0 of 1 modules overlap" in capsys.readouterr().err
    assert not (tmp_path / "plan.yaml").exists()


def test_there_have_to_be_two(capsys: Capture) -> None:
    assert run(["compare", "a"]) == 2
    assert "there is one adapter, and nothing to compare it with" in capsys.readouterr().err
