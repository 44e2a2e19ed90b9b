"""Adapters into checkpoints and out of them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from adapterops.adapter import Adapter, name
from adapterops.checkpoint import Checkpoint, Lies, check_dtype, original
from adapterops.errors import IncompatibleError, InputError, OptionError, UnsupportedError, at
from adapterops.finite import all_finite
from adapterops.formats.naming import (
    EMBEDDINGS,
    HEAD,
    WEIGHT,
    Place,
    canonical,
    check_untied,
    head_of,
    resolve,
    resolve_whole,
    ties,
    untied,
)
from adapterops.history import Step, sources
from adapterops.memory import Scratch
from adapterops.operations.experts import fitted
from adapterops.storage.lazy import Lazy

if TYPE_CHECKING:
    from adapterops.checkpoint import Rows
    from adapterops.updates.protocol import Array, Part, Update
    from adapterops.updates.survival import Block

PRECISIONS = ("float32", "float64")
BOTH_ENDS = {each + WEIGHT for each in (HEAD, *EMBEDDINGS)}


def fuse(base: Checkpoint, adapter: Adapter, *, dtype: str | None = None, precision: str = "float32") -> Checkpoint:
    """W ← W + ΔW for every adapted weight; every other tensor passes through.

    ΔW and the sum are computed in `precision`, and rounded once, when they are saved. An adapted output embedding that the base
    shares with the input embedding becomes a tensor of its own, and the config says so.

    Args:
        dtype: of the adapted weights; by default that of W.
        precision: `float32` or `float64`; weights in float64 always have the latter.

    Raises:
        IncompatibleError, UnsupportedError: a module has no place in the base; see `naming.resolve`.

    Cost: lazy; one tile of a weight at a time, and the factors of its update, or all of an update that is dense.
    """
    if dtype is not None:
        check_dtype(dtype)
    if precision not in PRECISIONS:
        raise OptionError(f"the precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    adapter = fitted(adapter, base)
    places = resolve({module: layout.shape for module, layout in adapter.layout.items()}, base.layout, base.config)
    base = _with_whole(_with_heads(base, places), adapter)
    by_tensor: dict[str, list[str]] = {}
    for module, place in places.items():
        by_tensor.setdefault(place.tensor, []).append(module)
    layout = {tensor: spec._replace(dtype=dtype) if dtype and tensor in by_tensor else spec for tensor, spec in base.layout.items()}

    def edit(tensor: str) -> Rows:
        if tensor not in by_tensor:
            return base.edits[tensor]
        wide = "float64" if base.layout[tensor].dtype == "F64" else precision
        return _added(base.rows(tensor), adapter, {module: places[module] for module in by_tensor[tensor]}, wide)

    return replace(
        base,
        layout=layout,
        edits=Lazy([*by_tensor, *(name for name in base.edits if name not in by_tensor)], edit),
        history=Step("fuse", {"precision": precision, **({"dtype": dtype} if dtype else {})}, (base.history, adapter.history)),
        holding={**base.holding, **{tensor: sum(_held(adapter, module) for module in modules) for tensor, modules in by_tensor.items()}},
    )


def _with_whole(base: Checkpoint, adapter: Adapter) -> Checkpoint:
    """The base with the whole tensors of an adapter in the place of its own.

    Where the base ties its embeddings and the adapter replaces the input embedding alone, the output embedding stays what it
    was: that is what the adapter was trained with.
    """
    if not adapter.replaced:
        return base
    names = {there: here for here, there in _whole_names(adapter, base).items()}
    check_untied({there: adapter.replaced[here].spec for there, here in names.items()}, base.layout, base.config)
    tied = head_of(base.layout, base.config)
    if tied and tied[0] not in names and tied[1] in names:
        base = _untied(base, {tied[0]: tied[1]})
    for new in [there for there in names if there not in base.layout]:
        wanted, found = base.layout[tied[1]].shape if tied else None, adapter.replaced[names[new]].spec.shape
        if tied is None or wanted != found:
            raise IncompatibleError(
                f"is a whole tensor of shape {list(found)}, and "
                + (f"the embedding in its place is {list(wanted)}" if wanted else "the base has no output embedding"),
                path=name(adapter),
                tensor=new,
                hint="the adapter was trained on another model, or with another vocabulary",
                code="E-NAMES",
            )
        base = _untied(base, {new: tied[1]})
    if base.config and ties(base.config) and any(canonical(there) in BOTH_ENDS for there in names):
        base = _untied(base, {})  # both ends are stored, and no longer the same

    from adapterops.updates.survival import Block, Change

    def edit(tensor: str) -> Rows:
        if tensor not in names:
            return base.edits[tensor]
        stored = adapter.replaced[names[tensor]]
        rows = original(Lies({"": stored}, stored.spec.shape))
        before = original(base.views.get(tensor, base.stored[tensor])) if tensor in base.schemes else None

        def trained(begin: int, end: int) -> Block:
            block = rows(begin, end)
            if not all_finite(block.values):
                raise InputError(
                    "has numbers that are NaN or infinite",
                    path=stored.file.path,
                    tensor=stored.name,
                    hint="the training diverged; use another checkpoint",
                    code="E-NONFINITE",
                )
            if before is None:
                return block
            W = before(begin, end).values.astype(block.values.dtype, copy=False)  # what codes leave of the training is to be seen
            every = slice(0, W.shape[0]), slice(0, W.shape[1])
            return Block(block.values.copy(), [Change(tensor.removesuffix(WEIGHT), every, W, block.values - W)])

        return trained

    edits = Lazy([*names, *(tensor for tensor in base.edits if tensor not in names)], edit)
    return replace(base, edits=edits)


def _whole_names(adapter: Adapter, base: Checkpoint) -> dict[str, str]:
    return resolve_whole({name: stored.spec for name, stored in adapter.replaced.items()}, base.layout)


def without_copies(adapter: Adapter, base: Checkpoint) -> Adapter:
    """The adapter without those of its whole tensors that are the base's, byte for byte.

    PEFT saves the weight of an output embedding beside its factors; where it was not trained, the adapter can be scaled and
    added like any other.
    """
    if not adapter.replaced:
        return adapter
    names = _whole_names(adapter, base)
    tied = head_of(base.layout, base.config)

    def copied(name: str) -> bool:
        there = names[name] if names[name] in base.layout else tied[1] if tied else None
        return there is not None and Lies({"": adapter.replaced[name]}, adapter.replaced[name].spec.shape).same_bytes(base.stored[there])

    return replace(adapter, replaced={name: stored for name, stored in adapter.replaced.items() if not copied(name)})


def _held(adapter: Adapter, module: str) -> int:
    layout = adapter.layout[module]
    return 4 * (layout.entries if layout.dense else layout.parameters)


def unfuse(fused: Checkpoint, adapter: Adapter, *, dtype: str | None = None, precision: str = "float32") -> Checkpoint:
    """W ← W - ΔW: what `fuse` added is taken away again, up to the rounding of both.

    Raises:
        UnsupportedError: the adapter replaced whole tensors; what the base had in their place is not known.
    """
    trained = [tensor for tensor in adapter.replaced if tensor.removesuffix(WEIGHT) not in adapter.layout]
    if trained:
        raise UnsupportedError(
            "replaced the base's, and what that was is not known",
            path=sources(adapter.history)[0].name,
            tensor=trained[0],
            hint="use the base itself, which is what unfusing would give",
        )
    return fuse(fused, -replace(adapter, replaced={}), dtype=dtype, precision=precision)


def _with_heads(base: Checkpoint, places: Mapping[str, Place]) -> Checkpoint:
    """The base with an output embedding of its own, wherever an adapter changes one."""
    heads = {place.tensor: place.copied for place in places.values() if place.copied}
    return _untied(base, heads) if any(module.rpartition(".")[2] == HEAD for module in places) else base


def _untied(base: Checkpoint, heads: Mapping[str, str]) -> Checkpoint:
    """The base with output embeddings that start as copies of its input embeddings, and a config that says so."""
    layout, stored = dict(base.layout), dict(base.stored)
    shards = {name: list(tensors) for name, tensors in base.shards.items()}
    for head, embedding in heads.items():
        layout[head], stored[head] = base.layout[embedding], base.stored[embedding]
        shards[next(reversed(shards))].append(head)

    def edit(name: str) -> Rows:
        return base.rows(heads.get(name, name))

    edits: Mapping[str, Rows] = Lazy([*base.edits, *heads], edit) if heads else base.edits
    return replace(base, layout=layout, stored=stored, shards=shards, edits=edits, config=untied(base.config) if base.config else None)


@dataclass(frozen=True, eq=False)
class Piece:
    """The update of one module, oriented as the tensor it is added to, and where in that it belongs."""

    module: str
    place: Place
    update: Update
    _basis: list[Array | None] = field(default_factory=list, init=False, repr=False)

    def within(self, begin: int, end: int) -> Part | None:
        """The part of the tensor's rows [begin, end) that it covers, as rows and columns of it, counted from `begin`."""
        height, width = self.update.shape
        first, last = max(begin, self.place.row), min(end, self.place.row + height)
        if first >= last:
            return None
        return slice(first - begin, last - begin), slice(self.place.column, self.place.column + width)

    def own(self, begin: int, part: Part) -> Part:
        """The same part, as rows and columns of the update."""
        first = begin - self.place.row
        return slice(first + part[0].start, first + part[0].stop), slice(0, self.update.shape[1])

    def basis(self) -> Array | None:
        """Orthonormal columns that span the rows of the update, where it is of low rank; computed once."""
        if not self._basis:
            from adapterops.linalg.core import orthonormal

            factors = self.update.lowrank()
            self._basis.append(None if factors is None else orthonormal(factors.A.T.astype("float64"))[0].astype("float32"))
        return self._basis[0]


@dataclass(frozen=True, eq=False)
class Addition:
    """The rows of a weight with the updates of its modules added, as a function of two row numbers.

    A block is good until the next one is asked for.
    """

    base: Rows
    pieces: Sequence[Piece]
    dtype: str
    scratch: Scratch = field(default_factory=Scratch)

    def __call__(self, begin: int, end: int) -> Block:
        import numpy as np

        from adapterops.updates.survival import Block, Change, within

        before = self.base(begin, end)
        values, changes = before.values, list(before.changes)
        own = self.scratch.array("sum", values.shape, self.dtype)
        for piece in self.pieces:
            part = piece.within(begin, end)
            if part is None:
                continue
            W = within(values, part)
            if values is own or W.dtype != self.dtype:
                kept = self.scratch.array(f"W of {piece.module}", W.shape, self.dtype)
                np.copyto(kept, W)
                W = kept
            delta = self.scratch.array(f"update of {piece.module}", W.shape, self.dtype)
            with at(tensor=piece.module):
                delta = piece.update.change(piece.own(begin, part), W, delta)
            if values is not own:
                if W.shape != values.shape:
                    np.copyto(own, values)
                values = own
            with np.errstate(all="ignore"):  # what is not finite is found when it is stored
                np.add(W, delta, out=within(values, part))
            changes.append(Change(piece.module, part, W, delta, piece.basis))
        return Block(values, changes)


def _added(rows: Rows, adapter: Adapter, places: Mapping[str, Place], precision: str) -> Addition:
    return Addition(rows, [_piece(adapter, module, place) for module, place in places.items()], precision)


def _piece(adapter: Adapter, module: str, place: Place) -> Piece:
    with at(tensor=module):
        update = adapter.updates[module]
        return Piece(module, place, update.T if place.transposed else update)
