"""A plan is a recipe: what it says is what is read of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from strategies import several

from adapterops import Adapter, LowRank
from adapterops.errors import InputError, OptionError
from adapterops.expressions.calculator import compute
from adapterops.expressions.expression import parse
from adapterops.provenance.history import Step
from adapterops.recipes.plan import MergePlan, by_default, plan, planned
from adapterops.recipes.schema import read_recipe
from adapterops.requests.fields import Input, Model, Output
from adapterops.requests.request import Request

FACTORS = {"layers.0.q_proj": 1 / 3, "layers.1.it's é": 1.0, "layers.2.v_proj": 0.0}


def test_a_plan_is_read_as_the_request_it_is(tmp_path: Path) -> None:
    inputs = {"a": Input("runs/a", alpha=8.0), "b": Input("it's b")}
    (tmp_path / "plan.yaml").write_text(MergePlan("linear", FACTORS).recipe(Request(inputs, parse("a + b", inputs))))
    read = read_recipe(tmp_path / "plan.yaml").request
    assert read.inputs == inputs
    text = str(read.result)
    assert "0.3333333333333333" in text
    assert "sum" in text


def test_what_is_left_out_has_its_reason(tmp_path: Path) -> None:
    inputs, reasons = {"a": Input("a"), "b": Input("b")}, {"layers.2.v_proj": "the merge has -12% of b"}
    text = MergePlan("linear", FACTORS).recipe(Request(inputs, parse("a + b", inputs)), reasons)
    (tmp_path / "plan.yaml").write_text(text)
    result = read_recipe(tmp_path / "plan.yaml").request.result
    assert str(result).startswith("drop(scale(linear(")
    assert '{"layers.2.v_proj": "the merge has -12% of b"}' in str(result)
    assert parse(str(result), inputs).tree == result.tree


def test_a_base_names_the_modules_and_takes_nothing_in(tmp_path: Path) -> None:
    inputs = {"a": Input("a"), "b": Input("b")}
    request = Request(inputs, parse("a + b", inputs), base=Model("models/base"), output=Output(adapter=True))
    (tmp_path / "plan.yaml").write_text(MergePlan("even", FACTORS).recipe(request))
    read = read_recipe(tmp_path / "plan.yaml").request
    assert read.base == Model("models/base")
    assert read.output.adapter


def test_names_and_reasons_are_written_as_text_with_their_quotes(tmp_path: Path) -> None:
    inputs, factors = {"a": Input("a"), "b": Input("b")}, {'the "q"': 0.5, "it's": 1.0}
    text = MergePlan("linear", factors).recipe(Request(inputs, parse("a + b", inputs)), {'the "q"': 'not "useful"'})
    (tmp_path / "plan.yaml").write_text(text)
    result = read_recipe(tmp_path / "plan.yaml").request.result
    assert str(result).endswith("""{'the "q"': 'not "useful"'})""")


def followed(
    tmp_path: Path, made: MergePlan, adapters: list[Adapter], reasons: dict[str, str] | None = None
) -> Adapter:
    """The adapter that the recipe of a plan makes."""
    inputs = dict(zip("abcdef", adapters, strict=False))
    request = Request({name: Input(name) for name in inputs}, parse(" + ".join(inputs), inputs))
    (tmp_path / "plan.yaml").write_text(made.recipe(request, reasons))
    result = read_recipe(tmp_path / "plan.yaml").request.result
    assert result
    return compute(result, inputs)


def test_a_plan_is_the_merge_that_it_is_of_also_where_a_name_would_match_others_as_a_pattern(tmp_path: Path) -> None:
    names = ("decoder.mlp.0.up", "mlp.0", "mlp.1")
    adapters = [Adapter.of(dict(zip(names, several(seed, (2, 2, 2)), strict=True))) for seed in (1, 2)]
    merged = planned(adapters)
    made = plan(adapters, merged)
    assert made.factors.keys() == merged.layout.keys()
    for name in names:
        found = followed(tmp_path, made, adapters, {name: "for a test"})
        assert found.layout.keys() == merged.layout.keys() - {name}
        for module, update in found.updates.items():
            np.testing.assert_array_equal(update.dense(), merged.updates[module].dense())


def with_a_kernel(seed: int, sign: int = 1) -> Adapter:
    """An adapter of a matrix, and of what is none."""
    matrix, kernel = several(seed, (2, 2))
    adapter = Adapter.of({"kernel": kernel, "matrix": LowRank(sign * matrix.B, matrix.A)})
    return replace(adapter, layout={**adapter.layout, "kernel": replace(adapter.layout["kernel"], matrix=False)})


def test_a_plan_has_a_factor_of_every_module_also_of_those_that_are_no_matrices(tmp_path: Path) -> None:
    adapters = [with_a_kernel(seed) for seed in (1, 2, 3)]
    merged = planned(adapters)
    made = plan(adapters, merged)
    assert made.method == "even"
    assert made.factors["kernel"] == 1
    found = followed(tmp_path, made, adapters)
    for module in merged.layout:
        np.testing.assert_array_equal(found.updates[module].dense(), merged.updates[module].dense())
    assert list(followed(tmp_path, made, adapters, {"matrix": "it is against"}).layout) == ["kernel"]


def test_a_plan_of_no_module_is_refused() -> None:
    inputs = {"a": Input("a"), "b": Input("b")}
    with pytest.raises(OptionError, match="every module of the merge would be left out"):
        MergePlan("linear", FACTORS).recipe(Request(inputs, parse("a + b", inputs)), dict.fromkeys(FACTORS, "why"))


def test_a_rule_that_fails_leaves_what_the_merge_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: str) -> np.ndarray:
        raise InputError("its singular values cannot be found")

    adapters = [Adapter.of({"q": each}) for each in several(1, (2, 2))]
    expected = by_default(adapters)
    assert expected
    assert expected["rules_apart"] > 0
    merged = planned(adapters)
    step = merged.history
    assert isinstance(step, Step)
    assert step.holdings
    other = replace(merged, history=replace(step, holdings=replace(step.holdings, rules=fails)))
    monkeypatch.setattr("adapterops.recipes.plan.planned", lambda _: other)
    assert by_default(adapters) == {**expected, "rules_apart": None}


def test_one_adapter_by_itself_has_no_merge() -> None:
    assert by_default([Adapter.of({"q": several(1, (2,))[0]})]) is None


def test_a_plan_says_in_which_modules_the_merge_is_against_whom() -> None:
    first, second = several(1, (2, 2))
    adapters = [Adapter.of({"m": first, "n": second}), Adapter.of({"m": -2.0 * first, "n": second})]
    assert plan(adapters, planned(adapters)).opposed.keys() == {"m"}
