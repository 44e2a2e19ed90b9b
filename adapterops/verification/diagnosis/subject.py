"""A model, and what it may be made of: every place that an update goes into, and samples of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from adapterops.adapters.adapter import Adapter
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.storage.lazy import Lazy
from adapterops.storage.safetensors import CHUNK
from adapterops.storage.tensors import Stored
from adapterops.verification.addends import Addend, Wanted
from adapterops.verification.decoding import as_seen, decoder
from adapterops.verification.deltas import UNIT, Delta, Formula
from adapterops.verification.diagnosis.causes import Scaled
from adapterops.verification.diagnosis.runs import ENTRIES, blocks, widened
from adapterops.verification.diagnosis.samples import Ground, Sample, Unit
from adapterops.verification.judges import judge_of, judged_rows
from adapterops.verification.numbers import Decoder
from adapterops.verification.rounding import Matrix, rounded_to
from adapterops.verification.witness import Witness

ALL_ENTRIES = 1 << 25
"""Looked at of all weights."""

FEWEST = 1 << 12

KEPT = 1 << 24
"""Bytes of rows and columns of factors that are kept."""

ARRAYS, FURTHER = 16, 8
"""As large as what is looked at of a unit: of the two models, and further ones of each update."""


@dataclass(frozen=True)
class Subject:
    """A model, and what it may be made of.

    Attributes:
        most: entries looked at of each unit; None for as many as `ALL_ENTRIES` leave to it.
    """

    model: Checkpoint
    witnesses: Sequence[Witness]
    most: int | None = None

    @property
    def adapters(self) -> list[Adapter]:
        return [each.adapter for each in self.witnesses]

    def with_factors_in(self, dtype: str) -> Subject:
        """The same, where the factors of every adapter are rounded to a dtype."""
        witnesses = [replace(each, adapter=_rounded_factors(each.adapter, dtype)) for each in self.witnesses]
        return replace(self, witnesses=witnesses)

    @cached_property
    def units(self) -> list[Unit]:
        """Every place that an update goes into, once."""
        found: dict[tuple[str, range, int, int], Unit] = {}
        for each in self.witnesses:
            for tensor, wanted in each.wanted.items():
                if tensor not in self.model.layout or self.shape(tensor, wanted) != self.model.layout[tensor].shape:
                    continue
                for place in wanted.places:
                    unit = Unit(place.source, tensor, place.rows, place.columns, place.seen)
                    found.setdefault((tensor, place.rows, place.columns.start, place.columns.stop), unit)
        return list(found.values())

    def full(self, wanted: Wanted) -> Stored | None:
        """The full tensor that should take the place of a tensor."""
        having = [each.adapter.full for each in self.witnesses if wanted.full in each.adapter.full]
        return wanted.trained(having[0][str(wanted.full)]) if having else None

    @cached_property
    def _tensors(self) -> Counter[str]:
        return Counter(each.module for each in self.units)

    def place(self, unit: Unit) -> str:
        """What a finding names: the module, or the tensor where the module is in several."""
        return unit.module if self._tensors[unit.module] == 1 else unit.tensor.removesuffix(".weight")

    def shape(self, tensor: str, wanted: Wanted) -> tuple[int, ...] | None:
        """That a tensor should have: of a full tensor of an adapter, else of what it was; None where nothing says."""
        first, full = self.witnesses[0], self.full(wanted)
        if full is not None:
            return full.spec.shape
        spec = first.base.layout.get(wanted.start or tensor)
        if spec is None or wanted.words is None:
            return None if spec is None else spec.shape
        return (*spec.shape[:-1], wanted.words)

    @cached_property
    def entries(self) -> int:
        """Looked at of each unit."""
        return self.most or min(ENTRIES, max(FEWEST, ALL_ENTRIES // max(1, len(self.units))))

    def working_memory(self, workers: int) -> int:
        """About how many bytes so many workers hold: of each the rows of one unit that are looked at, in both models and
        of every update, in float64 and with what they are judged by; and the factors of these updates. And `KEPT` of all.
        """
        layouts = [each.layout for each in self.adapters]
        reading = any(layout.reads in ("rows", "columns") for each in layouts for layout in each.values())
        looked = max((each.entries if reading else min(self.entries, each.entries) for each in self.units), default=0)
        factors = sum(max((layout.held for layout in each.values()), default=0) for each in layouts)
        arrays = (ARRAYS + FURTHER * len(layouts)) * 8
        each = arrays * looked + 4 * factors + 2 * CHUNK
        return KEPT + max(workers * each, arrays * self._in_codes(reading) + 4 * factors + 2 * CHUNK)

    def _in_codes(self, reading: bool) -> int:
        """Most entries that `beyond_codes` looks at at once, which one worker does alone."""
        most = 0
        for tensor in {each.tensor for each in self.units}:
            found = self.model.stored[tensor]
            if found.scheme is not None:
                height, width = self.model.layout[tensor].matrix
                looked = [(0, height)] if reading else blocks(range(height), width, self.entries)
                runs = widened(looked, judged_rows(found), height)
                most = max(most, *((end - begin) * width for begin, end in runs))
        return most

    def dtype(self, tensor: str) -> str:
        """That a weight had; of one that the base lacks, that it has."""
        return self.witnesses[0].base.layout.get(tensor, self.model.layout[tensor]).dtype

    def below(self, tensor: str, ground: Ground | None = None) -> Decoder:
        """Rows of what updates were added to: of a ground, where that has the tensor, else of the base."""
        base = (each.before(tensor, each.wanted[tensor]) for each in self.witnesses if tensor in each.wanted)
        return (ground and ground(tensor)) or next(base)

    def places(self, tensor: str) -> list[Sequence[Addend]]:
        """Where each adapter adds to a tensor."""
        return [each.wanted.get(tensor, Wanted(tensor)).places for each in self.witnesses]

    def sample(self, unit: Unit, ground: Ground | None = None) -> Sample:
        """Rows of a unit.

        Cost: they are read once, of base and model, and ΔW is formed for them alone; all rows where an update needs them.
        """
        before, found = (
            as_seen(each, self.model.layout[unit.tensor], unit.seen)
            for each in (self.below(unit.tensor, ground), decoder(self.model.stored[unit.tensor], rounded=True))
        )
        adders = [
            _Adder.of(adapter, [place for place in places if _meet(place.rows, unit.rows)], self.dtype(unit.tensor))
            for adapter, places in zip(self.adapters, self.places(unit.tensor), strict=True)
        ]
        height, width = unit.seen or self.model.layout[unit.tensor].matrix
        entire = any(formula.entire for adder in adders for _, formula in adder.formulas)
        pieces = []
        for begin, end in [(0, height)] if entire else blocks(unit.rows, width, self.entries):
            part = unit.whole.within(begin, end)
            if part is None:
                continue
            W = before(begin, end)
            cut = (part[0], unit.columns)
            deltas = [adder.rows(W, begin, end) for adder in adders]
            deltas = [Delta(each.values[cut], each.slack[cut]) for each in deltas]
            pieces.append((W[cut], found(begin, end)[cut], deltas, part[1]))
        spec = self.model.stored[unit.tensor]
        return Sample(
            np.concatenate([each[0] for each in pieces]),
            np.concatenate([each[1] for each in pieces]),
            [_joined([each[2][k] for each in pieces]) for k in range(len(adders))],
            None if spec.scheme else spec.dtype,
            [adder.scaled for adder in adders],
            [each[3] for each in pieces],
        )

    def beyond_codes(self, unit: Unit, weights: Sequence[float]) -> float | None:
        """Which part of the entries looked at of a tensor in codes has another code than the two next to W and weighted
        updates; None where no formula says.

        Cost: whole groups of the rows that are judged together are read once each, which is all of a tensor whose words
        hold codes of several rows; all rows where an update needs them.
        """
        found = self.model.stored[unit.tensor]
        judge, before = judge_of(found, stochastic=True), self.below(unit.tensor)
        if judge is None or unit.seen is not None:
            return None
        dtype = self.dtype(unit.tensor)
        adders = [_Adder.of(*each, dtype) for each in zip(self.adapters, self.places(unit.tensor), strict=True)]
        height, width = self.model.layout[unit.tensor].matrix
        entire = any(formula.entire for adder in adders for _, formula in adder.formulas)
        looked = [(0, height)] if entire else blocks(range(height), width, self.entries)
        off = []
        for begin, end in widened(looked, judge.rows, height):
            W = before(begin, end)
            S = W.copy()
            for weight, adder in zip(weights, adders, strict=True):
                S += weight * adder.rows(W, begin, end).values
            off.append(judge(S, 2 * UNIT * np.abs(S), begin, end)[0].ravel())
        return float(np.concatenate(off).mean())

    def other(self, unit: Unit, sample: Sample, place: Addend, update: Any, transposed: bool, shift: int = 0) -> Delta:
        """ΔW of an update for another place of the same shape, in the rows of a unit that its sample has; of rows that are
        `shift` further on, where the first follow the last.
        """
        formula, height, width = Formula(update, transposed, self.dtype(unit.tensor)), len(unit.rows), sample.W.shape[1]
        found = []
        for part in sample.parts:
            begin, end = part.start + shift, part.stop + shift
            cuts = [begin, *(at for at in (height, 2 * height) if begin < at < end), end]
            for one, other in pairwise(cuts):
                own = slice(place.first + one % height, place.first + one % height + other - one)
                found.append(formula.rows(own, np.zeros((other - one, width))))
        return _joined(found)


def _rounded_factors(adapter: Adapter, dtype: str) -> Adapter:
    def compute(module: str) -> Any:
        update: Any = adapter.updates[module]
        if not hasattr(update, "B"):
            return update
        return replace(update, **{role: rounded_to(getattr(update, role), dtype) for role in "BA"})

    return replace(adapter, updates=Lazy(adapter.layout, compute))


@dataclass(frozen=True)
class _Adder:
    """What one adapter adds to a tensor."""

    formulas: Sequence[tuple[Addend, Formula]]
    scaled: Scaled | None

    @classmethod
    def of(cls, adapter: Adapter, places: Sequence[Addend], dtype: str) -> _Adder:
        updates: dict[str, Any] = {place.source: adapter.updates[place.source] for place in places}
        formulas = [(place, Formula(updates[place.source], place.transposed, dtype)) for place in places]
        first = next(iter(updates), None)
        return cls(formulas, None if first is None else _scaled(adapter, first, updates[first]))

    def rows(self, W: Matrix, begin: int, end: int) -> Delta:
        """Rows [begin, end) of the tensor's ΔW, where W is what they were."""
        values, slack = np.zeros_like(W), np.zeros_like(W)
        for place, formula in self.formulas:
            part = place.within(begin, end)
            if part is not None:
                there = (part[0], place.columns)
                delta = formula.rows(part[1], W[there])
                values[there] += delta.values
                slack[there] += delta.slack
        return Delta(values, slack)


def _scaled(adapter: Adapter, module: str, update: Any) -> Scaled:
    stated = adapter.scalings.get(module)
    rank = stated.rank if stated else adapter.layout[module].rank
    return Scaled(getattr(update, "scale", 1.0), rank, bool(stated and stated.rslora))


def _meet(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


def _joined(deltas: Sequence[Delta]) -> Delta:
    return Delta(*(np.concatenate(each) for each in zip(*deltas, strict=True)))
