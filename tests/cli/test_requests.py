"""One request for commands, recipes, manifests and `verify`: what is asked for once need not be said again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import factors, tree, write_adapter
from tiny_models import write_base

from adapterops.cli.main import run
from adapterops.requests.verifying import recorded

Capture = pytest.CaptureFixture[str]

ADAPTED = [f"model.layers.{layer}.{name}" for layer in range(3) for name in ("q_proj", "v_proj")]


def small(seed: int) -> dict[str, torch.Tensor]:
    """The tensors of an adapter whose updates are a tenth of the weights."""
    return {name: 0.2 * tensor for name, tensor in factors(ADAPTED, out=64, into=96, seed=seed).items()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model `base`, the same in NF4, and adapters `a` and `b`."""
    write_base(tmp_path / "base", out=64, into=96)
    for seed, name in enumerate("ab", 1):
        write_adapter(tmp_path / name, small(seed))
    monkeypatch.chdir(tmp_path)
    assert run(["quantize", "base"]) == 0
    return tmp_path


def done(capsys: Capture, *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert run(list(arguments)) == code, capsys.readouterr().err
    shown = capsys.readouterr()
    return shown.err if code else shown.out


def as_json(capsys: Capture, *arguments: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


FUSED = [
    ["fuse", "base", "a"],
    ["fuse", "base", "a", "b", "-w", "0.7", "-w", "-0.2", "--dtype", "float32", "--precision", "float64"],
    ["fuse", "base", "a", "b", "--ties", "--density", "0.2", "--max-shard-size", "10kB"],
    ["fuse", "base", "a", "b", "--dare-linear", "--seed", "3"],
    ["fuse", "base", "a", "--quantize", "nf4", "--double-quant"],
    ["fuse", "base-nf4", "a", "--original", "base"],
    ["fuse", "base-nf4", "a", "--rounding", "stochastic", "--seed", "4"],
    ["fuse", "base-nf4", "a", "b", "--dare-linear", "--density", "0.9", "--rounding", "stochastic", "--seed", "5"],
    ["fuse", "base-nf4", "a", "--dtype", "bfloat16"],
    ["unfuse", "base", "a"],
]


@pytest.mark.parametrize("command", FUSED, ids=" ".join)
def test_an_output_is_verified_by_its_name_alone(place: Path, capsys: Capture, command: list[str]) -> None:
    done(capsys, *command, "-o", "out")
    proof = as_json(capsys, "verify", "out")
    assert (proof["kind"], proof["schema"], proof["verified"]) == ("verification", 1, True)
    assert len(proof["modules"]) == 6
    moved = place / "elsewhere" / "deeper"
    shutil.copytree(place, moved, ignore=shutil.ignore_patterns("elsewhere"))
    assert "verified" in done(capsys, "verify", str(moved / "out"))
    shutil.rmtree("a")
    shutil.copytree("b", "a")
    done(capsys, "verify", "out", code=8)


@pytest.mark.parametrize("command", FUSED, ids=" ".join)
def test_the_request_of_a_manifest_is_a_recipe(place: Path, capsys: Capture, command: list[str]) -> None:
    done(capsys, *command, "-o", "out")
    request = json.loads(Path("out/adapterops.json").read_text())["request"]
    Path("out.json").write_text(json.dumps({"adapterops": 1, **request}))
    Path("deeper").mkdir()
    shutil.move("out.json", "deeper/recipe.json")  # from where the inputs are seen as they are from the output
    done(capsys, "run", "deeper/recipe.json", "-o", "again")
    weights = {
        name: each for name, each in tree(place / "out").items() if name not in ("adapterops.json", "recipe.yaml")
    }
    assert weights == {
        name: each for name, each in tree(place / "again").items() if name not in ("adapterops.json", "recipe.yaml")
    }
    assert json.loads(Path("again/adapterops.json").read_text())["request"] == request
    assert "verified" in done(capsys, "verify", "again")


RECIPE = """
adapterops: 1
inputs: {a: a, b: b}
result: 0.5*a + b
base: base-nf4
original: base
precision: float64
accept_loss: true
quantize: {scheme: nf4, double_quant: true, block_size: 128}
output: {path: out, max_shard_size: 8kB, rank: 2}
"""


def test_a_recipe_says_what_a_command_can(place: Path, capsys: Capture) -> None:
    Path("recipe.yaml").write_text(RECIPE)
    plan = as_json(capsys, "run", "recipe.yaml", "--dry-run")
    done(capsys, "run", "recipe.yaml")
    assert sorted(plan["shards"]) == sorted(path.name for path in Path("out").glob("*.safetensors"))
    done(capsys, "calc", "0.5*a + b", "a=a", "b=b", "--rank", "2", "--dtype", "float64", "-o", "sum")
    options = ["--precision", "float64", "--accept-loss", "--quantize", "nf4", "--double-quant", "--block-size", "128"]
    done(capsys, "fuse", "base-nf4", "sum", "--original", "base", *options, "--max-shard-size", "8kB", "-o", "fused")
    assert {name: size for name, size in tree(place / "out").items() if name.endswith("index.json")} == {
        name: size for name, size in tree(place / "fused").items() if name.endswith("index.json")
    }
    done(capsys, "run", "out/recipe.yaml", "-o", "again")
    assert tree(place / "again") == tree(place / "out")
    Path("other.yaml").write_text("adapterops: 1\nbase: base\nquantize: {scheme: fp4}\noutput: {path: fp4}\n")
    done(capsys, "run", "other.yaml")
    done(capsys, "quantize", "base", "--to", "fp4", "-o", "expected")
    assert {n: d for n, d in tree(place / "fp4").items() if n.endswith(".safetensors")} == {
        n: d for n, d in tree(place / "expected").items() if n.endswith(".safetensors")
    }
    done(capsys, "dequantize", "fp4", "-o", "sixteen")
    Path("extract.yaml").write_text(
        "adapterops: 1\nbase: base\nextract: {tuned: sixteen, rest: drop}\noutput: {path: x, rank: 1}\n"
    )
    done(capsys, "run", "extract.yaml")
    done(capsys, "extract", "sixteen", "--base", "base", "--rest", "drop", "--rank", "1", "-o", "y")
    assert tree(place / "x")["adapter_model.safetensors"] == tree(place / "y")["adapter_model.safetensors"]


def test_what_is_not_found_is_asked_for_by_name(place: Path, capsys: Capture) -> None:
    done(capsys, "fuse", str(place / "base"), "a", str(place / "b"), "--ties", "-o", "out")
    shown = done(capsys, "verify", "out", code=2)
    assert "was made from base" in shown
    assert "--base PATH" in shown
    shown = done(capsys, "verify", "out", "--base", "base", code=2)
    assert "was made from b," in shown
    assert "--adapter b=PATH" in shown
    assert "verified" in done(capsys, "verify", "out", "--base", "base", "--adapter", "b=b")
    assert str(place) not in Path("out/adapterops.json").read_text()
    assert "name all: a, b" in done(
        capsys, "verify", "out", "--base", "base", "--adapter", "b=b", "--adapter", "a", code=2
    )


def test_options_stand_in_for_what_the_manifest_says(place: Path, capsys: Capture) -> None:
    done(capsys, "fuse", "base", "a", "b", "--ties", "-o", "out")
    for other in (
        ["--linear"],
        ["-w", "2", "-w", "1"],
        ["--density", "0.9", "--ties"],
        ["--adapter", "a=b"],
        ["--dtype", "float32"],
    ):
        done(capsys, "verify", "out", *other, code=8)
    done(capsys, "verify", "out", "--base", "base-nf4", code=8)
    assert "verified" in done(capsys, "verify", "out", "--adapter", "a", "--adapter", "b", "--ties")


def test_what_was_not_fused_is_not_verified(place: Path, capsys: Capture) -> None:
    assert "was made by quantize" in done(capsys, "verify", "base-nf4", code=2)
    assert "has no manifest that says how it was made" in done(capsys, "verify", "base", code=2)
    done(capsys, "fuse", "base", "a", "-o", "out")
    text = Path("out/adapterops.json").read_text()
    Path("out/adapterops.json").write_text(text.replace('"path": "../a"', '"path": "../b"'))
    assert recorded(Path("out")) is None
    done(capsys, "verify", "out", code=3)
    assert "is damaged" in done(capsys, "verify", "out", "--base", "base", "--adapter", "a", code=8)


def test_a_plan_lists_the_files(place: Path, capsys: Capture) -> None:
    command = ["fuse", "base", "a", "b", "--ties", "--convention", "paper", "--max-shard-size", "30kB", "-o", "out"]
    plan = as_json(capsys, *command, "--dry-run")
    assert (plan["kind"], plan["schema"], plan["dry_run"]) == ("plan", 1, True)
    assert plan["statistics"] == ["what the method needs of the whole model"]
    assert plan["hash"] == as_json(capsys, *command, "--dry-run", "--workers", "1")["hash"]
    assert plan["hash"] != as_json(capsys, *command[:-2], "--density", "0.3", "-o", "out", "--dry-run")["hash"]
    shown = done(capsys, *command, "--dry-run")
    done(capsys, *command)
    for name, shard in plan["shards"].items():
        assert f"  {name}: {shard['tensors']} tensors" in shown
        header = json.loads((place / "out" / name).read_bytes()[8:].split(b"}}")[0] + b"}}")
        header.pop("__metadata__", None)
        assert shard["bytes"] == sum(each["data_offsets"][1] - each["data_offsets"][0] for each in header.values())
    assert set(plan["shards"]) == {path.name for path in Path("out").glob("*.safetensors")}


@pytest.mark.parametrize(
    ("command", "first"),
    [
        (["merge", "a", "b"], []),
        (["truncate", "a", "--budget", "2k"], ["spectra of every module"]),
        (["calc", "truncate(a, budget=900) + b", "a=a", "b=b"], ["spectra of every module"]),
        (["extract", "base-other", "--base", "base", "--rank", "3"], ["which tensors of the two models differ"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_adapters_are_planned_too(place: Path, capsys: Capture, command: list[str], first: list[str]) -> None:
    done(capsys, "fuse", "base", "a", "-o", "base-other")
    before = tree(place)
    plan = as_json(capsys, *command, "-o", "out", "--dry-run")
    shown = done(capsys, *command, "-o", "out", "--dry-run")
    assert tree(place) == before
    assert plan["statistics"] == first
    assert all(f"measured first: {each}" in shown for each in first)
    assert list(plan["shards"]) == ["adapter_model.safetensors"]
    saved = as_json(capsys, *command, "-o", "out")
    assert saved["kind"] == "saved-adapter"
    assert saved["bytes"] <= plan["bytes"] + 8000  # and the header
    assert set(saved["modules"]) == set(plan["modules"])


WORK = [
    ["fuse", "base", "a", "b", "--ties"],
    ["quantize", "base"],
    ["merge", "a", "b", "--ties"],
    ["truncate", "a", "--budget", "2k"],
]


@pytest.mark.parametrize("command", WORK, ids=" ".join)
def test_memory_changes_the_workers_and_no_byte(place: Path, capsys: Capture, command: list[str]) -> None:
    done(capsys, *command, "-o", "free", "--workers", "3")
    one = as_json(capsys, *command, "-o", "x", "--workers", "1", "--dry-run")["memory"]
    three = as_json(capsys, *command, "-o", "x", "--workers", "3", "--dry-run")["memory"]
    assert one < three
    enough = f"{-(-one // 1000)}kB"
    assert as_json(capsys, *command, "-o", "x", "--workers", "3", "--memory", enough, "--dry-run")["memory"] == one
    done(capsys, *command, "-o", "bound", "--workers", "3", "--memory", enough)
    assert tree(place / "bound") == tree(place / "free")
    before = tree(place)
    for dry in ([], ["--dry-run"]):
        error = as_json(capsys, *command, "-o", "none", "--memory", "1kB", *dry, code=7)
        assert (error["kind"], error["schema"], error["error"]["code"]) == ("error", 1, "E-RESOURCE")
        assert f"--memory {-(-one // 1000)}kB" in error["error"]["hint"]
    assert tree(place) == before
    assert "--memory" in done(capsys, *command, "-o", "none", "--memory", "lots", code=2)
