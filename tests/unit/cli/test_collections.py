"""What `show` prints of a collection."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from collections_of import MODULES, adapters, collection

from adapterops.cli.collections import at_most, show_collection
from adapterops.cli.main import run
from adapterops.storage.place import Place


@pytest.mark.parametrize("error", [1e-6, 0.00012345, 0.00991, 0.0099999, 0.01, 0.0951, 0.5, 0.999])
def test_an_error_is_never_shown_smaller_than_it_is(error: float) -> None:
    shown = float(at_most(error).removesuffix("%")) / 100
    assert error * (1 - 1e-12) <= shown <= 1.11 * error


def test_every_adapter_is_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = collection(tmp_path, adapters(tmp_path))
    show_collection(Place.of(place), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert "a collection of 5 adapters" in lines[0]
    assert [line.split()[0] for line in lines if line.startswith("task")] == [f"task{number}" for number in range(5)]
    show_collection(Place.of(place), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "collection"
    assert found["members"]["task2"]["modules"].keys() == MODULES.keys()


def test_show_knows_a_collection_from_one_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = collection(tmp_path, adapters(tmp_path))
    assert run(["show", str(place), "-v"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in rows if row[0] in MODULES] == [[module, "5"] for module in sorted(MODULES)]
    assert run(["show", f"{place}#task1"]) == 0
    assert "LoRA in the format collection on owner/base" in capsys.readouterr().out
    assert run(["show", str(place), "--spectrum"]) == 2
    assert f"{place}#NAME" in capsys.readouterr().err
    assert run(["show", f"{place}#task1", "--spectrum"]) == 0


def test_two_of_one_collection_are_not_one_input_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = collection(tmp_path, adapters(tmp_path))
    assert run(["calc", "task0 + task1", str(place), "-o", str(tmp_path / "sum")]) == 0
    assert "count as two" not in capsys.readouterr().err
    one = f"{place}#task0"
    assert run(["merge", one, one, "-o", str(tmp_path / "twice")]) == 0
    assert "are the same files, byte for byte, and count as two adapters" in capsys.readouterr().err


def test_a_name_that_a_collection_has_not_is_an_error_with_those_that_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = collection(tmp_path, adapters(tmp_path))
    assert run(["calc", "task0 + other", str(place), "-o", str(tmp_path / "sum")]) == 2
    shown = capsys.readouterr().err
    assert "there is no adapter named 'other'" in shown
    assert "task1" in shown
