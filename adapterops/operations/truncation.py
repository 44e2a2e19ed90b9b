"""Truncating: the best approximation of an adapter with fewer dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import check_needs_no_base, of_base
from adapterops.arrays.dtypes import bits
from adapterops.engine import local
from adapterops.engine.execution import DEFAULT, Execution
from adapterops.engine.plan import once
from adapterops.errors import OptionError, at, check_opened
from adapterops.formats.diffusion.written import of_no_layer
from adapterops.formats.stacks import stacks
from adapterops.provenance.history import Step
from adapterops.storage.shapes import counted
from adapterops.updates.layout import Layout, widest

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array, Linear

CUT = "cut to a rank"


def truncate(
    adapter: Adapter,
    rank: int | None = None,
    *,
    energy: float | None = None,
    budget: int | None = None,
    unit: str = "parameters",
    dtype: str | None = None,
    exact: bool = False,
    how: Execution = DEFAULT,
) -> Adapter:
    """The best approximation of an adapter with fewer dimensions. Exactly one of `rank`, `energy` and `budget`.

    Args:
        rank: dimensions of every module; where one has fewer, it stays as it is.
        energy: for each module the smallest rank that keeps this fraction of ‖ΔW‖_F².
        budget: parameters (or bytes) of all modules together, spent where they keep the most energy; a module may get
            none. The experts of one parameter get the same rank, as they are saved.
        unit: of the budget, `parameters` or `bytes`; bytes are those of `dtype`, by default each module's own.
        exact: where an update is dense, by a full SVD and not a randomized one.

    Raises:
        OptionError: the options contradict each other or are out of range.

    Cost: lazy, except for a budget, which needs the singular values of every module.
    """
    check_opened(adapter, Adapter, "open_adapter")
    check_cut(rank, energy, budget, unit)
    check_needs_no_base(adapter, CUT, of_base(CUT))
    if rank is not None:
        return _to_ranks(
            adapter,
            Step("truncate", {"rank": int(rank), "exact": exact}, (adapter.history,)),
            dict.fromkeys(adapter.layout, int(rank)),
            exact,
        )
    if energy is not None:
        return _to_energy(adapter, energy, exact)
    return _to_budget(adapter, budget or 0, unit, dtype, exact, how)


def check_cut(
    rank: int | None = None, energy: float | None = None, budget: int | None = None, unit: str = "parameters"
) -> None:
    """Raise OptionError unless exactly one way of cutting is given, and is possible."""
    given = [name for name, each in {"rank": rank, "energy": energy, "budget": budget}.items() if each is not None]
    if len(given) != 1:
        both = f", and {' and '.join(given)} are given" if given else ""
        raise OptionError(
            f"exactly one of rank, energy and budget says how much is kept{both}",
            hint="for example --rank 8",
        )
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, Integral) or rank < 1):
        raise OptionError(f"the rank must be a whole number of at least 1, got {rank!r}")
    if energy is not None:
        from adapterops.linalg.ranks import check_energy

        check_energy(energy)
    if budget is not None and budget < 1:
        raise OptionError(f"the budget must be at least 1, got {budget}")
    if unit not in ("parameters", "bytes"):
        raise OptionError(f"the unit of a budget is parameters or bytes, got {unit!r}")


def kept_whole(layout: Mapping[str, Layout]) -> set[str]:
    """What files hold as one tensor whatever its rank is, so that nothing is saved by a smaller one: vectors, and parameters
    that are no layer's.
    """
    vectors = {module for module, each in layout.items() if each.dense and each.shape[0] == 1}
    return vectors | of_no_layer(layout).keys()


def _to_ranks(adapter: Adapter, step: Step, ranks: dict[str, int], exact: bool) -> Adapter:
    kept = kept_whole(adapter.layout)
    layout = {
        module: each
        if module in kept
        else replace(each, rank=min(ranks[module], each.rank if not each.dense else min(each.shape)), dense=False)
        for module, each in adapter.layout.items()
    }

    def reduce(module: str, update: Linear) -> Linear:
        from adapterops.linalg.factor import reduced

        return update if module in kept else reduced(update, layout[module].rank, exact)

    return adapter.map(step, layout, reduce)


def _to_energy(adapter: Adapter, energy: float, exact: bool) -> Adapter:
    kept = kept_whole(adapter.layout)
    layout = {
        module: each
        if module in kept
        else replace(each, rank=min(each.shape) if each.dense else each.rank, dense=False)
        for module, each in adapter.layout.items()
    }

    def reduce(module: str, update: Linear) -> Linear:
        import numpy as np

        from adapterops.linalg.factor import all_entries, factorize, spectrum, truncate
        from adapterops.linalg.ranks import by_energy

        if module in kept:
            return update
        factors = update.lowrank()
        if factors is not None:
            return truncate(factors, max(1, by_energy(spectrum(factors), energy)))
        with all_entries(update) as dense:
            width, enough = adapter.layout[module].rank, (1 - energy) ** 0.5 * dense.norm()
            while (wide := factorize(dense, width, exact=exact)).error > enough and width < min(dense.shape):
                width = min(2 * width, *dense.shape)
            tails = np.sqrt(np.square(spectrum(wide))[::-1].cumsum()[::-1] + wide.error**2)  # of rank 0, 1, ...
            if (tails > enough).all():
                return wide
            return factorize(dense, max(1, int((tails > enough).sum())), exact=exact)

    return adapter.map(Step("truncate", {"energy": energy, "exact": exact}, (adapter.history,)), layout, reduce)


def _to_budget(adapter: Adapter, budget: int, unit: str, dtype: str | None, exact: bool, how: Execution) -> Adapter:
    from adapterops.linalg.factor import reduced, spectrum
    from adapterops.linalg.ranks import by_budget

    kept = kept_whole(adapter.layout)
    groups = stacks({m: each for m, each in adapter.layout.items() if m not in kept}, adapter.config.experts)
    whole = [adapter.layout[module] for module in kept]
    fixed = sum(
        int(each.entries * bits(dtype or each.dtype) / 8) if unit == "bytes" else each.entries for each in whole
    )
    cost = {}
    for stack, group in groups.items():
        one = replace(
            adapter.layout[group[0]], rank=1, dtype=dtype or widest([adapter.layout[module].dtype for module in group])
        )
        cost[stack] = (one.bytes if unit == "bytes" else one.parameters) * adapter.config.experts.get(stack, 1)
    if budget < (least := fixed + min(cost.values(), default=0)):
        rest = " next to what is not cut" if fixed else ""
        raise OptionError(
            f"a budget of {budget} {unit} is too small for one dimension of any module{rest}",
            hint=f"the least that works is {least}",
        )

    def values(module: str) -> Any:
        with at(tensor=module):
            update = adapter.updates[module]
            return spectrum(reduced(update, adapter.layout[module].rank, exact))

    def affordable() -> dict[str, int]:
        cut = [module for module in adapter.layout if module not in kept]
        found = dict(zip(cut, local.run(values, cut, how=how), strict=True))
        spectra = {stack: _joint([found[module] for module in group]) for stack, group in groups.items()}
        ranks = by_budget(spectra, cost, budget - fixed)
        if cost and not any(ranks.values()):  # an adapter that is zero stays one
            ranks[min(cost, key=cost.__getitem__)] = 1
        return ranks

    step = Step("truncate", {"budget": budget, "unit": unit, "exact": exact}, (adapter.history,))
    layout = {module: [each.shape, each.rank] for module, each in adapter.layout.items()}
    ranks = once(dict.fromkeys(cost, counted), affordable, step, layout, cost, how=how)
    return _to_ranks(
        adapter, step, {module: ranks[stack] for stack, group in groups.items() for module in group}, exact
    )


def _joint(spectra: Sequence[Array]) -> Array:
    """What each dimension keeps in all modules that are saved with the same rank:
    the root of the sum of the squares.
    """
    import numpy as np

    total = np.zeros(max(map(len, spectra)))
    for values in spectra:
        total[: len(values)] += np.square(values)
    return np.sqrt(total)
