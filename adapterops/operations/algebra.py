"""Merging: lazy adapters in, a lazy adapter out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from adapterops.adapters.adapter import WITH_BASE, Adapter, check_linear, check_needs_no_base, combined, name, sum_of
from adapterops.engine.execution import DEFAULT, Execution, Once
from adapterops.engine.plan import once
from adapterops.errors import IncompatibleError, OptionError, at, check_opened
from adapterops.methods.holding import RULES, Holding, Holdings, hold, hold_sum, products
from adapterops.methods.registry import Method, find
from adapterops.methods.scaling import AUTO, FEW, Multipliers, Scale, automatic, fixed, matching, undisturbed
from adapterops.methods.settings import settings, usual
from adapterops.methods.spaces import SPACES, Block, Space, factored
from adapterops.operations.grams import file_of, matched
from adapterops.operations.strangers import strangers
from adapterops.provenance.history import Step, key
from adapterops.storage.lazy import Lazy
from adapterops.updates.layout import Layout

if TYPE_CHECKING:
    from adapterops.adapters.grams import Grams
    from adapterops.methods.entries import Entries, Model
    from adapterops.updates.lowrank import LowRank
    from adapterops.updates.protocol import Array, Linear


GRAM = 28
"""Bytes for each entry of a Gram matrix: one in float32, their sum, and what solving with it copies."""
SHORT = 1.2e11
"""Multiplications that are done before anything is written, for what is said of a merge: seconds of work."""
OF_HOLDING, OF_CORE, OF_ENTRIES = 4, 12, 4000
"""Times (out + in) R²: for inner products of factors, and for a method in a joint core; multiplications an entry, all passes
over these together."""
SQUARES = 1e-250
"""What the square of a norm is at least, to be computed as it is."""
OWN = 5
"""Matrices in float64 that a method on these keeps, besides the updates: three for an SVD, the sum, and the result."""


def merge(
    adapters: Sequence[Adapter],
    method: str | None = None,
    *,
    weights: Sequence[float] | None = None,
    scale: Scale | None = None,
    space: str | None = None,
    full: str | None = None,
    allow_base_mismatch: bool = False,
    how: Execution = DEFAULT,
    **parameters: Any,
) -> Adapter:
    """One adapter of several, by a method of the registry. A module that an adapter lacks counts as zero.

    Args:
        adapters: at least one.
        method: a name in `METHODS`; by default as `usual` says.
        weights: one for each adapter, by default 1.
        scale: what the result is multiplied by: a number, `sum` (1), `mean` (1 / number of adapters), or `auto`: in
            each module 1, or less where its norm would be more than √2 times the root mean square of those of its
            inputs, or more than `Method.borne` sqrt(out) and that of the mean. By default `auto`; 1 where weights are
            given, for one adapter, where another tool's answer is reproduced, and for methods whose answer has a size
            of its own.
        space: where the method acts: `delta`, the entries of ΔW = BA; `core`, the joint core of the updates, which does
            not depend on how they are factored; `knots`, the singular vectors that they share; or `factors`, the A's
            and B's separately, which reproduces PEFT: ranks must be equal, and the result has cross terms. By default
            the first of the method's.
        full: what becomes of full tensors (modules_to_save, biases), which take the place of the base's: by default those
            that all adapters have alike stay, and others are refused; `mean` is Σ wᵢ Tᵢ / Σ wᵢ of each, which all must have.
        parameters: those of the method; see `adapterops methods`. What `regmean` knows of inputs are the adapters' `grams`.

    Returns:
        For linear methods the exact sum, of rank Σ rᵢ or that of the matrix; in core and knots space an update of that rank, too;
        for methods on the entries of ΔW one of full rank, computed tile by tile, which `truncate` or saving
        approximates with rank Σ rᵢ. Of task vectors of whole models, spectral methods merge the weights of Linear layers;
        of every other tensor the result is the weighted mean, times a scale that is a number.

    Raises:
        OptionError: a parameter is impossible, the number of weights is wrong, or an adapter lacks Gram matrices.
        IncompatibleError: the adapters share no module, or differ in base or shapes; or Gram matrices do not fit them.
    """
    if isinstance(adapters, Adapter):
        raise OptionError("merge takes a list of adapters, and got one adapter", hint='ao.merge([a, b], "ties")')
    adapters = tuple(adapters)
    for adapter in adapters:
        check_opened(adapter, Adapter, "open_adapter")
    if method is None:
        vectors = all(adapter.task_vector for adapter in adapters)
        method = usual(len(adapters), vectors, weights, scale, space, *parameters.values())
    chosen, options = settings(
        method, len(adapters), weights=weights, scale=scale, space=space, full=full, **parameters
    )
    weights, space = options["weights"], options["space"]
    for adapter, weight in zip(adapters, weights, strict=True):
        if weight != 1 and len(adapters) == 1:  # what several share is not scaled
            check_linear(adapter, "scaled")
        if chosen.acts != "updates" or space != "delta":
            check_needs_no_base(adapter, "merged by its entries or factors", WITH_BASE if len(adapters) > 1 else None)
    given = [_grams(adapter, chosen) for adapter in adapters] if chosen.acts == "inputs" else []
    read = (*(a.history for a in adapters), *(each.history for each in given))
    step = Step("merge", {"method": chosen.name, **options}, read)
    means = weights if options.pop("full", None) else None
    total = combined(adapters, step, sum_of, allow_base_mismatch=allow_base_mismatch, means=means)
    _check_overlap(adapters)
    if space == "core" and "delta" in chosen.spaces and chosen.acts != "entries" and total.task_vector:
        space = "delta"  # it has one answer in both, and these have no factors
    if total.task_vector:
        chosen = replace(chosen, adds=False)  # no difference of models has a lower rank
    options = {**options, "space": space}
    layout = {module: _layout(adapters, module, chosen, options, total.layout[module]) for module in total.layout}
    widths = {module: each.shape[1] for module, each in layout.items()}

    def shared(name: str, measure: Callable[[], Any]) -> Any:
        shapes = [{module: each.shape for module, each in adapter.layout.items()} for adapter in adapters]
        return once(measure, step, shapes, name, how=how)

    merging = _Merging(adapters, chosen, [_named(each, widths) for each in given], layout, shared, **options)
    holdings = merging.holdings
    if _comparable(chosen, options, layout) and merging.effort(layout, len(RULES)) <= SHORT:
        plain = {"weights": weights, "scale": options["scale"]}
        rules = [merging if name == chosen.name else _rule(adapters, name, layout, shared, plain) for name in RULES]
        holdings = replace(holdings, rules=lambda module: products([each.update(module) for each in rules]))

    def compute(module: str) -> Linear:
        with at(tensor=module):
            return merging.made(module)

    return replace(
        total,
        updates=Lazy(layout, compute),
        layout=layout,
        history=replace(step, multipliers=merging.multipliers, holdings=holdings if len(adapters) > 1 else None),
    )


def _comparable(method: Method, options: Mapping[str, Any], layout: Mapping[str, Layout]) -> bool:
    """Whether each of `RULES` may make an adapter of these: of factors, none of which has a weight of its own."""
    usual = options["space"] == method.spaces[0] and options["scale"] == AUTO and set(options["weights"]) == {1.0}
    factors = all(each.matrix and not each.dense for each in layout.values())
    return method.name in RULES and usual and len(options["weights"]) > 1 and factors


def _rule(
    adapters: Sequence[Adapter], name: str, layout: Mapping[str, Layout], shared: Once, options: Mapping[str, Any]
) -> _Merging:
    """What another method makes of the same adapters."""
    method = find(name)
    parameters = {**options, "space": method.spaces[0], **method.defaults}
    return _Merging(adapters, method, [], layout, shared, **parameters)


def _grams(adapter: Adapter, method: Method) -> Grams:
    if adapter.grams is None:
        raise OptionError(
            f"{method.name} needs the Gram matrices of the inputs of every adapter, and {name(adapter)} has none",
            hint="give a file for each adapter, in their order: adapterops merge A B --regmean --grams FILE --grams FILE; "
            "adapterops gram makes them",
        )
    return adapter.grams


def _named(grams: Grams, widths: Mapping[str, int]) -> Mapping[str, Array]:
    """The matrices by the modules of a merge.

    Raises:
        IncompatibleError: a module has none, or one of another shape.
    """
    found = matched(grams.shapes, widths, grams.history)
    for module in widths:
        if module not in found:
            raise IncompatibleError(
                "has no Gram matrix there, and an adapter that lacks the module counts as zero on its own inputs",
                path=file_of(grams.history),
                tensor=module,
                hint="make the file of all layers, with adapterops gram and no --adapter; or merge the others, with select",
                code="E-NAMES",
            )
    return Lazy(found, lambda module: grams.matrices[found[module]])


def _layout(
    adapters: Sequence[Adapter], module: str, method: Method, options: Mapping[str, Any], total: Layout
) -> Layout:
    inputs = [adapter.layout[module] for adapter in adapters if module in adapter.layout]
    method, space = _here(method, SPACES[options["space"]], inputs)
    with at(tensor=module):
        layout = space.layout(method, inputs, total)
    if method.acts == "matrices" and total.matrix and total.working is not None:
        layout = replace(layout, working=(len(adapters) + OWN) * 8 * layout.entries)
    if method.acts == "inputs":
        layout = replace(layout, working=GRAM * layout.shape[1] ** 2)
    if method.rank is None:
        return layout
    return replace(layout, rank=min(layout.rank, method.rank(options, [each.rank for each in inputs])))


def _here(method: Method, space: Space, inputs: Sequence[Layout]) -> tuple[Method, Space]:
    """What makes one update of those of a module: a method that adds updates of no lower rank is `linear` there."""
    if method.adds and any(each.dense or each.rank >= min(each.shape) for each in inputs):
        return find("linear"), SPACES["delta"]
    return method, space


class _Merging:
    """A method, in a space, on the modules of some adapters."""

    def __init__(
        self,
        adapters: Sequence[Adapter],
        method: Method,
        grams: Sequence[Mapping[str, Array]],
        layout: Mapping[str, Layout],
        shared: Once,
        *,
        weights: Sequence[float],
        scale: Scale,
        space: str,
        **parameters: Any,
    ) -> None:
        self._adapters, self._grams, self._weights, self._scale = adapters, grams, weights, scale
        self._method, self._space, self._parameters = method, SPACES[space], parameters
        self._masked = "seed" in parameters
        self._rows = {module: each.shape[0] for module, each in layout.items()}
        self._names = cache(lambda: _mask_names(adapters, weights))
        self._model = self._whole(shared) if method.whole_model(parameters) else None
        scaled = {module: each for module, each in layout.items() if method.acts != "matrices" or each.matrix}
        quick = sum(each.entries for each in layout.values() if each.dense or not self._by_rank) <= FEW
        self.multipliers = Multipliers(tuple(scaled) if fixed(scale, len(adapters)) is None else (), self.update, quick)
        stated = method.name == "linear" and fixed(scale, len(adapters)) is not None
        self.holdings = Holdings(tuple(layout), self._hold, quick, not stated and self.effort(layout) <= SHORT)
        self._ready: dict[str, LowRank] = {}

    @property
    def _by_rank(self) -> bool:
        """Whether the method needs no entries where the updates have factors."""
        return self._method.acts in ("updates", "products") and self._space is SPACES["delta"]

    def effort(self, layout: Mapping[str, Layout], rules: int = 0) -> float:
        """About how many multiplications it takes to compute all modules, and what they hold; and as many more `rules`."""
        return sum(self._effort(module, each, rules) for module, each in layout.items())

    def _effort(self, module: str, layout: Layout, rules: int) -> float:
        inputs = [adapter.layout[module] for adapter in self._adapters if module in adapter.layout]
        ranks = sum(min(each.rank, *each.shape) for each in inputs)
        times = OF_HOLDING + OF_CORE * (rules + (not self._by_rank)) + rules * (rules + 1)
        dense = layout.dense or any(each.dense for each in inputs)
        return times * sum(layout.shape) * ranks**2 + (OF_ENTRIES + len(inputs) * ranks) * layout.entries * dense

    def made(self, module: str) -> Linear:
        """What becomes of a module, for whoever writes it: by the way it is noted what that holds."""
        if (ready := self._ready.pop(module, None)) is not None:
            return ready
        result = self.update(module)
        if self.holdings.short:
            self.holdings.note(module, lambda: self._hold(module, result=result))
        return result

    def _hold(self, module: str, room: int = 0, result: Linear | None = None) -> Holding:
        """What a module of the merge holds of those that it is of. What was computed for that is kept for whoever writes it, while
        all that is takes no more than `room`, in bytes.
        """
        present, everywhere = self._present(module), range(len(self._adapters))
        updates = [self._adapters[i].updates[module] for i in present]
        summed = found = self._summed(module, updates)
        if found is None:
            found = hold(self._kept(module, room) if result is None else result, updates)
        scaled = not (self._means(module) and isinstance(self._scale, str))
        factor = self.multipliers.found.get(module, fixed(self._scale, len(self._adapters))) if scaled else None
        if summed is not None:
            factor = self._automatic(module, summed) if factor is None else factor
            by = factor
            found = replace(found, total=by**2 * found.total, both=by * found.both, seen=by**2 * found.seen)
        places = [present.index(i) if i in present else -1 for i in everywhere]
        pad = {name: np.append(getattr(found, name), 0.0)[places] for name in ("both", "seen")}
        gram = np.pad(found.gram, (0, 1))[np.ix_(places, places)]
        return Holding(found.total, pad["both"], pad["seen"], gram, factor)

    def _kept(self, module: str, room: int) -> Linear:
        result = self.update(module)
        factors = result.lowrank()
        if factors is not None and sum(map(_size, (factors, *list(self._ready.values())))) <= room:
            self._ready[module] = factors
        return result

    def _summed(self, module: str, updates: Sequence[Linear]) -> Holding | None:
        """What the sum holds, where that is the method, and all have factors whose squares float64 has."""
        if self._method.name != "linear" or self._space is not SPACES["delta"]:
            return None
        factors = [each for update in updates if (each := update.lowrank()) is not None]
        if len(factors) < len(updates):
            return None
        found = hold_sum(factors, [self._weights[i] for i in self._present(module)])
        return found if (found.gram.diagonal() > SQUARES).all() and np.isfinite(found.gram).all() else None

    def _automatic(self, module: str, summed: Holding) -> float:
        """The factor of `auto` of a sum, by what it holds."""
        norms = np.sqrt(np.maximum(0.0, summed.gram.diagonal())).tolist()
        whole = float(np.sqrt(max(0.0, summed.gram.sum())))
        borne = self._method.borne * float(self._rows[module]) ** 0.5
        factor = automatic(float(np.sqrt(max(0.0, summed.total))), norms, whole, borne)
        return self.multipliers.found.setdefault(module, factor)

    def update(self, module: str) -> Linear:
        """What becomes of a module."""
        present = self._present(module)
        updates = [self._adapters[i].updates[module] for i in present]
        inputs = [self._adapters[i].layout[module] for i in present]
        method, space = _here(self._method, self._space, inputs)
        if self._means(module):
            return self._mean(updates)
        blocks, back = space.open(updates, [self._weights[i] for i in present])
        result = back([self._block(method, module, present, block) for block in blocks])
        factor = fixed(self._scale, len(self._adapters))
        if factor is None:
            plain = method.name == "linear" and space is SPACES["delta"] and all(self._weights[i] == 1 for i in present)
            summed = result if plain else None
            factor = self.multipliers.found.get(module)
            if factor is None:
                plain_sum = self._summed(module, updates) if method is self._method else None
                if plain_sum is not None:
                    factor = self._automatic(module, plain_sum)
                elif method.disturbs:
                    factor = undisturbed(result, updates, method.borne, summed)
                else:
                    factor = matching(result, updates, method.borne, method.order, summed)
                self.multipliers.found[module] = factor
        return result if factor == 1 else factor * result

    def _means(self, module: str) -> bool:
        """Whether the method takes a tensor for no matrix."""
        inputs = [self._adapters[i].layout[module] for i in self._present(module)]
        return _here(self._method, self._space, inputs)[0].acts == "matrices" and not inputs[0].matrix

    def _mean(self, updates: Sequence[Linear]) -> Linear:
        """The weighted mean of the updates of a tensor that the method does not take for a matrix, times a scale that is a
        number.
        """
        factor = 1.0 if isinstance(self._scale, str) else self._scale
        total = sum(map(abs, self._weights)) or 1.0
        mean: Linear = sum_of([factor * weight / total * x for x, weight in zip(updates, self._weights, strict=True)])
        return mean

    def _present(self, module: str) -> list[int]:
        return [i for i, adapter in enumerate(self._adapters) if module in adapter.layout]

    def _block(self, method: Method, module: str, present: Sequence[int], block: Block) -> Linear:
        from adapterops.methods.entries import inner_products, near, ordinary
        from adapterops.updates.dense import Dense
        from adapterops.updates.merged import Merged, Tiling

        if method.acts == "updates":
            own = self._parameters if method is self._method else {}
            update: Linear = method.kernel(block.updates, block.weights, **own)
            return update
        whole = block if len(present) == len(self._adapters) else self._completed(present, block)
        if method.acts == "inputs":
            grams = (each[module] for each in self._grams)
            found: Linear = method.kernel(factored(whole.updates), whole.weights, grams, **self._parameters)
            return found
        if method.acts == "products":
            factors = method.kernel(inner_products(whole.updates), whole.weights, **self._parameters)
            combined: Linear = sum_of([factor * each for factor, each in zip(factors, whole.updates, strict=True)])
            return combined
        if method.acts == "matrices":
            matrices, exponent = ordinary([each.dense().astype(np.float64, copy=False) for each in whole.updates])
            return Dense(np.ldexp(method.kernel(matrices, whole.weights, **self._parameters), exponent))
        entries = self._entries(module, whole)
        open_kernel = partial(method.kernel, entries, whole.weights, **self._parameters)
        tiling = Tiling(entries.height, open_kernel, entries.moving)
        return Merged(entries.shape, entries.dtype, tiling, near(block.updates, block.weights))

    def _completed(self, present: Sequence[int], block: Block) -> Block:
        """A block with zeros for the adapters that lack the module."""
        from adapterops.updates.lowrank import zero

        updates: list[Linear] = [zero(block.updates[0].shape)] * len(self._adapters)
        weights = list(self._weights)
        for place, update, weight in zip(present, block.updates, block.weights, strict=True):
            updates[place], weights[place] = update, weight
        return Block(updates, weights, block.role)

    def _entries(self, module: str, block: Block) -> Entries:
        from adapterops.methods.entries import Entries

        names = [f"{each}{module}{block.role}" for each in self._names()] if self._masked else ()
        return Entries(block.updates, names, self._model)

    def _whole(self, shared: Once) -> Model:
        """The entries of all modules, for thresholds over the whole model."""
        from adapterops.methods.entries import Model

        modules = sorted({module for adapter in self._adapters for module in adapter.layout})

        def entries(module: str) -> Entries:
            present = self._present(module)
            blocks, _ = self._space.open(
                [self._adapters[i].updates[module] for i in present], [self._weights[i] for i in present]
            )
            return self._entries(module, self._completed(present, blocks[0]))

        return Model([lambda module=module: entries(module) for module in modules], shared)  # type: ignore[misc]  # no type is inferred for a default


def _size(update: LowRank) -> int:
    return int(update.A.nbytes + update.B.nbytes)


def _check_overlap(adapters: Sequence[Adapter]) -> None:
    """Adapters that share no module are added, and not merged: whoever merges them probably means others, unless a base
    shows that it has the modules of each.
    """
    if all(adapter.config.settled for adapter in adapters):
        return
    for place in strangers([adapter.layout for adapter in adapters]):
        adapter, first = adapters[place], next(each for each in adapters if each.layout)
        mine, other = next(iter(adapter.layout)), next(iter(first.layout))
        raise IncompatibleError(
            f"0 of {len(adapter.layout)} modules overlap with those of {name(first)}: {mine!r} here, {other!r} there",
            path=name(adapter),
            hint="if they adapt different modules of one model, add them: "
            f'adapterops calc "a + b" a={shlex.quote(name(first))} b={shlex.quote(name(adapter))}; or name the model with --base',
            code="E-OVERLAP",
        )


def total(adapters: Sequence[Adapter], *, allow_base_mismatch: bool = False) -> Adapter:
    """The sum of adapters, however many and whatever modules they have, of rank Σ rᵢ or that of the matrix."""
    step = Step("add", {}, tuple(adapter.history for adapter in adapters))
    summed = combined(adapters, step, sum_of, allow_base_mismatch=allow_base_mismatch)
    layout = {module: replace(each, rank=min(each.rank, *each.shape)) for module, each in summed.layout.items()}
    return replace(summed, layout=layout)


def _mask_names(adapters: Sequence[Adapter], weights: Sequence[float]) -> list[str]:
    """What the masks of each adapter depend on: its content, and which it is of several equal ones.
    Not its place in the list.
    """
    keys = [key(adapter.history) for adapter in adapters]
    order = [(each, weight, place) for place, (each, weight) in enumerate(zip(keys, weights, strict=True))]
    return [f"{mine[0]}/{sum(other[0] == mine[0] and other < mine for other in order)}/" for mine in order]
