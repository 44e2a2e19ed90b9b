"""Whether a weight of a shape can be in a tensor of the base, where in it, and which way round."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from adapterops.arrays.dtypes import FLOATS
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.models.architectures import (
    CONV1D_MODULES,
    CONV1D_TYPES,
    IN_OUT_PARAMETERS,
    INTERLEAVED,
    WEIGHT,
    WIDENING,
)
from adapterops.formats.models.loading import IN_OUT, OUT_IN, loading
from adapterops.formats.models.naming import Candidate, Names, conv1d, expert, last, may_be_conv1d, namesakes, type_of
from adapterops.formats.stacks import UP
from adapterops.operations.targets.target import RowShare, Target
from adapterops.storage.tensors import Spec, kernel


def candidates_of(part: RowShare, names: Names) -> list[Candidate]:
    """The tensors that may hold it: those it says itself, or those that its name may mean."""
    if part.within:
        return [Candidate(tensor, tensor) for tensor in part.within]
    return names.candidates(part.module)


def fit(candidate: Candidate, part: RowShare, names: Names) -> Target | None:
    """The target in a tensor, if a weight of this shape can be there."""
    spec = names.base[candidate.start]
    if len(spec.shape) == 3 and candidate.expert is not None:
        return _fit_expert(candidate, part, names)
    seen = _seen(spec, part)
    if part.within or seen:
        return Target(
            candidate.tensor,
            part.source,
            part.module,
            part.shape,
            part.row,
            first=part.first,
            transposed=part.transposed,
            seen=seen,
        )
    own, stored = candidate.start == candidate.tensor, spec.matrix
    if len(spec.shape) == 3 and candidate.tensor.endswith(WEIGHT) and spec.shape[1:] != part.kernel:  # of a convolution
        return None
    if sorted(stored) != sorted(part.shape) or (stored != part.shape and not own):
        return None
    parameter = last(candidate.tensor) in IN_OUT_PARAMETERS
    if stored != part.shape and not (parameter or may_be_conv1d(part.module, names.types)):
        return None
    square = parameter or conv1d(candidate.tensor, names.config)
    transposed = stored != part.shape if stored[0] != stored[1] else square
    return Target(
        candidate.tensor, part.source, part.module, stored, first=part.first, transposed=transposed != part.transposed
    )


def _seen(spec: Spec, part: RowShare) -> tuple[int, int] | None:
    """As what matrix an update sees a tensor, where that is not the tensor's own."""
    if len(spec.shape) == 1 and part.transposed:
        return spec.shape[0], 1
    return kernel(spec.shape) if len(spec.shape) == 3 and part.shape == kernel(spec.shape) != spec.matrix else None


def _fit_expert(candidate: Candidate, part: RowShare, names: Names) -> Target | None:
    """The target in a tensor (experts, out, in) or (experts, in, out) of all experts of a layer."""
    found, (count, height, width) = expert(part.module), names.base[candidate.start].shape
    if found is None or candidate.expert is None or candidate.expert >= count:
        return None
    index, parts = candidate.place, candidate.parts
    joined = parts * part.shape[0], part.shape[1]
    if sorted((height, width)) != sorted(joined):
        return None
    stored = _stored_transposed(candidate.start, names.base)
    if f"{candidate.start.rpartition('.')[0]}.{UP}" in names.base and names.loading.stacked:
        stored = False  # transformers makes it of Linear layers, one for each expert, that have no gates
    if stored is None and height == width:
        raise UnsupportedError(
            f"is in {candidate.tensor}, where rows and columns cannot be told apart from the files",
            tensor=part.module,
            hint="fuse into a checkpoint that stores each expert by itself",
        )
    transposed = (height, width) != joined if height != width else bool(stored)
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
    raise UnsupportedError(
        f"is in {tensor}, where gate and up have their rows alternating: updates that depend on the weight are not handled there, "
        "nor gate or up next to an update of both"
        if names.types
        else f"is in {tensor}, where gate and up cannot be told apart: they may have their rows alternating, and no config.json says "
        "the model_type",
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


def check_sides(parameters: Collection[str], base: Mapping[str, Spec], config: Mapping[str, Any] | None) -> None:
    """Raise UnsupportedError for a square parameter of which PEFT takes the sides otherwise than the model, or may."""
    known = loading(config).fused
    for parameter, names in namesakes(parameters, base, loading(config).renamed).items():
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


def check_squares(found: Iterable[tuple[str, Target]], names: Names) -> None:
    """Where other weights of an unknown model are stored transposed, a square one does not show how it is."""
    stored = [
        target
        for start, target in found
        if start == target.tensor
        and last(start) not in IN_OUT_PARAMETERS
        and type_of(start, names.config) not in CONV1D_TYPES
    ]
    single = [
        target for target in stored if len(names.base[target.tensor].shape) == 2 and target.source == target.module
    ]
    kinds = {last(target.module) for target in single if target.transposed}
    doubtful = not names.type or _has_conv1d(names.base)
    for target in stored:
        unknown = doubtful and last(target.module) in CONV1D_MODULES
        if (kinds or unknown) and target.shape[0] == target.shape[1]:
            raise IncompatibleError(
                f"is square, and {', '.join(sorted(kinds)) or 'its like'} may be stored as (in, out): it is not known whether this one is",
                tensor=target.module,
                hint="say what the model is: put its model_type, such as gpt2, into config.json of the base",
                code="E-ORIENTATION",
            )


def _has_conv1d(base: Mapping[str, Spec]) -> bool:
    """Whether layers with more outputs than inputs are stored as (in, out), as code next to a model may do."""
    shapes = (spec.shape for name, spec in base.items() if name.endswith(tuple(f"{each}{WEIGHT}" for each in WIDENING)))
    return any(len(shape) == 2 and shape[0] < shape[1] for shape in shapes)


def check_dtype(candidate: Candidate, base: Mapping[str, Spec]) -> None:
    """Raise UnsupportedError where a tensor holds no numbers that anything can be added to."""
    dtype = base[candidate.start].dtype
    if dtype not in FLOATS:
        raise UnsupportedError(
            f"is stored as {dtype}: the base is quantized, and nothing can be added to it without loss",
            tensor=candidate.tensor,
            hint="fuse into the 16-bit checkpoint that it was made from",
        )
