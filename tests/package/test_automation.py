"""What other programs run: the steps of the action, the hooks, the workflow and the container."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from contextlib import chdir
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from bare import OFFLINE, done, environment, path_of
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
    Path("temporary/adapterops").mkdir(parents=True)  # what the action installed, unless a test does
    Path("temporary/adapterops/bin").symlink_to(Path(sys.executable).parent)
    return Path("model")


def variables(step: Any, given: dict[str, str]) -> dict[str, str]:
    """The environment of a step, as a runner fills it."""
    return {
        key: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: given[found[1]], value)
        for key, value in step["env"].items()
    }


def step(name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
    """A step of the action, in bash as a runner calls it."""
    action = read("action.yml")
    (chosen,) = (each for each in action["runs"]["steps"] if each["name"] == name)
    given = {key: each.get("default", "") for key, each in action["inputs"].items()} | inputs
    assert set(inputs) <= set(action["inputs"])
    there = {"GITHUB_ACTION_PATH": str(ROOT), "GITHUB_STEP_SUMMARY": "summary.md", "RUNNER_TEMP": "temporary"}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", chosen["run"]],
        env=os.environ | variables(chosen, given) | OFFLINE | there,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_action_shows_and_verifies(model: Path) -> None:
    assert step("show", source="my adapter").returncode == 0
    assert re.fullmatch(r"```\n.* rank .*\n```\n", Path("summary.md").read_text(), re.DOTALL)
    assert step("show", source="nothing").returncode == 5
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


def test_the_action_checks_an_adapter_for_a_program(model: Path) -> None:
    assert step("check", source="my adapter", runtime="vllm", base="base").returncode == 0
    assert json.loads(Path("adapterops.sarif").read_text())["runs"][0]["results"] == []
    write_adapter(Path("wide"), rank=24)
    found = step("check", source="wide", runtime="vllm")
    assert found.returncode == 8, found.stderr
    (result,) = json.loads(Path("adapterops.sarif").read_text())["runs"][0]["results"]
    assert result["ruleId"] == "not-applied-as-trained"
    assert result["message"]["text"].startswith("the rank (24): refused in vLLM: ")
    assert "adapterops truncate wide --rank 16" in result["message"]["text"]


def test_steps_put_no_input_into_a_script() -> None:
    """An input in a script would be run; in the environment it is text."""
    for each in read("action.yml")["runs"]["steps"]:
        assert "${{" not in each.get("run", "")


def test_the_hooks_run(model: Path) -> None:
    folders = {"adapterops-show": "my adapter", "adapterops-check": "my adapter", "adapterops-verify": "model"}
    hooks = read(".pre-commit-hooks.yaml")
    assert {hook["id"] for hook in hooks} == set(folders)
    for hook in hooks:
        assert run([*shlex.split(hook["entry"])[1:], folders[hook["id"]]]) == 0
        assert re.search(hook["files"], f"{folders[hook['id']]}/adapter_config.json")


def test_the_hooks_look_at_the_repository_itself_without_args(model: Path) -> None:
    folders = {"adapterops-show": "my adapter", "adapterops-check": "my adapter", "adapterops-verify": "model"}
    for hook in read(".pre-commit-hooks.yaml"):
        with chdir(folders[hook["id"]]):
            assert run(shlex.split(hook["entry"])[1:]) == 0


DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NEEDED: list[str] = DECLARED["project"]["dependencies"]
BUILDING: list[str] = DECLARED["build-system"]["requires"]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment that has what is needed to build and run, and not the package."""
    return environment(tmp_path_factory.mktemp("clean"), [*NEEDED, *BUILDING], pip=True)


def test_the_action_installs_and_runs_where_nothing_is_installed(
    clean: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All in one job: in an environment that the action makes, which sees what is needed and not the package."""
    shutil.rmtree("temporary")
    (site,) = clean.parent.glob("lib/python*/site-packages")
    monkeypatch.setenv("PYTHONPATH", str(site))
    found = step("install")
    assert found.returncode == 0, found.stderr
    assert {path.name for path in Path("temporary/adapterops/bin").glob("adapterops")} == {"adapterops"}
    assert step("show", source="my adapter").returncode == 0
    found = step("verify", source="model", base="base", adapters="my adapter\n", sarif="found.sarif")
    assert found.returncode == 0, found.stderr
    assert Path("found.sarif").exists()


KNOWN = {
    "actions/checkout": {"fetch-depth", "persist-credentials", "lfs"},
    "actions/setup-python": {"python-version", "cache", "cache-dependency-path"},
    "github/codeql-action/upload-sarif": {"sarif_file", "category"},
}
"""What the actions of others take, of what is used here."""


def test_actions_of_others_are_called_by_the_inputs_that_they_have() -> None:
    workflow = read(".github/workflows/ci.yml")
    steps = [*workflow["jobs"]["test"]["steps"], *read("action.yml")["runs"]["steps"]]
    called = [each for each in steps if "uses" in each]
    assert {each["uses"].partition("@")[0] for each in called} == set(KNOWN)
    for each in called:
        assert re.fullmatch(r"\S+@v\d+", each["uses"])
        assert set(each.get("with", {})) <= KNOWN[each["uses"].partition("@")[0]]
        assert (ROOT / each.get("with", {}).get("cache-dependency-path", ".")).exists()
    for each in steps:
        assert ("run" in each) != ("uses" in each)


def test_ci_runs_the_one_script_on_every_python_that_is_named() -> None:
    job = read(".github/workflows/ci.yml")["jobs"]["test"]
    assert job["steps"][-1]["run"] == "bash .ci/run"
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert job["strategy"]["matrix"]["python"] == named


def test_all_that_the_one_script_calls_is_there(tmp_path: Path) -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert script[-1] == "make test"
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    lines = [shlex.split(line) for line in done("make", "-n", "test", "PYTHON=python", cwd=tmp_path).splitlines()]
    programs = [Path(line[0]) for line in lines]
    assert Path(".venv/bin/pytest") in programs
    for line in lines:
        program = Path(line[0])
        if program.parent == Path(".venv/bin"):
            assert (Path(sys.executable).parent / program.name).exists(), program
        for option, group in pairwise(line):
            assert option != "--group" or group in DECLARED["dependency-groups"]
            assert option != "-c" or program.name == "python" or (ROOT / group).exists()
        if program.name in ("pytest", "ruff"):
            assert (ROOT / line[-1]).exists()


def test_make_says_what_it_installs_and_how_long_that_takes(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    lines = done("make", "-n", "demo", cwd=tmp_path).splitlines()
    (told,) = (index for index, line in enumerate(lines) if line.startswith('echo "make demo: installing torch'))
    assert "over 1 GB" in lines[told]
    assert "--group demo" in lines[told + 1]


def instructions(name: str) -> list[tuple[str, str]]:
    """The instructions of a container file: what they are called, and the rest, in one line each."""
    text = re.sub(r"\\\n\s*", "", (ROOT / name).read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def test_make_asks_for_a_python_that_is_new_enough_before_it_makes_anything(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    major, minor = map(int, needed.split("."))
    old, new, log = (tmp_path / name for name in ("old", "new", "log"))
    for path, version in ((old, (major, minor - 1, 9)), (new, (major, minor, 0))):
        path.write_text(
            f"""#!/bin/sh
[ "$1" = -c ] && exec {sys.executable} -c "import sys; sys.version_info = {version}; $2"
echo "$@" >> {log}; mkdir -p .venv/bin; ln -sf /bin/true .venv/bin/pip; ln -sf /bin/true .venv/bin/python
"""
        )
        path.chmod(0o755)
    found = subprocess.run(["make", f"PYTHON={old}", "demo"], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 2
    assert f"is older than Python {needed}" in found.stderr
    assert "make PYTHON=python3.12 demo" in found.stderr
    assert not (tmp_path / ".venv").exists()
    subprocess.run(["make", f"PYTHON={new}", "demo"], cwd=tmp_path, capture_output=True, check=True)
    assert log.read_text() == "-m venv --clear .venv\n"


def test_the_steps_of_the_container_make_what_its_entry_point_starts(clean: Path, model: Path, tmp_path: Path) -> None:
    """Each RUN but that of the tests, in the environment that its image has; only /dist is elsewhere."""
    dist, image = tmp_path / "dist", environment(tmp_path / "image", NEEDED, pip=True)
    steps = [
        re.sub(r"--mount=\S+ +", "", rest).replace("/dist", str(dist))
        for kind, rest in instructions("Containerfile")
        if kind == "RUN"
    ]
    checks, build, install = steps
    assert checks == "bash .ci/run"
    done("bash", "-ec", build, cwd=ROOT, env=path_of(clean))
    done("bash", "-ec", install, cwd=tmp_path, env={**path_of(image), "EXTRAS": ""})
    entry = json.loads(dict(instructions("Containerfile"))["ENTRYPOINT"])
    done(image / entry[0], "merge", "my adapter", "my adapter", "--ties", "-o", "merged", cwd=tmp_path)
    assert (tmp_path / "merged/adapter_config.json").exists()


def test_the_container_has_what_its_build_needs() -> None:
    """The version comes from git; no line of .dockerignore leaves out a file that is tracked."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ".git" not in ignored
    tracked = done("git", "ls-files", cwd=ROOT).splitlines()
    assert not {
        name for name in tracked for line in ignored if fnmatch(name.partition("/")[0], line.removeprefix("**/"))
    }


def test_the_citation_says_what_the_package_does() -> None:
    cited = read("CITATION.cff")
    assert cited["cff-version"] == "1.2.0"
    assert cited["license"] == "Apache-2.0"
    assert {"message", "title", "authors"} <= set(cited)
