"""The laws of methods of merging."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from adapterops.adapters.adapter import Adapter
from adapterops.errors import OptionError
from adapterops.methods import METHODS
from adapterops.methods.settings import settings
from adapterops.operations.algebra import merge
from adapterops.testing.examples import SEEDS, SHAPES, adapters, low_rank, named, other_factors

TOLERANCE = 1e-9
"""Of float64: laws that are exact up to rounding."""

Law = Callable[[str, int], None]


def check_method(name: str, seeds: Iterable[int] = SEEDS) -> None:
    """The laws of a registered method, of those spaces that it acts in.

    Order of the pairs, one adapter where no parameter takes from it, f(c x) = c f(x), gauge, the same result twice.
    """
    for law in METHOD_LAWS:
        for seed in seeds:
            try:
                law(name, seed)
            except AssertionError as error:
                raise AssertionError(f"{name}: {law.__name__} does not hold at seed {seed}: {error}") from error


def order_does_not_matter(method: str, seed: int) -> None:
    """f depends on the set of (adapter, weight) pairs only."""
    random = np.random.default_rng(seed)
    weights = accepted(method, [0.7, 1.0, -0.4])
    pairs = list(zip(adapters(random, len(weights)), weights, strict=True))
    shuffled = [pairs[index] for index in random.permutation(len(pairs))]
    for space in {"delta", "core", "knots"} & set(METHODS[method].spaces):
        found, expected = (_merge(method, each, space, density=0.5, seed=3) for each in (shuffled, pairs))
        _same(found, expected)


def one_is_itself(method: str, seed: int) -> None:
    """f(x) = x, with every parameter that has a neutral value at that."""
    one = adapters(np.random.default_rng(seed), 1)
    neutral = {name: each.neutral for name, each in METHODS[method].parameters.items() if each.neutral is not None}
    _same(merge(one, method, **_options(method, **neutral)), one[0])


def scaling_commutes(method: str, seed: int) -> None:
    """f(c x) = c f(x), for c > 0."""
    random = np.random.default_rng(seed)
    pair, c = adapters(random, 2), random.choice([0.25, 2.0, 8.0])
    options = _options(method, density=0.5)
    _same(merge([float(c) * each for each in pair], method, **options), merge(pair, method, **options), float(c))


def gauge(method: str, seed: int) -> None:
    """(B, A) → (B G, G⁻¹ A) is the same update and changes no result, in any space but that of factors."""
    random = np.random.default_rng(seed)
    first = [{name: low_rank(random, shape, 3) for name, shape in SHAPES.items()} for _ in range(2)]
    second = [{name: other_factors(random, update) for name, update in updates.items()} for updates in first]
    for space in {"delta", "core", "knots"} & set(METHODS[method].spaces):
        sides = [[named(Adapter.of(each), index) for index, each in enumerate(side)] for side in (first, second)]
        options = _options(method, density=0.6)
        expected, found = (merge(side, method, weights=[1.0, 0.5], space=space, **options) for side in sides)
        _same(found, expected)


def same_inputs_give_the_same_result(method: str, seed: int) -> None:
    """f has no state: bit for bit the same, twice."""
    pair = adapters(np.random.default_rng(seed), 2)
    results = [merge(pair, method, **_options(method, density=0.5, seed=seed)) for _ in range(2)]
    for name in results[0].layout:
        assert np.array_equal(results[0].updates[name].dense(), results[1].updates[name].dense()), name


def core_space_is_delta_space_for_what_looks_at_no_entries(method: str, seed: int) -> None:
    """The joint core is a pair of orthonormal bases, so that sums of cores are sums of updates, and f(P X Qᵀ) = P f(X) Qᵀ
    for what acts on matrices; KnOTS' is another pair.
    """
    if METHODS[method].acts == "entries":
        return
    weights = accepted(method, [0.5, 1.0, -2.0])
    pairs = list(zip(_adapters_of(seed, len(weights)), weights, strict=True))
    for space in {"core", "knots"} & set(METHODS[method].spaces):
        if "delta" in METHODS[method].spaces:
            _same(_merge(method, pairs, space), _merge(method, pairs, "delta"))


METHOD_LAWS: tuple[Law, ...] = (
    order_does_not_matter,
    one_is_itself,
    scaling_commutes,
    gauge,
    same_inputs_give_the_same_result,
    core_space_is_delta_space_for_what_looks_at_no_entries,
)


def check_unbiased(name: str, draws: int = 200) -> None:
    """For a method with random masks: the mean over seeds is the weighted sum, within five standard errors."""
    pair, weights = _adapters_of(0, 2), [1.0, -0.5]
    expected = merge(pair, "linear", weights=weights)
    for module in expected.layout:
        target = expected.updates[module].dense()
        results = [
            merge(pair, name, weights=weights, **_options(name, density=0.4, seed=seed)).updates[module].dense()
            for seed in range(draws)
        ]
        error, spread = np.mean(results, axis=0) - target, np.std(results, axis=0) / draws**0.5
        worst = float(np.max(np.abs(error) / (spread + 1e-9)))
        assert worst < 5, f"{name}: the mean of {draws} merges of {module} is {worst:.1f} standard errors from the sum"


def _adapters_of(seed: int, count: int) -> list[Adapter]:
    return adapters(np.random.default_rng(seed), count)


def _options(method: str, **wanted: float) -> dict[str, Any]:
    """Those that the method has; the result is its own, times 1."""
    return {"scale": "sum", **{name: value for name, value in wanted.items() if name in METHODS[method].defaults}}


def accepted(method: str, weights: list[float]) -> list[float]:
    """The weights, or those of them that the method takes: some take none below 0, or two adapters."""
    positive = [abs(weight) for weight in weights]
    for each in (weights, positive):
        try:
            settings(method, len(each), weights=each)
        except OptionError:
            continue
        return each
    return positive[:2]


def _merge(method: str, pairs: Sequence[tuple[Adapter, float]], space: str, **wanted: float) -> Adapter:
    adapters, weights = zip(*pairs, strict=True)
    return merge(list(adapters), method, weights=list(weights), space=space, **_options(method, **wanted))


def _same(found: Adapter, expected: Adapter, factor: float = 1.0) -> None:
    for name, shape in SHAPES.items():
        left, right = (
            each.updates[name].dense() if name in each.layout else np.zeros(shape) for each in (found, expected)
        )
        np.testing.assert_allclose(left, factor * right, atol=TOLERANCE, rtol=TOLERANCE, err_msg=name)
