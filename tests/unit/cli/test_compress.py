"""The command that makes a collection, and those that take one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from collections_of import MODULES, adapters, collection, factors

import adapterops as ao
from adapterops.cli.main import run


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.chdir(tmp_path)
    return adapters(tmp_path)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_adapters_are_named_by_their_folders(paths: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compress", "task0", "./task1/", "other=task2"]) == 0
    assert [*ao.inspect_collection("collection").members] == ["task0", "task1", "other"]
    text = printed(capsys)
    assert "wrote collection: 3 adapters, 4 modules" in text
    assert "error: at most" in text
    assert "sharing saves about" in text


def test_quiet_prints_what_is_wrong_alone(paths: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """These are so small that the tables are most of a collection."""
    assert run(["compress", "task0", "task1", "-q"]) == 0
    assert printed(capsys).startswith("warning: the collection is no smaller than")
    assert run(["compress", "task0", "task1", "-q", "--dry-run", "-o", "other"]) == 0
    assert "would write other: 2 adapters" in printed(capsys)


def test_one_adapter_is_not_said_to_share_nothing(paths: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compress", "task0"]) == 0
    assert "share nothing" not in printed(capsys)


def test_two_of_one_name_here_are_named(paths: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compress", "task0", "task0"]) == 2
    assert "error: task0 is the name of two adapters" in capsys.readouterr().err


def test_names_that_are_there_twice_get_the_folder_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for run_ in ("one", "two"):
        (tmp_path / run_).mkdir()
        adapters(tmp_path / run_, 1)
    assert run(["compress", "one/task0", "two/task0"]) == 0
    assert [*ao.inspect_collection("collection").members] == ["one-task0", "two-task0"]
    assert run(["compress", "one/task0", "one/task0", "-o", "again"]) == 2


def test_a_plan_says_size_and_error_and_writes_nothing(
    paths: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compress", *paths, "-o", "coll", "--dry-run", "--json"]) == 0
    planned = json.loads(printed(capsys))
    assert planned["dry_run"]
    assert not Path("coll").exists()
    assert run(["compress", *paths, "-o", "coll", "--json"]) == 0
    done = json.loads(printed(capsys))
    assert done["kind"] == "saved-collection"
    assert {name: value for name, value in planned.items() if name in done and name != "kind"} == {
        name: value for name, value in done.items() if name != "kind"
    }
    assert done["bytes"] == Path("coll/collection.safetensors").stat().st_size


def test_adapters_that_share_nothing_are_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in "ab":
        ao.save_adapter(ao.Adapter.of({module: factors(random, shape, 3) for module, shape in MODULES.items()}), name)
    assert run(["compress", "a", "b"]) == 0
    text = printed(capsys)
    assert "share nothing" in text
    assert "no smaller than the adapters in 16 bits" in text  # of a size at which the tables are most of it


def test_a_rank_that_loses_more_is_warned_of(paths: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compress", *paths, "--rank", "1", "--error", "0.001"]) == 0
    text = printed(capsys)
    assert "larger than the 0.001 that was asked for because of --rank" in text
    assert run(["compress", *paths, "--rank", "9", "--error", "0.001", "--force"]) == 0
    assert "because of --rank" not in printed(capsys)


def test_one_of_it_goes_wherever_an_adapter_does(paths: dict[str, Path], tmp_path: Path) -> None:
    collection(tmp_path, paths, error=1e-5)
    exact = {name: ao.open_adapter(path) for name, path in paths.items()}

    def apart(out: str, expected: ao.Adapter) -> float:
        found = ao.open_adapter(out)
        return max(
            float(np.linalg.norm(found.updates[module].dense() - each) / np.linalg.norm(each))
            for module in MODULES
            for each in [expected.updates[module].dense()]
        )

    assert run(["convert", "coll#task1", "--to", "peft", "-o", "one"]) == 0
    assert apart("one", exact["task1"]) < 2e-5
    assert run(["merge", "coll#task1", "task2", "--linear", "-w", "0.5", "-w", "2", "-o", "two"]) == 0
    assert apart("two", 0.5 * exact["task1"] + 2.0 * exact["task2"]) < 1e-4
    assert run(["truncate", "coll#task1", "--rank", "4"]) == 0
    assert apart("task1-r4", exact["task1"]) < 2e-5
    assert run(["compare", "coll#task1", "coll#task2"]) == 0
    assert run(["compress", "coll#task1", "task2", "-o", "again"]) == 0
    assert [*ao.inspect_collection("again").members] == ["task1", "task2"]


def test_an_expression_names_adapters_of_a_collection(
    paths: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collection(tmp_path, paths)
    assert run(["calc", "0.7*task1 + 0.5*task3", "coll", "-o", "sum"]) == 0
    assert run(["calc", "0.7*x + 0.5*task3", "x=coll#task1", "coll", "-o", "same"]) == 0
    assert run(["run", "sum/recipe.yaml", "-o", "again"]) == 0
    data = {name: Path(name, "adapter_model.safetensors").read_bytes() for name in ("sum", "same", "again")}
    assert len(set(data.values())) == 1
    capsys.readouterr()
    assert run(["calc", "task1 + nothing", "coll", "-o", "none"]) == 2
    assert run(["calc", "x + y", "coll", "-o", "none"]) == 2
    assert "none of the names in the expression (x, y)" in capsys.readouterr().err
    assert not Path("none").exists()


def test_a_collection_is_refused_where_one_adapter_or_a_model_is_meant(
    paths: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collection(tmp_path, paths)
    assert run(["merge", "coll", "task1"]) == 3
    assert "coll#task0" in capsys.readouterr().err
    assert run(["fuse", "coll", "task1"]) == 3
    assert run(["show", "coll#taks1"]) == 5
    assert "did you mean task1?" in capsys.readouterr().err
    assert run(["convert", "task1", "--to", "collection"]) == 2
