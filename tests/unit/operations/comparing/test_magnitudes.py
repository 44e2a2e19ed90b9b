"""What is said of DoRA, against its formula in float64."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from corpus import PREFIX, config, factors, write_adapter
from safetensors.torch import load_file
from tiny_models import write_base, write_tuned

import adapterops as ao
from adapterops.adapters.checks import of_base
from adapterops.cli.main import run
from adapterops.errors import UnsupportedError
from adapterops.operations.comparing.comparison import compare
from adapterops.operations.comparing.magnitudes import changes, dora, without_magnitudes

MODULES = [f"model.layers.{layer}.{name}" for layer in range(3) for name in ("q_proj", "v_proj")]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An adapter that is DoRA, and its base."""
    tensors = factors(MODULES, rank=2, out=12, into=8)
    generator = torch.Generator().manual_seed(9)
    for module in MODULES:
        tensors[f"{PREFIX}{module}.lora_magnitude_vector"] = torch.rand(12, generator=generator) + 2
    write_adapter(tmp_path / "dora", tensors, config(2, use_dora=True))
    write_base(tmp_path / "base")
    return tmp_path


def formula(place: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """W, s BA, and W' - W of every module."""
    stored = {}
    for path in (place / "base").glob("*.safetensors"):
        stored |= load_file(path)
    tensors = {name: tensor.double() for name, tensor in load_file(place / "dora/adapter_model.safetensors").items()}
    weights = {module: stored[f"{module}.weight"].double() for module in MODULES}
    inside = {m: 2.0 * tensors[f"{PREFIX}{m}.lora_B.weight"] @ tensors[f"{PREFIX}{m}.lora_A.weight"] for m in MODULES}
    changed = {}
    for module, W in weights.items():
        V, m = W + inside[module], tensors.get(f"{PREFIX}{module}.lora_magnitude_vector")
        changed[module] = (V if m is None else m[:, None] * V / V.norm(dim=1, keepdim=True)) - W
    return weights, inside, changed


def test_without_magnitudes_it_is_the_update_inside(place: Path) -> None:
    _, inside, _ = formula(place)
    adapter = ao.open_adapter(place / "dora")
    assert dora(adapter) == tuple(MODULES)
    found = without_magnitudes(adapter)
    assert not dora(found)
    for module, expected in inside.items():
        assert torch.allclose(torch.from_numpy(found.updates[module].dense()).double(), expected, rtol=1e-5)


def test_others_come_back_as_they_are(place: Path) -> None:
    adapter = ao.open_adapter(write_tuned(place / "lora"))
    assert without_magnitudes(adapter) is adapter


def test_what_changes_is_that_of_the_formula(place: Path) -> None:
    weights, _, changed = formula(place)
    found = changes(ao.open_adapter(place / "dora"), ao.open_checkpoint(place / "base"))
    assert found.keys() == set(MODULES)
    for module, (change, W) in found.items():
        assert change == pytest.approx(float(changed[module].norm()), rel=1e-5)
        assert float(weights[module].norm()) == pytest.approx(W, rel=1e-6)


def test_a_comparison_of_one_has_both(place: Path) -> None:
    _, inside, changed = formula(place)
    adapter, base = ao.open_adapter(place / "dora"), ao.open_checkpoint(place / "base")
    found = compare([adapter], base=base)
    assert found.profiles[0].dora == tuple(MODULES)
    assert found.profiles[0].norm == pytest.approx(float(torch.cat([*inside.values()]).norm()), rel=1e-6)
    assert found.changed[MODULES[0]][0] == pytest.approx(float(changed[MODULES[0]].norm()), rel=1e-5)
    assert not compare([adapter]).changed


def test_of_several_all_that_they_change_is_compared(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they are merged with the base; without it there is nothing to compare, and the error says what is missing."""
    weights, _, changed = formula(place)
    monkeypatch.chdir(place)
    write_tuned(place / "lora")
    dora, lora = ao.open_adapter("dora"), ao.open_adapter("lora")
    found = compare([dora, lora], base=ao.open_checkpoint("base"))
    assert found.profiles[0].norm == pytest.approx(float(torch.cat([*changed.values()]).norm()), rel=1e-6)
    products = [float((changed[m] * torch.from_numpy(lora.updates[m].dense())).sum()) for m in weights]
    assert [found.pairs[0].modules[m].dot for m in weights] == pytest.approx(products, rel=1e-5)
    with pytest.raises(UnsupportedError, match="is DoRA, which depends on the weight") as raised:
        compare([dora, lora])
    assert raised.value.hint == of_base("compared")
    assert run(["compare", "dora", "lora", "--base", "base", "--advise", "--plan", "plan.yaml"]) == 0
    assert "wrote plan.yaml" in capsys.readouterr().out
    assert run(["run", "plan.yaml", "-o", "planned"]) == 0
    assert run(["merge", "dora", "lora", "--base", "base", "-o", "merged"]) == 0
    planned, merged = ao.open_adapter("planned").updates, ao.open_adapter("merged").updates
    for module in weights:
        torch.testing.assert_close(*(torch.from_numpy(each[module].dense()) for each in (planned, merged)))


def test_the_report_says_what_its_figures_leave_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, _, changed = formula(place)
    monkeypatch.chdir(place)
    assert run(["report", "dora", "-o", "without.html"]) == 0
    text = (place / "without.html").read_text(encoding="utf-8")
    assert "One DoRA adapter on some/base" in text
    assert "dora is DoRA: the figures here are of ΔW = s·BA alone, without the magnitudes." in text
    assert "--base MODEL adds how much the weights change with them." in text
    assert run(["report", "dora", "--base", "base", "-o", "with.html"]) == 0
    (found,) = [each for each in json.loads((place / "with.json").read_text())["findings"] if each["rule"] == "dora"]
    total = torch.cat([*changed.values()]).norm() / torch.cat([*weights.values()]).norm()
    assert found["numbers"]["relative_with_magnitudes"] == pytest.approx(float(total), rel=1e-5)
    assert f"With them the weights change by {100 * float(total):.0f}%" in found["text"]
    assert "warning: The norm of dora" not in (place / "with.html").read_text(encoding="utf-8")


def test_a_spectrum_says_so_too(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert run(["show", "dora", "--spectrum"]) == 0
    assert "note: this is DoRA: norms and ranks are those of BA, without the magnitudes" in capsys.readouterr().out


def test_no_rank_is_named_twice(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert run(["show", "dora", "--spectrum"]) == 0
    assert "rank 2 keeps at least 99% of the energy over all modules\n" in capsys.readouterr().out
