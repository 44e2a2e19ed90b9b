"""Modules of image and video models under the names that another program gives them: renamed, joined, or in parts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate

from adapterops.errors import IncompatibleError
from adapterops.formats.diffusion.families import (
    BIAS,
    by_authors,
    divided,
    exchanged,
    first_rows,
    renamed,
    weight_of_first_rows,
    wholes,
    whose,
)
from adapterops.formats.diffusion.flat import Flat, flat
from adapterops.formats.diffusion.table import Joined
from adapterops.formats.models.architectures import WEIGHT
from adapterops.formats.models.naming import Names
from adapterops.operations.targets.target import RowShare
from adapterops.storage.tensors import kernel

Shape = tuple[int, int]


def elsewhere(module: str, shape: Shape, rows: Mapping[str, int], names: Names) -> list[RowShare]:
    """The places of a module that the base has by another program's name; none where it has no such. A bias is where the
    rows of its weight are.

    Args:
        rows: flat name of each module of the adapter → its rows.

    Raises:
        IncompatibleError: the base has it, and it does not fit.
    """
    name = flat(module)
    if alias := by_authors(name.key):
        name = Flat(alias, name.part)
        for tensor in names.flattened(name)[:1]:
            return _under_another_name(module, shape, tensor, names)
    if first := weight_of_first_rows(name.key):
        for tensor in names.flattened(Flat(first, name.part))[:1]:
            height, width = names.base[tensor].matrix
            _check(module, shape, tensor, shape[0] < height and shape[1] == width, names)
            return [RowShare(module, module, shape, within=(tensor,))]
        for joined, number in divided(first):
            each = [names.flattened(Flat(part.replace("#", number), name.part)) for part in joined.parts]
            leading = _leading([those[0] for those in each if those], shape[0], names)
            if leading and all(each[: len(leading)]):
                return _divided(module, shape, joined, number, leading, names)
    others = [tensor for key in renamed(name.key) for tensor in names.flattened(Flat(key, name.part))[:1]]
    if others:  # of several models, of which one is that of the base
        fit = next((tensor for tensor in others if _fits_all(shape, tensor, names)), others[0])
        return _under_another_name(module, shape, fit, names)
    end = BIAS if name.key.endswith(BIAS) and shape[0] == 1 else ""
    weight, column = name.key.removesuffix(end), shape[::-1] if end else shape

    def found(key: str, number: str) -> list[str]:
        whole = key.replace("#", number)
        return names.flattened(Flat(f"{whole.removesuffix('_weight')}{end}" if end else whole, name.part))

    for joined, index, number in wholes(weight):
        for tensor in found(joined.whole, number)[:1]:
            return _inside(module, column, joined, index, number, tensor, rows, names)
    for joined, number in divided(weight):
        parts = [found(part, number) for part in joined.parts]
        if all(len(each) == 1 for each in parts):
            return _divided(module, column, joined, number, [each[0] for each in parts], names)
    return []


def check_exchanged(modules: Iterable[str], names: Names) -> None:
    """Raise IncompatibleError for a module whose name means another weight by the authors of the model than in diffusers, where
    adapter and base are not both in the names of the one.
    """
    keys = {module: flat(module) for module in modules}

    @cache
    def sides(model: str) -> tuple[Collection[str], Collection[str]]:
        base = whose(model, (flat(tensor).key for tensor in names.base), only_exchanged=True)
        return base, whose(model, (each.key for each in keys.values()))

    for module, key in keys.items():
        for model, others in exchanged(key.key):
            if not all(names.flattened(Flat(other, key.part)) for other in others):
                continue
            base, mine = sides(model)
            if base and not (mine == base and len(base) == 1):
                has = f"the base has those of {' and '.join(sorted(base))}"
                raise IncompatibleError(
                    f"is another weight in the names of {model} by its authors than in those of diffusers, which have "
                    f"{' and '.join(others)} the other way round: {has}, and the adapter "
                    + (f"those of {' and '.join(sorted(mine))}" if mine else "does not show whose it has"),
                    tensor=module,
                    hint="give the base in the names that the adapter was trained with, or leave these tensors out"
                    if mine
                    else "leave these tensors out, or give an adapter that has more modules, whose names show it",
                    code="E-NAMES",
                )


def _leading(tensors: Sequence[str], height: int, names: Names) -> Sequence[str]:
    """The first of some weights that have so many rows together; none where that would end within one."""
    heights = list(accumulate(_stored(tensor, names)[0] for tensor in tensors))
    return tensors[: heights.index(height) + 1] if height in heights else ()


def _under_another_name(module: str, shape: Shape, tensor: str, names: Names) -> list[RowShare]:
    """All of a tensor."""
    _check(module, shape, tensor, _fits_all(shape, tensor, names), names)
    return [RowShare(module, module, shape, within=(tensor,))]


def _fits_all(shape: Shape, tensor: str, names: Names) -> bool:
    """Whether a module is all of a tensor, which may be the kernel of a convolution."""
    spec = names.base[tensor]
    return shape in (spec.matrix, *([kernel(spec.shape)] if len(spec.shape) > 2 else []))


def _stored(tensor: str, names: Names) -> Shape:
    """A weight as rows and columns, a bias as a column."""
    spec = names.base[tensor]
    return (spec.shape[0], 1) if len(spec.shape) == 1 else spec.matrix


def _inside(
    module: str,
    shape: Shape,
    joined: Joined,
    index: int,
    number: str,
    tensor: str,
    rows: Mapping[str, int],
    names: Names,
) -> list[RowShare]:
    """The rows of a joined weight that a module is, or of its bias."""
    height, width = _stored(tensor, names)
    if _is_swapped(joined, number, tensor, names):
        return _swapped(module, shape, tensor, names)
    keys = [part.replace("#", number) for part in joined.parts]
    known = {part: rows[key] for part, key in enumerate(keys) if key in rows} | {index: shape[0]}
    firsts = first_rows(joined, known, height, _columns(tensor, names))
    fits = firsts is not None and shape == (firsts[index + 1] - firsts[index], width)
    _check(module, shape, tensor, fits, names)
    assert firsts
    return [RowShare(module, module, shape, transposed=_is_column(tensor, names), within=(tensor,), row=firsts[index])]


def _divided(
    module: str, shape: Shape, joined: Joined, number: str, tensors: Sequence[str], names: Names
) -> list[RowShare]:
    """The tensors that a joined weight, or its bias, is in the base."""
    if _is_swapped(joined, number, tensors[0], names):
        return _swapped(module, shape, tensors[0], names)
    stored = [_stored(tensor, names) for tensor in tensors]
    fits = sum(height for height, _ in stored) == shape[0] and all(width == shape[1] for _, width in stored)
    _check(module, shape, tensors[0], fits, names)
    found, first = [], 0
    for tensor, each in zip(tensors, stored, strict=True):
        part = tensor.removesuffix(WEIGHT)
        found.append(RowShare(module, part, each, first, _is_column(tensor, names), within=(tensor,)))
        first += each[0]
    return found


def _is_swapped(joined: Joined, number: str, tensor: str, names: Names) -> bool:
    """Whether a weight, or its bias, has its halves the other way round.

    Raises:
        IncompatibleError: another weight shows it, and the base has not got that.
    """
    if not joined.swapped or not joined.times:
        return joined.swapped
    part = flat(tensor).part
    others = [found for each in joined.against for found in names.flattened(Flat(each.replace("#", number), part))]
    if joined.against and not others:
        raise IncompatibleError(
            f"may have two halves, which one program has in another order than the other, and the base has no "
            f"{' or '.join(joined.against).replace('#', number)}, which shows it",
            tensor=tensor,
            hint="give the whole model, and not a part of it",
            code="E-NAMES",
        )
    return _stored(tensor, names)[0] == joined.times * _columns(others[0] if others else tensor, names)


def _columns(tensor: str, names: Names) -> int:
    """How many columns a weight has, or that of a bias."""
    above = tensor.removesuffix(".bias") + WEIGHT
    return _stored(above if above in names.base else tensor, names)[1]


def _swapped(module: str, shape: Shape, tensor: str, names: Names) -> list[RowShare]:
    """Both halves of a weight, or of its bias, each in the place of the other."""
    _check(module, shape, tensor, _stored(tensor, names) == shape and shape[0] % 2 == 0, names)
    half = shape[0] // 2, shape[1]
    return [
        RowShare(
            module,
            f"{module}[{first // half[0]}]",
            half,
            first,
            _is_column(tensor, names),
            within=(tensor,),
            row=half[0] - first,
        )
        for first in (0, half[0])
    ]


def _is_column(tensor: str, names: Names) -> bool:
    return len(names.base[tensor].shape) == 1


def _check(module: str, shape: Shape, tensor: str, fits: bool, names: Names) -> None:
    if not fits:
        stored = list(names.base[tensor].shape)
        raise IncompatibleError(
            f"is {list(shape)}, and {tensor}, which the base has it in, is {stored}: they do not fit",
            tensor=module,
            hint="give the base that the adapter was trained on",
            code="E-NAMES",
        )
