"""A second opinion of a fused model: every tensor judged in float64, by code that shares none with what wrote it.

Shared are the readers: storage, headers and configs, what opens adapters and checkpoints. Names, heads, experts,
orientation, codes, scales and sums are found here independently, so that a fault there shows as a difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adapterops.adapters.adapter import Adapter
from adapterops.arrays.columns import BAND
from adapterops.arrays.dtypes import FLOATS
from adapterops.arrays.scratch import Scratch
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.stored import StoredTensor
from adapterops.verification.addends import Addend, Wanted
from adapterops.verification.configs import config_doubts, has_other_words
from adapterops.verification.decoding import decoder
from adapterops.verification.deltas import UNIT, Formula
from adapterops.verification.ggml import TERMS
from adapterops.verification.gguf_places import gguf_doubts
from adapterops.verification.held import SIGMAS, RoundingGain
from adapterops.verification.judges import Judge, judge_of
from adapterops.verification.names import Base
from adapterops.verification.numbers import Decoder
from adapterops.verification.other_files import other_files
from adapterops.verification.places import wanted
from adapterops.verification.rounding import Matrix
from adapterops.verification.vocabulary import becomes_classifier, left_out

TILE = 1 << 17
"""Entries judged at a time."""

ARRAYS, OF_CODES = 14, 32
"""Of so many entries, in float64, that are held at a time: what is judged, what it should be, and how far it may be off."""

BANDS = 6
"""In which parts that are stored by columns are read: codes, scales and zeros of the base and of the model."""


@dataclass(frozen=True)
class Doubt:
    """Something that is not what it should be: where, what, and the fraction of the entries that it concerns."""

    place: str
    what: str
    size: float = 1.0


@dataclass(frozen=True)
class Witness:
    """What a model should be: the base, the updates of an adapter in their places, and nothing else.

    Attributes:
        stochastic: codes that stay on the grid of the base, and numbers of 16 bits, were rounded to a neighbour at random.
        grams: tensor → the Gram matrix of its inputs, by which codes that stay on the grid of the base were chosen.
        stated: the adapter before anything of the base was made a part of it; None where that is not known.
    """

    model: Checkpoint
    base: Checkpoint
    adapter: Adapter
    wanted: dict[str, Wanted]
    stochastic: bool = False
    grams: Mapping[str, StoredTensor] = field(default_factory=dict)
    stated: Adapter | None = None

    def _formulas(self, each: Wanted) -> list[tuple[Addend, Formula]]:
        return [(place, Formula(self._update(place), place.transposed)) for place in each.places]

    def _update(self, place: Addend) -> Any:
        """What is added at a place: where it depends on the weight, and all of that is there, as the files of the adapter
        state it.
        """
        source, found = place.source, self.stated
        if found is None or source not in found.layout or found.layout[source].reads not in ("weight", "shape"):
            return self.adapter.updates[source]
        shape = self.adapter.layout[source].shape
        rows, columns = shape[::-1] if place.transposed else shape
        whole = len(place.rows) == rows and len(range(columns)[place.columns]) == columns and not place.first
        return (found if whole else self.adapter).updates[source]

    def memory(self, joint_entries: int) -> int:
        """About how many bytes judging a tensor holds, where so many entries at most have to be judged together."""
        codes = any(stored.scheme for stored in self.model.stored.values())
        return (OF_CODES if codes else ARRAYS) * 8 * max(TILE, joint_entries) + (BANDS * BAND if codes else 0)

    def tensor(self, name: str, elsewhere: Sequence[int] = ()) -> Iterator[Doubt]:
        """What is wrong with a tensor.

        Args:
            elsewhere: entries, counted through its matrix, that need not be judged: of merged ones, which an update has no
                formula of but its own, what a processor of another kind may have made.

        Cost: it is read once, and what it should be computed in float64; memory for a tile, or for the codes of a
        weight that are stored transposed.
        """
        if name not in self.wanted and name not in self.base.stored:
            return  # which the names have shown
        each = self.wanted.get(name, Wanted(name))
        for copy in each.copies:
            if each.full is None or not self.adapter.full[copy].same_bytes(self.adapter.full[each.full]):
                yield Doubt(name, f"is {copy} and {each.full} in the adapter, which differ")
        found, start = self.model.stored[name], self._start(name, each)
        added = each.places or each.rows or each.words
        if not added and start.dtype == found.dtype and start.scheme == found.scheme:
            if start is not found and not start.same_bytes(found):
                yield Doubt(name, "is not the bytes that it should be, where nothing is added")
            return
        shape = (*start.shape[:-1], each.words) if each.words else start.shape
        if shape != found.shape:
            yield Doubt(name, f"is {list(found.shape)}, expected {list(shape)}")
            return
        before = self.before(name, each)
        if name in self.grams and self._stays(name, each):
            yield from self._by_inputs(name, each, before)
            return
        judge = judge_of(found, self._is_stochastic(name, each), fresh=not self._stays(name, each))
        if found.dtype not in FLOATS or start.dtype not in FLOATS or judge is None:
            return  # in codes of another package, of which no formula is here
        yield from self._compared(name, each, before, judge, np.asarray(elsewhere, np.int64))

    def before(self, name: str, each: Wanted) -> Decoder:
        """Rows of what a tensor is before anything is added."""
        found = decoder(self._start(name, each), rounded=bool(each.places or self.model.stored[name].scheme))
        if each.words:
            return with_zeros(found, each.words)
        return self._with_rows(found, each.rows) if each.rows else found

    def _with_rows(self, before: Decoder, name: str) -> Decoder:
        """The same, with some rows of the adapter in their places."""
        stored, indices = self.adapter.full[name], self.adapter.config.tokens[name]
        values = decoder(StoredTensor({"": stored}, stored.spec.shape))

        def rows(begin: int, end: int) -> Matrix:
            W = before(begin, end).copy()
            for place, index in enumerate(indices):
                if begin <= index < end:
                    W[index - begin] = values(place, place + 1)[0]
            return W

        return rows

    def _start(self, name: str, each: Wanted) -> StoredTensor:
        if each.full is not None:
            stored = each.trained(self.adapter.full[each.full])
            return StoredTensor({"": stored}, stored.spec.shape)
        base = each.start or name
        if each.places or each.rows or self.model.stored[name].scheme != self.base.stored[base].scheme:
            return self.base.views.get(base, self.base.stored[base])
        return self.base.stored[base]

    def _is_stochastic(self, name: str, each: Wanted) -> bool:
        found = self.model.stored[name]
        if found.scheme is None:
            return self.stochastic and bool(each.places) and found.dtype in ("F16", "BF16")
        return self.stochastic and (self._stays(name, each) or (found.scheme.name in TERMS and bool(each.places)))

    def _stays(self, name: str, each: Wanted) -> bool:
        """Whether codes are on the grid of the base."""
        found, stored = self.model.stored[name].scheme, self.base.stored.get(each.start or name)
        same = stored is not None and stored.scheme is not None and stored.scheme == found
        return same and name not in self.base.views

    def _by_inputs(self, name: str, each: Wanted, before: Decoder) -> Iterator[Doubt]:
        """Codes that are chosen together for a whole row: they are nearer to W + ΔW than W is, as the inputs and the update
        itself see it.
        """
        spec, value = self.model.layout[name], decoder(self.model.stored[name])
        formulas = self._formulas(each)
        height = spec.matrix[0]
        W = before(0, height)
        S, _ = _sum(W, formulas, 0, height)
        gram = self.grams[name]
        G = gram.rows(0, gram.shape[0], Scratch()).astype(np.float64)
        transposed = hasattr(self.model.stored[name].scheme, "scheme")
        error, size = (each.T if transposed else each for each in (value(0, height) - S, S - W))
        own = size.T @ size
        metric = G / (np.trace(G) or 1.0) + own / (np.trace(own) or 1.0)
        left, whole = (float(((one @ metric) * one).sum()) for one in (error, size))
        if left > whole:
            yield Doubt(
                name,
                f"is {math.sqrt(left / whole) if whole else math.inf:.3g} times as far from the sum as the base is, for its inputs",
            )

    def _compared(self, name: str, each: Wanted, before: Decoder, judge: Judge, elsewhere: Matrix) -> Iterator[Doubt]:
        spec = self.model.layout[name]
        height, width = spec.matrix
        formulas = self._formulas(each)
        rows = height if any(place.seen or formula.entire for place, formula in formulas) else judge.rows
        step = max(1, TILE // max(1, width * rows)) * rows
        wrong, entries = 0, height * width
        held = RoundingGain()
        for begin in range(0, height, step):
            end = min(begin + step, height)
            W = before(begin, end)
            S, slack = _sum(W, formulas, begin, end)
            off, value = judge(S, slack, begin, end)
            explained = elsewhere[(begin * width <= elsewhere) & (elsewhere < end * width)] - begin * width
            wrong += int(np.count_nonzero(off)) - int(np.count_nonzero(off.reshape(-1)[explained]))
            held = held.over(W, S, value) if judge.stochastic else held
        if wrong:
            yield Doubt(
                name, f"{wrong} of {entries} entries are not what float64 makes of base and adapter", wrong / entries
            )
        if judge.stochastic and held.far():
            yield Doubt(name, f"holds {held.gain:.3g} of the update, chance explains 1 ± {SIGMAS * held.spread:.2g}")


def with_zeros(before: Decoder, words: int) -> Decoder:
    """Rows with an entry for each word, of which new ones are zero."""

    def rows(begin: int, end: int) -> Matrix:
        W = before(begin, end)
        found = np.zeros((len(W), words))
        kept = min(words, W.shape[1])
        found[:, :kept] = W[:, :kept]
        return found

    return rows


def _sum(W: Matrix, formulas: list[tuple[Addend, Formula]], begin: int, end: int) -> tuple[Matrix, Matrix]:
    """W + ΔW of some rows, and how far float32 may be from it."""
    S, slack = W.copy(), 2 * UNIT * np.abs(W)
    for place, formula in formulas:
        part = place.within(begin, end) if place.seen is None else place.within(0, place.seen[0])
        if part is None:
            continue
        there = (part[0], place.columns)
        sums, off = (S, slack) if place.seen is None else (S.reshape(place.seen), slack.reshape(place.seen))
        delta = formula.rows(part[1], sums[there])
        sums[there] += delta.values
        off[there] += delta.slack + 2 * UNIT * np.abs(delta.values)
    return S, slack


def witness(
    model: Checkpoint,
    base: Checkpoint,
    adapter: Adapter,
    *,
    stochastic: bool = False,
    grams: Mapping[str, StoredTensor] | None = None,
    own: bool = False,
    stated: Adapter | None = None,
) -> tuple[Witness, list[Doubt]]:
    """A witness of a model, and what names and config.json alone show: updates without a place, tensors too few or too
    many, a field that makes another model.

    Args:
        own: the model has a manifest, so that its config.json is the base's but for what the adapter changes.
        stated: see `Witness`.
    """
    places, lost = wanted(adapter, base, model)
    names, there = {*base.layout, *places}, Base(base.layout, base.config or {})
    classifies = becomes_classifier(adapter, there)
    if classifies:
        names -= left_out(there) - places.keys()
    extra = model.layout.keys() - names
    doubts = [Doubt(name, what) for name, what in lost.items() if name not in extra]
    doubts += [Doubt(name, "is missing") for name in sorted(names - model.layout.keys())]
    doubts += [Doubt(name, "should not be there") for name in sorted(extra)]
    read = dict(found for each in (base, model) for found in gguf_doubts(each))
    doubts += [Doubt(name, what) for name, what in read.items()]
    fields = config_doubts(model, base, adapter, places, classifies=classifies, own=own)
    doubts += [Doubt("config.json", what) for what in fields]
    if own:
        grown = has_other_words(model, base, places)
        doubts += [Doubt(name, what) for name, what in other_files(model, base, adapter, grown=grown)]
    return Witness(model, base, adapter, places, stochastic, grams or {}, stated), doubts
