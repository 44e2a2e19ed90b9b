"""What becomes of each module of a merge, and what that holds of those that it is of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from adapterops.adapters.adapter import Adapter, sum_of
from adapterops.engine.execution import Once
from adapterops.methods.holding import ROOM, Holding, Holdings, hold, hold_sum
from adapterops.methods.registry import Method, find
from adapterops.methods.scaling import FEW, Multipliers, Scale, automatic, fixed, matching, undisturbed, usable
from adapterops.methods.spaces import SPACES, Coordinates, Space, factored
from adapterops.provenance.history import key
from adapterops.updates.layout import TILE, Layout

if TYPE_CHECKING:
    from adapterops.methods.entries import Entries, ModelEntries
    from adapterops.updates.protocol import Array, Linear

SHORT, SHORTER, SHARE = 1.2e11, 4e9, 0.02
"""Multiplications that are done before anything is written, for what is said of a merge: seconds of work; for a sum whose scale is
stated, a tenth of one, while it is written: that takes no more; and as a share of all, where that is more."""
LEAST = 28
"""Modules, four of each of the seven kinds of a layer, that are measured even if more is then merged twice than there is room to
keep.
"""
OF_HOLDING, OF_CORE, OF_ENTRIES, OF_SVD = 4, 12, 4000, 10
"""Times (out + in) R²: for inner products of factors, and for a method in a joint core; multiplications an entry, all passes
over these together; and for each side of a matrix that is decomposed whole."""
GOLDEN = (5**0.5 - 1) / 2
SQUARES = 1e-250
"""What the square of a norm is at least, to be computed as it is."""


def here(method: Method, space: Space, inputs: Sequence[Layout]) -> tuple[Method, Space]:
    """What makes one update of those of a module. A method that adds updates of no lower rank is `linear` there; one that has one
    answer in the core and on whole matrices takes these where an update has no factors. Of vectors there are entries alone: on
    these act what acts on entries or updates, and the others are `linear`.
    """
    dense, vectors = any(each.dense for each in inputs), any(each.vector for each in inputs)
    spectral = method.acts == "matrices"
    if (method.adds and (dense or any(each.rank >= min(each.shape) for each in inputs))) or (spectral and vectors):
        return _sum()
    if vectors and space in (SPACES["core"], SPACES["knots"]):
        return method, SPACES["delta"]
    if dense and space is SPACES["core"] and method.acts != "entries" and "delta" in method.spaces:
        return method, SPACES["delta"]
    return method, space


def large(updates: Sequence[Linear], small: float) -> bool:
    """Whether the median norm of the updates of a module, of those that are not zero, is above `small` sqrt(out).

    >>> from adapterops import LowRank
    >>> one = LowRank([[1.0], [0.0]], [[0.2, 0.0]])
    >>> large([one, 2 * one], 0.2), large([one, 0.5 * one], 0.2), large([0 * one, one], 0.1), large([0 * one], 0.1)
    (True, False, True, False)
    """
    norms = [norm for each in updates if (norm := each.norm())]
    return bool(norms) and float(np.median(norms)) > small * float(updates[0].shape[0]) ** 0.5


def _sum() -> tuple[Method, Space]:
    return find("linear"), SPACES["delta"]


class Merging:
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
        measured = () if self._model or len(adapters) < 2 else self._sample(layout, SHORTER if stated else SHORT)
        self.holdings = Holdings(measured, self._measured, len(layout), first=not stated)
        self._ready: dict[str, Linear] = {}

    @property
    def _by_rank(self) -> bool:
        """Whether the method needs no entries where the updates have factors."""
        return self._method.acts in ("updates", "products") and self._space is SPACES["delta"]

    def effort(self, layout: Mapping[str, Layout], rules: int = 0) -> float:
        """About how many multiplications it takes to compute all modules, and what they hold; and as many more `rules`."""
        return sum(self._effort(module, each, rules) for module, each in layout.items())

    def _sample(self, layout: Mapping[str, Layout], budget: float) -> tuple[str, ...]:
        """Modules that take no more than `budget`, and of which `ROOM` keeps the factors, or `LEAST`; or `SHARE` of all; in their
        order: all of them, or some that are spread evenly, over layers and over kinds of modules, and one of every adapter at least.
        """
        each = {module: self._effort(module, of, 0) for module, of in layout.items()}
        order = _spread(layout)
        efforts = [each[module] for module in order]
        kept = _fitting([0 if self._by_rank else _most(layout[module]) for module in order], ROOM)
        many = max(_fitting(efforts, SHARE * sum(efforts)), min(_fitting(efforts, budget), max(LEAST, kept)))
        chosen = set(order[:many])
        for adapter in self._adapters:
            if chosen.isdisjoint(adapter.layout):
                chosen |= set([module for module in order if module in adapter.layout][:1])
        return tuple(module for module in layout if module in chosen)

    def _effort(self, module: str, layout: Layout, rules: int) -> float:
        inputs = [adapter.layout[module] for adapter in self._adapters if module in adapter.layout]
        ranks = sum(min(each.rank, *each.shape) for each in inputs)
        times = OF_HOLDING + OF_CORE * (rules + (not self._by_rank)) + rules * (rules + 1)
        dense = layout.dense or any(each.dense for each in inputs)
        decomposed = OF_SVD * (len(inputs) + 1) * min(layout.shape) * (self._method.acts == "matrices")
        entry = OF_ENTRIES + len(inputs) * ranks + decomposed
        return times * sum(layout.shape) * ranks**2 + entry * layout.entries * dense

    def made(self, module: str) -> Linear:
        """What becomes of a module, for whoever writes it: by the way it is noted what that holds."""
        if (ready := self._ready.pop(module, None)) is not None:
            return ready
        updates = self._updates(module)
        result = self._made_of(module, updates)
        if module in self.holdings.modules:
            self.holdings.note(module, lambda: self._hold(module, updates, lambda: result))
        return result

    def _measured(self, module: str, room: int) -> Holding:
        """What a module of the merge holds. What was computed for that is kept for whoever writes it, while all that is takes no
        more than `room`, in bytes.
        """
        updates = self._updates(module)

        def kept() -> Linear:
            result = self._made_of(module, updates)
            if sum(map(_size, (result, *list(self._ready.values())))) <= room:
                self._ready[module] = result
            return result

        return self._hold(module, updates, kept)

    def _hold(self, module: str, updates: Sequence[Linear], made: Callable[[], Linear]) -> Holding:
        """What a module of the merge holds of those that it is of; `made` of them, where that is to be asked."""
        present, everywhere = self._present(module), range(len(self._adapters))
        summed = found = None if self._means(module) else self._summed(*self._by(module, updates), module, updates)
        if found is None:
            found = hold(made(), updates)
        scaled = not (self._means(module) and isinstance(self._scale, str))
        factor = self.multipliers.found.get(module, fixed(self._scale, len(self._adapters))) if scaled else None
        if summed is not None:
            factor = self._automatic(find("linear"), module, summed) if factor is None else factor
            by = factor
            found = replace(found, total=by**2 * found.total, both=by * found.both, seen=by**2 * found.seen)
        places = [present.index(i) if i in present else -1 for i in everywhere]
        pad = {name: np.append(getattr(found, name), 0.0)[places] for name in ("both", "seen")}
        gram = np.pad(found.gram, (0, 1))[np.ix_(places, places)]
        return Holding(found.total, pad["both"], pad["seen"], gram, factor)

    def _by(self, module: str, updates: Sequence[Linear]) -> tuple[Method, Space]:
        """What makes one update of those of a module, by their layouts, and at the scale `auto` by their norms."""
        inputs = [self._adapters[i].layout[module] for i in self._present(module)]
        method, space = here(self._method, self._space, inputs)
        small, auto = self._method.small, fixed(self._scale, len(self._adapters)) is None
        if auto and small < inf and module not in self.multipliers.found and large(updates, small):
            self.multipliers.summed.add(module)
        return _sum() if module in self.multipliers.summed else (method, space)

    def _summed(self, method: Method, space: Space, module: str, updates: Sequence[Linear]) -> Holding | None:
        """What the sum holds, where that is the method, and all have factors whose squares float64 has."""
        if method.name != "linear" or space is not SPACES["delta"]:
            return None
        factors = [each for update in updates if (each := update.lowrank()) is not None]
        if len(factors) < len(updates):
            return None
        found = hold_sum(factors, [self._weights[i] for i in self._present(module)])
        return found if (found.gram.diagonal() > SQUARES).all() and np.isfinite(found.gram).all() else None

    def _automatic(self, method: Method, module: str, summed: Holding) -> float:
        """The factor of `auto` of a sum, by what it holds."""
        norms = np.sqrt(np.maximum(0.0, summed.gram.diagonal())).tolist()
        whole = float(np.sqrt(max(0.0, summed.gram.sum())))
        borne = method.borne * float(self._rows[module]) ** 0.5
        factor = automatic(float(np.sqrt(max(0.0, summed.total))), norms, whole, borne)
        return self.multipliers.found.setdefault(module, factor)

    def update(self, module: str) -> Linear:
        """What becomes of a module."""
        return self._made_of(module, self._updates(module))

    def _updates(self, module: str) -> list[Linear]:
        return [self._adapters[i].updates[module] for i in self._present(module)]

    def _made_of(self, module: str, updates: Sequence[Linear]) -> Linear:
        present = self._present(module)
        if self._means(module):
            return self._mean(updates)
        method, space = self._by(module, updates)
        factor = fixed(self._scale, len(self._adapters))
        blocks, back = space.open(updates, [self._weights[i] for i in present])
        result = back([self._block(method, module, present, block) for block in blocks])
        if factor is None:
            plain = method.name == "linear" and space is SPACES["delta"] and all(self._weights[i] == 1 for i in present)
            summed = result if plain else None
            factor = self.multipliers.found.get(module)
            if factor is None:
                plain_sum = self._summed(method, space, module, updates)
                if plain_sum is not None:
                    factor = self._automatic(method, module, plain_sum)
                elif method.disturbs:
                    factor = undisturbed(result, updates, method.borne, summed)
                else:
                    factor = matching(result, updates, method.borne, method.order, summed)
                self.multipliers.found[module] = usable(factor, module)
        return result if factor == 1 else factor * result

    def _means(self, module: str) -> bool:
        """Whether the method takes a tensor for no matrix."""
        inputs = [self._adapters[i].layout[module] for i in self._present(module)]
        return here(self._method, self._space, inputs)[0].acts == "matrices" and not inputs[0].matrix

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

    def _block(self, method: Method, module: str, present: Sequence[int], block: Coordinates) -> Linear:
        from adapterops.methods.products import inner_products, near, ordinary
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

    def _completed(self, present: Sequence[int], block: Coordinates) -> Coordinates:
        """A block with zeros for the adapters that lack the module."""
        from adapterops.updates.lowrank import zero

        updates: list[Linear] = [zero(block.updates[0].shape)] * len(self._adapters)
        weights = list(self._weights)
        for place, update, weight in zip(present, block.updates, block.weights, strict=True):
            updates[place], weights[place] = update, weight
        return Coordinates(updates, weights, block.role)

    def _entries(self, module: str, block: Coordinates) -> Entries:
        from adapterops.methods.entries import Entries

        names = [f"{each}{module}{block.role}" for each in self._names()] if self._masked else ()
        return Entries(block.updates, names, self._model)

    def _whole(self, shared: Once) -> ModelEntries:
        """The entries of all modules, for what the method needs of the whole model."""
        from adapterops.methods.entries import ModelEntries

        modules = sorted({module for adapter in self._adapters for module in adapter.layout})

        def entries(module: str) -> Entries:
            present = self._present(module)
            _, space = here(self._method, self._space, [self._adapters[i].layout[module] for i in present])
            blocks, _ = space.open(
                [self._adapters[i].updates[module] for i in present], [self._weights[i] for i in present]
            )
            return self._entries(module, self._completed(present, blocks[0]))

        return ModelEntries([lambda module=module: entries(module) for module in modules], shared)  # type: ignore[misc]  # no type is inferred for a default


def _spread(modules: Iterable[str]) -> list[str]:
    """Modules in an order of which every beginning is spread evenly over them: multiples of the golden section leave no gaps, and
    meet no period of layers.

    >>> _spread("abcdefgh")
    ['a', 'f', 'c', 'h', 'e', 'b', 'g', 'd']
    """
    return [module for _, module in sorted((place * GOLDEN % 1, module) for place, module in enumerate(modules))]


def _fitting(costs: Sequence[float], limit: float) -> int:
    """How many cost no more than that together, from the first on.

    >>> _fitting([2, 3, 4], 5), _fitting([2, 3, 4], 1)
    (2, 0)
    """
    return int(np.searchsorted(np.cumsum(costs), limit, "right"))


def _most(layout: Layout) -> int:
    """The bytes of the factors of a module in float64; of one that has none, nothing is kept."""
    return 0 if layout.dense else 8 * layout.rank * sum(layout.shape)


def _size(update: Linear) -> float:
    """The bytes of an update by factors; of a merge of entries, whose thresholds are known, the factors of what it is of, as they are
    stored and as they are multiplied, those of the sum, and a tile; of any other too many.
    """
    from adapterops.updates.merged import Merged

    merged = isinstance(update, Merged)
    factors = update.near if merged else update.lowrank()
    if factors is None:
        return inf
    size = int(factors.A.nbytes + factors.B.nbytes)
    return 3 * size + 4 * TILE if merged else size


def _mask_names(adapters: Sequence[Adapter], weights: Sequence[float]) -> list[str]:
    """What the masks of each adapter depend on: its content, and which it is of several equal ones.
    Not its place in the list.
    """
    keys = [key(adapter.history) for adapter in adapters]
    order = [(each, weight, place) for place, (each, weight) in enumerate(zip(keys, weights, strict=True))]
    return [f"{mine[0]}/{sum(other[0] == mine[0] and other < mine for other in order)}/" for mine in order]
