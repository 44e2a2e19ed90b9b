"""An expression of opened adapters is the one of their matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus import write_adapter

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.opening import open_adapter
from adapterops.engine.execution import Execution
from adapterops.errors import OptionError
from adapterops.expressions.calculator import compute, evaluate
from adapterops.expressions.expression import parse


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Adapter]:
    return {name: open_adapter(write_adapter(tmp_path / name, seed=ord(name))) for name in "ab"}


def test_sums_factors_and_functions(given: dict[str, Adapter]) -> None:
    found = evaluate('2*a - scale(b, {"*.v_proj": 0.5})', **given)
    for module, update in found.updates.items():
        a, b = (each.updates[module].dense() for each in given.values())
        factor = 0.5 if module.endswith("v_proj") else 1
        np.testing.assert_allclose(update.dense(), 2 * a - factor * b, atol=1e-5)
    chosen = evaluate('select(a, "layers.1.*")', a=given["a"])
    assert list(chosen.layout) == ["layers.1.q_proj"]


def test_whoever_computes_says_how_it_is_cut(given: dict[str, Adapter]) -> None:
    asked: list[dict[str, object]] = []

    def cut(adapter: Adapter, **parameters: object) -> Adapter:
        asked.append(parameters)
        return adapter

    how = Execution(workers=1)
    compute(parse("truncate(a, rank=1) + b", given), given, truncate=cut, how=how)
    assert asked == [{"rank": 1, "exact": False, "how": how}]


def test_a_mistake_of_a_function_has_its_column(given: dict[str, Adapter]) -> None:
    with pytest.raises(OptionError, match=r"select: .*\(column 5\)"):
        evaluate('b + select(a, "nothing.*")', **given)


def test_a_path_is_no_adapter() -> None:
    with pytest.raises(OptionError, match="a is a str, expected an adapter") as caught:
        evaluate("a", a="runs/a")  # that is the mistake
    assert caught.value.hint == "open it first: open_adapter(path)"
