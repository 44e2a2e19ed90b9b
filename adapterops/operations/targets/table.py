"""Names before numbers: what an adapter does to each tensor of a base, settled from headers alone.

`resolve` settles every name once: prefixes, experts, fused and split projections, transposed weights, tied embeddings,
full tensors. What loops over its table asks about none of that again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adapterops.adapters.adapter import Adapter
from adapterops.arrays.dtypes import FLOATS
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.models.architectures import (
    CONV1D_MODULES,
    CONV1D_TYPES,
    FUSED,
    INTERLEAVED,
    SPLIT,
    WEIGHT,
)
from adapterops.formats.models.loading import IN_OUT, OUT_IN, loading
from adapterops.formats.models.naming import Candidate, Names, conv1d, expert, last, may_be_conv1d, namesakes
from adapterops.formats.models.ties import shared_modules, ties_of, untied
from adapterops.operations.targets.classifiers import Classifier, classifier_of, made
from adapterops.operations.targets.ends import check_in_no_scheme, kept_ends, new_ends
from adapterops.operations.targets.full_tensors import counterparts, one_weight, replacements, resized
from adapterops.operations.targets.misfits import misfits
from adapterops.operations.targets.output_bias import output_biases
from adapterops.operations.targets.share import Share
from adapterops.operations.targets.shares import Modules, check_experts, shares
from adapterops.operations.targets.token_rows import token_rows
from adapterops.storage.tensors import Spec
from adapterops.updates.protocol import Part


@dataclass(frozen=True)
class Target:
    """Where an update, or some of its rows, is added to a tensor.

    tensor[row:, column:] += ΔW[first:], in a rectangle of `shape`.

    Attributes:
        tensor: seen as a matrix, all dimensions but the last taken for one.
        source: the adapter's module whose update it is.
        module: what that is called: the source, or a part of it.
        shape: rows and columns of the tensor.
        first: the row of the update that the rectangle begins with.
        transposed: the update is transposed first, so that rows of it are rows of the tensor.
    """

    tensor: str
    source: str
    module: str
    shape: tuple[int, int]
    row: int = 0
    column: int = 0
    first: int = 0
    transposed: bool = False

    def within(self, begin: int, end: int) -> Part | None:
        """What it covers of the tensor's rows [begin, end), as rows and columns of these."""
        first, stop = max(begin, self.row), min(end, self.row + self.shape[0])
        if first >= stop:
            return None
        return slice(first - begin, stop - begin), slice(self.column, self.column + self.shape[1])

    def own(self, begin: int, part: Part) -> Part:
        """Such a part as rows and columns of the update, transposed where it has to be."""
        offset = begin - self.row + self.first
        return slice(offset + part[0].start, offset + part[0].stop), slice(0, self.shape[1])


@dataclass(frozen=True)
class Edit:
    """What happens to one tensor.

    Attributes:
        start: the tensor of the base that it starts as: itself, for a new output embedding the input embedding, for the
            head of a new classifier none.
        full: the full tensor of the adapter that takes its place, if one does.
        targets: the updates that are added then.
        copies: full tensors that have to be the same as `full`.
        rows: the rows of the adapter that take the place of some of its own, before updates are added.
        words: how many entries it has then, where it is a bias of all words: new ones are zero.
    """

    start: str | None
    full: str | None = None
    targets: tuple[Target, ...] = ()
    copies: tuple[str, ...] = ()
    rows: str | None = None
    words: int | None = None


@dataclass(frozen=True)
class Targets:
    """What an adapter does to a base: an edit for each tensor that changes or is new.

    `untied`: input and output embedding are then tensors of their own, which config.json has to say. `words` is the size
    of the vocabulary before and after, where that changes. `classifier`: what the base becomes, if it does.
    """

    edits: Mapping[str, Edit]
    untied: bool = False
    words: tuple[int, int] | None = None
    classifier: Classifier | None = None


def resolve(adapter: Adapter, base: Checkpoint) -> Targets:
    """The table of what an adapter does to a base. No tensor is read.

    Raises:
        IncompatibleError: a module or a full tensor has no counterpart, or several, or another shape; all modules that
            do not fit are listed.
        UnsupportedError: a weight is quantized in a way that is not read, or the files do not say where its rows are.
    """
    modules = {module: layout.shape for module, layout in adapter.layout.items()}
    classifier = classifier_of(adapter, base)
    if classifier:  # which has no output embedding, and so none that is tied
        base = made(base, classifier)
        base = replace(base, config=untied(base.config or {}))
    layout = {**base.layout, **new_ends(base, modules)}
    places = counterparts(adapter, layout, base.config)
    replaced = replacements(adapter, layout, base.config)
    words = resized(adapter, replaced, layout)
    if words:
        check_in_no_scheme(base, replaced)
    biases = output_biases(base.layout, words) if words else {}
    shapes = {tensor: adapter.full[full].spec.shape for tensor, (_, full) in replaced.items()}
    there = {tensor: spec._replace(shape=shapes.get(tensor, spec.shape)) for tensor, spec in base.layout.items()}
    _check_sides(adapter.config.square, there, base.config)
    names = Names(there, base.config, modules, shared_modules(there, base.config))
    edits = _added(modules, adapter.config.experts, names)
    for tensor, (start, full) in replaced.items():
        copies = tuple(each for each, (place, _) in places.items() if place == tensor and each != full)
        edits[tensor] = replace(edits.get(tensor, Edit(start)), full=full, copies=copies)
    edits |= {tensor: Edit(tensor, words=count) for tensor, (_, count) in biases.items()}
    joint = one_weight(adapter, base.layout, base.config)
    for tensor, (start, rows) in token_rows(adapter, there, base.config, joint).items():
        edits[tensor] = replace(edits.get(tensor, Edit(start)), rows=rows)
        check_in_no_scheme(base, [tensor])
    apart = {name: there[edit.start] for name, edit in edits.items() if edit.start and (edit.targets or not joint)}
    for end, source in kept_ends(apart, base.layout, base.config).items():
        if end not in edits:
            below = edits[source].full if source in edits else None
            edits[end] = Edit(source, below if below in adapter.config.unannounced else None)
    ties = ties_of(base.layout, base.config)
    own = any(name not in base.layout or name in ties.ends for name in apart)
    return Targets(edits, own and not ties.kept and not classifier, words, classifier)


def together(tables: Sequence[Targets]) -> dict[str, tuple[str, Target]]:
    """The targets of several adapters by module, each with the tensor of the base that its own starts as.

    Raises:
        IncompatibleError: two names stand for one weight.
    """
    edits = [edit for table in tables for edit in table.edits.values()]
    found = {target.module: (edit.start or target.tensor, target) for edit in edits for target in edit.targets}
    wrong = list(_overlaps(found, [target for _, target in found.values()]))
    if wrong:
        raise misfits(0, [], wrong, len(found), None)
    return found


def _added(modules: Modules, experts: Mapping[str, int], names: Names) -> dict[str, Edit]:
    """The edits that add updates.

    Raises:
        IncompatibleError: a module has no target, or several, or another shape; all of them are listed.
    """
    check_experts(experts, names)
    found: list[tuple[str, Target]] = []
    missing, wrong, count = [], [], 0
    for part in shares(modules, experts, names):
        count += 1
        candidates = _candidates(part, names)
        for each in candidates:
            _check_dtype(each, names.base)
        fits = [(each.start, target) for each in candidates if (target := _fit(each, part, names))]
        if len(fits) == 1:
            found += fits
        elif fits:
            wrong.append(f"{part.module} could be {' or '.join(target.tensor for _, target in fits)}")
        elif candidates:
            tensor, start, _ = candidates[0]
            wrong.append(
                f"{part.module} is {list(part.shape)}, and {tensor} of the base is {list(names.base[start].shape)}"
            )
        else:
            missing.append(part.module)
    wrong += _overlaps(modules, [target for _, target in found])
    if missing or wrong:
        raise misfits(len(found), missing, wrong, count, names)
    _check_squares(found, names)
    edits: dict[str, list[Target]] = {}
    starts = {}
    for start, target in found:
        starts[target.tensor] = start
        edits.setdefault(target.tensor, []).append(target)
    return {tensor: Edit(starts[tensor], targets=tuple(targets)) for tensor, targets in edits.items()}


def _candidates(part: Share, names: Names) -> list[Candidate]:
    if part.within:
        return [Candidate(tensor, tensor) for tensor in part.within]
    return names.candidates(part.module)


def _fit(candidate: Candidate, part: Share, names: Names) -> Target | None:
    """The target in a tensor, if a weight of this shape can be there."""
    spec = names.base[candidate.start]
    if len(spec.shape) == 3 and candidate.expert is not None:
        return _fit_expert(candidate, part, names)
    if part.within:
        return Target(candidate.tensor, part.source, part.module, part.shape, part.row, first=part.first)
    own, stored = candidate.start == candidate.tensor, spec.matrix
    if len(spec.shape) == 3 and candidate.tensor.endswith(WEIGHT):  # of a convolution in one dimension
        return None
    if sorted(stored) != sorted(part.shape) or (stored != part.shape and not own):
        return None
    if stored != part.shape and not may_be_conv1d(part.module, names.types):
        return None
    transposed = stored != part.shape if stored[0] != stored[1] else conv1d(part.module, {"model_type": names.type})
    return Target(
        candidate.tensor, part.source, part.module, stored, first=part.first, transposed=transposed != part.transposed
    )


def _fit_expert(candidate: Candidate, part: Share, names: Names) -> Target | None:
    """The target in a tensor (experts, out, in) or (experts, in, out) of all experts of a layer."""
    found, (count, height, width) = expert(part.module), names.base[candidate.start].shape
    if found is None or candidate.expert is None or candidate.expert >= count:
        return None
    _, index, parts = FUSED[found.projection]
    together = parts * part.shape[0], part.shape[1]
    if sorted((height, width)) != sorted(together):
        return None
    stored = _stored_transposed(candidate.start, names.base)
    if stored is None and height == width:
        raise UnsupportedError(
            f"is in {candidate.tensor}, where rows and columns cannot be told apart from the files",
            tensor=part.module,
            hint="fuse into a checkpoint that stores each expert by itself",
        )
    transposed = (height, width) != together if height != width else bool(stored)
    if stored not in (None, transposed) and not part.either:
        return None
    if parts > 1:
        _check_order(part.module, candidate.tensor, transposed, names)
    start, offset = candidate.expert * height, index * part.shape[0]
    row, column = (start, offset) if transposed else (start + offset, 0)
    shape = part.shape[::-1] if transposed else part.shape
    return Target(candidate.tensor, part.source, part.module, shape, row, column, transposed=transposed)


def _check_order(module: str, tensor: str, transposed: bool, names: Names) -> None:
    """Raise UnsupportedError where gate and up have their rows in turn, or may have: as (in, out), in an unknown model.

    The models whose rows are in turn store (in, out).
    """
    if (names.types and INTERLEAVED.isdisjoint(names.types)) or not (names.types or transposed):
        return
    found = (
        "have their rows in turn" if names.types else "may have their rows in turn: no config.json says the model_type"
    )
    raise UnsupportedError(
        f"is in {tensor}, where gate and up cannot be told apart: they {found}",
        tensor=module,
        hint="fuse into a checkpoint that stores each expert by itself"
        + ("" if names.types else ", or put the config.json of the base into its folder"),
    )


def _stored_transposed(tensor: str, base: Mapping[str, Spec]) -> bool | None:
    """Whether fused experts are stored as (in, out): the output of gate_up_proj is twice the input of down_proj, and the
    input of the one is the output of the other. None where the other parameter is not there, or has no such shape.
    """
    parent, _, projection = tensor.rpartition(".")
    names = [f"{parent}.{each}" for each in ("gate_up_proj", "down_proj")]
    if projection not in ("gate_up_proj", "down_proj") or any(
        len(base[each].shape) != 3 for each in names if each in base
    ):
        return None
    if not all(each in base for each in names):
        return None
    (_, high, wide), (_, out, into) = (base[each].shape for each in names)
    for transposed, sides in ((False, (high, wide, out, into)), (True, (wide, high, into, out))):
        if sides[:2] == (2 * sides[3], sides[2]):
            return transposed
    return None


def _check_sides(parameters: Collection[str], base: Mapping[str, Spec], config: Mapping[str, Any] | None) -> None:
    """Raise UnsupportedError for a square parameter of which PEFT takes the sides otherwise than the model, or may."""
    known = loading(config).fused
    for parameter, names in namesakes(parameters, base, loading(config).name).items():
        stored = [_stored_transposed(name, base) for name in names]
        if known == IN_OUT or (known == OUT_IN and True not in stored):
            continue
        fact = "stores its experts as (in, out)" if known else "has no config.json that says its model_type"
        raise UnsupportedError(
            f"is square and alone of its experts, and the base {fact}, so that it is not known which side is which",
            tensor=parameter,
            hint="merge it with the PEFT it was trained with"
            + ("" if known else ", or give the base with its config.json"),
        )


def _check_squares(found: Iterable[tuple[str, Target]], names: Names) -> None:
    """Where other weights of an unknown model are stored transposed, a square one does not show how it is."""
    if names.type in CONV1D_TYPES:
        return
    stored = [target for start, target in found if start == target.tensor]
    single = [
        target for target in stored if len(names.base[target.tensor].shape) == 2 and target.source == target.module
    ]
    kinds = {last(target.module) for target in single if target.transposed}
    for target in stored:
        unknown = not names.type and last(target.module) in CONV1D_MODULES
        if (kinds or unknown) and target.shape[0] == target.shape[1]:
            raise IncompatibleError(
                f"is square, and {', '.join(sorted(kinds)) or 'its like'} may be stored as (in, out): is this one, too?",
                tensor=target.module,
                hint=f"say what the model is: put its model_type, such as {sorted(CONV1D_TYPES)[2]}, into config.json of the base",
                code="E-ORIENTATION",
            )


def _overlaps(modules: Collection[str], targets: Iterable[Target]) -> Iterator[str]:
    """Modules that change the same entries."""
    for module in modules:
        head, _, projection = module.rpartition(".")
        if any(f"{head}.{part}" in modules for part in SPLIT.get(projection, ())):
            yield f"{module} is there whole and in parts"
    first: dict[tuple[str, int, int], str] = {}
    for target in targets:
        other = first.setdefault((target.tensor, target.row, target.column), target.module)
        if other != target.module:
            yield f"{target.module} and {other} are both {target.tensor}"


def _check_dtype(candidate: Candidate, base: Mapping[str, Spec]) -> None:
    dtype = base[candidate.start].dtype
    if dtype not in FLOATS:
        raise UnsupportedError(
            f"is stored as {dtype}: the base is quantized, and nothing can be added to it without loss",
            tensor=candidate.tensor,
            hint="fuse into the 16-bit checkpoint that it was made from",
        )
