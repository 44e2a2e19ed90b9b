"""The modules of an adapter as a base stores them: its fused projections are several tensors of some checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.architectures import INTERLEAVED, SPLIT
from adapterops.formats.naming import Names, expert

Modules: TypeAlias = Mapping[str, tuple[int, int]]
"""Module → the (out, in) of its update."""


class Share(NamedTuple):
    """An update, or those of its rows, from `first` on, that a base stores as several tensors.

    `module` and `shape` are what the base has; where `transposed`, the rows are those of the update's transpose.
    """

    source: str
    module: str
    shape: tuple[int, int]
    first: int = 0
    transposed: bool = False


def shares(modules: Modules, experts: Mapping[str, int], names: Names) -> Iterator[Share]:
    """Every module as the base stores it.

    The one place where a fused projection of an adapter becomes its parts (`architectures.SPLIT`). The other way round,
    `Names.candidates` finds a projection of an adapter in a fused tensor of the base.
    """
    for module, shape in modules.items():
        parts = list(_split(module, shape, names)) if experts else []
        yield from parts or [Share(module, module, shape)]


def _split(module: str, shape: tuple[int, int], names: Names) -> Iterator[Share]:
    """The parts of a fused projection of an expert, whose tensors the base has; none if it does not have these."""
    found = expert(module)
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
    together = (len(parts) * height, width)
    if shape not in (together, together[::-1]):
        raise IncompatibleError(
            f"is {list(shape)}, and {parts[0]} of this expert is {list(stored)} in the base, half of {list(together)}",
            tensor=module,
            hint="the adapter was trained on another model",
            code="E-NAMES",
        )
    for index, part in enumerate(parts):
        yield Share(module, f"{module.rpartition('.')[0]}.{part}", (height, width), index * height, shape != together)


def check_experts(experts: Mapping[str, int], names: Names) -> None:
    """Raise IncompatibleError where a parameter has another number of experts in the base than in the adapter."""
    for parameter, count in experts.items():
        there = names.experts(parameter)
        if count > 1 and there and count != there:
            raise IncompatibleError(
                f"has {count} experts in the adapter, and {there} in the base",
                tensor=parameter,
                hint="the adapter was trained on another model, or its config has a wrong rank",
                code="E-NAMES",
            )
