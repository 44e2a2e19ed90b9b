"""Names before numbers: what an adapter does to each tensor of a base, settled from headers alone.

`resolve` settles every name once: prefixes, experts, fused and split projections, transposed weights, tied embeddings,
full tensors. What loops over its table asks about none of that again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from adapterops.adapters.adapter import Adapter
from adapterops.arrays.dtypes import FLOATS
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.architectures import (
    CONV1D_MODULES,
    CONV1D_TYPES,
    EMBEDDINGS,
    FUSED,
    HEAD,
    INTERLEAVED,
    SPLIT,
    WEIGHT,
)
from adapterops.formats.naming import (
    Candidate,
    Names,
    canonical,
    conv1d,
    expert,
    last,
    may_be_conv1d,
    ties,
    untied,
)
from adapterops.operations.classifiers import Classifier, classifier_of, made
from adapterops.operations.ends import check_in_no_scheme, kept_head, new_head
from adapterops.operations.full_tensors import counterparts, one_weight, replacements, resized
from adapterops.operations.misfits import misfits
from adapterops.operations.shares import Modules, Share, check_experts, shares
from adapterops.operations.token_rows import token_rows
from adapterops.storage.safetensors import Spec
from adapterops.updates.protocol import Part

BOTH_ENDS = {each + WEIGHT for each in (HEAD, *EMBEDDINGS)}


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
    """

    start: str | None
    full: str | None = None
    targets: tuple[Target, ...] = ()
    copies: tuple[str, ...] = ()
    rows: str | None = None


@dataclass(frozen=True)
class Targets:
    """What an adapter does to a base: an edit for each tensor that changes or is new.

    `untied`: input and output embedding are then two tensors, which config.json has to say. `words` is the size of the
    vocabulary before and after, where that changes. `classifier`: what the base becomes, if it does.
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
    own_head = any(last(module) == HEAD for module in modules)
    layout = {**base.layout, **(new_head(base, modules) if own_head else {})}
    config = untied(base.config) if own_head and base.config else base.config
    places = counterparts(adapter, layout, config)
    replaced = replacements(adapter, layout, config, base.config)
    words = resized(adapter, replaced, layout)
    if words:
        check_in_no_scheme(base, replaced)
    shapes = {tensor: adapter.full[full].spec.shape for tensor, (_, full) in replaced.items() if full}
    there = {tensor: spec._replace(shape=shapes.get(tensor, spec.shape)) for tensor, spec in base.layout.items()}
    edits = _added(modules, adapter.config.experts, Names(there, base.config, modules))
    for tensor, (start, full) in replaced.items():
        copies = tuple(each for each, (place, _) in places.items() if place == tensor and each != full)
        edits[tensor] = replace(edits.get(tensor, Edit(start)), full=full, copies=copies)
    adapted = [tensor for tensor, edit in edits.items() if edit.targets]
    if (kept := kept_head(adapted, there, config)) and kept[0] not in edits:
        edits[kept[0]] = Edit(kept[1], edits[kept[1]].full)
    joint = one_weight(adapter, config)
    for tensor, (start, rows) in token_rows(adapter, there, config, joint, base.config).items():
        edits[tensor] = replace(edits.get(tensor, Edit(start)), rows=rows)
        check_in_no_scheme(base, [tensor])
    new = any(tensor not in base.layout for tensor in edits)
    ends = any(
        (edit.full or edit.targets or edit.rows) and canonical(tensor) in BOTH_ENDS for tensor, edit in edits.items()
    )
    parted = ties(config or {}) and ends and not joint
    return Targets(edits, bool(own_head or new or parted) and not classifier, words, classifier)


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
            wrong.append(f"{part.module} is {list(part.shape)}, {tensor} is {list(names.base[start].shape)}")
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
    if part.whole:
        return [Candidate(tensor, tensor) for tensor in names.of(part.whole)]
    return names.candidates(part.module)


def _fit(candidate: Candidate, part: Share, names: Names) -> Target | None:
    """The target in a tensor, if a weight of this shape can be there."""
    stored = names.base[candidate.start].shape
    if len(stored) == 3:
        return _fit_expert(candidate, part, names)
    if part.whole:
        return Target(candidate.tensor, part.source, part.module, part.shape, part.row)
    own = candidate.start == candidate.tensor
    if len(stored) != 2 or sorted(stored) != sorted(part.shape) or (stored != part.shape and not own):
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
    transposed = _square_is_transposed(candidate.tensor, names.base) if height == width else (height, width) != together
    if transposed is None:
        raise UnsupportedError(
            f"is in {candidate.tensor}, where rows and columns cannot be told apart from the files",
            tensor=part.module,
            hint="fuse into a checkpoint that stores each expert by itself",
        )
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


def _square_is_transposed(tensor: str, base: Mapping[str, Spec]) -> bool | None:
    """Whether square experts are stored as (in, out): as the other parameter is, whose longer side shows it."""
    parent, _, projection = tensor.rpartition(".")
    size = base[tensor].shape[2]
    other = base.get(f"{parent}.{'down_proj' if projection == 'gate_up_proj' else 'gate_up_proj'}")
    if other is None or sorted(other.shape[1:]) not in ([size, 2 * size], [size / 2, size]):
        return None
    return other.shape[1] < other.shape[2]


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
