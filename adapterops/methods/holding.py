"""What a merge holds of each adapter that it is of: by inner products, module by module, at any scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from adapterops.arrays.scratch import scratch
from adapterops.errors import InputError
from adapterops.linalg.geometry import inner
from adapterops.methods.entries import tile_height
from adapterops.methods.products import inner_products, products_at
from adapterops.updates.lowrank import LowRank, gram
from adapterops.updates.merged import Merged
from adapterops.updates.protocol import Array, Linear

SINGULAR = 1e-12
"""An eigenvalue below this, relative to the largest, is rounding."""

RULES = ("linear", "even", "tsv")
"""Methods of which any may be the right one for some adapters, and which may all make the same of others."""

ALIKE = 0.05
"""How far apart they are at most, relative to the merge, where it does not matter which of them is taken."""

ROOM = 1 << 27
"""Bytes of what was merged to say what it holds that are kept until they are written, where no limit on memory is stated: the rest
is merged once more.
"""

Each = Callable[[Callable[[str], object], Iterable[str]], Iterable[object]]
"""`map`, or what does several at a time."""


@dataclass(frozen=True, eq=False)
class Holding:
    """Of a module M of a merge of n adapters; those that lack it are zero in it.

    Attributes:
        total: ‖M‖².
        both: ⟨M, ΔWᵢ⟩, (n,).
        seen: ‖M Pᵢ‖², (n,), with the projection Pᵢ onto the inputs that ΔWᵢ reads; NaN where an update has no factors.
        gram: ⟨ΔWᵢ, ΔWⱼ⟩, (n, n).
        factor: what M was multiplied by, other than zero; None where no scale changes it.
    """

    total: float
    both: Array
    seen: Array
    gram: Array
    factor: float | None = 1.0


@dataclass(frozen=True)
class Held:
    """What a merge M holds of an adapter ΔWᵢ, over all modules.

    Attributes:
        kept: ⟨M, ΔWᵢ⟩ / ‖ΔWᵢ‖²: 1 is all of it, in its own direction.
        added: ‖M - kept ΔWᵢ‖ / ‖ΔWᵢ‖, the rest of the merge.
        error: ‖(M - ΔWᵢ) Pᵢ‖ / ‖ΔWᵢ‖, the error on the inputs that ΔWᵢ reads; None where it is not known.
    """

    kept: float
    added: float
    error: float | None = None


def hold(result: Linear, updates: Sequence[Linear]) -> Holding:
    """The inner products of a merge and the updates that it is of, in float64.

    Cost: O((out + in) R²) of factors, R the sum of all ranks; else one pass over the entries.
    """
    factors, whole = [each for update in updates if (each := update.lowrank()) is not None], result.lowrank()
    if len(factors) < len(updates):
        return _of_entries([result, *updates])
    return _of_merged(result, factors) if whole is None else _of_factors(whole, factors)


def hold_sum(updates: Sequence[LowRank], weights: Sequence[float]) -> Holding:
    """The same of M = Σ wᵢ ΔWᵢ, for about what its norm takes."""
    return _of_factors(None, updates, weights)


def _of_factors(result: LowRank | None, updates: Sequence[LowRank], weights: Sequence[float] = ()) -> Holding:
    """Of a merge by its factors, or of the sum by weights: all from products of all B's, and of all A's, a tile at a time."""
    each = [*updates, *([] if result is None else [result])]
    ends = np.cumsum([0, *(update.rank for update in each)])
    blocks, (height, width) = [slice(begin, end) for begin, end in pairwise(ends)], each[0].shape
    scales = np.repeat([update.scale for update in each], np.diff(ends))
    left = gram(height, ends[-1], lambda rows: _joined([update.B[rows] for update in each], 1))
    left *= np.outer(scales, scales)
    right = gram(width, ends[-1], lambda rows: _joined([update.A[:, rows] for update in each], 0).T)
    shared = left * right
    products = np.array([[shared[one, other].sum() for other in blocks] for one in blocks])
    if result is None:
        by = np.repeat(np.asarray(weights, np.float64), np.diff(ends))
        own, across, found = by[:, None] * left * by, right, products
        both, total = found @ weights, float(np.asarray(weights) @ found @ weights)
    else:
        last = blocks.pop()
        own, across, found = left[last, last], right[last], products[:-1, :-1]
        both, total = products[-1, :-1], float(products[-1, -1])
    seen = [_through(own, across[:, block], left[block, block], right[block, block]) for block in blocks]
    return Holding(max(total, 0.0), both, np.array(seen), _with_squares(found))


def _with_squares(products: Array) -> Array:
    """⟨ΔWᵢ, ΔWⱼ⟩ with no ‖ΔWᵢ‖² below 0, as rounding may make it of factors that cancel."""
    np.fill_diagonal(products, np.maximum(np.diag(products), 0.0))
    return products


def _double(array: Array) -> Array:
    return array.astype(np.float64, copy=False)


def _joined(parts: Sequence[Array], axis: int) -> Array:
    return np.concatenate(parts, axis, dtype=np.float64)


def _through(own: Array, across: Array, left: Array, right: Array) -> float:
    """‖M P‖² by BᵀB and A Aᵢᵀ of M = B A, and by BᵢᵀBᵢ and AᵢAᵢᵀ of the ΔWᵢ = BᵢAᵢ whose inputs P is of; what is less than 1e-6 of
    its largest singular value it does not read.
    """
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return math.nan
    values, vectors = _real(right)
    scaled, basis = vectors * np.sqrt(values), vectors / np.sqrt(values)
    projected = across @ basis @ _real(scaled.T @ left @ scaled)[1]
    return float((own * (projected @ projected.T)).sum())


def _real(gram: Array) -> tuple[Array, Array]:
    """Eigenvalues that are no rounding, and their vectors."""
    values, vectors = np.linalg.eigh(gram)
    real = values > SINGULAR * values.max(initial=0.0)
    return values[real], vectors[:, real]


def _read(update: LowRank) -> Array:
    """An orthonormal basis of the inputs that an update reads, (in, r)."""
    from adapterops.linalg.factor import balanced

    rows = balanced(update).A
    norms = np.linalg.norm(rows, axis=1)
    basis: Array = (rows[norms > 0] / norms[norms > 0, None]).T
    return basis


def _of_merged(result: Linear, updates: Sequence[LowRank]) -> Holding:
    """Of a merge by its entries, a tile at a time, and of what it is of by factors: ⟨M, ΔWᵢ⟩ = ⟨M Pᵢ, ΔWᵢ⟩, so that of each tile
    nothing is asked but what goes through the inputs that the ΔWᵢ read.
    """
    (height, width), step = result.shape, tile_height(result.shape)
    bases = [_read(each) for each in updates]
    ends = np.cumsum([0, *(basis.shape[1] for basis in bases)])
    columns, basis = [slice(begin, end) for begin, end in pairwise(ends)], _joined(bases, 1)
    pairs = zip(updates, bases, strict=True)
    own = _joined([each.scale * (_double(each.B) @ (each.A @ one)) for each, one in pairs], 1)

    def of_tile(rows: slice) -> tuple[float, Array, Array]:
        memory = scratch().array("merged", (rows.stop - rows.start, width), np.float64)
        M = _double(result.rows((rows, slice(0, width)), memory))
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            through, flat = M @ basis, M.reshape(-1)
            return float(flat @ flat), (through * own[rows]).sum(axis=0), np.square(through).sum(axis=0)

    parts = (slice(first, min(first + step, height)) for first in range(0, height, step))
    found = result.each(of_tile) if isinstance(result, Merged) else map(of_tile, parts)
    total, both, seen = 0.0, np.zeros(ends[-1]), np.zeros(ends[-1])
    for some in found:
        total, both, seen = total + some[0], both + some[1], seen + some[2]
    both, seen = (np.array([each[block].sum() for block in columns]) for each in (both, seen))
    return Holding(total, both, seen, products(updates))


def _of_entries(updates: Sequence[Linear]) -> Holding:
    """Of a merge, the first, and what it is of, by their entries: a tile of each at a time."""
    products, _ = products_at(updates, 0)
    return Holding(float(products[0, 0]), products[0, 1:], np.full(len(updates) - 1, math.nan), products[1:, 1:])


@dataclass(frozen=True, eq=False)
class Holdings:
    """What a merge holds of its adapters: found when it is asked for.

    Attributes:
        modules: those that are measured: all of the merge, or as many as take seconds and are kept; none of a merge of one
            adapter, or for each module of which all have to be computed.
        compute: the `Holding` of one, and how many bytes of what that takes may be kept for writing it; None where its numbers
            are too large, or none.
        count: of how many modules the merge is.
        first: whether what they hold is measured before anything is written, for whoever reads it then; else by the way.
        rules: of a module ⟨Mᵣ, Mₛ⟩ of what each of `RULES` makes of these adapters; None where not all make one.
        found: module → what `compute` found.
    """

    modules: Collection[str]
    compute: Callable[[str, int], Holding | None]
    count: int
    first: bool = True
    rules: Callable[[str], Array] | None = None
    found: dict[str, Holding | None] = field(default_factory=dict)

    def all(self, each: Each = map, room: int = 0) -> dict[str, Holding] | None:
        """Those of `modules`: what is not found yet is computed, by `each`. None where one is not to be had, or there are none.

        Args:
            room: bytes that the modules may take which are kept until they are written.
        """
        for _ in each(lambda module: self.note(module, lambda: self.compute(module, room)), self.modules):
            pass
        known = {module: found for module in self.modules if (found := self.found[module]) is not None}
        return known if known and len(known) == len(self.modules) else None

    def rule_distance(self, each: Each = map) -> float | None:
        """What `rule_distance` says of all modules; None where the rules are not asked.

        Cost: that of three merges.
        """
        if self.rules is None:
            return None
        grams: Any = each(self.rules, self.modules)
        return rule_distance(sum(grams, np.zeros((len(RULES),) * 2)))

    def note(self, module: str, compute: Callable[[], Holding | None]) -> None:
        """Find that of a module, if it is not known yet."""
        if module in self.found:
            return
        try:
            found = compute()
        except InputError:  # not finite: whoever writes it says so
            found = None
        self.found[module] = found if found is None or math.isfinite(found.total) else None


def held(holdings: Mapping[str, Holding], scale: float | None = None) -> list[Held | None]:
    """What the merge holds of each adapter; None of one that is zero. `scale`: if every module were its full size times this
    number, and not what it is.
    """
    total = 0.0
    kept, own, wrong = (np.zeros(()) for _ in range(3))
    for each in holdings.values():
        by = 1.0 if scale is None or each.factor is None else scale / each.factor
        norms = np.diag(each.gram)
        kept, total, own = kept + by * each.both, total + by**2 * each.total, own + norms
        wrong = wrong + by**2 * each.seen - 2 * by * each.both + norms
    return [
        _held(*map(float, numbers)) if numbers[1] else None
        for numbers in zip(
            *map(np.atleast_1d, (kept, own, wrong)), *([np.broadcast_to(total, np.shape(own))]), strict=True
        )
    ]


def of_sum(holdings: Mapping[str, Holding]) -> dict[str, Holding]:
    """What the sum of the adapters, each at its full size, holds of them; on their inputs it is not known."""
    unknown = {module: np.full(len(each.both), np.nan) for module, each in holdings.items()}
    return {
        module: Holding(float(each.gram.sum()), each.gram.sum(axis=1), unknown[module], each.gram)
        for module, each in holdings.items()
    }


def _held(product: float, own: float, wrong: float, total: float) -> Held:
    """By ⟨M, ΔWᵢ⟩, ‖ΔWᵢ‖², ‖(M - ΔWᵢ) Pᵢ‖² and ‖M‖²."""
    rest = total - product**2 / own
    added = math.sqrt(rest / own) if rest > SINGULAR * total else 0.0  # less is rounding
    return Held(product / own, added, None if math.isnan(wrong) else math.sqrt(max(0.0, wrong) / own))


def as_json(holdings: Mapping[str, Holding], count: int) -> dict[str, Any]:
    """What is held of each adapter, in how many modules of how many that was measured, and the condition of all; no number where
    that is infinite.
    """
    return {
        "held": [None if each is None else asdict(each) for each in held(holdings)],
        "held_in": {"modules": len(holdings), "of": count},
        "condition": condition(whole(holdings)),
    }


def parallel(gram: Array) -> bool:
    """Whether all adapters are nearly multiples of one, by their inner products: its second eigenvalue next to the first.

    >>> parallel(np.ones((3, 3))), parallel(np.diag([1.0, 0.5])), parallel(np.diag([1.0, 1e-3]))
    (True, False, True)
    """
    values = np.linalg.eigvalsh(gram)
    return len(values) < 2 or bool(values[-2] <= ALIKE * values[-1])


def rule_distance(gram: Array) -> float:
    """How far what two of `RULES` make is apart at most, max ‖Mᵣ - Mₛ‖ / max ‖Mᵣ‖ over all modules, by their inner products: a
    bound on what the choice of one of them may change.
    """
    squares = np.diag(gram)
    furthest, largest = float((squares[:, None] + squares - 2 * gram).max()), float(squares.max())
    return math.sqrt(max(0.0, furthest) / largest) if largest else 0.0


def products(updates: Sequence[Linear]) -> Array:
    """⟨ΔWᵢ, ΔWⱼ⟩ in float64.

    Cost: O((out + in) r²) a pair of factors; else a pass over the entries.
    """
    factors = [each for update in updates if (each := update.lowrank()) is not None]
    if len(factors) < len(updates):
        return inner_products(updates)
    return _with_squares(np.array([[inner(one, other) for other in factors] for one in factors]))


def whole(holdings: Mapping[str, Holding]) -> Array:
    """⟨ΔWᵢ, ΔWⱼ⟩ over all modules."""
    found: Array = sum((each.gram for each in holdings.values()), np.zeros(()))
    return found


def condition(gram: Array) -> float:
    """Largest over least eigenvalue of the cosines of adapters, from their inner products over all modules: 1 where all are
    orthogonal, infinite where one is a combination of the others. Those that are zero do not count.

    >>> condition(np.eye(3)), condition(np.ones((2, 2))), condition(np.zeros((2, 2)))
    (1.0, inf, 1.0)
    """
    there = np.flatnonzero(np.diag(gram))
    if not len(there):
        return 1.0
    chosen = gram[np.ix_(there, there)]
    norms = np.sqrt(np.diag(chosen))
    values = np.linalg.eigvalsh(chosen / np.outer(norms, norms))
    return float(values[-1] / values[0]) if values[0] > SINGULAR * values[-1] else math.inf
