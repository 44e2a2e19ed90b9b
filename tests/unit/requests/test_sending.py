"""What is sent and described: nothing whose manifest has a request that is not understood."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import write_tuned

import adapterops as ao
from adapterops.cli.main import run
from adapterops.errors import InputError
from adapterops.provenance.manifest import seal
from adapterops.recipes.running import push as push_recipe


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_tuned(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    assert run(["truncate", "a", "--rank", "1", "-o", "out"]) == 0
    return tmp_path / "out"


def damaged(out: Path) -> None:
    """A manifest of an operation that there is not, sealed as if nobody had touched it."""
    path = out / "adapterops.json"
    content = json.loads(path.read_text())
    content["request"]["result"] = "no_such_function(a)"
    content["seal"] = seal({name: value for name, value in content.items() if name != "seal"})
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "call",
    [lambda out: ao.card(out), lambda out: ao.push(out, "owner/name", dry_run=True)],
    ids=["card", "push"],
)
def test_a_request_that_is_not_understood_is_refused_in_the_library_too(
    call: Callable[[Path], Any], out: Path, recwarn: pytest.WarningsRecorder
) -> None:
    assert call(out)
    damaged(out)
    with pytest.raises(InputError) as found:
        call(out)
    assert str(found.value.path).endswith("adapterops.json")


@pytest.mark.parametrize("arguments", [["card", "out"], ["push", "out", "owner/name", "--dry-run"]])
def test_commands_say_the_same(arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged(out)
    assert run(arguments) == 3
    assert "adapterops.json" in capsys.readouterr().err


def test_a_recipe_sends_by_the_same_way(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from adapterops.recipes.schema import read_recipe

    Path("r.yaml").write_text(
        "adapterops: 1\ninputs: {a: {path: a}}\nresult: truncate(a, rank=1)\noutput: {path: out}\npush: {repo: owner/name}\n"
    )
    damaged(out)
    with pytest.raises(InputError):
        push_recipe(read_recipe(Path("r.yaml")), out)
