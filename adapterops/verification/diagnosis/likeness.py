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

from adapterops.verification.deltas import Formula, of_factors
from adapterops.verification.diagnosis.samples import KEPT, Subject, Unit
from adapterops.verification.place import Place
from adapterops.verification.rounding import Matrix

ROWS, COLUMNS, ENTRIES = 64, 512, 4096
"""At most so many rows and columns, and about so many entries, are compared."""

MOST = 64
"""Other places that are tried for one unit."""

RESEMBLING = 0.08
"""Least cosine of a difference with an update that may be it: unlike ones have less by far, and equal ones more, but where
rounding is ten times as large as the update."""


class Sketch(NamedTuple):
    """Some entries of an update, or of a product the rows of its left and the columns of its right factor, without scale."""

    left: Matrix
    right: Matrix | None


@dataclass(frozen=True)
class Candidate:
    """What may be in a unit instead of its update: B of one module and A of another, or all of one, as at a place."""

    what: str
    place: Place
    B: str
    A: str
    transposed: bool

    def update(self, updates: Mapping[str, Any]) -> Any:
        return updates[self.B] if self.A == self.B else replace(updates[self.B], A=updates[self.A].A)


@dataclass(frozen=True)
class Likeness:
    """The updates of a subject, by a few entries."""

    subject: Subject

    def candidates(self, unit: Unit, number: int, rows: Matrix, difference: Matrix) -> Iterator[Candidate]:
        """What a difference resembles of an adapter, in some rows of a unit, nearest by name first; its own update
        transposed before all others.

        Cost: rows and columns of at most `MOST` modules, whose factors are read once for all units as a rule.
        """
        down = spread(len(rows), ROWS)
        across = spread(difference.shape[1], min(COLUMNS, ENTRIES // len(down)))
        few, at = difference[np.ix_(down, across)], (tuple(rows[down].tolist()), tuple(across.tolist()))
        for each in self._candidates(unit, number):
            found = self._entries(number, each, *at)
            if found is not None and resembles(few, found):
                yield each

    def _candidates(self, unit: Unit, number: int) -> Iterator[Candidate]:
        own = next(
            (each for each in self._places[number] if each.source == unit.module and each.rows == unit.rows), None
        )
        if own and len(unit.rows) == unit.columns.stop - unit.columns.start:
            yield Candidate("holds its update transposed", own, own.source, own.source, not own.transposed)
        for place in self.nearest(unit, number):
            name = place.source
            yield Candidate(f"holds the update of {name}", place, name, name, place.transposed)
            if own:
                yield Candidate(f"holds its B and the A of {name}", own, own.source, name, own.transposed)
                yield Candidate(f"holds its A and the B of {name}", place, name, own.source, place.transposed)

    def _entries(self, number: int, each: Candidate, rows: tuple[int, ...], columns: tuple[int, ...]) -> Matrix | None:
        """Of a candidate, but for a factor; None where its parts are no factors of one rank."""
        B, A = (
            self._sketch(number, name, each.place.first, each.transposed, rows, columns) for name in (each.B, each.A)
        )
        left, right = (A.left, B.right) if each.transposed else (B.left, A.right)
        if right is None:
            return left if each.A == each.B else None
        return left @ right if B.right is not None and left.shape[1] == len(right) else None

    @cached_property
    def _sketch(self) -> Callable[..., Sketch]:
        ranks = [each.rank or 1 for adapter in self.subject.adapters for each in adapter.layout.values()]

        @lru_cache(maxsize=max(2, KEPT // (4 * (ROWS + COLUMNS) * max(ROWS, *ranks))))
        def sketch(
            number: int, source: str, first: int, transposed: bool, rows: tuple[int, ...], columns: tuple[int, ...]
        ) -> Sketch:
            update: Any = self.subject.adapters[number].updates[source]
            down, across = first + np.array(rows), np.array(columns)
            if of_factors(update):
                left, right = (update.A.T, update.B.T) if transposed else (update.B, update.A)
                return Sketch(left[down].astype(np.float32), right[:, across].astype(np.float32))
            formula, W = Formula(update, transposed), np.zeros((1, update.shape[0 if transposed else 1]))
            found = [formula.rows(slice(row, row + 1), W).values[:, across] for row in down]
            return Sketch(np.concatenate(found), None)

        return sketch

    def nearest(self, unit: Unit, number: int) -> list[Place]:
        """At most `MOST` other places of an adapter that have the shape of a unit: those in the same part of the model first,
        then those of the same name in the parts next to it, then others.
        """
        shape, (above, _, last) = (len(unit.rows), unit.columns.stop - unit.columns.start), unit.module.rpartition(".")
        near = [self._groups[number][key] for key in ((shape, above, None), (shape, None, last), (shape, None, None))]
        found = {
            (place.source, place.first): place
            for places in near
            for place in around(places, unit.module, MOST)
            if (place.source, place.rows) != (unit.module, unit.rows)
        }
        return list(found.values())[:MOST]

    @cached_property
    def _places(self) -> Sequence[Sequence[Place]]:
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
    def _groups(self) -> Sequence[Mapping[tuple[tuple[int, int], str | None, str | None], Sequence[Place]]]:
        """The same by their shape, and by their part of the model or their last name."""
        groups = []
        for places in self._places:
            found = defaultdict[tuple[tuple[int, int], str | None, str | None], list[Place]](list)
            for place in places:
                shape, (above, _, last) = _shape(place), place.source.rpartition(".")
                for key in ((shape, above, None), (shape, None, last), (shape, None, None)):
                    found[key].append(place)
            groups.append(found)
        return groups


def _shape(place: Place) -> tuple[int, int]:
    return len(place.rows), place.columns.stop - place.columns.start


def natural(name: str) -> list[tuple[int, str]]:
    """Names in the order of the numbers in them.

    >>> sorted(["layers.10.q", "layers.9.q"], key=natural)
    ['layers.9.q', 'layers.10.q']
    """
    return [(int(each), "") if each.isdigit() else (-1, each) for each in re.split(r"(\d+)", name)]


def around(places: Sequence[Place], name: str, most: int) -> list[Place]:
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
