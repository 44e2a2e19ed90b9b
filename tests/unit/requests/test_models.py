"""The model that a request asks for: by kind, dtype and files, and what of it does not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import write_base, write_tuned

from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.cli.main import run
from adapterops.errors import OptionError
from adapterops.expressions.expression import parse
from adapterops.requests.adapters import measured
from adapterops.requests.fields import Input, Model, Output, Quantize
from adapterops.requests.models import adapters_for, model
from adapterops.requests.places import open_inputs
from adapterops.requests.request import Request


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_base(tmp_path / "base")
    write_tuned(tmp_path / "a")
    return tmp_path


def fused(place: Path, **fields: Any) -> tuple[Request, Checkpoint]:
    request = Request(
        {"a": Input(str(place / "a"))},
        parse("a", ["a"]),
        base=Model(str(place / "base")),
        **fields,
    )
    opened = open_inputs(request)
    return request, model(request, opened, measured)


def test_an_update_is_added_in_the_dtype_and_the_files_that_are_asked_for(place: Path) -> None:
    _, plain = fused(place)
    _, wide = fused(place, output=Output(dtype="F32", max_shard_size=500))
    name = "model.layers.0.q_proj.weight"
    assert name in plain.changed
    assert (plain.layout[name].dtype, wide.layout[name].dtype) == ("BF16", "F32")
    assert len(wide.shards) > len(plain.shards)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base_view": "dequantized"}, "--original and --base-view are for a base that is quantized"),
        ({"rounding": "stochastic", "output": Output(dtype="F32")}, "is for codes and for 16 bits"),
        ({"rounding": "nearest", "quantize": Quantize("nf4")}, "--quantize computes new codes"),
    ],
)
def test_what_is_about_codes_needs_some(place: Path, fields: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        fused(place, **fields)


def test_adapters_have_the_names_of_the_base(place: Path) -> None:
    request, base = fused(place)
    opened = open_inputs(request)
    found = adapters_for(request, opened.adapters, opened.models["base"])
    assert {f"{module}.weight" for module in found["a"].layout} == set(base.changed)
    update = next(iter(found["a"].updates.values()))
    assert np.isfinite(update.dense()).all()


def test_a_base_without_a_config_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """transformers cannot load what is made of it."""
    for hint in ("", "has no config.json, so the output has none, and from_pretrained cannot load it"):
        assert run(["fuse", str(place / "base"), str(place / "a"), "-o", str(place / "made"), "--force"]) == 0
        printed = capsys.readouterr().err
        assert hint in printed
        assert bool(hint) == ("config.json" in printed)
        (place / "base/config.json").unlink(missing_ok=True)
