"""Adapters by the names of the model that they are for: what several of them call otherwise, or have in other parts, is
one module then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from adapterops.adapters.adapter import Adapter, sum_of
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import UnsupportedError
from adapterops.formats.models.architectures import EXPERT_LISTS, WEIGHT
from adapterops.formats.models.bare import inner_prefix, with_prefix
from adapterops.formats.models.loading import loading
from adapterops.formats.models.naming import expert, last
from adapterops.formats.models.vocabulary import TOKEN_ROWS
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.written import uncovered
from adapterops.formats.spelling import difference
from adapterops.formats.stacks import parameter_of
from adapterops.operations.targets.based import on_base
from adapterops.operations.targets.full_tensors import counterparts, one_weight
from adapterops.operations.targets.parts import placed, rows_of
from adapterops.operations.targets.table import resolve
from adapterops.operations.targets.target import Target
from adapterops.operations.targets.token_rows import token_rows
from adapterops.operations.targets.weights import Weight, weights
from adapterops.storage.lazy import Lazy
from adapterops.storage.tensors import Stored
from adapterops.updates.layout import DORA, Layout, widest

if TYPE_CHECKING:
    from adapterops.updates.protocol import Update

EXPERTS = ".experts."


@dataclass(frozen=True)
class Piece:
    """What one module of an adapter is in a module of the base: its rows from `first` on, `height` of them, at `row`; of a
    bias its columns.
    """

    source: str
    first: int
    row: int
    height: int
    bias: bool = False


def united(adapters: Sequence[Adapter], base: Checkpoint) -> list[Adapter]:
    """The adapters as they are, where no two of their names may be those of one module; else all by the names of a base."""
    adapters = [on_base(each, base) for each in adapters]
    shapes = [{module: each.shape for module, each in adapter.layout.items()} for adapter in adapters]
    return list(adapters) if difference(shapes) is None else [named_as(each, base) for each in adapters]


def named_as(adapter: Adapter, base: Checkpoint) -> Adapter:
    """The adapter with the modules of a base, by the names that its model has in memory. Headers only.

    A projection that the base has as one matrix is one module, whose parts are added up; one that the base has in
    parts is as many.

    Raises:
        IncompatibleError, UnsupportedError: as `resolve` does; or an update that depends on the weight is divided.
    """
    adapter = on_base(adapter, base)
    names = _Names(base, adapter)
    pieces: dict[str, list[Piece]] = {}
    shapes: dict[str, tuple[int, int]] = {}
    listed: dict[str, int] = {}  # parameters of PEFT, of which the adapter has the experts in lists
    for tensor, edit in resolve(replace(adapter, full={}), base).edits.items():
        for target in edit.targets:
            stack = names.stack(tensor, target, edit.start or tensor)
            name, piece, shape = _piece(tensor, target, names, stack, edit.start or tensor, adapter)
            shapes[name] = shape
            if stack:
                listed[str(stack.weight.parameter)] = stack.weight.experts
            elif _list(target.source) and len(stored := base.layout[edit.start or tensor].shape) == 3:
                listed[names.of(tensor)] = stored[0]
            if piece not in pieces.setdefault(name, []):
                pieces[name].append(piece)
    layout = {name: _layout(name, pieces[name], shapes[name], adapter) for name in sorted(pieces)}

    def compute(name: str) -> Update:
        update: Update = sum_of([_placed(piece, layout[name].shape, adapter) for piece in pieces[name]])
        return update

    renamed = {each.source: name for name, those in pieces.items() for each in those}
    same = len(renamed) == len(pieces) and all(len(those) == 1 for those in pieces.values())
    full = {
        names.of(tensor): adapter.full[name]
        for name, (tensor, _) in counterparts(adapter, base.layout, base.config).items()
    }
    config, rows = _with_rows(_config(adapter.config, renamed), adapter, base, names)
    config = replace(config, experts={**config.experts, **listed}, model=base.config)
    linear = [name for name in layout if expert(name) is None]  # target_parameters are for the others
    named = same and not listed and not uncovered(config.targets or (), linear)
    return replace(
        adapter,
        updates=Lazy(layout, compute),
        layout=layout,
        config=config if named else replace(config, targets=None),
        scalings={name: adapter.scalings[module] for module, name in renamed.items()} if same else {},
        full=full | rows,
    )


def _with_rows(
    config: AdapterConfig, adapter: Adapter, base: Checkpoint, names: _Names
) -> tuple[AdapterConfig, dict[str, Stored]]:
    """The config and the full tensors of rows that are replaced, by the names of the model."""
    places = counterparts(adapter, base.layout, base.config)
    shapes = {tensor: adapter.full[full].spec.shape for full, (tensor, _) in places.items()}
    there = {tensor: spec._replace(shape=shapes.get(tensor, spec.shape)) for tensor, spec in base.layout.items()}
    found = token_rows(adapter, there, base.config, one_weight(adapter, base.layout, base.config))
    named = {names.of(tensor).removesuffix(WEIGHT) + TOKEN_ROWS: each for tensor, (_, each) in found.items()}
    tokens = {name: adapter.config.tokens[each] for name, each in named.items()}
    return replace(config, tokens=tokens), {name: adapter.full[each] for name, each in named.items()}


class _Stack(NamedTuple):
    """The matrix in memory that a tensor of a single expert is in, from `row` on."""

    module: str
    weight: Weight
    row: int


class _Names:
    """What the model of a base calls its tensors, and which of single experts it has in one parameter, where PEFT would load
    LoRA on each as nothing: all but those that it stacks itself, under the names that it knows.
    """

    def __init__(self, base: Checkpoint, adapter: Adapter) -> None:
        self.base, self._prefix = base, inner_prefix(base.layout, base.config)
        self._loading = known = loading(base.config)
        self._single = {
            module
            for module in adapter.layout
            if expert(module) and not _list(module) and parameter_of(module, adapter.config.experts) == module
        }
        loaded = known.taken and known.taken.issuperset(map(last, self._single))
        there = weights(base.layout, base.config) if self._single and not loaded else {}
        self._fused = {
            module: weight
            for module, weight in there.items()
            if weight.experts > 1
            and weight.transposed is not None
            and len(base.layout[weight.pieces[0].tensor].shape) == 3
        }
        self._stacked = {
            piece.tensor: _Stack(module, weight, sum(each.end - each.begin for each in weight.pieces[:place]))
            for module, weight in there.items()
            if weight.experts > 1 and len({each.tensor for each in weight.pieces}) == len(weight.pieces)
            for place, piece in enumerate(weight.pieces)
            if len(base.layout[piece.tensor].shape) == 2
        }

    def of(self, tensor: str) -> str:
        return with_prefix(self._loading.name(tensor), self._prefix)

    def stack(self, tensor: str, target: Target, start: str) -> _Stack | None:
        """Where a single expert of the adapter is in a parameter of the model; None for all else."""
        found = expert(target.source)
        if found is None or target.source not in self._single or tensor in self._stacked:
            return self._stacked.get(tensor)
        path, _, leaf = self.of(tensor).removesuffix(WEIGHT).rpartition(".")
        weight = self._fused.get(module := f"{path}.{found.number}.{leaf}")
        if weight is None:
            return None
        row = target.column if target.transposed else target.row - found.number * self.base.layout[start].shape[1]
        return _Stack(module, weight, row)


def _piece(
    tensor: str, target: Target, names: _Names, stack: _Stack | None, start: str, adapter: Adapter
) -> tuple[str, Piece, tuple[int, int]]:
    """The module that a target belongs to, what of it the update is, and the (out, in) of it."""
    name = _module(tensor, target, names)
    if expert(target.source) is not None:
        own = adapter.layout[target.source].shape
        if stack:
            shape = stack.weight.shape[::-1] if stack.weight.transposed else stack.weight.shape
            return stack.module, Piece(target.source, 0, stack.row, own[0]), shape
        return name, Piece(target.source, 0, 0, own[0]), own
    rows, columns = target.seen or names.base.layout[start].matrix
    shape = (columns, rows) if target.transposed else (rows, columns)
    bias = target.transposed and target.seen is not None
    height = shape[0] if target.shape == (rows, columns) and not bias else target.shape[0]
    return name, Piece(target.source, target.first, target.row, height, bias), shape


def _module(tensor: str, target: Target, names: _Names) -> str:
    """What the model calls a module; an expert is where all of its layer are, whatever the file has them in."""
    if expert(target.source) is None:
        return names.of(tensor).removesuffix(WEIGHT)
    first, _, last = target.source.rpartition(EXPERTS)[2].rpartition(".")
    tail = f"{last}.{EXPERT_LISTS[first]}" if _list(target.source) else f"{first}.{last}"
    return names.of(tensor).partition(EXPERTS)[0] + EXPERTS + tail


def _list(module: str) -> bool:
    """Whether a module is one of a list of experts, such as `experts.gate_up_projs.3`."""
    return module.rpartition(EXPERTS)[2].partition(".")[0] in EXPERT_LISTS


def _placed(piece: Piece, shape: tuple[int, int], adapter: Adapter) -> Any:
    update, height = adapter.updates[piece.source], shape[int(piece.bias)]
    update = update.T if piece.bias else update
    if not piece.height == height == update.shape[0]:
        update = placed(rows_of(update, slice(piece.first, piece.first + piece.height)), piece.row, height)
    return update.T if piece.bias else update


def _layout(name: str, pieces: list[Piece], shape: tuple[int, int], adapter: Adapter) -> Layout:
    layouts = [adapter.layout[piece.source] for piece in pieces]
    if len(pieces) == 1 and layouts[0].shape == shape:
        return layouts[0]
    divided = len(pieces) == 1 and pieces[0].height == shape[0]
    for each in layouts:
        if each.kind == DORA and each.reads == "rows" and divided:
            return replace(each, shape=shape)
        if each.needs_base:
            raise UnsupportedError(
                f"is {each.kind}, and the base has it in another division than the adapter",
                tensor=name,
                hint="fuse it into its base by itself",
            )
    rank = min(sum(each.rank for each in layouts), *shape)
    return Layout(shape, rank, widest([each.dtype for each in layouts]), any(each.dense for each in layouts))


def _config(config: AdapterConfig, names: Mapping[str, str]) -> AdapterConfig:
    """The config with the new names of parameters of experts, and of modules whose weight is taken for one."""
    heads = {_head(module): _head(name) for module, name in names.items()}

    def renamed(parameter: str) -> str:
        module, _, leaf = parameter.rpartition(".")
        return f"{names.get(module) or heads.get(module, module)}.{leaf}"

    experts = {renamed(parameter): count for parameter, count in config.experts.items()}
    sides, square = (frozenset(map(renamed, each)) for each in (config.reversed, config.square))
    embeddings = frozenset(names.get(module, module) for module in config.embeddings)
    return replace(config, experts=experts, reversed=sides, square=square, embeddings=embeddings)


def _head(module: str) -> str:
    """Of an expert's projection the module of all experts."""
    return module.rpartition(".")[0].rpartition(".")[0]
