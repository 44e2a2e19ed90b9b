"""What other programs run: the steps of the action, the hooks, the workflow and the container."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from corpus import MODULES, write_adapter
from safetensors.torch import save_file

from adapterops.cli.main import run

ROOT = Path(__file__).parents[2]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_adapter(Path("my adapter"))
    Path("base").mkdir()
    save_file({f"{module}.weight": torch.randn(12, 8) for module in MODULES}, "base/model.safetensors")
    assert run(["fuse", "base", "my adapter", "-o", "model"]) == 0
    return Path("model")


def step(name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
    """A step of the action, in bash as a runner calls it."""
    action = read("action.yml")
    (chosen,) = (each for each in action["runs"]["steps"] if each["name"] == name)
    given = {key: each.get("default", "") for key, each in action["inputs"].items()} | inputs
    values = {
        key: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: given[found[1]], value)
        for key, value in chosen["env"].items()
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", chosen["run"]],
        env=os.environ | values | {"PATH": path, "GITHUB_STEP_SUMMARY": "summary.md"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_action_shows_and_verifies(model: Path) -> None:
    assert step("show", source="my adapter").returncode == 0
    assert "rank" in Path("summary.md").read_text()
    assert step("verify", source="model").returncode == 0
    assert step("verify", source="model", base="base", adapters="my adapter\n").returncode == 0
    assert json.loads(Path("adapterops.sarif").read_text())["runs"][0]["results"] == []


def test_the_action_fails_and_has_a_log_where_something_is_wrong(model: Path) -> None:
    (model / "notes.safetensors").write_bytes(b"")
    assert step("verify", source="model").returncode != 0
    damaged = bytearray((model / "model.safetensors").read_bytes())
    damaged[-1] ^= 1
    (model / "model.safetensors").write_bytes(damaged)
    (model / "notes.safetensors").unlink()
    assert step("verify", source="model").returncode == 8
    assert json.loads(Path("adapterops.sarif").read_text())["runs"][0]["results"]


def test_steps_put_no_input_into_a_script() -> None:
    """An input in a script would be run; in the environment it is text."""
    for each in read("action.yml")["runs"]["steps"]:
        assert "${{" not in each.get("run", "")


def test_the_hooks_run(model: Path) -> None:
    folders = {"adapterops-show": "my adapter", "adapterops-verify": "model"}
    hooks = read(".pre-commit-hooks.yaml")
    assert {hook["id"] for hook in hooks} == set(folders)
    for hook in hooks:
        assert run([*shlex.split(hook["entry"])[1:], folders[hook["id"]]]) == 0
        assert re.search(hook["files"], f"{folders[hook['id']]}/adapter_config.json")


def test_ci_runs_the_one_script_on_every_python_that_is_named() -> None:
    job = read(".github/workflows/ci.yml")["jobs"]["test"]
    assert job["steps"][-1]["run"] == "bash .ci/run"
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert job["strategy"]["matrix"]["python"] == named
    assert "RUN bash .ci/run" in (ROOT / "Containerfile").read_text()


def test_the_citation_says_what_the_package_does() -> None:
    cited = read("CITATION.cff")
    assert cited["cff-version"] == "1.2.0"
    assert cited["license"] == "Apache-2.0"
    assert {"message", "title", "authors"} <= set(cited)
