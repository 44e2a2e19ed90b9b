"""compare and report on adapters that the real PEFT made: each kind gets its sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft_models
import pytest
import torch
from corpus import tree, write_adapter
from safetensors.torch import load_file, save_file

import adapterops as ao
from adapterops.cli.main import run

CONFIG: dict[str, Any] = {
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["q_proj", "v_proj", "down_proj"],
    "init_lora_weights": "gaussian",
}


def orthonormal(seed: int, size: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, 8, generator=torch.Generator().manual_seed(seed))).Q


def change(
    folder: Path, function: Callable[[int, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
) -> None:
    """Put other numbers into the A and B of every module."""
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    for number, name in enumerate(sorted(name for name in tensors if "lora_A" in name)):
        other = name.replace("lora_A", "lora_B")
        tensors[name], tensors[other] = (
            factor.contiguous() for factor in function(number, tensors[name], tensors[other])
        )
    save_file(tensors, file, metadata={"format": "pt"})


def shape(folder: Path, seed: int, values: list[float], turn: bool = False) -> None:
    """Give it these singular values in every module, and spaces that the seed says, `turn`ed within them."""

    def function(number: int, A: torch.Tensor, B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        U, V = orthonormal(1000 * seed + number, len(B)), orthonormal(1000 * seed + number + 500, A.shape[1])
        return V.T, (U.flip(1) if turn else U) * torch.tensor(values)

    change(folder, function)


def begin_again(folder: Path, seed: int, gain: float) -> None:
    """Another B, beside the A that PEFT drew."""
    generator = torch.Generator().manual_seed(seed)
    change(folder, lambda number, A, B: (A, gain * torch.randn(B.shape, generator=generator)))


FLAT = [0.1] * 8
FALLING = [0.1 * 0.3**k for k in range(8)]
SLOW = [0.1 * 0.7**k for k in range(8)]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters that PEFT saved, and their base."""
    folder = tmp_path_factory.mktemp("zoo")
    for name in ("untrained", "flat", "falling", "slow", "other", "turned", "first", "second"):
        peft_models.make(folder / name, 1, **CONFIG)
    for seed, (name, values) in enumerate((("flat", FLAT), ("falling", FALLING), ("slow", SLOW), ("other", SLOW))):
        shape(folder / name, seed, values)
    shape(folder / "turned", 2, SLOW, turn=True)
    begin_again(folder / "untrained", 0, 0.0)
    begin_again(folder / "first", 1, 0.02)
    begin_again(folder / "second", 2, 0.02)
    peft_models.base().save_pretrained(folder / "base")
    return folder


@pytest.fixture(autouse=True)
def place(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in zoo.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        (["untrained"], "warning: untrained was never trained"),
        (
            ["flat"],
            "note: The update of flat is flat: its 8 dimensions carry nearly equal shares (effective rank 8.0)",
        ),
        (["falling"], "note: falling is stored with rank"),
        (
            ["slow", "slow"],
            "warning: slow (1) and slow (2) are nearly the same update (cosine +1.00).",
        ),
        (
            ["slow", "turned"],
            "note: slow and turned change the same directions in different ways (columns overlap by 100%, ",
        ),
        (
            ["slow", "turned"],
            "; cosine 0.00). A merge may lose some of each",
        ),
        (["flat", "other"], "note: Cut to rank 8, the sum of all keeps "),
        (["first", "second"], "began with the same A"),
        (["slow", "other"], "note: Cut to rank 8, the sum of all keeps 9"),
        (["slow", "falling", "--base", "base"], "of W0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_every_kind_gets_its_sentence(capsys: pytest.CaptureFixture[str], sources: list[str], sentence: str) -> None:
    shown = printed(capsys, "report", *sources)
    page = Path("report.html").read_text()
    if sentence != "of W0":
        assert sentence in shown
        findings = json.loads(Path("report.json").read_text())["findings"]
        assert any(sentence in finding["level"] + ": " + finding["text"] for finding in findings)
    assert sentence.partition(": ")[2][:30].replace("'", "&#x27;") in page
    assert page.startswith("<!doctype html>")


def test_numbers_are_those_of_peft(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = json.loads(printed(capsys, "compare", "slow", "other", "first", "second", "--json"))
    deltas = [peft_models.deltas(peft_models.load(zoo / name)) for name in ("slow", "other", "first", "second")]
    whole = [torch.cat([each[name].double().reshape(-1) for name in sorted(each)]) for each in deltas]
    for pair in result["pairs"]:
        a, b = (whole[index] for index in pair["adapters"])
        assert pair["cosine"] == pytest.approx(float(a @ b / a.norm() / b.norm()), abs=1e-5)
        opposed = float(((a * b) < 0).double().mean())
        assert abs(pair["sign_conflict"] - opposed) < 5 * pair["sign_conflict_error"] + 1e-3
    for adapter, vector in zip(result["adapters"], whole, strict=True):
        assert adapter["norm"] == pytest.approx(float(vector.norm()), rel=1e-5)
    same = next(pair for pair in result["pairs"] if pair["names"] == ["first", "second"])
    assert same["shared_start"]
    assert same["cosine_of_A"] > 0.99


def test_compare_prints_tables_and_what_they_mean(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "compare", "slow", "turned", "flat")
    assert "1 slow" in shown
    assert "slow and turned" in shown
    assert "note: Cut to rank 8, the sum of all keeps" in shown
    assert "note: The update of flat is flat" in shown


def test_relative_norms(capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "report", "slow", "--base", "base", "-o", "r.html")
    numbers = json.loads(Path("r.json").read_text())
    weights = peft_models.base().state_dict()
    for module, each in numbers["adapters"][0]["modules"].items():
        assert each["relative"] == pytest.approx(
            each["norm"] / float(weights[f"{module}.weight"].double().norm()), rel=1e-5
        )
    assert numbers["base"] == "base"


def test_figures_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    result = json.loads(printed(capsys, "report", "slow", "flat", "-o", "r.html", "--figures", "figures", "--json"))
    assert result["ok"]
    assert {"path", "numbers", "figures", "drawn", "bytes", "findings"} <= set(result)
    assert {f"{name}.svg" for name in ("cosine", "conflict", "spectrum-1", "norms-2", "error-rank", "memory")} <= set(
        result["drawn"]
    )
    assert all((Path("figures") / name).is_file() for name in result["drawn"])
    assert json.loads(Path("figures/adapterops.json").read_text())["operation"]["operation"] == "report"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["compare", "slow"], 2, "nothing to compare it with"),
        (["compare"], 2, "SOURCES"),
        (["compare", "slow", "nowhere"], 5, "nowhere"),
        (["compare", "slow", "base"], 3, ""),
        (["report"], 2, "SOURCES"),
        (["report", "slow", "-o", "r.txt"], 2, "ends in .html"),
        (["report", "slow", "-o", "slow/r.html"], 2, "inside the input"),
        (["report", "slow", "-o", "nowhere/r.html"], 5, "does not exist"),
        (["report", "slow", "-o", "mine.html"], 6, "already exists"),
        (["report", "slow", "-o", "mine.html", "--force"], 6, "not written by adapterops"),
        (["report", "slow", "--figures", "mine"], 6, "already exists"),
        (["report", "slow", "--base", "other-base"], 4, "modules"),
        (["report", "slow", "small"], 4, "different shapes"),
        (["report", "broken"], 3, "NaN or infinite"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_use(place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str) -> None:
    (place / "mine.html").write_text("mine")
    (place / "mine").mkdir()
    (place / "mine/file").touch()
    (place / "other-base").mkdir()
    save_file({"h.0.attn.weight": torch.ones(3, 3)}, place / "other-base/model.safetensors")
    tensors = load_file("slow/adapter_model.safetensors")
    name = next(name for name in tensors if "lora_A" in name)
    narrow = {key: tensor[:, :4].contiguous() if "lora_A" in key else tensor for key, tensor in tensors.items()}
    write_adapter(place / "small", narrow, _fields())
    tensors[name][0, 0] = torch.inf
    write_adapter(place / "broken", tensors, _fields())
    before = tree(place)
    assert run(arguments) == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert run([*arguments, "--json"]) == code
    assert not json.loads(capsys.readouterr().out)["ok"]
    assert tree(place) == before


def _fields() -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(Path("slow/adapter_config.json").read_text())
    return fields


def test_a_dry_run_says_what_and_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(place)
    assert "would write report.html, report.json, figures" in printed(
        capsys, "report", "slow", "--figures", "figures", "--dry-run"
    )
    assert tree(place) == before
    assert run(["report", "slow", "--base", "flat", "--dry-run"]) != 0


def test_a_stop_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(place)

    def stop(*_: Any, **__: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("adapterops.reports.writing.svg", stop)
    assert run(["report", "slow", "--figures", "figures"]) == 130
    assert tree(place) == before
    assert not list(place.glob(".*"))


def test_library_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    found = ao.compare([ao.open_adapter("slow"), ao.open_adapter("flat")])
    assert [profile.name for profile in found.profiles] == ["slow", "flat"]
    for command in ("compare", "report"):
        assert f"adapterops {command} " in printed(capsys, command, "--help").partition("Options:")[0].replace(
            "Usage: adapterops", ""
        )


WITHOUT_TEMPLATES = """
import sys
from adapterops.cli.main import run
for arguments in (["show", "slow"], ["compare", "slow", "flat"], ["report", "slow", "--dry-run"]):
    assert run(arguments) == 0
assert not {"jinja2", "huggingface_hub"} & set(sys.modules)
assert run(["report", "slow"]) == 0
assert "jinja2" in sys.modules
"""


def test_templates_are_imported_for_a_page_alone(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TEMPLATES], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
