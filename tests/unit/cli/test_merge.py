"""`merge`: sources in their order, a method, weights, and the Gram matrices of each."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from corpus import factors, write_adapter
from hub_server import Hub

import adapterops as ao
from adapterops.cli import writing
from adapterops.cli.main import run
from adapterops.methods import METHODS
from adapterops.provenance.history import key
from adapterops.requests.running import save
from adapterops.storage.grams import grams_file


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate("ab"):
        write_adapter(tmp_path / name, seed=seed)
    monkeypatch.chdir(tmp_path)


def test_weights_are_those_of_the_sources_in_their_order() -> None:
    assert run(["merge", "b", "a", "-w", "0.7", "-w", "-0.3", "-o", "out"]) == 0
    a, b, out = (ao.open_adapter(name) for name in ("a", "b", "out"))
    for module, update in out.updates.items():
        expected = 0.7 * b.updates[module].dense() - 0.3 * a.updates[module].dense()
        np.testing.assert_allclose(update.dense(), expected, atol=1e-5)
    request = json.loads(Path("out/adapterops.json").read_text())["request"]
    assert request["result"].startswith("linear(a, b, weights=[0.7, -0.3]")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ties", "--dare-ties"], "exclude each other"),
        (["--ties", "-w", "1"], "1 weight for 2 adapters"),
        (["--linear", "--density", "0.5"], "linear has no parameter density"),
        (["--regmean"], "needs the Gram matrices"),
        (["--regmean", "--grams", "x"], "1 file of Gram matrices for 2 adapters"),
    ],
)
def test_what_does_not_go_together(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["merge", "a", "b", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not Path("merged").exists()


def stopped(*given: object, **how: object) -> None:
    raise KeyboardInterrupt


def test_what_is_kept_of_each_is_said_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_adapter(tmp_path / "c", seed=2)
    monkeypatch.setattr(writing, "save", stopped)
    assert run(["merge", "a", "b", "c"]) == 130
    shown = capsys.readouterr().out
    assert "no forecast of accuracy" in shown
    assert "condition number of their cosines" in shown
    assert not Path("merged").exists()
    monkeypatch.setattr(writing, "save", save)
    assert run(["merge", "a", "b", "c", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    (planned,) = plan["scales"]
    assert (plan["inputs"], planned["weights"]) == (["a", "b", "c"], [1.0, 1.0, 1.0])
    assert run(["merge", "a", "b", "c", "--json"]) == 0
    (made,) = json.loads(capsys.readouterr().out)["scales"]
    noted = json.loads(Path("merged/adapterops.json").read_text())["operation"]
    assert planned["held"] == made["held"] == noted["held"]
    assert planned["held_in"] == made["held_in"] == noted["held_in"] == {"modules": 3, "of": 3}
    assert planned["condition"] == made["condition"] == noted["condition"]
    assert len(noted["held"]) == 3


def test_adapters_of_other_modules_are_added_as_the_message_says(capsys: pytest.CaptureFixture[str]) -> None:
    write_adapter(Path("my lora"), modules=["model.norms.o_proj"])
    assert run(["merge", "my lora", "b"]) == 4
    said = capsys.readouterr().err
    assert "modules overlap" in said
    command = said.partition("add them: adapterops ")[2].partition(";")[0]
    assert run(shlex.split(command)) == 0


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"regmean"}))
def test_adapters_that_are_zero_make_one_that_is_zero(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate("xy"):
        tensors = {key: 0 * each if "lora_B" in key else each for key, each in factors(seed=seed).items()}
        write_adapter(tmp_path / name, tensors)
    assert run(["merge", "x", "y", "--method", method]) == 0
    assert "every module is zero: the base stays as it is there" in capsys.readouterr().out
    merged = ao.open_adapter("merged")
    assert merged.layout.keys() == ao.open_adapter("x").layout.keys()
    assert not any(merged.updates[module].dense().any() for module in merged.layout)


def test_gram_files_given_in_another_order_than_the_adapters_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        adapter = ao.open_adapter(name)
        matrices = {module: np.eye(each.shape[1], dtype=np.float32) for module, each in adapter.layout.items()}
        Path(f"{name}.safetensors").write_bytes(grams_file(matrices, 9, key(adapter.history)))
        Path(f"{name}-before.safetensors").write_bytes(grams_file(matrices, 9))

    def merged(*files: str) -> int:
        return run(["merge", "a", "b", "--regmean", "--force", *(f"--grams={each}.safetensors" for each in files)])

    assert merged("b", "a") == merged("a", "a") == 4
    shown = capsys.readouterr().err
    assert "b.safetensors: has the inputs of b, and is given for a" in shown
    assert "a.safetensors: has the inputs of a, and is given for b" in shown
    assert merged("a", "b") == merged("a-before", "b") == merged("b-before", "a-before") == 0


def test_what_is_kept_of_adapters_on_the_hub_is_said_the_first_time(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        hub.put(f"me/{name}", Path(name))
    shown = []
    for out in ("first", "second"):
        assert run(["merge", "me/a", "me/b", "-o", out]) == 0
        shown.append(capsys.readouterr().out.replace(out, "OUT"))
    assert shown[0] == shown[1]
    assert "no forecast of accuracy" in shown[0]
