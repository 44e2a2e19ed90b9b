"""The scale of a merge: what each choice is, and that the default is the norm of the inputs, within bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from strategies import low_rank

from adapterops import METHODS, Adapter, evaluate, merge
from adapterops.errors import OptionError
from adapterops.methods.scaling import BORNE, check_scale, describe, fixed
from adapterops.operations.algebra import settings

A, B, C = (
    Adapter.of({"q": low_rank(seed, 7, 5, 2), **({"v": low_rank(seed + 9, 4, 5, 2)} if seed else {})})
    for seed in range(3)
)


def entries(adapter: Adapter, module: str = "q") -> np.ndarray:
    return adapter.updates[module].dense()


def norm(adapter: Adapter) -> float:
    return float(np.linalg.norm(entries(adapter)))


def usual(adapters: list[Adapter]) -> float:
    return float(np.sqrt(np.mean([norm(each) ** 2 for each in adapters])))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_the_norm_of_its_inputs(method: str) -> None:
    small = [0.01 * each for each in (A, B, C)]
    inputs = small[:2] if method == "slerp" else small
    merged = merge(inputs, method, scale="auto")
    assert norm(merged) == pytest.approx(usual(inputs))
    as_it_is = merge(inputs, method, scale="sum")
    assert settings(method, len(inputs))[1]["scale"] == ("sum" if METHODS[method].sized else "auto")
    ratio = entries(merged) / np.where(entries(as_it_is) == 0, 1, entries(as_it_is))
    assert np.ptp(ratio[ratio != 0]) < 1e-9


@pytest.mark.parametrize("method", ["linear", "ties", "tsv", "dare_linear"])
def test_large_updates_are_scaled_to_what_a_weight_bears_but_not_below_the_mean(method: str) -> None:
    for size in (0.01, 0.03, 0.05, 0.1, 1.0):
        inputs = [size * each for each in (A, B, C)]
        borne = BORNE * 7**0.5
        mean = norm(merge(inputs, method, scale="mean"))
        expected = min(usual(inputs), max(borne, mean))
        assert norm(merge(inputs, method, scale="auto")) == pytest.approx(expected), size


def test_equal_updates_are_themselves_however_large() -> None:
    np.testing.assert_allclose(entries(merge([5 * A, 5 * A, 5 * A])), 5 * entries(A), rtol=1e-12)


@pytest.mark.parametrize(("scale", "factor"), [("sum", 1), ("mean", 1 / 3), (0.4, 0.4), ("0.4", 0.4), (-2, -2)])
def test_fixed_scales(scale: Any, factor: float) -> None:
    expected = factor * (entries(A) + entries(B) + entries(C))
    np.testing.assert_allclose(entries(merge([A, B, C], scale=scale)), expected, atol=1e-12)


def test_a_module_of_one_adapter_stays_as_it_is() -> None:
    alone = Adapter.of({"q": low_rank(0, 7, 5, 2), "k": low_rank(5, 7, 5, 2)})
    assert np.array_equal(entries(merge([alone, B]), "k"), entries(alone, "k"))


@pytest.mark.parametrize(
    "options",
    [{"weights": [1, 1]}, {"space": "factors"}, {"convention": "peft", "method": "ties"}],
    ids=["weights", "factors", "convention"],
)
def test_what_is_stated_otherwise_is_not_scaled(options: dict[str, Any]) -> None:
    method = options.pop("method", "linear")
    assert settings(method, 2, **options)[1]["scale"] == "sum"
    assert settings(method, 2, **options, scale="auto")[1]["scale"] == "auto"


def test_one_adapter_is_not_scaled() -> None:
    assert settings("ties", 1)[1]["scale"] == "sum"


def test_opposite_adapters_are_zero() -> None:
    np.testing.assert_allclose(entries(merge([A, -A])), 0, atol=1e-12)


@pytest.mark.parametrize("wrong", ["rms", 0, "0", float("nan"), "inf", True, None])
def test_what_is_no_scale(wrong: Any) -> None:
    with pytest.raises(OptionError, match="scale must be auto, sum, mean or a number"):
        check_scale(wrong)


def test_the_words_are_those_of_the_factor() -> None:
    assert fixed("auto", 4) is None
    assert "0.25 to about 0.5 times their sum" in describe("auto", 4)
    assert describe(0.4, 4) == "0.4 times"
    assert describe("auto", 1) == "auto: every module as large as its input"


def test_expressions_have_it() -> None:
    mean = evaluate('linear(a, b, scale="mean")', a=A, b=B)
    np.testing.assert_allclose(entries(mean), (entries(A) + entries(B)) / 2, atol=1e-12)
    with pytest.raises(OptionError, match="scale must be auto"):
        evaluate('linear(a, b, scale="rms")', a=A, b=B)
