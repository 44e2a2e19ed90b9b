"""`quantize`, `dequantize`, `show` on a model, and the options of `fuse` and `verify` that are about codes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Command, Fault
from corpus import factors, tree, write_adapter
from safetensors.torch import load_file, save_file
from tiny_models import write_base

import adapterops as ao
from adapterops.cli.main import run
from adapterops.errors import VerificationError

Capture = pytest.CaptureFixture[str]
ADAPTED = [f"model.layers.{layer}.{name}.weight" for layer in range(3) for name in ("q_proj", "v_proj")]


def small(seed: int) -> dict[str, torch.Tensor]:
    """The tensors of an adapter whose updates are a tenth of the weights."""
    modules = [name.removesuffix(".weight") for name in ADAPTED]
    return {name: 0.2 * tensor for name, tensor in factors(modules, out=64, into=96, seed=seed).items()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model `base` in shards, an adapter `a`, and the model in NF4, as `base-nf4`, in the current folder."""
    write_base(tmp_path / "base", out=64, into=96)
    write_adapter(tmp_path / "a", small(1))
    monkeypatch.chdir(tmp_path)
    assert run(["quantize", "base"]) == 0
    return tmp_path


def printed(capsys: Capture, *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert run(list(arguments)) == code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return shown.err if code else shown.out


def as_json(capsys: Capture, *arguments: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    result: dict[str, Any] = json.loads(shown.out)
    assert result.pop("ok") == (code == 0)
    return result["error"] if code else result


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def test_quantizing_writes_beside_the_model(place: Path, capsys: Capture) -> None:
    assert sorted(ao.open_checkpoint("base-nf4").schemes) == ADAPTED
    shown = printed(capsys, "quantize", "base", "--to", "int8")
    assert shown.startswith("wrote ")
    assert "base-int8: " in shown
    assert "quantized: 6 weights, rounding error" in shown
    printed(capsys, "dequantize", "base-nf4")
    assert ao.open_checkpoint("base-nf4-dequantized").schemes == {}
    assert json.loads((place / "base-nf4-dequantized/config.json").read_text()) == json.loads(
        (place / "base/config.json").read_text()
    )


def test_the_current_folder_is_quantized(place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place / "base")
    printed(capsys, "quantize", "--to", "fp4")
    assert {scheme.name for scheme in ao.open_checkpoint(place / "base-fp4").schemes.values()} == {"fp4"}


def test_what_quantizing_says_as_json(place: Path, capsys: Capture) -> None:
    result = as_json(capsys, "quantize", "base", "--to", "nf4", "--double-quant", "-o", "out")
    assert sorted(result["quantized"]) == ADAPTED
    assert all(0.05 < noise < 0.12 for noise in result["quantized"].values())
    assert result["modules"] == {}
    assert result["bytes"] == sum(path.stat().st_size for path in (place / "out").glob("*.safetensors"))


def test_a_plan_writes_nothing(place: Path, capsys: Capture) -> None:
    before = tree(place)
    plan = as_json(capsys, "quantize", "base", "-o", "out", "--dry-run")
    assert sorted(plan["changed"]) == ADAPTED
    assert plan["bytes"] == sum(tensor.nbytes for tensor in tensors(place / "base-nf4").values())
    assert "tensors changed: 6, copied byte for byte: 6" in printed(
        capsys, "quantize", "base", "-o", "out", "--dry-run"
    )
    assert sorted(as_json(capsys, "dequantize", "base-nf4", "--dry-run")["changed"]) == ADAPTED
    assert "tensors changed: 6" in printed(capsys, "dequantize", "base-nf4", "--dry-run")
    assert "tensors changed: 6" in printed(capsys, "fuse", "base", "a", "--quantize", "fp4", "--dry-run")
    assert "tensors changed: 6" in printed(capsys, "fuse", "base-nf4", "a", "--rounding", "stochastic", "--dry-run")
    assert tree(place) == before


def test_show_says_how_a_model_is_stored(place: Path, capsys: Capture) -> None:
    shown = printed(capsys, "show", "base-nf4")
    assert shown.startswith("base-nf4: tiny, 12 tensors in 4 files\n")
    assert "nf4 (4.5 bits)" in shown
    assert "BF16" in shown
    assert "quantized tensors: 6" in shown
    found = as_json(capsys, "show", "base-nf4")
    assert found["quantized"] == 6
    assert found["parameters"] == as_json(capsys, "show", "base")["parameters"]
    assert found["bytes"] == sum(tensor.nbytes for tensor in tensors(place / "base-nf4").values())
    assert {
        (kind["kind"], kind["count"], tuple(kind["shape"]))
        for kind in found["kinds"]
        if kind["stored"].startswith("nf4")
    } == {
        ("q_proj", 3, (64, 96)),
        ("v_proj", 3, (64, 96)),
    }
    assert "quantized tensors: 0" in printed(capsys, "show", "base")


@pytest.mark.parametrize("command", ["quantize", "dequantize"])
def test_every_help_has_an_example(capsys: Capture, command: str) -> None:
    assert f"adapterops {command}" in printed(capsys, command, "--help").partition("Options:")[0].replace(
        "Usage: adapterops", ""
    )


WRONG: list[tuple[list[str], int, str]] = [
    (["quantize", "base", "--to", "gguf"], 2, "--to"),
    (["quantize", "base", "--to", "int8", "--double-quant"], 2, "no double quantization"),
    (["quantize", "base", "--to", "int8", "--block-size", "128"], 2, "no block size"),
    (["quantize", "base", "--block-size", "100", "-o", "out"], 2, "block"),
    (["quantize", "base", "--block-size", "0", "-o", "out"], 2, "block"),
    (["quantize", "base", "--block-size", "-64", "-o", "out"], 2, "block"),
    (["quantize", "base", "--block-size", "many"], 2, "--block-size"),
    (["quantize", "base", "--device", "tpu"], 2, "--device"),
    (["quantize", "base", "--dtype", "int8"], 2, "--dtype"),
    (["quantize", "base", "--rounding", "nearest"], 2, "--rounding"),
    (["quantize", "nothing"], 5, "does not exist"),
    (["quantize", "a", "-o", "out"], 3, "adapter"),
    (["quantize", "base"], 6, "base-nf4"),
    (["quantize", "base", "-o", "base"], 2, "input"),
    (["dequantize", "nothing"], 5, "does not exist"),
    (["show", "base-nf4", "--spectrum"], 2, "for adapters"),
    (["fuse", "base", "a", "--double-quant"], 2, "go with --quantize"),
    (["fuse", "base", "a", "--block-size", "128"], 2, "go with --quantize"),
    (["fuse", "base", "a", "--quantize", "int8", "--double-quant"], 2, "no double quantization"),
    (["fuse", "base", "a", "--quantize", "nf4", "--block-size", "65"], 2, "block"),
    (["fuse", "base", "a", "--quantize", "fp8"], 2, "--quantize"),
    (["fuse", "base-nf4", "a"], 2, "erases most of an update"),
    (["fuse", "base-nf4", "a", "--quantize", "nf4"], 2, "erases most of an update"),
    (["fuse", "base-nf4", "a", "--rounding", "upwards"], 2, "--rounding"),
    (["fuse", "base-nf4", "a", "--base-view", "original"], 2, "--original"),
    (["fuse", "base-nf4", "a", "--original", "base-nf4"], 4, "the original has"),
    (["fuse", "base-nf4", "a", "--original", "nothing"], 5, "does not exist"),
    (["fuse", "base-nf4", "a", "--base-view", "dequantized", "--original", "base"], 2, "erases most of an update"),
    (["unfuse", "base-nf4", "a"], 2, "use the base itself, which is what unfusing would give; or --rounding"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "said"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_wrong_use(place: Path, capsys: Capture, arguments: list[str], code: int, said: str) -> None:
    before = tree(place)
    assert said in printed(capsys, *arguments, code=code)
    assert as_json(capsys, *arguments, code=code)["code"].startswith("E-")
    assert tree(place) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    "arguments",
    [
        ["quantize", "base"],
        ["quantize", "base", "--dry-run"],
        ["fuse", "base", "a", "--quantize", "nf4"],
        ["fuse", "base", "a"],
    ],
    ids=" ".join,
)
def test_a_gpu_that_is_not_there(place: Path, capsys: Capture, arguments: list[str]) -> None:
    before = tree(place)
    command = [*arguments, "--device", "cuda", "-o", "out"]
    assert "finds no GPU" in printed(capsys, *command, code=7)
    error = as_json(capsys, *command, code=7)
    assert (error["code"], "--device" in error["hint"]) == ("E-RESOURCE", True)
    assert tree(place) == before


def test_a_model_without_a_linear_layer(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "base").mkdir()
    save_file(
        {"model.embed_tokens.weight": torch.ones(5, 4), "model.norm.weight": torch.ones(4)},
        tmp_path / "base/model.safetensors",
    )
    assert as_json(capsys, "quantize", str(tmp_path / "base"), code=4)["code"] == "E-NAMES"


@pytest.mark.parametrize("to", ["nf4", "int8"])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_none(tmp_path: Path, capsys: Capture, to: str, number: float) -> None:
    weights = {name: torch.ones(64, 96, dtype=torch.bfloat16) for name in ADAPTED}
    weights[ADAPTED[3]][60, 90] = number
    (tmp_path / "base").mkdir()
    save_file(weights, tmp_path / "base/model.safetensors")
    error = as_json(capsys, "quantize", str(tmp_path / "base"), "--to", to, code=3)
    assert (error["code"], error["tensor"]) == ("E-NONFINITE", ADAPTED[3])
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def nf4(number: float) -> tuple[dict[str, torch.Tensor], str]:
    name = ADAPTED[2]
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [64, 96]}
    parts = {
        name: torch.zeros(3072, 1, dtype=torch.uint8),
        f"{name}.absmax": torch.ones(96),
        f"{name}.quant_map": torch.ones(16),
    }
    parts[f"{name}.absmax"][90] = number
    return {
        **parts,
        f"{name}.quant_state.bitsandbytes__nf4": torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8),
    }, name


def int8(number: float) -> tuple[dict[str, torch.Tensor], str]:
    name = ADAPTED[2]
    parts = {name: torch.ones(64, 96, dtype=torch.int8), f"{name.removesuffix('.weight')}.SCB": torch.ones(64)}
    parts[f"{name.removesuffix('.weight')}.SCB"][40] = number
    return parts, name


def fp8(number: float, where: str) -> tuple[dict[str, torch.Tensor], str]:
    name = ADAPTED[2]
    parts = {name: torch.ones(64, 96), f"{name}_scale": torch.ones(64, 1)}
    parts[name if where == "code" else f"{name}_scale"][50, 0] = number
    return {**parts, name: parts[name].to(torch.float8_e4m3fn)}, name


NAN, INFINITE = float("nan"), float("inf")
NO_NUMBERS = {
    "absmax NaN": lambda: nf4(NAN),
    "absmax infinite": lambda: nf4(INFINITE),
    "SCB NaN": lambda: int8(NAN),
    "fp8 NaN": lambda: fp8(NAN, "code"),
    "fp8 scale NaN": lambda: fp8(NAN, "scale"),
    "fp8 scale infinite": lambda: fp8(INFINITE, "scale"),
}


@pytest.mark.parametrize("case", NO_NUMBERS)
@pytest.mark.parametrize(
    "command",
    [["dequantize"], ["dequantize", "--dtype", "float32"], ["fuse", "a", "--dtype", "bfloat16"]],
    ids=" ".join,
)
def test_codes_that_stand_for_no_number(place: Path, capsys: Capture, case: str, command: list[str]) -> None:
    coded, name = NO_NUMBERS[case]()
    (place / "coded").mkdir()
    weights = {each: torch.ones(64, 96, dtype=torch.bfloat16) for each in ADAPTED}
    save_file({**weights, **coded}, place / "coded/model.safetensors")
    error = as_json(capsys, command[0], "coded", *command[1:], "-o", "out", code=3)
    assert (error["code"], error["tensor"]) == ("E-NONFINITE", name)
    assert error["path"].endswith("coded/model.safetensors")
    assert not (place / "out").exists()


def test_a_number_that_is_too_large_for_int8(tmp_path: Path, capsys: Capture) -> None:
    weights = {name: torch.ones(64, 96) for name in ADAPTED}
    weights[ADAPTED[1]][0, 0] = 1e6
    (tmp_path / "base").mkdir()
    save_file(weights, tmp_path / "base/model.safetensors")
    assert "above 65504" in printed(capsys, "quantize", str(tmp_path / "base"), "--to", "int8", code=3)


def test_what_is_not_written_is_refused_with_ways_that_there_are(place: Path, capsys: Capture) -> None:
    (place / "fp8").mkdir()
    weights = {name: torch.randn(64, 96).to(torch.float8_e4m3fn) for name in ADAPTED}
    save_file(
        {**weights, **{f"{name}_scale": torch.full((64, 1), 0.5) for name in ADAPTED}}, place / "fp8/model.safetensors"
    )
    before = tree(place)
    error = as_json(capsys, "fuse", "fp8", "a", "-o", "out", code=2)
    assert error["code"] == "E-GRID"
    assert "--dtype bfloat16" in error["hint"]
    assert "--quantize fp8" not in error["hint"]
    error = as_json(capsys, "fuse", "fp8", "a", "--rounding", "nearest", "-o", "out", code=4)
    assert error["code"] == "E-UNSUPPORTED"
    assert "not written with new codes" in error["message"]
    assert "--rounding stochastic keeps its grid" in error["hint"]
    assert tree(place) == before
    assert "fp8 (8.33 bits)" in printed(capsys, "show", "fp8")
    printed(capsys, "dequantize", "fp8", "-o", "out")
    found = tensors(place / "out")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], (0.5 * weight.float()).bfloat16()) for name, weight in weights.items())


def test_another_scheme_and_another_dtype(place: Path, capsys: Capture) -> None:
    printed(capsys, "quantize", "base-nf4", "--to", "int8", "-o", "int8")
    printed(capsys, "dequantize", "base-nf4", "-o", "16")
    printed(capsys, "quantize", "16", "--to", "int8", "-o", "expected")
    found, expected = tensors(place / "int8"), tensors(place / "expected")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    printed(capsys, "dequantize", "base-nf4", "--dtype", "float32", "-o", "32")
    assert {tensor.dtype for name, tensor in tensors(place / "32").items() if name in ADAPTED} == {torch.float32}
    printed(capsys, "quantize", "base-nf4", "--to", "nf4", "-o", "same")
    assert all(
        torch.equal(tensor, tensors(place / "base-nf4")[name]) for name, tensor in tensors(place / "same").items()
    )


def test_the_scheme_of_the_base_is_changed_where_its_details_are_asked_for(place: Path, capsys: Capture) -> None:
    printed(capsys, "fuse", "base-nf4", "a", "--original", "base", "--quantize", "nf4", "--double-quant", "-o", "out")
    assert all(scheme.bits < 4.2 for scheme in ao.open_checkpoint("out").schemes.values())


def test_a_float16_model_stays_one(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "base").mkdir()
    save_file({name: torch.randn(64, 96).half() for name in ADAPTED}, tmp_path / "base/model.safetensors")
    printed(capsys, "quantize", str(tmp_path / "base"))
    assert {scheme.dtype for scheme in ao.open_checkpoint(tmp_path / "base-nf4").schemes.values()} == {"F16"}


def test_verify_reads_from_the_manifest_how_a_model_was_rounded(place: Path, capsys: Capture) -> None:
    printed(capsys, "fuse", "base-nf4", "a", "--rounding", "stochastic", "--seed", "4", "-o", "out")
    told = ["--base", "base-nf4", "--adapter", "a"]
    result = as_json(capsys, "verify", "out", *told)
    assert result["verified"]
    assert len(result["modules"]) == 6
    assert all(check["survival"]["gain"] > 0.9 for check in result["modules"].values())
    assert "verified" in printed(capsys, "verify", "out", *told)
    printed(capsys, "verify", "out", *told, "--seed", "5", code=8)
    printed(capsys, "verify", "out", *told, "--rounding", "nearest", code=8)
    assert "--logits" in printed(capsys, "verify", "out", *told, "--logits", code=2)
    (place / "out/adapterops.json").unlink()
    printed(capsys, "verify", "out", *told, "--rounding", "stochastic", "--seed", "4")
    printed(capsys, "verify", "out", *told, code=8)


def test_seeds_of_merging_and_of_rounding_are_one(place: Path, capsys: Capture) -> None:
    write_adapter(place / "b", small(2))
    both = ["--dare-linear", "--density", "0.5", "--seed", "2"]
    printed(capsys, "fuse", "base-nf4", "a", "b", *both, "--rounding", "stochastic", "-o", "out")
    printed(capsys, "verify", "out", "--base", "base-nf4", "--adapter", "a", "--adapter", "b", *both)
    printed(capsys, "verify", "out", "--base", "base-nf4", "--adapter", "a", "--adapter", "b", *both[:-1], "3", code=8)


@pytest.mark.parametrize(
    "command",
    [
        ["quantize", "base", "--double-quant"],
        ["fuse", "base-nf4", "a", "--rounding", "stochastic", "--seed", "1"],
        ["fuse", "base", "a", "--quantize", "int8"],
    ],
    ids=" ".join,
)
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(place: Path, command: list[str]) -> None:
    assert run([*command, "-o", "whole"]) == 0
    ended = Command([*command, "-o", "out"], Fault("fsync", "kill", r"/\.journal$", 3, after=True)).end()
    assert ended.code == -signal.SIGKILL, ended
    assert not (place / "out").exists()
    assert run([*command, "-o", "out", "--resume"]) == 0
    assert tree(place / "out") == tree(place / "whole")


def test_what_is_not_quantized_is_not_dequantized(place: Path, capsys: Capture) -> None:
    assert "no quantized weight" in printed(capsys, "dequantize", "base", "-o", "out", code=4)
    assert not (place / "out").exists()


def test_options_that_would_change_nothing_are_refused(place: Path, capsys: Capture) -> None:
    for options in (
        ["--original", "base", "--rounding", "stochastic"],
        ["--original", "base", "--rounding", "nearest"],
    ):
        assert "leave one of them out" in printed(capsys, "fuse", "base-nf4", "a", *options, "-o", "out", code=2)
    assert "and this one is not" in printed(
        capsys, "fuse", "base", "a", "--base-view", "dequantized", "-o", "out", code=2
    )
    for command in (["merge", "a"], ["truncate", "a", "--rank", "1"], ["fuse", "base", "a"]):
        assert "for files that do not say" in printed(capsys, *command, "--alpha", "99", "-o", "out", code=2)
    assert not (place / "out").exists()


def test_another_model_in_the_place_of_the_original(place: Path, capsys: Capture) -> None:
    write_base(place / "other", out=64, into=96, seed=5)
    error = as_json(capsys, "fuse", "base-nf4", "a", "--original", "other", "-o", "out", code=4)
    assert (error["code"], error["tensor"]) == ("E-NAMES", ADAPTED[0])
    assert "away from what the base's codes stand for" in error["message"]
    write_base(place / "relative", out=64, into=96)
    generator = torch.Generator().manual_seed(0)
    for path in sorted((place / "relative").glob("*.safetensors")):
        moved = {
            name: tensor + (0.05 * torch.randn(64, 96, generator=generator)).bfloat16() if name in ADAPTED else tensor
            for name, tensor in load_file(path).items()
        }
        save_file(moved, path, {"format": "pt"})
    capsys.readouterr()
    assert run(["fuse", "base-nf4", "a", "--original", "relative", "-o", "out"]) == 0
    assert "was the base made from it?" in capsys.readouterr().err
    assert run(["fuse", "base-nf4", "a", "--original", "base", "-o", "out2"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_a_weight_that_was_trained_whole_is_seen_in_codes(place: Path, capsys: Capture) -> None:
    """Rounded to the grid that it came from, next to nothing of the training is left; the LoRA beside it survives."""
    stored = tensors(place / "base")
    trained, kept = ADAPTED[0], load_file(place / "a/adapter_model.safetensors")
    kept = {name: 5 * tensor for name, tensor in kept.items() if trained.removesuffix(".weight") not in name}
    kept[f"base_model.model.{trained}"] = stored[trained].float() * (
        1 + 0.01 * torch.randn(64, 96, generator=torch.Generator().manual_seed(0))
    )
    fields = json.loads((place / "a/adapter_config.json").read_text()) | {
        "modules_to_save": [trained.removesuffix(".weight")]
    }
    write_adapter(place / "whole", kept, fields)
    error = as_json(capsys, "fuse", "base-nf4", "whole", "--rounding", "nearest", "-o", "out", code=8)
    assert error["code"] == "E-LOST"
    assert error["details"]["modules"][trained.removesuffix(".weight")]["gain"] < 0.5
    result = as_json(capsys, "fuse", "base-nf4", "whole", "--original", "base", "-o", "out")
    assert result["modules"][trained.removesuffix(".weight")]["gain"] > 0.8
    assert as_json(capsys, "verify", "out", "--base", "base-nf4", "--original", "base", "--adapter", "whole")[
        "verified"
    ]


def test_what_all_modules_lost_counts_where_each_may_have_by_chance(place: Path, capsys: Capture) -> None:
    from adapterops.checkpoints.saving import _check_survival
    from adapterops.updates.survival import Survival

    one = Survival(base=1.0, delta=1.0, dot=0.85, entries=100, codes=100, error=0.1)
    _check_survival({"a": one}, place, None)
    for rounding in ("stochastic", None):
        with pytest.raises(
            VerificationError, match=r"85\.0% of the update survives in a, 85\.0% in all 400 quantized modules"
        ) as caught:
            _check_survival({"a": one, **{f"m{index}": one for index in range(399)}}, place, rounding)
        assert ("--rounding stochastic" in str(caught.value.hint)) == (rounding is None)


def test_int8_by_chance_in_another_dtype_is_verified(place: Path, capsys: Capture) -> None:
    printed(capsys, "quantize", "base", "--to", "int8", "-o", "base-int8")
    printed(
        capsys,
        "fuse",
        "base-int8",
        "a",
        "--quantize",
        "int8",
        "--rounding",
        "stochastic",
        "--seed",
        "1",
        "--dtype",
        "float32",
        "-o",
        "out",
    )
    assert as_json(capsys, "verify", "out", "--base", "base-int8", "--adapter", "a")["verified"]


def test_how_far_chance_moved_what_survived_is_told(place: Path, capsys: Capture) -> None:
    write_adapter(place / "faint", {name: 0.1 * tensor for name, tensor in small(1).items()})
    shown = printed(capsys, "fuse", "base", "faint", "--quantize", "nf4", "--accept-loss", "-o", "out")
    assert "%" in shown.partition(" ± ")[2].partition(", lowest")[0]
    assert "±" not in printed(capsys, "fuse", "base", "a", "-o", "out16")
    total = as_json(capsys, "fuse", "base", "faint", "--quantize", "nf4", "--accept-loss", "-o", "again")["total"]
    assert abs(total["gain"] - 1) < 5 * total["uncertainty"]
