"""Full tensors that have all experts of a layer, and the tensors of a base that has each expert by itself.

transformers puts the experts of a layer into one parameter in memory, and files have them one by one: what PEFT saves of
`modules_to_save` is that parameter, of shape (experts, out, in), with the rows of gate above those of up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import name
from adapterops.errors import IncompatibleError, UnsupportedError
from adapterops.formats.models.architectures import EXPERTS, SPLIT
from adapterops.formats.models.loading import loading
from adapterops.formats.models.naming import Names, canonical
from adapterops.operations.targets.misfits import MERGE
from adapterops.storage.tensors import Spec

Layout = Mapping[str, Spec]


class FullRow(NamedTuple):
    """A full tensor, and the row of it that a tensor of the base begins with, all dimensions but the last taken for one."""

    full: str
    first: int


def rows_of_experts(adapter: Adapter, layout: Layout, config: Mapping[str, Any] | None) -> dict[str, FullRow]:
    """Tensor of the base → where an adapter that has all experts of a layer whole has its rows. Headers only.

    Raises:
        IncompatibleError: the base has other experts, or of another shape.
        UnsupportedError: it is not known that a model of this type has its experts in one parameter.
    """
    found: dict[str, FullRow] = {}
    stacks = {
        full: _modules(full, stored.spec.shape) for full, stored in adapter.full.items() if _is_stack(full, stored.spec)
    }
    if not stacks:
        return found
    names = Names(layout, config, {module: shape for modules in stacks.values() for module, shape in modules.items()})
    for full, modules in stacks.items():
        shape = adapter.full[full].spec.shape
        if names.of(names.name(full)) or not (count := names.experts(_moved(full, names, modules))):
            continue
        if not loading(config).stacked:
            raise UnsupportedError(
                f"is a full tensor of all experts, and the base has each of its {count} by itself: how a model of type "
                f"{names.type or 'unknown'} makes one of them is not known",
                path=name(adapter),
                tensor=full,
                hint=MERGE if names.type else "state the model_type in config.json of the base",
            )
        places = list(_placed(full, shape, list(modules), names))
        heights = sum(layout[tensor].shape[0] for tensor, _ in places)
        widths = {layout[tensor].shape[1] for tensor, _ in places}
        if len(places) != len(modules) or count != shape[0] or heights != shape[0] * shape[1] or widths != {shape[2]}:
            raise IncompatibleError(
                f"is a full tensor of all experts of shape {list(shape)}, and the base has {count} experts, each by itself"
                + (f", the first of them {list(layout[places[0][0]].shape)}" if places else ""),
                path=name(adapter),
                tensor=full,
                hint="give the base that the adapter was trained on",
                code="E-NAMES",
            )
        found |= dict(places)
    return found


def _is_stack(full: str, spec: Spec) -> bool:
    """Whether a full tensor is the parameter of all experts of a layer."""
    return len(spec.shape) == 3 and full.rpartition(".")[0].rpartition(".")[2] == EXPERTS


def _modules(full: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The modules that it has the weights of, expert by expert, and the shape of each or of all parts of an expert."""
    above, _, leaf = full.rpartition(".")
    return {f"{above}.{number}.{part}": shape[1:] for number in range(shape[0]) for part in SPLIT.get(leaf, (leaf,))}


def _moved(full: str, names: Names, modules: Mapping[str, object]) -> str:
    """The canonical name that the base would have for a full tensor: where it has the first of its parts."""
    first = next(iter(modules))
    parent = names.name(first).rpartition(".")[0].rpartition(".")[0]
    return f"{parent}.{canonical(full).rpartition('.')[2]}"


def _placed(full: str, shape: tuple[int, ...], modules: list[str], names: Names) -> Iterator[tuple[str, FullRow]]:
    """The tensors of the base of some parts of experts, one below the other, as far as each is there once."""
    parts = len(modules) // shape[0]
    row = 0
    for place, module in enumerate(modules):
        tensors = names.of(names.name(module))
        if len(tensors) == 1 and len(names.base[tensors[0]].shape) == 2:
            yield tensors[0], FullRow(full, row)
            row += names.base[tensors[0]].shape[0]
        if place % parts == parts - 1:
            row = (place // parts + 1) * shape[1]
