"""Which updates a difference may be: those of other modules of its shape, and B of one and A of another, by a few entries.

An update of factors is known in some rows and columns by these rows of B and columns of A. They are kept of many modules,
so that a difference is compared with their updates and their factors are read once.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from adapterops.verification.addends import Addend
from adapterops.verification.deltas import Formula, of_factors
from adapterops.verification.diagnosis.samples import Unit
from adapterops.verification.diagnosis.subject import KEPT, Subject
from adapterops.verification.rounding import Matrix

ROWS, COLUMNS, ENTRIES = 64, 512, 4096
"""At most so many rows and columns, and about so many entries, are compared."""

MOST = 64
"""Other places that are tried for one unit."""

RESEMBLING = 0.08
"""Least cosine of a difference with an update that may be it: unlike ones have less by far, and equal ones more, but where
rounding is ten times as large as the update."""


LOOKS = 64
"""Kept for how many shapes."""


@dataclass(frozen=True, eq=False)
class Looked:
    """Which rows and columns of updates of a shape are compared: one for all units of that shape."""

    shape: tuple[int, int]
    rows: Matrix
    columns: Matrix


class Sketch(NamedTuple):
    """Some rows of what a place has of the left factor and some columns of the right one, without scale, each None where
    it has another size; or some entries of an update that is no product.
    """

    left: Matrix | None
    right: Matrix | None
    entries: Matrix | None = None


@dataclass(frozen=True)
class Alternative:
    """What may be in a unit instead of its update: what one place has of B and another of A, or all of one."""

    what: str
    B: Addend
    A: Addend
    transposed: bool

    @property
    def swapped(self) -> bool:
        """Whether it is the update of one place, the other way round than it is there."""
        return self.A == self.B and self.transposed != self.B.transposed

    def begins(self, update: Any) -> Addend:
        """Where its rows begin in what `update` gives: factors are cut to their places there."""
        return replace(self.B, first=0) if of_factors(update) else self.B

    def update(self, updates: Mapping[str, Any]) -> Any:
        """The whole update of a place without factors, else B and A, each cut to the part that its place has."""
        update = updates[self.B.source]
        if not of_factors(update):
            return update
        return replace(update, B=outputs(update, self.B), A=inputs(updates[self.A.source], self.A))


@dataclass(frozen=True)
class Likeness:
    """The updates of a subject, by a few entries."""

    subject: Subject

    def candidates(self, unit: Unit, number: int, rows: Matrix, difference: Matrix) -> Iterator[Alternative]:
        """What a difference resembles of an adapter, in some rows of a unit, nearest by name first; its own update
        transposed before all others.

        Cost: rows and columns of at most `MOST` modules, whose factors are read once for all units as a rule.
        """
        down = spread(len(rows), ROWS)
        across = spread(difference.shape[1], min(COLUMNS, ENTRIES // len(down)))
        few = difference[np.ix_(down, across)]
        at = self._looked(len(unit.rows), difference.shape[1], tuple(rows[down].tolist()), tuple(across.tolist()))
        for each in self._candidates(unit, number):
            found = self._entries(number, each, at)
            if found is not None and resembles(few, found):
                yield each

    def _candidates(self, unit: Unit, number: int) -> Iterator[Alternative]:
        own = self._own(unit, number)
        if own and len(unit.rows) == unit.columns.stop - unit.columns.start:
            yield Alternative("holds its update transposed", own, own, not own.transposed)
        for place in self.nearest(unit, number):
            name, inside = place.source, own is not None and place.source == own.source
            part = (
                f"{'columns' if place.transposed else 'rows'} {place.first} to {place.first + len(place.rows) - 1} of "
            )
            yield Alternative(f"holds {part if inside else ''}the update of {name}", place, place, place.transposed)
            if own and not inside:
                yield Alternative(f"holds its B and the A of {name}", own, place, own.transposed)
                yield Alternative(f"holds its A and the B of {name}", place, own, place.transposed)

    def _own(self, unit: Unit, number: int) -> Addend | None:
        """Where an adapter adds to a unit; None where it does not, or where what it adds depends on the weight."""
        layout = self.subject.adapters[number].layout
        places = self.subject.places(unit.tensor)[number]
        return next(
            (
                each
                for each in places
                if (each.rows, each.columns) == (unit.rows, unit.columns) and not layout[each.source].needs_base
            ),
            None,
        )

    def _entries(self, number: int, each: Alternative, at: Looked) -> Matrix | None:
        """Of a candidate, but for a factor; None where its parts are no factors of one rank, or have not this shape."""
        B, A = (self._sketch(number, place, each.transposed, at) for place in (each.B, each.A))
        if each.A == each.B and B.entries is not None:
            return B.entries
        left, right = (A.left, B.right) if each.transposed else (B.left, A.right)
        if left is None or right is None or left.shape[1] != len(right):
            return None
        found: Matrix = left @ right
        return found

    @cached_property
    def _sketch(self) -> Callable[..., Sketch]:
        ranks = [each.rank or 1 for adapter in self.subject.adapters for each in adapter.layout.values()]
        most = max((ROWS + COLUMNS) * max(ranks, default=1), ENTRIES)

        @lru_cache(maxsize=max(2, KEPT // (4 * most)))
        def sketch(
            number: int,
            source: str,
            first: int,
            length: int,
            swapped: bool,
            transposed: bool,
            at: Looked,
        ) -> Sketch:
            update: Any = self.subject.adapters[number].updates[source]
            place = Addend(source, range(length), slice(None), first, swapped)
            down, across, shape = at.rows, at.columns, at.shape
            if of_factors(update):
                B, A = outputs(update, place), inputs(update, place)
                left, right = (A.T, B.T) if transposed else (B, A)
                return Sketch(
                    left[down].astype(np.float32) if len(left) == shape[0] else None,
                    right[:, across].astype(np.float32) if right.shape[1] == shape[1] else None,
                )
            height, width = update.shape[::-1] if transposed else update.shape
            if width != shape[1] or first + shape[0] > height:
                return Sketch(None, None)
            formula, W = Formula(update, transposed), np.zeros((1, width))
            found = [formula.rows(slice(row, row + 1), W).values[:, across] for row in first + down]
            return Sketch(None, None, np.concatenate(found))

        def of(number: int, place: Addend, transposed: bool, at: Looked) -> Sketch:
            return sketch(number, place.source, place.first, len(place.rows), place.transposed, transposed, at)

        return of

    @cached_property
    def _looked(self) -> Callable[..., Looked]:
        @lru_cache(LOOKS)
        def looked(height: int, width: int, rows: tuple[int, ...], columns: tuple[int, ...]) -> Looked:
            return Looked((height, width), np.array(rows), np.array(columns))

        return looked

    def nearest(self, unit: Unit, number: int) -> list[Addend]:
        """At most `MOST` other places of an adapter that have the shape of a unit: those in the same part of the model first,
        then those of the same name in the parts next to it, then others.
        """
        shape, (above, _, last) = (len(unit.rows), unit.columns.stop - unit.columns.start), unit.module.rpartition(".")
        near = [self._groups[number][key] for key in ((shape, above, None), (shape, None, last), (shape, None, None))]
        own = self._own(unit, number)
        found = {
            (place.source, place.first): place
            for places in near
            for place in around(places, unit.module, MOST)
            if own is None or (place.source, place.first) != (own.source, own.first)
        }
        return list(found.values())[:MOST]

    @cached_property
    def _places(self) -> Sequence[Sequence[Addend]]:
        """Of every adapter, where it adds what does not depend on the weight, by their names."""
        found = []
        for each in self.subject.witnesses:
            places = {
                (place.source, place.first): place
                for wanted in each.wanted.values()
                for place in wanted.places
                if not each.adapter.layout[place.source].needs_base
            }
            found.append(sorted(places.values(), key=lambda place: natural(place.source)))
        return found

    @cached_property
    def _groups(self) -> Sequence[Mapping[tuple[tuple[int, int], str | None, str | None], Sequence[Addend]]]:
        """The same by their shape, and by their part of the model or their last name."""
        groups = []
        for places in self._places:
            found = defaultdict[tuple[tuple[int, int], str | None, str | None], list[Addend]](list)
            for place in places:
                shape, (above, _, last) = _shape(place), place.source.rpartition(".")
                for key in ((shape, above, None), (shape, None, last), (shape, None, None)):
                    found[key].append(place)
            groups.append(found)
        return groups


def _shape(place: Addend) -> tuple[int, int]:
    return len(place.rows), place.columns.stop - place.columns.start


def outputs(update: Any, place: Addend) -> Any:
    """B of an update, in the rows of it that go to a place."""
    return update.B if place.transposed else update.B[place.first : place.first + len(place.rows)]


def inputs(update: Any, place: Addend) -> Any:
    """A of an update, in the columns of it that go to a place where it is transposed."""
    return update.A[:, place.first : place.first + len(place.rows)] if place.transposed else update.A


def natural(name: str) -> list[tuple[int, str]]:
    """Names in the order of the numbers in them.

    >>> sorted(["layers.10.q", "layers.9.q"], key=natural)
    ['layers.9.q', 'layers.10.q']
    """
    return [(int(each), "") if each.isdigit() else (-1, each) for each in re.split(r"(\d+)", name)]


def around(places: Sequence[Addend], name: str, most: int) -> list[Addend]:
    """Of places by their names those nearest to a name in their order, at most so many."""
    at = bisect_left(places, natural(name), key=lambda place: natural(place.source))
    begin = max(0, at - most // 2 - 1)
    window = range(begin, min(len(places), begin + most + 2))
    return [places[index] for index in sorted(window, key=lambda index: abs(index - at))]


def spread(length: int, most: int) -> Matrix:
    """At most so many indices, spread evenly.

    >>> spread(3, 4).tolist(), spread(8, 4).tolist()
    ([0, 1, 2], [0, 2, 4, 6])
    """
    number = min(most, length)
    return np.arange(number) * length // max(1, number)


def resembles(one: Matrix, other: Matrix) -> bool:
    """Whether it is worth a closer look."""
    norms = np.linalg.norm(one) * np.linalg.norm(other)
    return bool(abs(np.vdot(one, other)) >= RESEMBLING * norms)
