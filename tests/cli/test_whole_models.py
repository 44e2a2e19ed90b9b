"""`fuse BASE --tuned MODEL`: whole models merged, planned, verified, made in parts and again from their manifests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from corpus import tree, write_adapter
from safetensors.torch import load_file, save_file
from small_models import TOKENS, load, qwen

from adapterops.cli.main import run

Capture = pytest.CaptureFixture[str]
MERGE = ["fuse", "base", "--tuned", "a", "--tuned", "b"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base, and models `a` and `b` that were tuned from it, in the current folder."""
    base = qwen(tmp_path / "base")
    for seed, name in enumerate("ab"):
        model = load(base)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        model.save_pretrained(tmp_path / name, max_shard_size="50kB")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_transformers_computes_with_the_merge_as_with_the_sum_of_state_dicts(place: Path, capsys: Capture) -> None:
    assert run([*MERGE, "-w", "0.7", "-w", "0.3", "-o", "out"]) == 0
    assert "27 tensors" in capsys.readouterr().out
    base, first, second = load(place / "base"), load(place / "a").state_dict(), load(place / "b").state_dict()
    wanted = {
        name: (W.double() + 0.7 * (first[name].double() - W) + 0.3 * (second[name].double() - W)).float()
        for name, W in base.state_dict().items()
    }
    base.load_state_dict(wanted)
    with torch.no_grad():
        assert torch.allclose(load(place / "out")(TOKENS).logits, base(TOKENS).logits, atol=1e-5)


def test_a_dry_run_plans_it_and_names_what_is_measured_first(place: Path, capsys: Capture) -> None:
    assert run([*MERGE, "--ties", "--convention", "paper", "--dry-run", "-o", "out"]) == 0
    said = capsys.readouterr().out
    assert "tensors changed: 27, copied byte for byte: 0" in said
    assert "measured first" in said
    assert not (place / "out").exists()


def test_it_is_verified_by_its_manifest_and_damage_is_found(place: Path, capsys: Capture) -> None:
    assert run([*MERGE, "--ties", "--density", "0.3", "-o", "out"]) == 0
    assert run(["verify", "out"]) == 0
    file = next(iter(sorted((place / "out").glob("*.safetensors"))))
    tensors = load_file(file)
    name = max(tensors, key=lambda each: tensors[each].numel())
    tensors[name].view(-1)[5] += 0.25
    save_file(tensors, file, {"format": "pt"})
    capsys.readouterr()
    assert run(["verify", "out"]) == 8
    assert f"{name}: " in capsys.readouterr().out


@pytest.mark.parametrize("method", ["tsv", "wudi", "ace", "pcb", "dare_ties", "karcher"])
def test_what_other_methods_make_is_verified_too(place: Path, method: str) -> None:
    assert run([*MERGE, "--method", method, "--dtype", "bfloat16", "-o", "out"]) == 0
    assert run(["verify", "out"]) == 0


def test_a_recipe_and_parts_make_the_same_bytes(place: Path) -> None:
    assert run([*MERGE, "--ties", "--convention", "paper", "-o", "out"]) == 0
    assert run([*MERGE, "--ties", "--convention", "paper", "-o", "parts", "--part", "1/2"]) == 0
    assert run([*MERGE, "--ties", "--convention", "paper", "-o", "parts", "--part", "2/2"]) == 0
    assert run(["finalize", "parts"]) == 0
    recipe = {
        "adapterops": 1,
        "inputs": {name: {"path": name, "tuned": True} for name in "ab"},
        "result": 'ties(a, b, convention="paper")',
        "base": "base",
        "output": {"path": "again"},
    }
    (place / "recipe.json").write_text(json.dumps(recipe))
    assert run(["run", "recipe.json"]) == 0

    def tensors(folder: str) -> dict[str, str]:
        return {name: sum_ for name, sum_ in tree(place / folder).items() if name.endswith(".safetensors")}

    assert tensors("out") == tensors("parts") == tensors("again")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["fuse", "base", "adapter", "--tuned", "a"], 2, "one merge takes models or adapters"),
        (["fuse", "base", "--tuned", "a", "--alpha", "8"], 2, "alpha is for adapters"),
        (["fuse", "--tuned", "a"], 2, "the model is missing"),
        (["fuse", "base", "--tuned", "a", "--tuned", "b", "--core-ties"], 4, "has no factors of low rank"),
        (
            ["fuse", "base", "--tuned", "a", "--tuned", "b", "--regmean"],
            4,
            "adapterops extract a --base BASE --rank 32",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    place: Path, capsys: Capture, arguments: list[str], code: int, said: str
) -> None:
    write_adapter(place / "adapter", {})
    assert run([*arguments, "-o", "out"]) == code
    assert said in capsys.readouterr().err
    assert not (place / "out").exists()


def test_a_recipe_that_asks_for_an_adapter_of_models_is_refused(place: Path, capsys: Capture) -> None:
    recipe = {"adapterops": 1, "inputs": {"a": {"path": "a", "tuned": True}}, "result": "a", "output": {"path": "out"}}
    (place / "recipe.json").write_text(json.dumps(recipe))
    assert run(["run", "recipe.json"]) == 2
    assert "adapterops extract" in capsys.readouterr().err
