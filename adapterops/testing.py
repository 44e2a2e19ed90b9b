"""Laws that every method, scheme and kind of update obeys, for the tests of packages that add one.

    >>> check_method("linear", seeds=range(2))

A law takes a seed, from which everything random follows; a failure names it. They need neither pytest nor hypothesis.

Raises:
    AssertionError: a law does not hold, with its name, the member and the seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from adapterops.adapters.adapter import Adapter
from adapterops.methods import METHODS
from adapterops.operations.algebra import merge
from adapterops.provenance.history import Step
from adapterops.updates.lowrank import LowRank
from adapterops.updates.protocol import Array, Linear

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.quant.scheme import Encoder, Read, Writable

SHAPES = {"layers.0.q": (7, 5), "layers.0.v": (4, 5), "layers.1.q": (7, 5)}
SEEDS = range(10)
TOLERANCE = 1e-9
"""Of float64: laws that are exact up to rounding."""

Law = Callable[[str, int], None]


def check_method(name: str, seeds: Iterable[int] = SEEDS) -> None:
    """The laws of a registered method, of those spaces that it acts in.

    Order of the pairs, one adapter at density 1, f(c x) = c f(x), gauge, the same result twice.
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
    pairs = list(zip(_adapters(random, 3), (0.7, 1.0, -0.4), strict=True))
    shuffled = [pairs[index] for index in random.permutation(3)]
    found, expected = (_merge(method, each, density=0.5, seed=3) for each in (shuffled, pairs))
    _same(found, expected)


def one_at_full_density_is_itself(method: str, seed: int) -> None:
    """f(x) = x, with density 1."""
    one = _adapters(np.random.default_rng(seed), 1)
    _same(merge(one, method, **_options(method, density=1.0, epsilon=0.0)), one[0])


def scaling_commutes(method: str, seed: int) -> None:
    """f(c x) = c f(x), for c > 0."""
    random = np.random.default_rng(seed)
    pair, c = _adapters(random, 2), random.choice([0.25, 2.0, 8.0])
    options = _options(method, density=0.5)
    _same(merge([float(c) * each for each in pair], method, **options), merge(pair, method, **options), float(c))


def gauge(method: str, seed: int) -> None:
    """(B, A) → (B G, G⁻¹ A) is the same update and changes no result, in delta and in core space."""
    random = np.random.default_rng(seed)
    first = [{name: _low_rank(random, shape, 3) for name, shape in SHAPES.items()} for _ in range(2)]
    second = [{name: _other_factors(random, update) for name, update in updates.items()} for updates in first]
    for space in {"delta", "core"} & set(METHODS[method].spaces):
        sides = [[_named(Adapter.of(each), index) for index, each in enumerate(side)] for side in (first, second)]
        options = _options(method, density=0.6)
        expected, found = (merge(side, method, weights=[1.0, 0.5], space=space, **options) for side in sides)
        _same(found, expected)


def same_inputs_give_the_same_result(method: str, seed: int) -> None:
    """f has no state: bit for bit the same, twice."""
    pair = _adapters(np.random.default_rng(seed), 2)
    results = [merge(pair, method, **_options(method, density=0.5, seed=seed)) for _ in range(2)]
    for name in results[0].layout:
        assert np.array_equal(results[0].updates[name].dense(), results[1].updates[name].dense()), name


METHOD_LAWS: tuple[Law, ...] = (
    order_does_not_matter,
    one_at_full_density_is_itself,
    scaling_commutes,
    gauge,
    same_inputs_give_the_same_result,
)


def check_update(update: Linear) -> None:
    """The laws of one linear update, within the rounding of its dtype.

    Entries are linear in it, a part agrees with the whole, T is the transpose, norm and lowrank are those of the
    entries.
    """
    W = update.dense().astype(np.float64)
    close = _within(64 * float(np.finfo(update.dtype).eps) * max(float(np.linalg.norm(W)), 1e-30))
    assert W.shape == update.shape
    close((update + update).dense(), 2 * W, "x + x = 2 x")
    close((-0.5 * update).dense(), -0.5 * W, "(c x) has c times the entries of x")
    close((update + -1.0 * update).dense(), np.zeros_like(W), "x - x = 0")
    close(update.T.dense(), W.T, "T is the transpose")
    out, into = update.shape
    part = slice(out // 3, out), slice(0, into // 2 + 1)
    block = np.empty(W[part].shape, update.dtype)
    close(update.rows(part, block), W[part], "a part agrees with the whole")
    close(np.array(update.norm()), np.array(np.linalg.norm(W)), "norm is that of the entries")
    factors = update.lowrank()
    if factors is not None:
        close(factors.dense(), W, "lowrank has the same entries")


def check_scheme(scheme: Writable, seeds: Iterable[int] = SEEDS, bound: float = 0.25) -> None:
    """The laws of a scheme that is written; it should be one with dtype F32, which loses nothing in decoding.

    Encoding gives the declared parts; decode · encode errs by at most `bound` times the largest entry of W; rows decode
    one group at a time as they do at once; encoding decoded numbers on the stored grid changes no code.

    Args:
        bound: half the largest distance of two codes, over the largest code.
    """
    import torch

    shape = (64, 128)
    for seed in seeds:
        W = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))
        stored = _encode(scheme.encoder(shape), W)
        read, where = _reader(stored), f"{scheme.name} at seed {seed}"
        declared = {role: math.prod(part.shape) for role, part in scheme.parts(shape).items()}
        found = {role: each.numel() for role, each in stored.items()}
        assert found == declared, f"{where}: parts have {found} entries, expected {declared}"
        decoded = scheme.decode(shape, read, 0, shape[0]).clone()
        error = float((decoded.float() - W).abs().max() / W.abs().max())
        assert error <= bound, (
            f"{where}: decode · encode errs by {error:.3g} of the largest entry, expected at most {bound:g}"
        )
        group = scheme.granularity(shape)
        for begin in range(0, shape[0], group):
            end = min(begin + group, shape[0])
            rows = scheme.decode(shape, read, begin, end)
            assert torch.equal(rows, decoded[begin:end]), (
                f"{where}: rows {begin} to {end} decode otherwise on their own"
            )
        again = _encode(scheme.on_grid(shape, read, str(seed)), decoded.float())
        changed = scheme.changed(shape, read, 0, again)
        assert not bool(changed.any()), f"{where}: {int(changed.sum())} codes change when decoded numbers are encoded"


def _encode(encoder: Encoder, W: Tensor) -> dict[str, Tensor]:
    parts, _ = encoder.rows(W, 0)
    return {role: each.clone() for role, each in {**parts, **encoder.rest()}.items()}


def _reader(parts: Mapping[str, Tensor]) -> Read:
    import torch

    return lambda role, begin, end: parts[role].contiguous().reshape(-1).view(torch.uint8)[begin:end]


def _low_rank(random: np.random.Generator, shape: tuple[int, int], rank: int) -> LowRank:
    B, A = random.standard_normal((shape[0], rank)), random.standard_normal((rank, shape[1]))
    return LowRank(B, A, float(random.choice([0.25, 1.0, 3.0])))


def _other_factors(random: np.random.Generator, update: LowRank) -> LowRank:
    G = np.linalg.qr(random.standard_normal((3, 3)))[0] @ np.diag([4.0, 1.0, 0.5])
    return LowRank(update.B @ G, np.linalg.inv(G) @ update.A, update.scale)


def _adapters(random: np.random.Generator, count: int) -> list[Adapter]:
    """Of ranks 0 to 12, above what the shapes hold; all have the first module, others may be missing."""
    found = []
    for index in range(count):
        names = [name for place, name in enumerate(SHAPES) if place == 0 or random.random() < 0.6]
        found.append(
            _named(
                Adapter.of({name: _low_rank(random, SHAPES[name], int(random.integers(0, 13))) for name in names}),
                index,
            )
        )
    return found


def _named(adapter: Adapter, index: int) -> Adapter:
    """With a history of its own, as adapters from different files have: random masks are keyed by it."""
    return replace(adapter, history=Step("memory", {"name": str(index)}))


def _options(method: str, **wanted: float) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if name in METHODS[method].defaults}


def _merge(method: str, pairs: Sequence[tuple[Adapter, float]], **wanted: float) -> Adapter:
    adapters, weights = zip(*pairs, strict=True)
    return merge(list(adapters), method, weights=list(weights), **_options(method, **wanted))


def _same(found: Adapter, expected: Adapter, factor: float = 1.0) -> None:
    for name, shape in SHAPES.items():
        left, right = (
            each.updates[name].dense() if name in each.layout else np.zeros(shape) for each in (found, expected)
        )
        np.testing.assert_allclose(left, factor * right, atol=TOLERANCE, rtol=TOLERANCE, err_msg=name)


def _within(tolerance: float) -> Callable[[Array, Array, str], None]:
    def close(found: Array, expected: Array, law: str) -> None:
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=law)

    return close
