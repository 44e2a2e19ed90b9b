"""Verifying in parts: what all of them found together is what one process finds, to the last character."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from corpus import factors, tree, write_adapter
from safetensors.torch import load_file, save_file
from tiny_models import write_base

from adapterops.cli.main import run
from adapterops.engine.execution import Execution
from adapterops.operations.output_files import Problem
from adapterops.operations.tensor_checks import ModuleCheck
from adapterops.operations.verifying import ItemCheck
from adapterops.requests.parts import do, spread
from adapterops.requests.proving import _as_json, _finding, _shape
from adapterops.requests.verifying import proof_of, recorded
from adapterops.storage.shapes import fits
from adapterops.updates.survival import Survival

ADAPTED = [f"model.layers.{layer}.{name}" for layer in range(3) for name in ("q_proj", "v_proj")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base in four files, an adapter, and both as a fused model."""
    write_base(tmp_path / "base", out=64, into=96)
    small = {key: 0.2 * each for key, each in factors(ADAPTED, out=64, into=96, seed=1).items()}
    write_adapter(tmp_path / "a", small)
    monkeypatch.chdir(tmp_path)
    assert run(["fuse", "base", "a", "-o", "fused"]) == 0
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(list(arguments))
    return code, *capsys.readouterr()


def same_in_parts(capsys: pytest.CaptureFixture[str], *options: str, code: int = 0) -> str:
    """Check that parts find what one process finds, and leave nothing; what that was."""
    before = tree(Path("fused"))
    for more in ([], ["--json"]):
        whole = told(capsys, "verify", "fused", *options, *more)
        assert whole[0] == code
        for share in ("3/3", "1/3", "2/3", "1/3"):
            assert told(capsys, "verify", "fused", *options, "--part", share)[0] == 0
        assert told(capsys, "finalize", "fused", *more) == whole
        assert not list(Path().glob(".fused*"))
    assert tree(Path("fused")) == before
    return "".join(whole[1:])


def test_a_model_that_is_what_it_should_be(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(same_in_parts(capsys))["verified"]
    same_in_parts(capsys, "--base", "base", "--adapter", "a")


@pytest.mark.parametrize("file", ["model-00002-of-00004.safetensors", "config.json"])
def test_damage_is_found_in_whatever_part_it_is(place: Path, capsys: pytest.CaptureFixture[str], file: str) -> None:
    data = bytearray((place / "fused" / file).read_bytes())
    data[-3] ^= 1
    (place / "fused" / file).write_bytes(data)
    assert file in same_in_parts(capsys, code=8)


def test_another_weight_and_numbers_that_are_not_finite(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "are not W0" in same_in_parts(capsys, "-w", "0.5", code=8)
    shard = place / "fused" / "model-00002-of-00004.safetensors"
    tensors = load_file(shard)
    name = next(name for name in tensors if "q_proj" in name)
    tensors[name][0, 0] = math.nan
    save_file(tensors, shard, {"format": "pt"})
    same_in_parts(capsys, code=8)


def test_codes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fuse", "base", "a", "--quantize", "nf4", "-o", "fused", "--force"]) == 0
    assert json.loads(same_in_parts(capsys))["verified"]


def test_an_engine(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = recorded(Path("fused"))
    assert record
    asked = proof_of(record, Path("fused"))

    def engine(function, items, *, memory, address, how):
        yield from map(do, items)

    found = spread(asked, Path("fused"), engine)
    assert found.as_json() == asked.verification(Execution(1)).as_json()


def test_parts_that_are_missing_and_inputs_that_change(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "verify", "fused", "--part", "1/2")[0] == 0
    code, _, said = told(capsys, "finalize", "fused")
    assert (code, "are missing" in said) == (5, True)
    (place / "fused" / "config.json").write_text("{}")
    code, _, said = told(capsys, "verify", "fused", "--part", "2/2")
    assert (code, "another plan" in said) == (4, True)


@pytest.mark.parametrize("options", [["--logits"], ["--sarif", "x.sarif"], ["--made-by", "peft"]])
def test_what_one_process_does(place: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    code, _, said = told(capsys, "verify", "fused", *options, "--part", "1/2")
    assert (code, "to one process" in said) == (2, True)


def test_findings_are_noted_to_the_last_bit() -> None:
    check = ModuleCheck(5, 3, 1, 1, 2, math.inf, Survival(0.1, 1e-30, -3.0, 4, 5, 6, 0.7, 1 / 3))
    finding = ItemCheck({"a": check, "b": ModuleCheck(1)}, [Problem("x", "y"), Problem("z", "w", 0.1)])
    assert _finding(json.loads(json.dumps(_as_json(finding)))) == finding
    nan = ItemCheck({"a": ModuleCheck(identity=math.nan)}, [])
    assert math.isnan(_finding(_as_json(nan)).modules["a"].identity)
    assert fits(_as_json(finding), _shape())


@pytest.mark.parametrize("sums", [Survival(-0.1, 1.0), Survival(entries=-5), Survival(error=-math.inf)])
def test_negative_squares_are_no_findings(sums: Survival) -> None:
    assert not fits(_as_json(ItemCheck({"a": ModuleCheck(survival=sums)}, [])), _shape())
