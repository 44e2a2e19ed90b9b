"""Names before numbers: what an adapter does to each tensor of a base, settled from headers alone.

`resolve` settles every name once: prefixes, experts, fused and split projections, transposed weights, tied embeddings,
full tensors. What loops over its table asks about none of that again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import name
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import IncompatibleError
from adapterops.formats.models.architectures import SPLIT
from adapterops.formats.models.bare import with_head
from adapterops.formats.models.loading import loading, tower_of, towers
from adapterops.formats.models.naming import Names
from adapterops.formats.models.ties import shared_modules, ties_of, untied
from adapterops.operations.targets.classifiers import check_has_head, classifier_of, made
from adapterops.operations.targets.ends import check_begun, check_in_no_scheme, kept_ends, new_ends
from adapterops.operations.targets.fitting import candidates_of, check_dtype, check_sides, check_squares, fit
from adapterops.operations.targets.full_tensors import counterparts, one_weight, replacements, resized
from adapterops.operations.targets.misfits import OWN_BASE, misfits
from adapterops.operations.targets.output_bias import output_biases
from adapterops.operations.targets.shares import Modules, check_experts, shares
from adapterops.operations.targets.target import Edit, Target, Targets
from adapterops.operations.targets.token_rows import token_rows
from adapterops.operations.targets.whole_experts import rows_of_experts


def resolve(adapter: Adapter, base: Checkpoint, *, only_updates: bool = False) -> Targets:
    """The table of what an adapter does to a base. No tensor is read.

    Args:
        only_updates: where only names are asked for, and no model is written: the full tensors of the adapter are left out
            of the table, and so are ends that an update would make tensors of their own.

    Raises:
        IncompatibleError: a module or a full tensor has no counterpart, or several, or another shape; all modules that
            do not fit are listed.
        UnsupportedError: a weight is quantized in a way that is not read, or the files do not say where its rows are.
    """
    check_has_head(adapter, base)
    adapter = replace(adapter, full={}) if only_updates else adapter
    modules = {module: layout.shape for module, layout in adapter.layout.items()}
    classifier = classifier_of(adapter, base)
    if classifier:  # which has no output embedding, and so none that is tied
        base = made(base, classifier)
        base = replace(base, config=untied(base.config or {}))
    elif base.config:
        base = replace(
            base, config=with_head(base.config, adapter.config.base_class, adapter.config.fields.get("task_type"))
        )
    layout = {**base.layout, **new_ends(base, modules)}
    places = counterparts(adapter, layout, base.config)
    replaced = replacements(adapter, layout, base.config)
    words = resized(adapter, replaced, layout)
    if words:
        check_in_no_scheme(base, replaced)
    biases = output_biases(base.layout, words) if words else {}
    shapes = {tensor: adapter.full[full].spec.shape for tensor, (_, full) in replaced.items()}
    there = {tensor: spec._replace(shape=shapes.get(tensor, spec.shape)) for tensor, spec in base.layout.items()}
    check_sides(adapter.config.square, there, base.config)
    names = Names(there, base.config, modules, shared_modules(there, base.config), _tower(adapter, base))
    kernels = {module: layout.kernel for module, layout in adapter.layout.items()}
    edits = _added(modules, adapter.config.experts, kernels, names)
    check_begun(edits, adapter.layout)
    for tensor, (start, full) in replaced.items():
        copies = tuple(each for each, (place, _) in places.items() if place == tensor and each != full)
        edits[tensor] = replace(edits.get(tensor, Edit(start)), full=full, copies=copies)
    for tensor, (full, first) in rows_of_experts(adapter, layout, base.config).items():
        edits[tensor] = replace(edits.get(tensor, Edit(tensor)), full=full, first=first)
    edits |= {tensor: Edit(tensor, words=count) for tensor, (_, count) in biases.items()}
    joint = one_weight(adapter, base.layout, base.config)
    for tensor, (start, rows) in token_rows(adapter, there, base.config, joint).items():
        edits[tensor] = replace(edits.get(tensor, Edit(start)), rows=rows)
        check_in_no_scheme(base, [tensor])
    started = {name: there[edit.start] for name, edit in edits.items() if edit.start and (edit.targets or not joint)}
    for end, source in ({} if only_updates else kept_ends(started, base.layout, base.config)).items():
        if end not in edits:
            below = edits[source].full if source in edits else None
            edits[end] = Edit(source, below if below in adapter.config.unannounced else None)
    ties = ties_of(base.layout, base.config)
    for end, source in ties.missing.items():  # PEFT copies what is under an update into the tensor that they share
        if end in edits and edits[end].targets and source not in edits:
            below = edits[end].full
            edits |= {source: Edit(source, below)} if below in adapter.config.unannounced else {}
    own = any(name not in base.layout or name in ties.ends for name in started)
    return Targets(edits, own and not ties.kept and not classifier, words, classifier)


def _tower(adapter: Adapter, base: Checkpoint) -> str:
    """The part of a model for text and images that an adapter is for, where it names a class that is that alone.

    Raises:
        IncompatibleError: the base is another part; the names in both are the same.
    """
    stated = adapter.config.base_class
    tower, known = tower_of(stated), loading(base.config).tower
    there = {part for part in towers() if any(f"{part}." in tensor for tensor in base.layout)} or {known} - {""}
    if tower and there and tower not in there:
        raise IncompatibleError(
            f"is for {stated}, and the base is a {there.pop()}",
            path=name(adapter),
            hint="give the base that the adapter was trained on",
            code="E-NAMES",
        )
    return tower


AS_ONE = "give each the names of the base first: adapterops convert ADAPTER --to peft --base BASE -o OUT"
ONCE = "keep one of the two, the one that was trained"


def targets_by_module(tables: Sequence[Targets]) -> dict[str, tuple[str, Target]]:
    """The targets of several adapters by module, each with the tensor of the base that its own starts as.

    Raises:
        IncompatibleError: two names stand for one weight.
    """
    edits = [edit for table in tables for edit in table.edits.values()]
    found = {target.module: (edit.start or target.tensor, target) for edit in edits for target in edit.targets}
    wrong = list(_overlaps(found, [target for _, target in found.values()]))
    if wrong:
        raise misfits([], [], wrong, len(found), None, AS_ONE)
    return found


def _added(
    modules: Modules, experts: Mapping[str, int], kernels: Mapping[str, tuple[int, ...]], names: Names
) -> dict[str, Edit]:
    """The edits that add updates.

    Raises:
        IncompatibleError: a module has no target, or several, or another shape; all of them are listed.
    """
    check_experts(experts, names)
    found: list[tuple[str, Target]] = []
    missing, wrong, count = [], [], 0
    for part in shares(modules, experts, names):
        count += 1
        part = part._replace(kernel=kernels[part.source])
        candidates = candidates_of(part, names)
        for each in candidates:
            check_dtype(each, names.base)
        fits = [(each.start, target) for each in candidates if (target := fit(each, part, names))]
        if len(fits) == 1:
            found += fits
        elif fits:
            wrong.append(f"{part.module} could be {' or '.join(target.tensor for _, target in fits)}")
        elif candidates:
            tensor, start, *_ = candidates[0]
            wrong.append(
                f"{part.module} is {list(part.shape)}, and {tensor} of the base is {list(names.base[start].shape)}"
            )
        else:
            missing.append(part.module)
    twice = list(_overlaps(modules, [target for _, target in found]))
    if missing or wrong or twice:
        hint = OWN_BASE if wrong else ONCE
        raise misfits([target.module for _, target in found], missing, wrong + twice, count, names, hint)
    check_squares(found, names)
    edits: dict[str, list[Target]] = {}
    starts = {}
    for start, target in found:
        starts[target.tensor] = start
        edits.setdefault(target.tensor, []).append(target)
    return {tensor: Edit(starts[tensor], targets=tuple(targets)) for tensor, targets in edits.items()}


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
