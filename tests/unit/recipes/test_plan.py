"""A plan is a recipe: what it says is what is read of it."""

from __future__ import annotations

from pathlib import Path

from adapterops.expressions.expression import parse
from adapterops.recipes.plan import plan
from adapterops.recipes.schema import read_recipe
from adapterops.requests.request import Input, Model, Output, Request

FACTORS = {"layers.0.q_proj": 1 / 3, "layers.1.it's é": 1.0, "layers.2.v_proj": 0.0}


def test_a_plan_is_read_as_the_request_it_is(tmp_path: Path) -> None:
    inputs = {"a": Input("runs/a", alpha=8.0), "b": Input("it's b")}
    (tmp_path / "plan.yaml").write_text(plan(Request(inputs, parse("a + b", inputs)), "linear", FACTORS))
    read = read_recipe(tmp_path / "plan.yaml").request
    assert read.inputs == inputs
    text = str(read.result)
    assert "0.3333333333333333" in text
    assert "sum" in text


def test_what_is_left_out_has_its_reason(tmp_path: Path) -> None:
    inputs, reasons = {"a": Input("a"), "b": Input("b")}, {"layers.2.v_proj": "the merge has -12% of b"}
    text = plan(Request(inputs, parse("a + b", inputs)), "linear", FACTORS, reasons)
    (tmp_path / "plan.yaml").write_text(text)
    result = read_recipe(tmp_path / "plan.yaml").request.result
    assert str(result).startswith("drop(scale(linear(")
    assert '{"layers.2.v_proj": "the merge has -12% of b"}' in str(result)
    assert parse(str(result), inputs).tree == result.tree


def test_a_base_names_the_modules_and_takes_nothing_in(tmp_path: Path) -> None:
    inputs = {"a": Input("a"), "b": Input("b")}
    request = Request(inputs, parse("a + b", inputs), base=Model("models/base"), output=Output(adapter=True))
    (tmp_path / "plan.yaml").write_text(plan(request, "even", FACTORS))
    read = read_recipe(tmp_path / "plan.yaml").request
    assert read.base == Model("models/base")
    assert read.output.adapter
