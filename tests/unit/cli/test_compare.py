"""`compare`: numbers of pairs against formulas, and the merge as a recipe."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from corpus import PREFIX, config, factors, write_adapter
from safetensors.numpy import save_file

import adapterops as ao
from adapterops.cli.main import run
from adapterops.errors import AdapterWarning, UnsupportedError
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


def test_a_collection_stands_for_its_adapters(capsys: Capture) -> None:
    assert run(["compress", "a", "b", "-o", "coll", "--error", "1e-6"]) == 0
    capsys.readouterr()
    assert run(["compare", "coll", "--json"]) == 0
    of_collection = json.loads(capsys.readouterr().out)
    assert run(["compare", "coll#a", "coll#b", "--json"]) == 0
    assert of_collection == json.loads(capsys.readouterr().out)
    assert run(["report", "coll"]) == 0
    assert run(["compare", "coll#a"]) == 2, "that is one"


def test_there_have_to_be_two(capsys: Capture) -> None:
    assert run(["compare", "a"]) == 2
    assert "there is one adapter, and nothing to compare it with" in capsys.readouterr().err


HEAD, PROJECTION = "base_model.model.score.weight", "base_model.model.layers.0.q_proj"


def with_tensors(name: str, seed: int, more: dict[str, torch.Tensor], **fields: Any) -> None:
    write_adapter(Path(name), {**factors(seed=seed), **more}, config(**fields))


def a_head(name: str, seed: int) -> None:
    with_tensors(name, seed, {HEAD: torch.ones(3, 8)}, modules_to_save=["score"])


def biases(name: str, seed: int) -> None:
    with_tensors(name, seed, {f"{PROJECTION}.bias": torch.ones(12)}, bias="lora_only")


def bases(name: str, seed: int) -> None:
    with_tensors(name, seed, {}, base_model_name_or_path=f"some/base-{seed}")


def a_pickle(name: str, seed: int) -> None:
    with_tensors(name, seed, {})
    torch.save(factors(seed=seed), Path(name) / "adapter_model.bin")
    (Path(name) / "adapter_model.safetensors").unlink()


def no_alpha(name: str, seed: int) -> None:
    tensors = {key.removeprefix(PREFIX): each.numpy() for key, each in factors(seed=seed).items()}
    save_file(tensors, f"{name}.safetensors")


def loha(name: str, seed: int) -> None:
    random, shapes = np.random.default_rng(seed), {"w1_a": (12, 2), "w1_b": (2, 8), "w2_a": (12, 2), "w2_b": (2, 8)}
    tensors = {
        f"{PROJECTION}.hada_{role}": torch.from_numpy(random.normal(size=shape)) for role, shape in shapes.items()
    }
    write_adapter(Path(name), tensors, {"peft_type": "LOHA", "r": 2, "alpha": 2, "target_modules": ["q_proj"]})


@pytest.mark.parametrize("drop", [[], ["--drop-opposed"]], ids=["all", "dropped"])
@pytest.mark.parametrize(
    ("make", "options", "end"),
    [
        (a_head, [], ""),
        (biases, [], ""),
        (bases, [], ""),
        (a_pickle, ["--allow-pickle"], ""),
        (no_alpha, ["--alpha", "4"], ".safetensors"),
        (loha, [], ""),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_every_plan_that_is_written_runs(
    make: Callable[[str, int], None], options: list[str], end: str, drop: list[str]
) -> None:
    """It makes the merge, with the full tensors that all have."""
    for seed, name in enumerate(("one", "two", "three")):
        make(name, seed)
    sources = [f"{name}{end}" for name in ("one", "two", "three")]
    assert run(["compare", *sources, *options, "--plan", "plan.yaml", *drop]) == 0
    assert run(["run", "plan.yaml", "-o", "planned"]) == 0
    mismatch = ["--allow-base-mismatch"] if make is bases else []
    assert run(["merge", *sources, *options, *mismatch, "-o", "merged"]) == 0
    planned, merged = (ao.open_adapter(name) for name in ("planned", "merged"))
    for module in planned.layout:
        np.testing.assert_allclose(
            planned.updates[module].dense(), merged.updates[module].dense(), rtol=1e-4, atol=1e-5
        )
    for tensor, stored in planned.full.items():
        np.testing.assert_array_equal(stored.array(), merged.full[tensor].array())
    if not drop:
        assert planned.layout.keys() == merged.layout.keys()
        assert planned.full.keys() == merged.full.keys()


def test_full_tensors_that_several_share_are_kept_whatever_their_sum_is_multiplied_by() -> None:
    for seed, name in enumerate(("one", "two")):
        a_head(name, seed)
    one, two = map(ao.open_adapter, ("one", "two"))
    for scaled in (
        lambda: 0.5 * (one + two),
        lambda: -(one + two),
        lambda: ao.scale(ao.merge([one, two], "linear"), {"*": 0.5}),
    ):
        with pytest.warns(
            AdapterWarning, match="1 full tensor is kept as it is, and not scaled: .* such as score.weight"
        ):
            assert list(scaled().full) == ["score.weight"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list((1 * (one + two)).full) == ["score.weight"]
    with pytest.raises(UnsupportedError, match="has full tensors"):
        ao.scale(one, {"*": 0.5})
    with pytest.raises(UnsupportedError, match="has full tensors"):
        0.5 * ao.merge([one], "linear")
