"""What no update is added to: other tensors, the rest of those that have one, full tensors, and the names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from adapterops.arrays.dtypes import FLOATS
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.checkpoints.stored import StoredTensor
from adapterops.storage.tensors import Spec
from adapterops.verification.addends import Wanted
from adapterops.verification.decoding import as_seen, decoder
from adapterops.verification.deltas import UNIT
from adapterops.verification.diagnosis.finite import not_finite
from adapterops.verification.diagnosis.runs import ENTRIES, blocks
from adapterops.verification.diagnosis.samples import Ground
from adapterops.verification.diagnosis.subject import Subject
from adapterops.verification.diagnosis.suspects import NOT_FINITE, Symptom
from adapterops.verification.names import EMBEDDINGS, HEAD, key
from adapterops.verification.numbers import Decoder
from adapterops.verification.rounding import half_step
from adapterops.verification.witness import Doubt

NAME, FULL, CHANGED, TIED = "name", "full", "changed", "tied"
SAME_CODES, OTHER_CODES = 0.02, 0.2
"""Of the norm of a tensor: what quantizing it again in its scheme may move it by, and quantizing it to 4 bits."""

WRONG = {
    FULL: "is not the full tensor of the adapter",
    TIED: "is not the embedding that it was tied to",
    CHANGED: "changed, and no adapter has an update there",
}


def renamed(model: Checkpoint, base: Checkpoint) -> Checkpoint:
    """A model with the names of its base, where they mean one weight each under other wrappers."""
    lost = {(*key(name), name.endswith(".bias")): name for name in base.layout if name not in model.layout}
    new = [name for name in model.layout if name not in base.layout]
    ends = [(*key(name), name.endswith(".bias")) for name in new]
    names = {name: lost[end] for name, end in zip(new, ends, strict=True) if end in lost and ends.count(end) == 1}
    if not names:
        return model

    def again(name: str) -> str:
        return names.get(name, name)

    return replace(
        model,
        layout={again(name): spec for name, spec in model.layout.items()},
        stored={again(name): stored for name, stored in model.stored.items()},
        shards={file: [again(name) for name in tensors] for file, tensors in model.shards.items()},
    )


def name_findings(subject: Subject, doubts: Sequence[Sequence[Doubt]]) -> Iterator[Symptom]:
    """What the names show: of several adapters a tensor may be there for any of them."""
    extra = [{each.place for each in some if each.what == "should not be there"} for some in doubts]
    seen, base = set[tuple[str, str]](), subject.witnesses[0].base
    for doubt in (each for some in doubts for each in some):
        several = doubt.what == "should not be there" and not all(doubt.place in places for places in extra)
        if several or (doubt.place, doubt.what) in seen:
            continue
        seen.add((doubt.place, doubt.what))
        heads = [name for name in subject.model.layout if key(name)[-1] == HEAD and name not in base.layout]
        if heads and doubt.place in {*heads, "config.json"} and all(_copy(subject, name) for name in heads):
            continue
        kind = TIED if doubt.place == "config.json" or key(doubt.place)[-1] in {HEAD, *EMBEDDINGS} else NAME
        tied = doubt.place in base.layout and key(doubt.place)[-1] == HEAD and _says_tied(subject.model)
        yield Symptom(
            kind, doubt.place, f"{doubt.what}, and config.json ties it to the input embedding" * tied or doubt.what
        )


def _says_tied(model: Checkpoint) -> bool:
    return bool((model.config or {}).get("tie_word_embeddings"))


def _copy(subject: Subject, name: str) -> bool:
    """Whether an output embedding is the input embedding of the model once more, which changes nothing."""
    model = subject.model
    return any(
        model.stored[name].same_bytes(model.stored[each]) for each in model.layout if key(each)[-1] in EMBEDDINGS
    )


def other_findings(subject: Subject, tensor: str, ground: Ground | None, *, every: bool = False) -> Iterator[Symptom]:
    """What is wrong with a tensor where no update is added. Bytes are compared whole, other dtypes in rows spread over it,
    or in `every` row.
    """
    found, base = subject.model.stored[tensor], subject.witnesses[0].base
    wanted = next((each.wanted[tensor] for each in subject.witnesses if tensor in each.wanted), Wanted(tensor))
    shape, kind = subject.shape(tensor, wanted), FULL if wanted.full or wanted.rows else CHANGED
    if shape is None:
        return  # which the names show
    if shape != found.shape:
        yield Symptom(kind, tensor, f"is {list(found.shape)}, expected {list(shape)}")
        return
    height = subject.model.layout[tensor].matrix[0]
    if wanted == Wanted(tensor):
        before = base.stored[tensor]
        if before.dtype != found.dtype or before.scheme != found.scheme or not before.same_bytes(found):
            if key(tensor)[-1] == HEAD and _copy(subject, tensor):
                yield Symptom(TIED, tensor, "is the input embedding, to which it was not tied")
                return
            codes = before.scheme.name if before.scheme else None
            rest = Rest(tensor, found, decoder(before, rounded=True), CHANGED, every, codes)
            yield from rest.findings([(0, height)])
        return
    full = subject.full(wanted)
    if full and not wanted.places and full.spec.dtype == found.dtype not in FLOATS:
        if not found.same_bytes(StoredTensor({"": full}, full.spec.shape)):
            yield Symptom(FULL, tensor, WRONG[FULL])
        return
    start = subject.below(tensor, ground)
    if not wanted.places:
        yield from Rest(tensor, found, start, FULL if kind == FULL else TIED, every).findings([(0, height)])
        return
    units = sorted((each for each in subject.units if each.tensor == tensor), key=lambda each: each.rows.start)
    seen = next((each.seen for each in units if each.seen), None)
    free, at, height = [], 0, seen[0] if seen else height
    for unit in units:
        free.append((at, unit.rows.start))
        at = max(at, unit.rows.stop)
    free.append((at, height))
    yield from Rest(tensor, found, start, CHANGED, every, seen=seen).findings([(a, b) for a, b in free if b > a])


def unlike(subject: Subject, tensor: str, start: Decoder) -> Iterator[Symptom]:
    """What is wrong with a tensor without an update that should be what is decoded by `start`."""
    height = subject.model.layout[tensor].matrix[0]
    yield from Rest(tensor, subject.model.stored[tensor], start, CHANGED, False).findings([(0, height)])


@dataclass(frozen=True)
class Rest:
    """Rows of a tensor that should be what they were, in the dtype that they have now.

    Attributes:
        codes: the scheme that they were in, where they were in one.
        seen: as what matrix they are rows of the tensor, where that is not its own.
    """

    tensor: str
    found: StoredTensor
    before: Decoder
    kind: str
    every: bool
    codes: str | None = None
    seen: tuple[int, int] | None = None

    def findings(self, parts: Sequence[tuple[int, int]]) -> Iterator[Symptom]:
        """What is wrong in some runs of rows."""
        spec, dtype = Spec(self.found.dtype, self.found.shape), self.found.dtype
        after, before = (as_seen(each, spec, self.seen) for each in (decoder(self.found), self.before))
        if dtype not in FLOATS:
            yield Symptom(self.kind, self.tensor, WRONG[self.kind])
            return
        wrong, entries, square, whole = 0, 0, 0.0, 0.0
        for begin, end in self._runs(parts):
            W, M = before(begin, end), after(begin, end)
            if not np.isfinite(M).all() and np.isfinite(W).all():
                what = not_finite(self.found) or "stands for NaN or infinity in some entries"
                yield Symptom(NOT_FINITE, self.tensor, what)
                return
            slack = half_step(M, dtype)
            if self.codes:  # which may have been rounded to the dtype that they stand in, or not, and in float32
                slack += half_step(W, "BF16") + 2 * UNIT * np.abs(W)
            wrong += int(np.count_nonzero(~(np.abs(M - W) <= slack)))
            square, whole = square + float(np.square(M - W).sum()), whole + float(np.square(W).sum())
            entries += M.size
        relative = (square / whole) ** 0.5 if whole else square**0.5
        if self.found.scheme is not None:
            if relative > (SAME_CODES if self.found.scheme.name == self.codes else OTHER_CODES):
                yield Symptom(
                    self.kind, self.tensor, f"is {relative:.2%} from what it was, more than quantization explains"
                )
        elif wrong:
            what = f"{WRONG[self.kind]}: {wrong} of {entries} entries looked at, {relative:.2%} of its norm"
            yield Symptom(self.kind, self.tensor, what)

    def _runs(self, parts: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        width = self.found.shape[-1] if self.found.shape else 1
        for begin, end in parts:
            step = max(1, ENTRIES // width)
            every = [(row, min(row + step, end)) for row in range(begin, end, step)]
            yield from every if self.every else blocks(range(begin, end), width, ENTRIES)
