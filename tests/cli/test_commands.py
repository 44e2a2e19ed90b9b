"""The commands as a person types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import config, deltas, factors, write_adapter
from safetensors.torch import load_file, save_file
from strategies import entries

import adapterops as ao
from adapterops.cli.main import run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with adapters of different ranks, as the current one."""
    write_adapter(tmp_path / "a", rank=4, seed=1)
    write_adapter(tmp_path / "b", seed=2, fields=config(2, use_rslora=True))
    write_adapter(tmp_path / "c", rank=3, seed=3, modules=("layers.0.q_proj", "layers.1.v_proj"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(printed(capsys, *arguments, "--json"))
    assert result.pop("ok")
    return result


def test_a_rank_that_cuts_nothing_is_reported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no module has a rank above 4, so rank 64 cuts nothing" in printed(capsys, "truncate", "a", "--rank", "64")
    assert "cuts nothing" not in printed(capsys, "truncate", "a", "--rank", "1", "-o", "one")


def test_lone_files_merge_with_ties(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        header = {"lora_adapter_metadata": json.dumps(config(4 if name == "a" else 2))}
        save_file(load_file(place / name / "adapter_model.safetensors"), place / f"{name}.safetensors", header)
    shown = printed(capsys, "merge", "a.safetensors", "b.safetensors", "--ties")
    assert "wrote merged: 3 modules, rank 6" in shown
    assert "energy kept" in shown
    assert ao.open_adapter("merged").layout["layers.0.q_proj"].rank == 6


def test_linear_with_weights(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "merge", "a", "b", "c", "--linear", "-w", "0.5", "-w", "0.3", "-w", "-0.2", "-o", "out")
    assert "100% (exact)" in shown
    a, b, c, out = (ao.open_adapter(name).updates for name in ("a", "b", "c", "out"))
    q = "layers.0.q_proj"
    torch.testing.assert_close(entries(out[q]), 0.5 * entries(a[q]) + 0.3 * entries(b[q]) - 0.2 * entries(c[q]))
    torch.testing.assert_close(entries(out["layers.1.v_proj"]), -0.2 * entries(c["layers.1.v_proj"]))


def test_dare_with_a_seed_and_a_rank(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["merge", "a", "b", "--dare-ties", "--density", "0.3", "--rank", "3", "--seed"]
    results = [
        as_json(capsys, *command, seed, "-o", out)["modules"] for seed, out in (("7", "x"), ("7", "y"), ("8", "z"))
    ]
    assert {kept["rank"] for kept in results[0].values()} == {3}
    assert results[0] == results[1] != results[2]
    manifest = json.loads((place / "x/adapterops.json").read_text())
    assert manifest["operation"]["inputs"][0]["seed"] == 7


def test_truncate_the_current_folder(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place / "a")
    printed(capsys, "truncate", "--rank", "2")
    assert ao.open_adapter(place / "a-r2").layout["layers.0.q_proj"].rank == 2


@pytest.mark.parametrize(
    ("options", "name"),
    [(["--energy", "0.9"], "a-e0.9"), (["--budget", "100"], "a-b100"), (["--budget", "1kB"], "a-b1kB")],
)
def test_truncate_by_energy_and_budget(
    place: Path, capsys: pytest.CaptureFixture[str], options: list[str], name: str
) -> None:
    result = as_json(capsys, "truncate", "a", *options)
    assert result["path"] == name
    layout = ao.open_adapter(name).layout
    if "--budget" in options:
        assert sum(each.bytes if "kB" in name else each.parameters for each in layout.values()) <= (
            1000 if "kB" in name else 100
        )
    else:
        assert all(kept["energy"] >= 0.9 for kept in result["modules"].values())


def test_exact_is_no_worse(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["merge", "a", "b", "--ties", "--rank", "2"]
    quick, exact = as_json(capsys, *command, "-o", "quick"), as_json(capsys, *command, "--exact", "-o", "exact")
    assert exact["energy_kept"] >= quick["energy_kept"] - 1e-6


def test_show(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "show", "b")
    assert shown.startswith("b: LoRA on some/base\n")
    assert "4 rs" in shown
    assert "3 modules, 120  parameters" in shown.replace("120 parameters", "120  parameters")
    found = as_json(capsys, "show", "a", "--spectrum")
    assert found["parameters"] == 3 * 4 * 20
    values = found["spectrum"]["modules"]["layers.0.q_proj"]["values"]
    expected = torch.linalg.svdvals(entries(ao.open_adapter("a").updates["layers.0.q_proj"]).double())[:4]
    assert values == pytest.approx(expected.tolist(), rel=1e-5)
    few, most = found["spectrum"]["bracket"]
    assert 1 <= few <= most <= 4
    assert "of the energy over all modules" in printed(capsys, "show", "a", "--spectrum")


def test_an_adapter_that_was_never_trained_is_said_to_be(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = {name: tensor * ("lora_A" in name) for name, tensor in factors().items()}
    write_adapter(place / "new", tensors)
    assert "never trained" in printed(capsys, "show", "new")
    assert " energy over " not in printed(capsys, "show", "new", "--spectrum"), (
        "it has none, of which a rank keeps a part"
    )
    assert "every module is zero" in printed(capsys, "truncate", "new", "--rank", "1")


@pytest.mark.parametrize("command", ["show new", "compare a new", "report a new -o page.html"])
def test_what_results_warn_of_is_an_error_under_strict(
    place: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    write_adapter(place / "new", {name: tensor * ("lora_A" in name) for name, tensor in factors().items()})
    for options, code in (([], 0), (["--strict"], 3), (["--strict", "--json", *["--force"] * ("-o" in command)], 3)):
        (place / "page.html").unlink(missing_ok=True)
        (place / "page.json").unlink(missing_ok=True)
        assert run([*command.split(), *options]) == code
    printed = capsys.readouterr()
    assert json.loads(printed.out[printed.out.rindex('{\n  "schema"') :])["error"]["code"] == "E-STRICT"
    assert "never trained" in printed.err


def test_a_plan_writes_nothing_and_fails_as_the_work_would(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = as_json(capsys, "merge", "a", "b", "--ties", "--dry-run")
    assert plan["modules"]["layers.0.q_proj"] == {"shape": [12, 8], "rank_at_most": 6, "dtype": "F32"}
    assert "would write merged: 3 modules, rank 6" in printed(capsys, "merge", "a", "b", "--ties", "--dry-run")
    assert not (place / "merged").exists()
    (place / "merged").mkdir()
    (place / "merged/file").touch()
    assert run(["merge", "a", "b", "--dry-run"]) == 6


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["merge", "a", "b", "--ties", "--linear"], 2, "exclude each other"),
        (["merge", "a", "b", "--density", "0.5"], 2, "no parameter density"),
        (["merge", "a", "b", "--ties", "--density", "1.5"], 2, "above 0 and at most 1"),
        (["merge", "a", "b", "--ties", "--density", "nan"], 2, "above 0 and at most 1"),
        (["merge", "a", "b", "-w", "1"], 2, "1 weight for 2 adapters"),
        (["merge", "a", "b", "-w", "nan", "-w", "1"], 2, "finite"),
        (["merge", "a", "b", "--ties", "--space", "factors"], 4, "ranks are"),
        (["merge", "a", "b", "--cat", "--space", "factors"], 2, "does not act"),
        (["truncate", "a"], 2, "exactly one"),
        (["truncate", "a", "--rank", "2", "--energy", "0.9"], 2, "exactly one"),
        (["truncate", "a", "--rank", "0"], 2, "0"),
        (["truncate", "a", "--energy", "1.1"], 2, "at most 1"),
        (["truncate", "a", "--budget", "some"], 2, "500k"),
        (["truncate", "a", "--budget", "3"], 2, "is too small for one dimension"),
        (["truncate", "a", "--rank", "1", "-o", "no/such/place"], 5, "create it first"),
        (["sho", "a"], 2, "sho"),
        (["merge"], 2, "SOURCES"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_use(place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str) -> None:
    before = sorted(place.iterdir())
    assert run(arguments) == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert run([*arguments, "--json"]) == code
    error = json.loads(capsys.readouterr().out)
    assert not error["ok"]
    assert error["error"]["code"].startswith("E-")
    assert sorted(place.iterdir()) == before


def test_dtype(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "truncate", "a", "--rank", "2", "--dtype", "bf16")
    assert {layout.dtype for layout in ao.open_adapter("a-r2").layout.values()} == {"BF16"}


def test_methods_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "methods")
    assert all(f"--{name.replace('_', '-')}\n" in shown for name in ao.METHODS)
    assert set(as_json(capsys, "methods")["methods"]) == set(ao.METHODS)


@pytest.mark.parametrize("command", ["show", "merge", "truncate", "push", "pull", "methods"])
def test_every_help_has_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert f"adapterops {command}" in printed(capsys, command, "--help").partition("Options:")[0].replace(
        "Usage: adapterops", ""
    )


def test_shell_completion() -> None:
    environment = {
        **os.environ,
        "_ADAPTEROPS_COMPLETE": "bash_complete",
        "COMP_WORDS": "adapterops merge --dare",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-m", "adapterops"], env=environment, capture_output=True, text=True, check=False
    )
    assert "plain,--dare-ties" in done.stdout


def test_numbers_without_an_svd(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = factors()
    tensors["base_model.model.layers.0.q_proj.lora_A.weight"][0, 0] = float("inf")
    write_adapter(place / "broken", tensors)
    assert run(["truncate", "broken", "--rank", "1"]) == 3
    assert "--allow-nonfinite" in capsys.readouterr().err
    assert run(["truncate", "broken", "--rank", "1", "--allow-nonfinite"]) == 3
    assert "layers.0.q_proj: has numbers that are NaN or infinite" in capsys.readouterr().err
    assert run(["merge", "broken", "a", "--allow-nonfinite", "-o", "out"]) == 0


@pytest.mark.parametrize("arguments", [["--ties", "-w", "1", "-w", "2"], ["--dare-ties"]], ids=" ".join)
def test_what_cannot_be_is_said_by_a_dry_run_too(tmp_path, capsys, arguments):
    a, b = write_adapter(tmp_path / "a"), write_adapter(tmp_path / "b", seed=1)
    for option in ([], ["--dry-run"]):
        assert (
            run(["merge", str(a), str(b), *arguments, "--convention", "paper", "-o", str(tmp_path / "out"), *option])
            == 2
        )
        assert "paper" in capsys.readouterr().err


def test_show_names_whole_tensors(tmp_path, capsys):
    head = {"base_model.model.lm_head.weight": torch.ones(5, 8)}
    folder = write_adapter(tmp_path / "a", {**factors(), **head}, config(modules_to_save=["lm_head"]))
    assert run(["show", str(folder)]) == 0
    assert "1 full tensor, which replace the base's: lm_head.weight" in capsys.readouterr().out


@pytest.mark.parametrize("cut", [["--rank", "2"], ["--energy", "0.9"], ["--budget", "30"]], ids=" ".join)
def test_a_zero_adapter_stays_one(tmp_path, capsys, cut):
    tensors = {name: torch.zeros_like(tensor) if "lora_B" in name else tensor for name, tensor in factors().items()}
    folder = write_adapter(tmp_path / "a", tensors)
    assert run(["truncate", str(folder), *cut, "-o", str(tmp_path / "out")]) == 0
    assert "every module is zero" in capsys.readouterr().out
    assert all(float(delta.norm()) == 0 for delta in deltas(tmp_path / "out").values())


def test_a_scale_beyond_the_dtype_is_an_error(tmp_path, capsys):
    a, b = write_adapter(tmp_path / "a"), write_adapter(tmp_path / "b", seed=1)
    assert run(["merge", str(a), str(b), "-w", "1e39", "-w", "1", "-o", str(tmp_path / "out")]) == 4
    assert "too large for float32" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_bytes_of_a_budget_are_those_that_are_written(tmp_path):
    folder = write_adapter(tmp_path / "a", rank=4, dtype=torch.bfloat16)
    assert run(["truncate", str(folder), "--budget", "400B", "--dtype", "float32", "-o", str(tmp_path / "out")]) == 0
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert 0 < sum(tensor.nbytes for tensor in tensors.values()) <= 400


def test_alphas_in_the_file_are_the_scale(tmp_path, capsys):
    tensors = factors()
    alphas = {name.replace(".lora_A.weight", ".alpha"): torch.tensor(3.0) for name in tensors if "lora_A" in name}
    save_file({**tensors, **alphas}, tmp_path / "a.safetensors")
    assert run(["merge", str(tmp_path / "a.safetensors"), "-o", str(tmp_path / "out")]) == 0
    for module, delta in deltas(tmp_path / "out").items():
        A, B = (tensors[f"base_model.model.{module}.lora_{role}.weight"].double() for role in "AB")
        torch.testing.assert_close(delta, 3 / 2 * B @ A, rtol=1e-5, atol=1e-6)
    save_file({**tensors, **dict(list(alphas.items())[:1])}, tmp_path / "some.safetensors")
    assert run(["show", str(tmp_path / "some.safetensors")]) == 3
    assert "has no alpha, though other modules have" in capsys.readouterr().err
    folder = write_adapter(tmp_path / "both", {**tensors, **alphas})
    assert run(["show", str(folder)]) == 3
    assert "its alpha tensor says 3, the config says 4" in capsys.readouterr().err


def test_two_adapters_in_one_file_are_refused(tmp_path, capsys):
    first = {name.replace(".weight", ".one.weight"): tensor for name, tensor in factors(["layers.0.q_proj"]).items()}
    second = {name.replace(".weight", ".two.weight"): tensor for name, tensor in factors(["layers.1.q_proj"]).items()}
    folder = write_adapter(tmp_path / "a", {**first, **second})
    assert run(["show", str(folder)]) == 3
    assert "holds several adapters: one, two" in capsys.readouterr().err


def test_a_lone_file_takes_the_config_beside_it(tmp_path):
    folder = write_adapter(tmp_path / "a")
    for source, out in ((folder, "one"), (folder / "adapter_model.safetensors", "two")):
        assert run(["merge", str(source), "-w", "2", "-o", str(tmp_path / out)]) == 0
    one, two = (deltas(tmp_path / out) for out in ("one", "two"))
    assert all(torch.equal(one[module], two[module]) for module in one)


def test_masks_of_equal_adapters_do_not_depend_on_their_order(tmp_path):
    a = str(write_adapter(tmp_path / "a"))
    for weights, out in ((("1", "0.5"), "one"), (("0.5", "1"), "two")):
        assert run(["merge", a, a, "--dare-linear", "-w", weights[0], "-w", weights[1], "-o", str(tmp_path / out)]) == 0
    one, two = (deltas(tmp_path / out) for out in ("one", "two"))
    for module, delta in one.items():
        torch.testing.assert_close(delta, two[module], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "command", [("merge", "a", "b", "--linear"), ("truncate", "a", "--rank", "2"), ("calc", "a + b", "a=a", "b=b")]
)
def test_what_is_stored_in_16_bits_is_not_called_exact(
    place: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    told = as_json(capsys, *command, "--dtype", "float32", "-o", "wide")
    assert told["rounding"] < 1e-6
    shown = printed(capsys, *command, "--dtype", "bfloat16", "-o", "out")
    assert "(exact)" not in shown
    assert "rounding error: 0." in shown
    wide, out = ao.open_adapter("wide").updates, ao.open_adapter("out").updates
    lost = {module: entries(out[module]).double() - entries(wide[module]).double() for module in out}
    sizes = {module: float(entries(wide[module]).double().norm()) for module in out}
    manifest = json.loads((place / "out/adapterops.json").read_text())
    for module, difference in lost.items():
        expected = float(difference.norm()) / sizes[module]
        assert manifest["modules"][module]["rounding"] == pytest.approx(expected, rel=1e-3)
    whole = sum(float(each.norm()) ** 2 for each in lost.values()) / sum(size**2 for size in sizes.values())
    assert manifest["rounding"] == pytest.approx(whole**0.5, rel=1e-3)
    told = as_json(capsys, *command, "--dtype", "bfloat16", "-o", "again")
    assert told["rounding"] == manifest["rounding"]
    assert all(1e-4 < each["rounding"] < 1e-2 for each in told["modules"].values())
