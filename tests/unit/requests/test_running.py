"""A request is opened, planned and saved; the manifest has it as it is seen from the output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from corpus import write_adapter
from tiny_models import write_base, write_tuned

from adapterops.adapters.saved import Saved
from adapterops.checkpoints.saving import SavedCheckpoint
from adapterops.errors import OptionError, OutputExistsError
from adapterops.expressions.expression import parse
from adapterops.requests import running
from adapterops.requests.fields import Input, Model, Output
from adapterops.requests.request import Request
from adapterops.requests.results import result
from adapterops.requests.running import make, plan, save


def request(**fields: Any) -> Request:
    return Request({"a": Input("a")}, parse("2*a", ["a"]), **fields)


def test_an_adapter_is_planned_and_saved(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a")
    made = make(request(output=Output(rank=1)), tmp_path / "out", folder=tmp_path)
    planned = plan(made)
    saved = save(made, tmp_path / "out", command=["adapterops", "calc"], files={"note": b"x"})
    assert isinstance(saved, Saved)
    assert {each.rank for each in saved.modules.values()} == {1}
    assert planned.bytes <= saved.bytes
    manifest = json.loads((tmp_path / "out/adapterops.json").read_text())
    assert manifest["request"]["inputs"]["a"]["path"] == "../a"
    assert manifest["command"] == ["adapterops", "calc"]
    assert (tmp_path / "out/note").read_bytes() == b"x"


def test_a_model_is_planned_and_saved(tmp_path: Path) -> None:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    made = make(request(base=Model("base")), tmp_path / "out", folder=tmp_path)
    planned = plan(made)
    saved = save(made, tmp_path / "out")
    assert isinstance(saved, SavedCheckpoint)
    assert len(planned.jobs) == 4
    assert len(saved.modules) == 6
    assert {path.name for path in made.inputs[0].paths} >= {"config.json"}


def test_an_output_that_is_there_is_found_before_any_work(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(OutputExistsError):
        make(request(), tmp_path / "out", folder=tmp_path)
    assert make(request(), None, folder=tmp_path).result.layout, "nothing is to stay here"


def test_the_name_of_a_file_is_refused_before_a_budget_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the format is a folder, or several processes are to write it; a model is another thing, too."""
    write_adapter(tmp_path / "a")
    write_base(tmp_path / "base")

    def spent(request: Request, opened: Any, *, planning: bool, how: Any) -> Any:
        assert planning, "the spectra were measured"
        return result(request, opened, planning=planning, how=how)

    monkeypatch.setattr(running, "result", spent)
    cut = Output(budget="100")
    with pytest.raises(OptionError, match="is a folder with"):
        make(request(output=cut), tmp_path / "out.safetensors", folder=tmp_path)
    cut = Output(budget="100", format="kohya")
    with pytest.raises(OptionError, match="work in parts needs a folder"):
        make(request(output=cut), tmp_path / "out.safetensors", folder=tmp_path, shared=True)
    with pytest.raises(OptionError, match="what is written is a checkpoint"):
        make(request(base=Model("base")), tmp_path / "out.gguf", folder=tmp_path)
