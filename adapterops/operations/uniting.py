"""Adapters by the names of the model that they are for: what several of them call otherwise, or have in other parts, is
one module then.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from adapterops.adapters.adapter import Adapter
from adapterops.adapters.checks import extracted
from adapterops.checkpoints.checkpoint import Checkpoint
from adapterops.errors import UnsupportedError, check_opened
from adapterops.formats.diffusion.written import component_of
from adapterops.formats.models.architectures import WEIGHT
from adapterops.formats.models.loading import loading
from adapterops.formats.models.naming import expert, last
from adapterops.formats.models.ties import stated
from adapterops.formats.models.vocabulary import TOKEN_ROWS, is_end
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.selection import uncovered
from adapterops.formats.spelling import difference
from adapterops.formats.stacks import parameter_of
from adapterops.operations.classes import Model, are_of_words, model_of
from adapterops.operations.targets.added_biases import with_biases
from adapterops.operations.targets.based import on_base
from adapterops.operations.targets.full_tensors import counterparts, one_weight
from adapterops.operations.targets.parts import placed, rows_of, update_of_parts
from adapterops.operations.targets.table import resolve
from adapterops.operations.targets.target import Target
from adapterops.operations.targets.token_rows import token_rows
from adapterops.operations.targets.weights import weights
from adapterops.operations.targets.whole_experts import rows_of_experts
from adapterops.storage.lazy import Lazy
from adapterops.storage.tensors import Stored
from adapterops.updates.layout import DORA, REPLACEMENT, Layout, widest, working

if TYPE_CHECKING:
    from adapterops.updates.protocol import Update

EXPERTS = ".experts."

BY_ROWS = {(DORA, "rows"), (REPLACEMENT, "entries")}
"""Kinds that depend on the weight, of which some rows are an update of these rows."""

IN_ONE = "name a base that has the weight in one tensor, as the one that it was trained on"
"""What goes on where lengths are of all that a base has in several tensors."""

RANKED = "add --rank 32, which writes the best LoRA of that rank of what it changes there"
"""What goes on where the base divides an update that depends on its weight."""


@dataclass(frozen=True)
class ModulePiece:
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
    adapters = [on_base(each, base, differences=len(adapters) > 1) for each in adapters]
    shapes = [{module: each.shape for module, each in adapter.layout.items()} for adapter in adapters]
    stacked = {_has_stacks(each) for each in adapters}
    alike = difference(shapes) is None and len(stacked) == 1 and not loading(base.config).divided
    return [_settled(each) for each in adapters] if alike else named_alike(adapters, base)


def named_alike(
    adapters: Sequence[Adapter], base: Checkpoint, *, differences: bool = True, kept: Container[str] = ()
) -> list[Adapter]:
    """All by the names of a base, and experts in one parameter if any of them has them so.

    Args:
        differences, kept: as `on_base` has them: what stays as it is where an update depends on its weight.
    """
    adapters = [on_base(each, base, differences=differences, kept=kept) for each in adapters]
    if are_of_words(adapters, base):
        return [_settled(each) for each in adapters]
    stacked, model = any(map(_has_stacks, adapters)), model_of(adapters, base)
    return [_named_as(each, base, model, stacked) for each in adapters]


def _settled(adapter: Adapter) -> Adapter:
    return replace(adapter, config=replace(adapter.config, settled=True))


def _has_stacks(adapter: Adapter) -> bool:
    return any(count > 1 for count in adapter.config.experts.values())


def named_as(adapter: Adapter, base: Checkpoint, *, stacked: bool = False) -> Adapter:
    """The adapter with the modules of a base, by the names in memory of the model that it is for. Headers only.

    A projection that the base has as one matrix is one module, whose parts are added up; one that the base has in
    parts is as many. LoRA on single experts becomes that of the parameter that holds all of them, where the base stores
    that, or PEFT would load it as nothing.

    Args:
        stacked: also where PEFT reads LoRA on single experts.

    Raises:
        IncompatibleError, UnsupportedError: as `resolve` does; or an update that depends on the weight is divided.
    """
    check_opened(adapter, Adapter, "open_adapter")
    check_opened(base, Checkpoint, "open_checkpoint")
    adapter = on_base(adapter, base)
    if are_of_words([adapter], base):
        return _settled(adapter)
    return _named_as(adapter, base, model_of([adapter], base), stacked)


def _named_as(adapter: Adapter, base: Checkpoint, model: Model, stacked: bool) -> Adapter:
    base = with_biases(adapter, _with_words(adapter, base))
    names = _Names(base, adapter, model, stacked)
    pieces: dict[str, list[ModulePiece]] = {}
    shapes: dict[str, tuple[int, int]] = {}
    stored: dict[str, tuple[int, ...]] = {}
    stacks: dict[str, int] = {}  # parameters of PEFT, of which the adapter has single experts
    for tensor, edit in resolve(adapter, base, only_updates=True).edits.items():
        for target in names.divided(tensor, edit.targets):
            name, piece, shape, experts = _place(tensor, target, names, edit.start or tensor, adapter)
            shapes[name], stored[name] = shape, base.layout[edit.start or tensor].shape
            stacks |= experts
            if piece not in pieces.setdefault(name, []):
                pieces[name].append(piece)
    layout = {
        name: _with_kernel(_layout(name, pieces[name], shapes[name], adapter), stored[name]) for name in sorted(pieces)
    }

    def compute(name: str) -> Update:
        update: Update = update_of_parts([_placed(piece, layout[name].shape, adapter) for piece in pieces[name]])
        return update

    renamed = {each.source: name for name, those in pieces.items() for each in those}
    known = adapter.scalings  # which what was computed has not
    same = len(renamed) == len(pieces) and all(len(those) == 1 for those in pieces.values())
    full = {
        names.of(tensor): adapter.full[name]
        for name, (tensor, _) in counterparts(adapter, base.layout, base.config).items()
    }
    for tensor, (whole, _) in rows_of_experts(adapter, base.layout, base.config).items():
        full[f"{names.of(tensor).partition(EXPERTS)[0]}{EXPERTS}{last(whole)}"] = adapter.full[whole]
    config, rows = _with_rows(_config(adapter.config, renamed), adapter, base, names)
    config = replace(config, experts={**config.experts, **stacks}, model=stated(base.layout, base.config), settled=True)
    config = replace(config, component=component_of(base.layout), prefixed=config.prefixed and not base.config)
    linear = [name for name in layout if expert(name) is None]  # target_parameters are for the others
    moved = any(name.endswith(f".{module}") for module, name in renamed.items())  # into a model with other parts, maybe
    named = same and not stacks and not moved and not uncovered(config.targets or (), linear)
    return replace(
        adapter,
        updates=Lazy(layout, compute),
        layout=layout,
        config=config if named else replace(config, targets=None),
        scalings={name: known[module] for module, name in renamed.items() if module in known} if same else {},
        full=full | rows,
    )


def _with_words(adapter: Adapter, base: Checkpoint) -> Checkpoint:
    """The base with the vocabulary of the adapter, where that has another; its header alone. Whether the adapter can be fused
    is not asked.
    """
    places = counterparts(adapter, base.layout, base.config)
    shapes = {tensor: adapter.full[full].spec.shape for full, (tensor, _) in places.items() if is_end(tensor)}
    layout = {name: spec._replace(shape=shapes.get(name, spec.shape)) for name, spec in base.layout.items()}
    return replace(base, layout=layout)


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


class _Place(NamedTuple):
    """A module of the model, what of its (out, in) an update is, and the parameter of all experts that it is a part of,
    with their number, where it was not in the adapter.
    """

    module: str
    piece: ModulePiece
    shape: tuple[int, int]
    experts: Mapping[str, int] = {}


class _Names:
    """What the model of a base calls its tensors, and where it has those of single experts in the parameter of all.

    Args:
        model: the one that the adapter is for.
        stacked: also where PEFT takes LoRA on each for LoRA on that parameter, as it does under the names that it knows.
    """

    def __init__(self, base: Checkpoint, adapter: Adapter, model: Model, stacked: bool) -> None:
        self.base = base
        own, self._loading = model
        known = self._loading
        single = {last(module) for module in adapter.layout if _is_single(module, adapter)}
        others = {last(module) for module in adapter.layout if expert(module) is None}
        taken = known.taken and known.taken >= single and known.taken.isdisjoint(others)
        self.joins = known.stacked and (stacked or not taken)
        there = weights(base.layout, own) if self.joins else {}
        self.stacked = {
            piece.tensor: (
                known.inner(module),
                replace(weight, parameter=known.inner(str(weight.parameter))),
                sum(each.end for each in weight.pieces[:place]),
            )
            for module, weight in there.items()
            if weight.experts > 1
            for place, piece in enumerate(weight.pieces)
            if len(base.layout[piece.tensor].shape) == 2
        }

    def of(self, tensor: str, row: int | None = None) -> str:
        """The parameter that is a tensor, or that has a row of it."""
        height = None if row is None else self.height(tensor)
        return self._loading.name(tensor) if height is None else self._loading.parts(tensor)[(row or 0) // height]

    def height(self, tensor: str) -> int | None:
        """The rows of each of the parameters that the model makes of a matrix; None where it is one.

        Raises:
            UnsupportedError: they have not equally many.
        """
        spec, parts = self.base.layout.get(tensor), self._loading.parts(tensor) if self._loading.divided else []
        if not (spec and parts and len(spec.shape) == 2):
            return None
        height, left = divmod(spec.shape[0], len(parts))
        if left:
            names = ", ".join(last(each.removesuffix(WEIGHT)) for each in parts)
            raise UnsupportedError(
                f"is {names} in the model, and of {spec.shape[0]} rows not equally many can be of each",
                tensor=tensor,
                hint="fuse the adapter into the base",
            )
        return height

    def divided(self, tensor: str, targets: Sequence[Target]) -> Iterator[Target]:
        """The targets in a tensor by the parameters that the model makes of its rows."""
        height = self.height(tensor)
        for target in targets:
            if height is None or target.transposed:
                yield target
                continue
            end = target.row + target.shape[0]
            for row in range(target.row - target.row % height, end, height):
                begin = max(row, target.row)
                shape = min(row + height, end) - begin, target.shape[1]
                yield replace(target, row=begin, shape=shape, first=target.first + begin - target.row)

    def parameters(self, module: str, source: str) -> Mapping[str, int]:
        """The weight of a module that is no expert, where PEFT takes the module for experts: it loads LoRA on that as LoRA on
        a parameter.

        Raises:
            UnsupportedError: PEFT renames the module when it loads LoRA on it, and leaves that out.
        """
        if (loaded := self._loading.loaded(module)) != module:
            raise UnsupportedError(
                f"is {module} in the model, and PEFT renames that to {loaded} when it loads it, which the model does not have: "
                "it would leave it out",
                tensor=source,
                hint="fuse the adapter into the base, or select the other modules first",
            )
        return {f"{module}{WEIGHT}": 1} if last(module) in self._loading.taken else {}


def _is_single(module: str, adapter: Adapter) -> bool:
    """Whether an adapter has a module of one expert, and not as a share of the parameter of all."""
    return expert(module) is not None and parameter_of(module, adapter.config.experts) == module


def _place(tensor: str, target: Target, names: _Names, start: str, adapter: Adapter) -> _Place:
    source, stored = target.source, names.base.layout[start].shape
    name = names.of(tensor, target.row).removesuffix(WEIGHT)
    if (height := names.height(tensor)) is not None:
        piece = ModulePiece(source, target.first, target.row % height, target.shape[0])
        return _Place(name, piece, (height, stored[1]), names.parameters(name, source))
    single = expert(source)
    if single and not _is_single(source, adapter):  # all of it is one module, however it is stored
        own = adapter.layout[source].shape
        number, leaf = source.split(".")[-2:]
        return _Place(f"{name.partition(EXPERTS)[0]}{EXPERTS}{number}.{leaf}", ModulePiece(source, 0, 0, own[0]), own)
    if stack := names.stacked.get(tensor):
        module, weight, row = stack
        piece = ModulePiece(source, target.first, row + target.row, target.shape[0])
        return _Place(module, piece, weight.shape, {str(weight.parameter): weight.experts})
    if single and names.joins and len(stored) == 2:
        raise UnsupportedError(
            f"is LoRA on one expert, and the model has all of its layer in one parameter, of which {last(source)} is not handled: "
            "PEFT would leave it out",
            tensor=source,
            hint="fuse the adapter into the base",
        )
    if single and len(stored) == 3:
        path, _, leaf = name.rpartition(".")
        count, height, width = stored
        shape = (width, height) if target.transposed else (height, width)
        first = target.column if target.transposed else target.row % height
        piece = ModulePiece(source, target.first, first, target.shape[int(target.transposed)])
        return _Place(f"{path}.{single.number}.{leaf}", piece, shape, {name: count})
    rows, columns = target.seen or names.base.layout[start].matrix
    shape = (columns, rows) if target.transposed else (rows, columns)
    bias = target.transposed and target.seen is not None
    height = shape[0] if target.shape == (rows, columns) and not bias else target.shape[0]
    parameters = {} if bias or single or not tensor.endswith(WEIGHT) else names.parameters(name, source)
    return _Place(name, ModulePiece(source, target.first, target.row, height, bias), shape, parameters)


def _placed(piece: ModulePiece, shape: tuple[int, int], adapter: Adapter) -> Any:
    update, height = adapter.updates[piece.source], shape[int(piece.bias)]
    update = update.T if piece.bias else update
    if not piece.height == height == update.shape[0]:
        update = placed(rows_of(update, slice(piece.first, piece.first + piece.height)), piece.row, height)
    return update.T if piece.bias else update


def _layout(name: str, pieces: list[ModulePiece], shape: tuple[int, int], adapter: Adapter) -> Layout:
    layouts = [adapter.layout[piece.source] for piece in pieces]
    if len(pieces) == 1 and layouts[0].shape == shape:
        return layouts[0]
    divided = len(pieces) == 1 and pieces[0].height == shape[0]
    rank = min(sum(each.rank for each in layouts), *shape)
    dtype, dense = widest([each.dtype for each in layouts]), any(each.dense for each in layouts)
    joined = Layout(shape, rank, dtype, dense, working=working(layouts))
    first, alike = layouts[0], len({(each.kind, each.reads) for each in layouts}) == 1
    by_outputs = alike and (first.kind, first.reads) in BY_ROWS
    if by_outputs and _are_all(pieces, layouts, shape):
        return replace(joined, kind=first.kind, reads=first.reads)
    for each in layouts:
        if by_outputs and divided:
            return replace(each, shape=shape)
        if each.needs_base:
            there = sum(piece.height for piece in pieces)
            some = f"has {there} of the {shape[0]} rows that the base has in one weight, and nothing for the others"
            other = "the base divides it differently from the adapter"
            raise UnsupportedError(
                f"is {each.kind}, and {some if by_outputs and there < shape[0] else other}",
                tensor=name,
                hint=IN_ONE if each.reads == "columns" and divided else f"{RANKED}; or {extracted(adapter)}",
            )
    return joined


def _with_kernel(layout: Layout, stored: tuple[int, ...]) -> Layout:
    """The layout with the dimensions of a kernel that the base stores, where the adapter's tensors do not show them.

    >>> _with_kernel(Layout((8, 36), 2, "F32"), (8, 4, 3, 3)).kernel, _with_kernel(Layout((8, 36), 2, "F32"), (8, 36)).kernel
    ((4, 3, 3), ())
    """
    kernel = stored[1:] if len(stored) > 2 and (stored[0], prod(stored[1:])) == layout.shape else ()
    return layout if layout.kernel or not kernel else replace(layout, kernel=kernel)


def _are_all(pieces: Sequence[ModulePiece], layouts: Sequence[Layout], shape: tuple[int, int]) -> bool:
    """Whether whole modules are all rows of a weight, each once."""
    ends = [0]
    for piece, each in sorted(zip(pieces, layouts, strict=True), key=lambda pair: pair[0].row):
        whole = (piece.first, piece.height, each.shape[1], piece.row) == (0, each.shape[0], shape[1], ends[-1])
        ends.append(piece.row + piece.height if whole else -1)
    return ends[-1] == shape[0]


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
