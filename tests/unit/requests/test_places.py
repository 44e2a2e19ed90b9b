"""Inputs as they are seen from the output, and what a manifest may tell of them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from corpus import config, factors, write_adapter
from mergekit_models import write

from adapterops.expressions.expression import parse
from adapterops.requests.fields import Input, Model
from adapterops.requests.places import anonymous, located, named_after, on_layers, open_inputs, seen_from
from adapterops.requests.request import FUSE, MERGE, UNFUSE, Request


def request_of(path: str | Path) -> Request:
    return Request({"a": Input(str(path))}, parse("a", ["a"]))


@pytest.mark.parametrize(
    ("path", "out", "noted"),
    [
        ("runs/a", "out", "../runs/a"),
        ("runs/a", "deep/er/out", "../../../runs/a"),
        ("./runs/../runs/a", "runs/out", "../a"),
    ],
)
def test_relative_paths_are_seen_from_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, out: str, noted: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_adapter(tmp_path / "runs/a")
    (tmp_path / "deep/er").mkdir(parents=True)
    request = request_of(path)
    opened = open_inputs(request)
    seen = seen_from(Path(out), request, Path(), opened)
    assert Path(os.path.normpath(seen.inputs["a"].path)) == Path(noted)
    assert anonymous(seen, Path(out)) == seen
    assert located(tmp_path / out, seen.inputs["a"].path) == tmp_path.resolve() / "runs/a"
    open_inputs(seen, tmp_path / out)


def test_no_place_of_this_machine_is_noted(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a")
    request = request_of(tmp_path / "a")
    seen = seen_from(tmp_path / "out", request, Path(), open_inputs(request))
    assert seen == request
    assert anonymous(seen, tmp_path / "out").inputs["a"].path == "a"
    far = request_of("../../../../mnt/runs/a")
    assert anonymous(far, Path("/home/me/out")).inputs["a"].path == "a"
    pinned = request_of("hf://me/a@" + "0" * 40)
    assert anonymous(pinned, Path("/home/me/out")) == pinned


def test_an_output_is_named_after_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert named_after(".", "-r8").resolve() == tmp_path / "here-r8"
    assert named_after("hf://me/name@v2", "-nf4") == Path("name-nf4")
    assert named_after("hf://me/name/sub/x.safetensors", "-nf4") == Path("x-nf4")


@pytest.mark.parametrize(("kind", "layers", "replicates"), [(FUSE, 4, False), (MERGE, 4, True), (UNFUSE, 3, True)])
def test_the_layers_that_adapters_are_for(tmp_path: Path, kind: str, layers: int, replicates: bool) -> None:
    """Made once: what is fused is for layers that are there then."""
    path = write_adapter(tmp_path / "a", factors(), config(2, layer_replication=[[0, 2], [1, 3]]))
    base = Model(str(write(tmp_path / "base", "chat")))
    request = Request({"a": Input(str(path))}, parse("a", ["a"]), base=base, unfuse=kind == UNFUSE)
    request = replace(request, output=replace(request.output, adapter=True)) if kind == MERGE else request
    assert request.kind == kind
    found = on_layers(request, open_inputs(request))
    assert found.models["base"].config is not None
    assert found.models["base"].config["num_hidden_layers"] == layers
    assert bool(found.adapters["a"].config.replication) is replicates
