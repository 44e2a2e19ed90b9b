"""What a manifest says was asked for, and where a request says something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import write_base, write_tuned

from adapterops.checkpoints.opening import open_checkpoint
from adapterops.cli.main import run
from adapterops.engine.execution import Execution
from adapterops.errors import OptionError
from adapterops.expressions.expression import parse
from adapterops.requests.places import open_inputs
from adapterops.requests.request import FUSE
from adapterops.requests.verifying import check_there, contradiction, fusion_of, proof, recorded


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    assert run(["fuse", "base", "a", "-o", "out"]) == 0
    return tmp_path / "out"


def test_the_request_is_read_with_paths_that_hold_anywhere(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    found = recorded(out)
    assert found is not None
    assert found.kind == FUSE
    assert found.base is not None
    assert found.base.path == str(out.parent / "base")
    assert fusion_of(str(out)) == found
    assert (recorded(out.parent / "base"), fusion_of("hf://a/b")) == (None, None)
    check_there(found, found, out)


def test_an_input_that_was_moved_is_asked_for(out: Path) -> None:
    found = recorded(out)
    assert found is not None
    (out.parent / "a").rename(out.parent / "moved")
    with pytest.raises(OptionError, match=r"was made from a, and .* does not exist") as caught:
        check_there(found, found, out)
    assert caught.value.hint == "name its place: --adapter a=PATH"


def test_other_inputs_contradict_the_manifest(out: Path) -> None:
    found = recorded(out)
    assert found is not None
    assert contradiction(found, found) is None
    assert contradiction(None, found) is None
    other = replace(found, result=parse("2*a", ["a"]))
    assert "the manifest says that the adapters were merged with" in str(contradiction(found, other))


def test_what_was_fused_holds(out: Path) -> None:
    found = recorded(out)
    assert found is not None
    asked = proof(open_checkpoint(out), found, open_inputs(found))
    assert asked.verification(Execution(1)).ok
