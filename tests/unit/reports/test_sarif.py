"""A log that code scanning takes: what SARIF 2.1.0 requires, and where each problem is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapterops.errors import OutputExistsError
from adapterops.operations.output_files import Problem
from adapterops.reports.sarif import check_sarif, sarif, write_sarif


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my model").mkdir()
    (tmp_path / "my model/config.json").write_text("{}")
    return Path("my model")


PROBLEMS = [Problem("config.json", "is not the file of the manifest"), Problem("layers.0.weight", "1 of 8 is wrong", 1)]


def test_what_the_schema_requires_is_there(model: Path) -> None:
    """`version` and `runs`; of a run `tool.driver.name`; of a result `message`; lines count from 1."""
    log = sarif(model, PROBLEMS)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "adapterops"
    assert [rule["id"] for rule in driver["rules"]] == ["not-base-plus-adapter"]
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == "error"
        assert result["message"]["text"]
        (location,) = result["locations"]
        assert location["physicalLocation"]["region"]["startLine"] >= 1


def test_a_file_is_a_place_and_a_tensor_is_in_the_model(model: Path) -> None:
    file, tensor = (result["locations"][0] for result in sarif(model, PROBLEMS)["runs"][0]["results"])
    assert file["physicalLocation"]["artifactLocation"]["uri"] == "my%20model/config.json"
    assert tensor["physicalLocation"]["artifactLocation"]["uri"] == "my%20model"
    assert tensor["logicalLocations"][0]["fullyQualifiedName"] == "layers.0.weight"


def test_a_place_elsewhere_is_absolute(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = (tmp_path / model).resolve()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (result,) = sarif(there, PROBLEMS[:1])["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == (there / "config.json").as_uri()


def test_nothing_wrong_is_a_run_without_results(model: Path) -> None:
    assert sarif(model, [])["runs"][0]["results"] == []


def test_only_a_log_is_replaced(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.sarif"
    for problems in (PROBLEMS, []):
        check_sarif(out)
        write_sarif(out, model, problems)
        assert len(json.loads(out.read_text())["runs"][0]["results"]) == len(problems)
    with pytest.raises(OutputExistsError, match="--sarif"):
        check_sarif(model / "config.json")
    assert (model / "config.json").read_text() == "{}"
