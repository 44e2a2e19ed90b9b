"""The modules of an adapter as a base stores them: its fused projections are several tensors of some checkpoints."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TypeAlias

from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.diffusion.flat import flat
from adapterops.formats.models.architectures import INTERLEAVED, SPLIT, WEIGHT
from adapterops.formats.models.divisions import divided, joined, whole_of
from adapterops.formats.models.naming import Names, expert
from adapterops.formats.stacks import parameter_of
from adapterops.operations.targets.families import check_exchanged, elsewhere
from adapterops.operations.targets.misfits import MERGE
from adapterops.operations.targets.target import RowShare

Modules: TypeAlias = Mapping[str, tuple[int, int]]
"""Module → the (out, in) of its update."""


def shares(modules: Modules, experts: Mapping[str, int], names: Names) -> Iterator[RowShare]:
    """Every module as the base stores it.

    The one place where a joined projection of an adapter becomes its parts (`divisions.JOINED`, for experts
    `architectures.SPLIT`), and where parts find their rows in a joined one of the base; those of experts are found by
    `Names.candidates`.
    """
    check_exchanged(modules, names)
    rows = {names.name(module): shape[0] for module, shape in modules.items()}
    flat_rows = {flat(module).key: shape[0] for module, shape in modules.items()}
    for module, shape in modules.items():
        parts = list(_split(module, shape, names)) if experts else []
        yield from (
            parts
            or _divided(module, shape, names)
            or _within(module, shape, names)
            or (elsewhere(module, shape, flat_rows, names) if not names.candidates(module) else ())
            or [_part(module, shape, names, rows, experts)]
        )


def _divided(module: str, shape: tuple[int, int], names: Names) -> list[RowShare]:
    """The parts of a joined projection, whose tensors the base has; none if it does not have these."""
    name, above = names.name(module), module.rpartition(".")[0]
    whole = joined(name)
    if whole is None or names.of(name):
        return []
    there = [names.of(f"{name.rpartition('.')[0]}.{part}") for part in whole.parts]
    stored = [names.base[tensors[0]].shape for tensors in there if len(tensors) == 1]
    if len(stored) != len(whole.parts):
        return []
    if any(len(each) != 2 or each[1] != shape[1] for each in stored) or sum(each[0] for each in stored) != shape[0]:
        shown = ", ".join(f"{part} {list(each)}" for part, each in zip(whole.parts, stored, strict=True))
        raise IncompatibleError(
            f"is {list(shape)}, and the base has it in parts that do not fill that: {shown}",
            tensor=module,
            hint="give the base that the adapter was trained on",
            code="E-NAMES",
        )
    found, first = [], 0
    for part, each in zip(whole.parts, stored, strict=True):
        found.append(RowShare(module, f"{above}.{part}", (each[0], each[1]), first))
        first += each[0]
    return found


def _within(module: str, shape: tuple[int, int], names: Names) -> list[RowShare]:
    """The rows that transformers makes a module of when it loads the files, where these have them in a tensor with others."""
    rows = names.rows(names.name(module))
    if rows is None or module + WEIGHT in names.base:
        return []
    height, width = names.base[rows.tensor].shape
    if (shape[0] * rows.parts, shape[1]) != (height, width):
        raise IncompatibleError(
            f"is {list(shape)}, and one of {rows.parts} equal parts of {rows.tensor}, which is {[height, width]}: they do not fit",
            tensor=module,
            hint="give the base that the adapter was trained on",
            code="E-NAMES",
        )
    return [RowShare(module, module, shape, within=(rows.tensor,), row=rows.number * shape[0])]


def _part(
    module: str, shape: tuple[int, int], names: Names, rows: Mapping[str, int], experts: Collection[str]
) -> RowShare:
    """A module, with the rows that it has in the joined projection of the base, where it has it in one."""
    name = names.name(module)
    either = parameter_of(module, experts) != module and expert(name) is not None
    if either and any(names.base[each].shape == shape[::-1] for each in names.of(name)):
        return RowShare(module, module, (shape[1], shape[0]), transposed=shape[0] != shape[1])
    whole = whole_of(name)
    if whole is None or names.of(name) or not names.of(whole):
        return RowShare(module, module, shape, either=either)
    known, stored = joined(whole), names.base[names.of(whole)[0]].shape
    assert known
    if known.types is not None and not known.types & names.types:
        raise UnsupportedError(
            f"is a part of {whole} in the base, and in which rows is not known for a model of type {names.type or 'unknown'}",
            tensor=module,
            hint=MERGE if names.type else "state the model_type in config.json of the base",
        )
    above = name.rpartition(".")[0]
    firsts = divided(above, rows, known, stored[0]) if len(stored) == 2 and stored[1] == shape[1] else None
    if firsts is None:
        raise IncompatibleError(
            f"is {list(shape)}, and {whole}, which the base has it in, is {list(stored)}: they do not fit",
            tensor=module,
            hint="give the base that the adapter was trained on",
            code="E-NAMES",
        )
    return RowShare(module, module, shape, within=names.of(whole), row=firsts[name])


def _split(module: str, shape: tuple[int, int], names: Names) -> Iterator[RowShare]:
    """The parts of a fused projection of an expert, whose tensors the base has; none if it does not have these."""
    found = expert(names.name(module))
    if found is None or found.projection not in SPLIT or names.of(f"{found.parent}.{found.projection}"):
        return
    parts = SPLIT[found.projection]
    stored = next((names.base[tensor].shape for tensor in names.of(found.sibling(parts[0]))), ())
    if len(stored) != 2:
        return
    if not INTERLEAVED.isdisjoint(names.types):
        raise UnsupportedError(
            f"is stored as {' and '.join(parts)}, whose rows are mixed in {found.projection} of this type of model",
            tensor=module,
            hint=f"fuse into a checkpoint that stores {found.projection}",
        )
    height, width = stored
    joined_shape = (len(parts) * height, width)
    if shape not in (joined_shape, joined_shape[::-1]):
        raise IncompatibleError(
            f"is {list(shape)}, and {parts[0]} of this expert is {list(stored)} in the base, half of {list(joined_shape)}",
            tensor=module,
            hint="give the base that the adapter was trained on",
            code="E-NAMES",
        )
    for index, part in enumerate(parts):
        yield RowShare(
            module, f"{module.rpartition('.')[0]}.{part}", (height, width), index * height, shape != joined_shape
        )


def check_experts(experts: Mapping[str, int], names: Names) -> None:
    """Raise IncompatibleError where a parameter has another number of experts in the base than in the adapter."""
    for parameter, count in experts.items():
        there = names.experts(parameter)
        if count > 1 and there and count != there:
            raise IncompatibleError(
                f"has {count} experts in the adapter, and {there} in the base",
                tensor=parameter,
                hint="give the base that the adapter was trained on; if this is it, the rank in the adapter's config is wrong",
                code="E-NAMES",
            )
