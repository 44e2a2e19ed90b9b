"""Merging and truncating: lazy adapters in, a lazy adapter out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapterops import engine
from adapterops.adapter import Adapter, combined, joint, name, sum_of
from adapterops.errors import IncompatibleError, OptionError, at
from adapterops.formats.stacks import stacks
from adapterops.history import Step, key
from adapterops.methods.linear import cat, linear
from adapterops.methods.registry import Method, find
from adapterops.updates.layout import Layout, widest

if TYPE_CHECKING:
    from torch import Tensor

    from adapterops.adapter import Update
    from adapterops.updates.lowrank import LowRank


def merge(
    adapters: Sequence[Adapter],
    method: str = "linear",
    *,
    weights: Sequence[float] | None = None,
    space: str = "delta",
    allow_base_mismatch: bool = False,
    **parameters: Any,
) -> Adapter:
    """One adapter of several, by a method of the registry. A module that an adapter lacks counts as zero.

    Args:
        adapters: at least one.
        method: a name in `METHODS`.
        weights: one for each adapter, by default 1.
        space: where the method acts: `delta`, the entries of ΔW = BA, or `factors`, the A's and B's separately, which
            reproduces PEFT: ranks must be equal, and the result has cross terms.
        parameters: those of the method; see `adapterops methods`.

    Returns:
        For linear methods the exact sum, of rank Σ rᵢ or that of the matrix; for methods on the entries of ΔW a dense update
        of each module, which `truncate` or saving approximates with rank Σ rᵢ.

    Raises:
        OptionError: a parameter is impossible, or the number of weights is wrong.
        IncompatibleError: the adapters share no module, or differ in base or shapes.
    """
    chosen, weights, complete = settings(method, len(adapters), weights, space, parameters)
    _check_overlap(adapters)
    step = Step("merge", {"method": chosen.name, "space": space, "weights": weights, **complete}, tuple(a.history for a in adapters))
    scaled = [weight * adapter for weight, adapter in zip(weights, adapters, strict=True)]
    if not chosen.entrywise and space == "delta":
        return _linear(scaled, step, chosen, allow_base_mismatch)
    return _entrywise(adapters, weights, step, chosen, space, complete, allow_base_mismatch)


def settings(
    method: str, count: int, weights: Sequence[float] | None, space: str, parameters: Mapping[str, Any]
) -> tuple[Method, list[float], dict[str, Any]]:
    """The method, the weights, and all its parameters, checked as far as that needs none of the `count` adapters.

    Raises:
        OptionError: as `merge` does.
    """
    chosen = find(method)
    numbers = _weights(count, weights)
    if space not in chosen.spaces:
        raise OptionError(f"{chosen.name} does not act in space {space!r}", hint=f"one of {', '.join(chosen.spaces)}")
    if space == "factors" and "convention" in chosen.defaults:
        if parameters.get("convention") not in (None, "peft"):
            raise OptionError("the space of factors is PEFT's, and has PEFT's convention", hint="leave --convention out")
        parameters = {**parameters, "convention": "peft"}
    complete = chosen.complete(parameters)
    if chosen.check:
        chosen.check(numbers, complete)
    return chosen, numbers, complete


def _weights(count: int, weights: Sequence[float] | None) -> list[float]:
    if not count:
        raise OptionError("there is nothing to merge", hint="name at least one adapter")
    given = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if len(given) != count:
        raise OptionError(f"{len(given)} weights for {count} adapters", hint="give one -w for each adapter, or none")
    if not all(map(math.isfinite, given)):
        raise OptionError(f"the weights must be finite, got {given}")
    return given


def _check_overlap(adapters: Sequence[Adapter]) -> None:
    """Adapters of one model share at least some modules; where they share none, the names of one are probably wrong."""
    known = set(adapters[0].layout)
    for adapter in adapters[1:]:
        if not known & adapter.layout.keys():
            raise IncompatibleError(
                f"0 of {len(adapter.layout)} modules overlap with those of {name(adapters[0])}: "
                f"{next(iter(adapter.layout))!r} here, {next(iter(adapters[0].layout))!r} there",
                path=name(adapter),
                hint="the adapters belong to different models, or one has other names; for adapters of disjoint layers, use a + b",
                code="E-OVERLAP",
            )
        known |= set(adapter.layout)


def _linear(scaled: Sequence[Adapter], step: Step, method: Method, allow_base_mismatch: bool) -> Adapter:
    def add(updates: list[Any]) -> Any:
        return method.kernel(updates, [1.0] * len(updates))  # the exact sum; what is saved of it has the rank in the layout

    merged = combined(scaled, step, add, linear=method.kernel in (linear, cat), allow_base_mismatch=allow_base_mismatch)
    if not method.capped:
        return merged
    return replace(merged, layout={module: _cap(layout) for module, layout in merged.layout.items()})


def total(adapters: Sequence[Adapter], *, allow_base_mismatch: bool = False) -> Adapter:
    """The sum of adapters, however many and whatever modules they have, of rank Σ rᵢ or that of the matrix."""
    step = Step("add", {}, tuple(adapter.history for adapter in adapters))
    summed = combined(adapters, step, sum_of, linear=True, allow_base_mismatch=allow_base_mismatch)
    return replace(summed, layout={module: _cap(layout) for module, layout in summed.layout.items()})


def _cap(layout: Layout) -> Layout:
    return replace(layout, rank=min(layout.rank, *layout.shape))


def _entrywise(
    adapters: Sequence[Adapter],
    weights: list[float],
    step: Step,
    method: Method,
    space: str,
    parameters: dict[str, Any],
    allow_base_mismatch: bool,
) -> Adapter:
    merged = combined(adapters, step, sum_of, linear=True, allow_base_mismatch=allow_base_mismatch)
    layout = {module: _cap(each) for module, each in merged.layout.items()}
    if space == "factors":
        layout = {module: _equal_ranks(adapters, module) for module in layout}
    else:
        layout = {module: replace(each, dense=True) for module, each in layout.items()}
    whole: list[Any] = []

    def entries(module: str, everywhere: bool = False) -> Any:
        from adapterops.methods.entries import Entries
        from adapterops.updates.lowrank import zero

        present = [i for i, adapter in enumerate(adapters) if everywhere or module in adapter.layout]
        updates = [adapters[i].updates[module] if module in adapters[i].layout else zero(layout[module].shape) for i in present]
        return present, Entries(updates, [names[i] + module for i in present] if names else (), whole[0] if whole else None)

    names = _mask_names(adapters, weights) if "seed" in parameters else []
    if parameters.get("convention") == "paper":
        from adapterops.methods.entries import Model

        whole.append(Model([lambda module=module: entries(module, True)[1] for module in layout]))  # type: ignore[misc]

    def compute(module: str) -> Update:
        from adapterops.updates.dense import Dense

        with at(tensor=module):
            if space == "factors":
                return _on_factors(adapters, weights, method, parameters, module, names)
            present, deltas = entries(module, bool(whole))
            chosen = [weights[i] for i in present]
            return Dense(method.kernel(deltas, chosen, **parameters), near=deltas.sum(chosen))

    from adapterops.storage.lazy import Lazy

    return replace(merged, updates=Lazy(layout, compute), layout=layout)


def _mask_names(adapters: Sequence[Adapter], weights: Sequence[float]) -> list[str]:
    """What the masks of each adapter depend on: its content, and which it is of several equal ones. Not its place in the list."""
    keys = [key(adapter.history) for adapter in adapters]
    order = [(each, weight, place) for place, (each, weight) in enumerate(zip(keys, weights, strict=True))]
    return [f"{mine[0]}/{sum(other[0] == mine[0] and other < mine for other in order)}/" for mine in order]


def _equal_ranks(adapters: Sequence[Adapter], module: str) -> Layout:
    layout = joint(adapters, module)
    ranks = {a.layout[module].rank for a in adapters if module in a.layout}
    if len(ranks) > 1 or layout.dense:
        raise IncompatibleError(
            f"the ranks are {sorted(ranks)}, and factors can only be combined where they are equal",
            tensor=module,
            hint="use --space delta, which combines any ranks",
        )
    return replace(layout, rank=ranks.pop())


def _on_factors(
    adapters: Sequence[Adapter], weights: list[float], method: Method, parameters: dict[str, Any], module: str, names: list[str]
) -> LowRank:
    """The method on the A's and on the B's, with the square roots of the weights that PEFT gives them."""
    from adapterops.methods.entries import Entries
    from adapterops.updates.dense import Dense
    from adapterops.updates.lowrank import LowRank

    present = [i for i, adapter in enumerate(adapters) if module in adapter.layout]
    updates = [adapters[i].updates[module] for i in present]
    scales = [weights[i] * update.scale for i, update in zip(present, updates, strict=True)]  # type: ignore[union-attr]  # no Dense: `_equal_ranks`
    roots = [abs(scale) ** 0.5 for scale in scales]

    def combine(role: str, factors: list[Any]) -> Any:
        if not method.entrywise:
            return method.kernel(factors, signed[role])
        named = [f"{names[i]}{module}/{role}" for i in present] if names else ()
        return method.kernel(Entries([Dense(factor) for factor in factors], named), signed[role], **parameters)

    signed = {"A": [math.copysign(root, scale) for root, scale in zip(roots, scales, strict=True)], "B": roots}
    return LowRank(combine("B", [update.B for update in updates]), combine("A", [update.A for update in updates]))  # type: ignore[union-attr]


def truncate(
    adapter: Adapter,
    rank: int | None = None,
    *,
    energy: float | None = None,
    budget: int | None = None,
    unit: str = "parameters",
    dtype: str | None = None,
    exact: bool = False,
    how: engine.Execution = engine.DEFAULT,
) -> Adapter:
    """The best approximation of an adapter with fewer dimensions. Exactly one of `rank`, `energy` and `budget`.

    Args:
        rank: dimensions of every module; where one has fewer, it stays as it is.
        energy: for each module the smallest rank that keeps this fraction of ‖ΔW‖_F².
        budget: parameters (or bytes) of all modules together, spent where they keep the most energy; a module may get none.
            The experts of one parameter get the same rank, as they are saved.
        unit: of the budget, `parameters` or `bytes`; bytes are those of `dtype`, by default each module's own.
        exact: where an update is dense, by a full SVD and not a randomized one.

    Raises:
        OptionError: the options contradict each other or are out of range.

    Cost: lazy, except for a budget, which needs the singular values of every module.
    """
    check_cut(rank, energy, budget, unit)
    if rank is not None:
        return _to_ranks(
            adapter, Step("truncate", {"rank": rank, "exact": exact}, (adapter.history,)), dict.fromkeys(adapter.layout, rank), exact
        )
    if energy is not None:
        return _to_energy(adapter, energy, exact)
    return _to_budget(adapter, budget or 0, unit, dtype, exact, how)


def check_cut(rank: int | None = None, energy: float | None = None, budget: int | None = None, unit: str = "parameters") -> None:
    """Raise OptionError unless exactly one way of cutting is given, and is possible."""
    if sum(option is not None for option in (rank, energy, budget)) != 1:
        raise OptionError("truncate needs exactly one of rank, energy and budget", hint="for example --rank 8")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
        raise OptionError(f"the rank must be a whole number of at least 1, got {rank!r}")
    if energy is not None and not 0 < energy <= 1:
        raise OptionError(f"the energy to keep must be above 0 and at most 1, got {energy:g}")
    if unit not in ("parameters", "bytes"):
        raise OptionError(f"the unit of a budget is parameters or bytes, got {unit!r}")


def _to_ranks(adapter: Adapter, step: Step, ranks: dict[str, int], exact: bool) -> Adapter:
    layout = {
        module: replace(each, rank=min(ranks[module], each.rank if not each.dense else min(each.shape)), dense=False)
        for module, each in adapter.layout.items()
    }
    return adapter.map(step, layout, lambda module, update: reduced(update, layout[module].rank, exact))


def reduced(update: Update, rank: int, exact: bool = False) -> LowRank:
    """An update with at most `rank` dimensions, whatever its form."""
    from adapterops.linalg import factor
    from adapterops.updates.dense import Dense

    return factor.factorize(update, rank, exact=exact) if isinstance(update, Dense) else factor.truncate(update, rank)


def _to_energy(adapter: Adapter, energy: float, exact: bool) -> Adapter:
    layout = {
        module: replace(each, rank=min(each.shape) if each.dense else each.rank, dense=False) for module, each in adapter.layout.items()
    }

    def reduce(module: str, update: Update) -> Update:
        from adapterops.linalg.factor import factorize, spectrum
        from adapterops.linalg.ranks import by_energy
        from adapterops.updates.dense import Dense

        if not isinstance(update, Dense):
            return reduced(update, max(1, by_energy(spectrum(update), energy)))
        width, enough = adapter.layout[module].rank, (1 - energy) ** 0.5 * update.norm()
        while (wide := factorize(update, width, exact=exact)).error > enough and width < min(update.shape):
            width = min(2 * width, *update.shape)
        tails = (spectrum(wide).square().flip(0).cumsum(0).flip(0) + wide.error**2).sqrt()  # the error of rank 0, 1, ...
        return factorize(update, max(1, int((tails > enough).sum())), exact=exact) if bool((tails <= enough).any()) else wide

    return adapter.map(Step("truncate", {"energy": energy, "exact": exact}, (adapter.history,)), layout, reduce)


def _to_budget(adapter: Adapter, budget: int, unit: str, dtype: str | None, exact: bool, how: engine.Execution) -> Adapter:
    from adapterops.linalg.factor import spectrum
    from adapterops.linalg.ranks import by_budget

    groups = stacks(adapter.layout, adapter.config.experts)
    cost = {}
    for stack, group in groups.items():
        one = replace(adapter.layout[group[0]], rank=1, dtype=dtype or widest([adapter.layout[module].dtype for module in group]))
        cost[stack] = (one.bytes if unit == "bytes" else one.parameters) * adapter.config.experts.get(stack, 1)
    if budget < min(cost.values()):
        raise OptionError(
            f"a budget of {budget} {unit} does not pay for one dimension of one module", hint=f"the cheapest takes {min(cost.values())}"
        )

    def values(module: str) -> Any:
        with at(tensor=module):
            update = adapter.updates[module]
            return spectrum(reduced(update, adapter.layout[module].rank, exact))

    found = dict(zip(adapter.layout, engine.run(values, adapter.layout, how=how), strict=True))
    spectra = {stack: _joint([found[module] for module in group]) for stack, group in groups.items()}
    ranks = by_budget(spectra, cost, budget)
    if not any(ranks.values()):  # an adapter that is zero stays one
        ranks[min(cost, key=cost.__getitem__)] = 1
    ranks = {module: ranks[stack] for stack, group in groups.items() for module in group}
    return _to_ranks(adapter, Step("truncate", {"budget": budget, "unit": unit, "exact": exact}, (adapter.history,)), ranks, exact)


def _joint(spectra: Sequence[Tensor]) -> Tensor:
    """What each dimension keeps in all modules that are saved with the same rank: the root of the sum of the squares."""
    if len(spectra) == 1:
        return spectra[0]
    total = spectra[0].new_zeros(max(map(len, spectra)))
    for values in spectra:
        total[: len(values)] += values.square()
    return total.sqrt()


def budget(text: str | None) -> tuple[int | None, str]:
    """A number and its unit, `parameters` or `bytes`.

    >>> budget("2M"), budget("1.5GB"), budget("300")
    ((2000000, 'parameters'), (1500000000, 'bytes'), (300, 'parameters'))
    """
    if text is None:
        return None, "parameters"
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?)(B?)", text.strip())
    if match is None:
        raise OptionError(f"--budget is {text!r}, expected a number such as 500k, 2M (parameters) or 8MB (bytes)")
    factor = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[match[2]]
    return round(float(match[1]) * factor), "bytes" if match[3] else "parameters"
