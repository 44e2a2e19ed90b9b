"""What is made in parts, and what is not; that the bytes are those of one process is tested with the parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import write_base, write_tuned

from adapterops.engine.execution import Execution
from adapterops.errors import OptionError
from adapterops.expressions.expression import parse
from adapterops.requests.divided import (
    DividedAdapter,
    DividedModel,
    base_of,
    check_no_file,
    divided,
    with_base,
)
from adapterops.requests.fields import Input, Model, Output
from adapterops.requests.request import Request
from adapterops.requests.running import Made, make


def asked(place: Path, base: bool, **output: str) -> Made:
    model = Model(str(place / "base")) if base else None
    request = Request({"a": Input(str(place / "a"))}, parse("2*a", ["a"]), base=model, output=Output(**output))
    return make(request, place / "out")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    return tmp_path


def test_the_files_of_a_model_and_the_modules_of_an_adapter(place: Path) -> None:
    model, adapter = (divided(asked(place, base), place / "out", Execution(2)) for base in (True, False))
    assert isinstance(model, DividedModel)
    assert isinstance(adapter, DividedAdapter)
    assert (len(model.plan.jobs), len(adapter.plan.jobs)) == (4, 6)
    for each, files in ((model, 5), (adapter, 1)):
        assert sum(len(job.inputs) for job in each.plan.jobs) == files, "each input file is hashed with one job"
        assert each.memory > 0
        assert not each.torch


def test_parts_need_a_folder(place: Path) -> None:
    adapter, model = asked(place, False), asked(place, True)
    with pytest.raises(OptionError, match="single file"):
        divided(adapter, place / "out.gguf", Execution())
    divided(model, place / "out.safetensors", Execution())
    check_no_file(adapter, place / "out")


def test_what_an_adapter_calls_its_base(place: Path) -> None:
    made = asked(place, False)
    assert base_of(with_base(made, "typed")) == "typed"
    model = asked(place, True)
    assert with_base(model, "typed") is model
    assert base_of(model) is None
