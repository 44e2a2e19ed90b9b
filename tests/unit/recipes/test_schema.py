"""Recipes: what is written is read, and a mistake has its line and column."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapterops.errors import OptionError
from adapterops.expressions.expression import parse
from adapterops.recipes.schema import PushTo, as_yaml, read_recipe
from adapterops.requests.fields import Input, Model, Output
from adapterops.requests.request import Request

TEXT = "adapterops: 1\ninputs: {a: runs/a, b: runs/b}\nresult: a + b\n"


@pytest.mark.parametrize(
    "request_",
    [
        Request({"a": Input("it's \u00fc"), "b": Input("b", alpha=4.0)}, parse("0.5*a - ties(b, density=0.3)", "ab")),
        Request({"a": Input("a")}, parse("a", "a"), base=Model("m"), output=Output(dtype="BF16", max_shard_size=10**9)),
        Request(base=Model("m"), dequantize=True),
    ],
)
def test_what_is_written_is_read(tmp_path: Path, request_: Request) -> None:
    (tmp_path / "r.yaml").write_text(as_yaml(request_), encoding="utf-8")
    (tmp_path / "r.json").write_text(json.dumps({"adapterops": 1, **request_.as_json()}))
    for name in ("r.yaml", "r.json"):
        assert read_recipe(tmp_path / name).request == request_


def test_where_the_output_goes(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(TEXT + "output: {path: out, rank: 4}\npush: {repo: me/it, private: true}\n")
    found = read_recipe(path)
    assert (found.folder, found.output, found.push) == (tmp_path, "out", PushTo("me/it", True))
    assert found.request.output == Output(rank=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.replace("adapterops: 1", "adapterops: 2"), "line 1"),
        (TEXT + "speed: fast\n", "line 4, column 1"),
        (TEXT + "output:\n  rank: many\n", "line 5, column"),
        (TEXT + "push: {repo: here}\n", "line 4"),
        (TEXT.replace("a + b", "a + c"), "no adapter named 'c'"),
        ("inputs: {}\n", "adapterops"),
        ("a: no\n", "line 1, column 4"),
    ],
)
def test_a_mistake_has_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(OptionError) as caught:
        read_recipe(tmp_path / "r.yaml")
    assert message in str(caught.value)
    assert caught.value.path == str(tmp_path / "r.yaml")
