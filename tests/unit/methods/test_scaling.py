"""The scale of a merge: what each choice is, and what bounds the default."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from strategies import low_rank, with_inputs

from adapterops import METHODS, Adapter, evaluate, merge
from adapterops.errors import InputError, OptionError
from adapterops.methods.scaling import Multipliers, check_scale, describe, fixed
from adapterops.methods.settings import settings
from adapterops.provenance.history import Step
from adapterops.updates import lowrank
from adapterops.updates.lowrank import LowRank, gram

A, B, C = (
    with_inputs(
        Adapter.of({"q": low_rank(seed, 7, 5, 2), **({"v": low_rank(seed + 9, 4, 5, 2)} if seed else {})}),
        seed,
        {"q": (7, 5), "v": (4, 5)},
    )
    for seed in range(3)
)


def entries(adapter: Adapter, module: str = "q") -> np.ndarray:
    return adapter.updates[module].dense()


def multipliers(adapter: Adapter) -> Multipliers:
    found = adapter.history.multipliers if isinstance(adapter.history, Step) else None
    assert found
    return found


def norm(adapter: Adapter) -> float:
    return float(np.linalg.norm(entries(adapter)))


@pytest.mark.parametrize("method", [name for name, each in METHODS.items() if not each.disturbs])
@pytest.mark.parametrize("size", [0.001, 0.02, 0.05, 1.0])
def test_every_method_is_as_large_as_it_may_be(method: str, size: float) -> None:
    inputs = [size * each for each in ((A, B) if method == "slerp" else (A, B, C))]
    if np.median([norm(each) for each in inputs]) > METHODS[method].small * 7**0.5:
        np.testing.assert_array_equal(*(entries(merge(inputs, each, scale="auto")) for each in (method, "linear")))
        return
    usual = np.sqrt(np.mean([norm(each) ** 2 for each in inputs]))
    borne, grown = METHODS[method].borne * 7**0.5, 2**0.5 * usual
    as_it_is, merged = merge(inputs, method, scale="sum"), merge(inputs, method, scale="auto")
    mean = norm(merge(inputs, scale="mean"))
    if METHODS[method].order == 4:
        values = np.linalg.svd(entries(as_it_is), compute_uv=False)
        borne, grown = borne * norm(as_it_is) / (values**4).sum() ** 0.25, np.inf
    assert norm(merged) == pytest.approx(min(norm(as_it_is), grown, max(borne, mean)))
    ratio = entries(merged) / np.where(entries(as_it_is) == 0, 1, entries(as_it_is))
    assert np.ptp(ratio[ratio != 0]) < 1e-9
    assert settings(method, len(inputs))[1]["scale"] == ("sum" if METHODS[method].sized else "auto")


def test_small_unrelated_updates_of_two_are_added() -> None:
    one, other = (Adapter.of({"q": low_rank(seed, 400, 300, 2)}) for seed in (0, 1))
    small = [0.001 * one, 0.001 * other]
    total = norm(merge(small, scale="sum"))
    assert norm(merge(small)) == pytest.approx(total, rel=0.02)


@pytest.mark.parametrize(
    ("method", "options"), [("linear", {}), ("ties", {"density": 1.0}), ("core_ties", {"density": 1.0})]
)
def test_equal_updates_are_themselves_however_large(method: str, options: dict[str, Any]) -> None:
    np.testing.assert_allclose(entries(merge([5 * A] * 3, method, **options)), 5 * entries(A), rtol=1e-6)


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
    assert describe("auto", 4) == "auto: full size, reduced where the update of a module is large, at most to the mean"
    assert describe(0.4, 4) == "0.4"
    assert describe("auto", 1) == "auto: 1 times"


def test_expressions_have_it() -> None:
    mean = evaluate('linear(a, b, scale="mean")', a=A, b=B)
    np.testing.assert_allclose(entries(mean), (entries(A) + entries(B)) / 2, atol=1e-12)
    with pytest.raises(OptionError, match="scale must be auto"):
        evaluate('linear(a, b, scale="rms")', a=A, b=B)


@pytest.mark.parametrize("method", [name for name, each in METHODS.items() if not each.sized])
def test_the_multipliers_are_what_the_result_was_multiplied_by(method: str) -> None:
    inputs = [0.05 * each for each in (A, B, C)]
    merged = merge(inputs, method)
    found = multipliers(merged).all()
    as_it_is = merge(inputs, "linear" if multipliers(merged).summed == found.keys() else method, scale="sum")
    assert list(found) == ["q", "v"]
    assert multipliers(merged).quick
    for module, multiplier in found.items():
        np.testing.assert_allclose(entries(merged, module), multiplier * entries(as_it_is, module), atol=1e-9)


@pytest.mark.parametrize(("method", "most"), [("linear", 3), ("even", 4)])
def test_of_a_sum_no_norm_is_measured_twice(method: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the inputs and of the result; where the result is the sum, that is the one that the mean is known by."""
    measured: list[int] = []
    monkeypatch.setattr(lowrank, "gram", lambda height, *more: measured.append(height) or gram(height, *more))
    large = [100.0 * each for each in (A, B)]
    update = merge(large, method, scale="auto").updates["q"]
    update.norm()
    assert measured.count(7) <= most


def test_multipliers_are_found_once_and_with_their_modules() -> None:
    computed: list[str] = []

    def compute(module: str) -> None:
        computed.append(module)
        known.found[module] = 1.0

    known = Multipliers(("q", "v"), compute, True)
    assert known.all() == known.all() == {"q": 1.0, "v": 1.0}
    assert computed == ["q", "v"]


@pytest.mark.parametrize(("method", "quick"), [("linear", True), ("ties", False), ("core_ties", False)])
def test_what_takes_long_is_not_computed_for_its_multipliers_alone(
    method: str, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapterops.operations.merging.FEW", 7 * 5)
    assert multipliers(merge([A, B, C], method)).quick == quick


def test_a_scale_that_is_a_number_has_no_multipliers() -> None:
    assert multipliers(merge([A, B], scale="mean")).all() == {}


@pytest.mark.parametrize("method", ["linear", "even"])
@pytest.mark.parametrize("size", [0.05, 1.0])
def test_an_update_that_is_zero_counts_as_one_that_is_not_there(method: str, size: float) -> None:
    inputs, nothing = [size * each for each in (A, B, C)], 0.0 * A
    found = merge([*inputs, nothing], method, scale="auto")
    np.testing.assert_allclose(entries(found), entries(merge(inputs, method, scale="auto")), rtol=1e-9)


SMALL = [
    name for name, method in METHODS.items() if method.acts in ("updates", "products", "matrices") and name != "slerp"
]


@pytest.mark.parametrize("method", SMALL)
@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e100])
def test_squares_that_float64_does_not_hold_change_nothing(method: str, size: float) -> None:
    """f(c x) = c f(x), also where squares underflow."""
    updates = [low_rank(seed, 7, 5, 2) for seed in (1, 2, 3)]
    if method == "model_stock":  # of updates that agree, or little is left
        updates = [updates[0] + 0.1 * each for each in updates]

    def made(factor: float) -> np.ndarray:
        inputs = [Adapter.of({"q": LowRank(factor * each.B, each.scale * each.A)}) for each in updates]
        return entries(merge(inputs, method, scale="sum"))

    np.testing.assert_allclose(made(size) / size, made(1.0), rtol=1e-9, atol=1e-12)
    assert made(size).any()


@pytest.mark.parametrize("method", ["ace", "wudi", "ctm", "even", "svc"])
def test_what_is_nothing_next_to_the_others_is_zero(method: str) -> None:
    one, other = low_rank(1, 7, 5, 2), low_rank(2, 7, 5, 2)
    inputs = [Adapter.of({"q": LowRank(factor * each.B, each.A)}) for factor, each in ((1.0, one), (1e-300, other))]
    found = entries(merge(inputs, method, scale="sum"))
    nothing = Adapter.of({"q": 0.0 * other})
    np.testing.assert_allclose(found, entries(merge([inputs[0], nothing], method, scale="sum")), rtol=1e-9)


def test_no_module_is_lost_to_a_norm_that_is_infinite() -> None:
    """The entries are numbers of float32, and their squares are none."""
    one = low_rank(1, 7, 5, 2)
    B, A = one.B.astype("float32"), one.A.astype("float32")
    large, usual = (Adapter.of({"q": LowRank(size * B, A)}) for size in (np.float32(1e30), np.float32(1)))
    assert merge([large, usual], "linear").updates["q"].dense().any()
    with pytest.raises(InputError, match=r"q: the norm of its merge .*\n  give one: --scale sum"):
        merge([large, usual], "ties", scale="auto").updates["q"].dense()
    assert merge([large, usual], "ties", scale="sum").updates["q"].dense().any()
