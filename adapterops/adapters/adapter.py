"""An opened adapter: module name → weight update, read when asked for. Mathematics and storage meet here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from shlex import quote
from typing import TYPE_CHECKING, Any

from adapterops.adapters.chains import on_first_base
from adapterops.adapters.checks import (
    check_linear,
    check_named,
    check_needs_no_base,
    check_same_kind,
    name,
    under_updates,
)
from adapterops.adapters.grams import Grams
from adapterops.adapters.means import mean
from adapterops.adapters.pairs import warn_of_pairs
from adapterops.errors import ShapeError, UnsupportedError, at, count, factor
from adapterops.formats.experts import check_alike
from adapterops.formats.models.classifiers import is_head
from adapterops.formats.models.vocabulary import TOKEN_ROWS, is_end, is_input
from adapterops.formats.peft.combining import combine
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.scaling import Scaling
from adapterops.provenance.history import Source, Step
from adapterops.storage.lazy import Lazy, itself, not_pickled
from adapterops.storage.tensors import Stored
from adapterops.updates.layout import LORA, PRODUCTS, Layout, widest, working

if TYPE_CHECKING:
    from adapterops.updates.protocol import Array, Linear


@dataclass(frozen=True, eq=False)
class Adapter:
    """A mapping from module names to weight updates. `+`, `-` and scalar `*` are exact, and lazy.

    Attributes:
        updates: module name → update, computed on every access; a module that is missing is zero.
        layout: module name → shape, rank and dtype, known without reading any tensor.
        config: base model and whatever else is passed on.
        history: the inputs and operations it is made of.
        scalings: as found in the files, for an adapter as it was opened.
        full: full tensors that take the place of the base's (trained norms, embeddings, biases), by their names in
            the model. They can be kept or fused, and neither scaled nor added.
        interleaved: modules whose rows are in llama.cpp's order, in which the two halves of every attention head take
            turns → the field of the base's config that says how many heads there are. `heads.in_order` gives them the
            model's order; without a base they are neither combined nor saved.
        task_vector: it is the difference of a whole model and its base: the modules are all tensors of that base, by
            their names there. It is combined with others of its kind, and fused with that base.
        grams: what its modules took in while it was at work, for methods that ask for it.
    """

    updates: Mapping[str, Any]
    layout: Mapping[str, Layout]
    config: AdapterConfig = field(default_factory=AdapterConfig)
    history: Step | Source = field(default_factory=lambda: Step("memory"))
    scalings: Mapping[str, Scaling] = field(default_factory=dict)
    full: Mapping[str, Stored] = field(default_factory=dict)
    interleaved: Mapping[str, str] = field(default_factory=dict)
    task_vector: bool = False
    grams: Grams | None = None

    @classmethod
    def of(cls, updates: Mapping[str, Any], config: AdapterConfig | None = None, dtype: str | None = None) -> Adapter:
        """An adapter of updates that are in memory, to be saved in `dtype`, by default that of their numbers."""
        layout = {}
        for module, update in sorted(updates.items()):
            factors = update.lowrank()
            rank = min(update.shape) if factors is None else factors.rank
            layout[module] = Layout(update.shape, rank, dtype or f"F{8 * update.dtype.itemsize}", dense=factors is None)
        return cls(dict(sorted(updates.items())), layout, config or AdapterConfig())

    def with_grams(self, matrices: Mapping[str, Array]) -> Adapter:
        """The adapter and what its modules took in: module → the mean of x xᵀ, (in, in)."""
        return replace(self, grams=Grams.of(matrices))

    def map(self, operation: Step, layout: Mapping[str, Layout], function: Callable[[str, Any], Any]) -> Adapter:
        """The adapter whose update of each module in `layout` is `function` of this one's."""

        def compute(module: str) -> Linear:
            with at(tensor=module):
                update: Linear = function(module, self.updates[module])
                return update

        ordered = {module: heads for module, heads in self.interleaved.items() if module in layout}
        updates = Lazy(layout, compute)
        return replace(self, updates=updates, layout=layout, history=operation, scalings={}, interleaved=ordered)

    __copy__ = __deepcopy__ = itself
    __reduce__ = not_pickled

    def __add__(self, other: Adapter) -> Adapter:
        """The sum of the updates; ranks add up."""
        if not isinstance(other, Adapter):
            return NotImplemented
        return combined([self, other], Step("add", {}, (self.history, other.history)), sum_of)

    def __radd__(self, nothing: int) -> Adapter:
        """0 + self, with which `sum` begins."""
        return self if nothing == 0 else NotImplemented

    def __mul__(self, by: float) -> Adapter:
        by = factor(by, "the factor of an adapter")
        if by != 1:
            check_linear(self, "scaled")
        step = Step("scale", {"by": by}, (self.history,))
        return self.map(step, self.layout, lambda _, update: by * update)

    __rmul__ = __mul__

    def __truediv__(self, by: float) -> Adapter:
        by = factor(by, "the divisor of an adapter")
        return self * factor(1 / by if by else inf, "one over the divisor of an adapter")

    def __neg__(self) -> Adapter:
        return -1.0 * self

    def __sub__(self, other: Adapter) -> Adapter:
        return self + -other

    def __repr__(self) -> str:
        return f"<Adapter of {count(len(self.layout), 'module')} on {self.config.base_model or 'an unknown base'}>"


WITH_BASE = "name the model with --base: what each adapter changes there is added, also of DoRA"
"""What goes on where several are combined."""


def sum_of(updates: Sequence[Any]) -> Any:
    from adapterops.updates.sums import total  # here: headers need no numpy

    return total(updates)


def combined(
    adapters: Sequence[Adapter],
    step: Step,
    function: Callable[[list[Any]], Any],
    *,
    allow_base_mismatch: bool = False,
    means: Sequence[float] | None = None,
) -> Adapter:
    """The adapter whose update of each module is `function` of those that have it, over all modules of any.

    Args:
        means: the weights of the adapters in means of their full tensors; without it these have to be the same.
    """
    if len(adapters) > 1:
        for adapter in adapters:
            check_needs_no_base(adapter, "added", WITH_BASE)
    check_named(adapters)
    check_same_kind(adapters)
    warn_of_pairs([(name(adapter), adapter.config.format, adapter.layout) for adapter in adapters])
    layout = {module: joint(adapters, module) for module in sorted({module for a in adapters for module in a.layout})}
    configs = [adapter.config for adapter in adapters]
    if len({config.base_model for config in configs}) > 1 and not allow_base_mismatch:
        configs = on_first_base(configs, step)
    config = combine(configs, [name(a) for a in adapters], allow_base_mismatch=allow_base_mismatch)
    for adapter in adapters:
        check_alike(name(adapter), adapter.layout, adapter.config.experts, config.experts)

    def compute(module: str) -> Linear:
        with at(tensor=module):
            update: Linear = function([adapter.updates[module] for adapter in adapters if module in adapter.layout])
            return update

    full, vectors = _common(adapters, means), all(adapter.task_vector for adapter in adapters)
    return Adapter(Lazy(layout, compute), layout, config, step, full=full, task_vector=vectors)


def _common(adapters: Sequence[Adapter], means: Sequence[float] | None) -> dict[str, Stored]:
    """The full tensors of a result: those that all adapters have, and have alike, and weights under updates.

    Each takes the place of the base's, and so does the one that they share, whatever the weights; or their mean by these
    `means`, of what all of them have.

    Raises:
        UnsupportedError: one is in some adapters alone, or differs.
    """
    found: dict[str, tuple[Adapter, Stored]] = {}
    for adapter in adapters:
        for tensor, stored in adapter.full.items():
            first, other = found.setdefault(tensor, (adapter, stored))
            rows = {each.config.tokens.get(tensor) for each in (first, adapter)}
            shape, before = stored.spec.shape, other.spec.shape
            if shape != before and len(rows) == 1:
                raise UnsupportedError(
                    f"is a full tensor (of modules_to_save, or a bias) of shape {list(shape)}, and of {list(before)} in "
                    f"{name(first)}: no tensor of a merge can be both",
                    path=name(adapter),
                    tensor=tensor,
                    hint="give adapters that trained it in one shape, or fuse each by itself: "
                    f"adapterops fuse BASE {quote(name(adapter))} -o fused",
                )
            if len(rows) > 1 or not (means or other.same_bytes(stored)):
                raise _unlike(f"and not the same in {name(first)}", tensor, adapter, MEAN if len(rows) == 1 else "")
    trained = {tensor for tensor, (adapter, _) in found.items() if tensor not in under_updates(adapter)}
    for adapter in adapters:
        for tensor in sorted(trained - adapter.full.keys()):
            raise _unlike(
                f"and {name(adapter)} has the base's", tensor, found[tensor][0], if_not_trained(tensor, adapter)
            )
    if not means:
        return {tensor: stored for tensor, (_, stored) in found.items()}
    by_weight = [(adapter.full, weight) for adapter, weight in zip(adapters, means, strict=True)]
    having = {tensor: [(full[tensor], weight) for full, weight in by_weight if tensor in full] for tensor in found}
    return {tensor: mean(*zip(*each, strict=True)) for tensor, each in having.items()}


MEAN = "--full mean of merge and fuse takes their weighted mean; or "
"""What goes on where all adapters have a full tensor."""


def if_not_trained(tensor: str, adapter: Adapter) -> str:
    """What goes on where PEFT saved an embedding that it did not train, which the base can show."""
    own = is_end(tensor) and not adapter.config.settled
    return "--base leaves out what is the base's own and was only saved; or " if own else ""


def _unlike(fact: str, tensor: str, adapter: Adapter, hint: str = "") -> UnsupportedError:
    fused = f"adapterops fuse BASE {quote(name(adapter))} -o fused"
    if all(_becomes_lora(each, stored) for each, stored in adapter.full.items()):
        hint += f"its update can be: {fused}; adapterops extract fused --base BASE --rank 32 -o lora"
    elif not hint.startswith(MEAN):
        hint += f"fuse it, and the others into what that makes: {fused}; adapterops fuse fused OTHER"
    return UnsupportedError(
        f"is a full tensor (of modules_to_save, or a bias), {fact}: those that differ cannot be added",
        path=name(adapter),
        tensor=tensor,
        hint=hint.removesuffix("; or "),
    )


def _becomes_lora(tensor: str, stored: Stored) -> bool:
    """Whether `extract` makes LoRA of what was trained of a full tensor: of no embedding, vector or head of a classifier."""
    held = len(stored.spec.shape) == 2 and not is_head(tensor) and not tensor.endswith(TOKEN_ROWS)
    return held and not is_input(tensor)


def joint(adapters: Sequence[Adapter], module: str) -> Layout:
    """The layout of a sum: the shape that all share, the sum of the ranks, the widest dtype. Of LoHa and LoKr alone it shows as
    little as these whether the weight is a kernel, and has their kind.

    Raises:
        ShapeError: the shapes differ.
    """
    present = [(adapter, adapter.layout[module]) for adapter in adapters if module in adapter.layout]
    if len({layout.shape for _, layout in present}) > 1:
        places = "; ".join(f"{name(adapter)}: {list(layout.shape)}" for adapter, layout in present)
        raise ShapeError(
            f"the adapters have different shapes: {places}",
            tensor=module,
            hint="give adapters that were trained on one base model",
        )
    layouts = [layout for _, layout in present]
    if len(layouts) == 1:
        return layouts[0]
    of_products = all(layout.kind in PRODUCTS for layout in layouts)
    return Layout(
        layouts[0].shape,
        sum(layout.rank for layout in layouts),
        widest([layout.dtype for layout in layouts]),
        any(layout.dense for layout in layouts),
        kind=layouts[0].kind if of_products else LORA,
        kernel=next((layout.kernel for layout in layouts if layout.kernel), ()),
        matrix=all(layout.matrix for layout in layouts),
        working=working(layouts),
    )
