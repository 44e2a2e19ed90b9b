"""An opened adapter: module name → weight update, read when asked for. Mathematics and storage meet here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any

from adapterops.adapters.chains import on_first_base
from adapterops.adapters.grams import Grams
from adapterops.adapters.means import mean
from adapterops.adapters.pairs import warn_of_pairs
from adapterops.errors import AdapterWarning, IncompatibleError, ShapeError, UnsupportedError, at, count, factor
from adapterops.formats.experts import check_alike
from adapterops.formats.models.vocabulary import is_end
from adapterops.formats.peft.combining import combine
from adapterops.formats.peft.config import AdapterConfig
from adapterops.formats.peft.scaling import Scaling
from adapterops.formats.spelling import check_spelled
from adapterops.provenance.history import Source, Step
from adapterops.storage.lazy import Lazy
from adapterops.storage.tensors import Stored
from adapterops.updates.layout import REPLACEMENT, Layout, widest, working

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
    _check_alike(adapters)
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


def check_named(adapters: Sequence[Adapter]) -> None:
    """Raise IncompatibleError where modules of adapters may be one module under two names, or in two orders."""
    check_replicated_alike(adapters)
    for adapter in adapters:
        check_ordered(adapter)
    shapes = [{module: each.shape for module, each in adapter.layout.items()} for adapter in adapters]
    check_spelled(shapes, [name(adapter) for adapter in adapters])


def check_replicated_alike(adapters: Sequence[Adapter]) -> None:
    """Raise IncompatibleError where adapters are for different layers of a base: one name is then not one weight."""
    for adapter in adapters[1:]:
        if adapter.config.replication != adapters[0].config.replication:
            said = [[list(pair) for pair in each.config.replication] or "not set" for each in (adapter, adapters[0])]
            raise IncompatibleError(
                f"its layer_replication is {said[0]}, and that of {name(adapters[0])} {said[1]}: layers of one number are "
                "different ones",
                path=name(adapter),
                hint="fuse each by itself",
                code="E-NAMES",
            )


def _check_alike(adapters: Sequence[Adapter]) -> None:
    """Raise IncompatibleError where some are task vectors of whole models, and others adapters."""
    if len({adapter.task_vector for adapter in adapters}) > 1:
        vector, other = (next(each for each in adapters if each.task_vector == kind) for kind in (True, False))
        raise IncompatibleError(
            f"is a whole model, and {name(other)} is an adapter: their modules have different names, so they cannot be merged",
            path=name(vector),
            hint=f"fuse the adapter first: adapterops fuse BASE {name(other)} -o fused; and merge --tuned fused",
        )


def check_ordered(adapter: Adapter) -> None:
    """Raise IncompatibleError for an adapter whose rows are in llama.cpp's order."""
    for module in adapter.interleaved:
        raise IncompatibleError(
            "its rows are in llama.cpp's order, which depends on the number of attention heads, which the adapter does not state",
            path=name(adapter),
            tensor=module,
            hint="name the model that it is for with --base; in Python with named_as",
            code="E-HEADS",
        )


def check_linear(adapter: Adapter, what: str) -> None:
    """Raise UnsupportedError for an adapter that has more than linear updates, which alone can be `what`: added or scaled.

    Full tensors of a sum or a merge of several are those that all have: they take the place of the base's whatever the
    weights, and so whatever the sum is multiplied by.

    Warns:
        AdapterWarning: there are such tensors beside the updates.
    """
    check_needs_no_base(adapter, what, of_base(what))
    trained = [tensor for tensor in adapter.full if tensor not in _under_updates(adapter)]
    if trained and _of_several(adapter.history):
        are = "is kept as it is" if len(trained) == 1 else "are kept as they are"
        warnings.warn(
            f"{count(len(trained), 'full tensor')} {are}, and not {what}: what all adapters have in place of the base's, "
            f"such as {trained[0]}",
            AdapterWarning,
            stacklevel=2,
        )
    elif trained:
        raise UnsupportedError(
            f"has full tensors (modules_to_save or biases), which replace the base's and cannot be {what}",
            path=name(adapter),
            tensor=trained[0],
            hint=f"fuse it into its base by itself: adapterops fuse BASE {name(adapter)} -o fused",
        )


def _of_several(history: Step | Source) -> bool:
    """Whether it is of a sum or a merge of several, whatever was done to that since."""
    while isinstance(history, Step) and len(history.inputs) == 1:
        history = history.inputs[0]
    if isinstance(history, Source):
        return False
    return history.operation == "add" or (history.operation == "merge" and len(history.parameters["weights"]) > 1)


AS_DIFFERENCE = "name the model with --base: what is added is then the difference from its tensor"
"""What goes on where a replaced tensor is to be an update."""


CHANGE = ", and --rank 32 for the best LoRA of that rank of what it changes there"
"""What else is named for an update that has no factors."""


def check_needs_no_base(adapter: Adapter, what: str, hint: str | None = None, replaced: str = AS_DIFFERENCE) -> None:
    """Raise UnsupportedError for an adapter with an update that depends on the weight,
    and cannot be `what` without it.

    Args:
        hint: what goes on, where no --base is taken.
        replaced: what goes on for replaced tensors, where a --base makes no differences of them.
    """
    for module, layout in adapter.layout.items():
        if layout.needs_base:
            named = "name the model with --base" + (CHANGE if layout.reads not in ("weight", "shape") else "")
            if layout.kind == REPLACEMENT:
                named = replaced
            raise UnsupportedError(
                f"is {layout.kind}, which depends on the weight that it is applied to, and cannot be {what}",
                path=name(adapter),
                tensor=module,
                hint=hint or named,
            )


def of_base(what: str) -> str:
    """What goes on where a --base is taken, and makes an update of what depends on its weight."""
    return f"name the model with --base: what it changes there can be {what}"


def extracted(adapter: Adapter) -> str:
    """How LoRA is made of any adapter."""
    return (
        f"fuse it, and extract the change as LoRA: adapterops fuse BASE {name(adapter)} -o fused; "
        "adapterops extract fused --base BASE --rank 32 -o lora"
    )


def _under_updates(adapter: Adapter) -> set[str]:
    """The weights in `full` that an update is added to:
    PEFT saves those of output embeddings, which are the base's.
    """
    return {tensor for tensor in adapter.full if tensor.removesuffix(".weight") in adapter.layout}


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
                    f"adapterops fuse BASE {name(adapter)} -o fused",
                )
            if len(rows) > 1 or not (means or other.same_bytes(stored)):
                raise _unlike(f"and not the same in {name(first)}", tensor, adapter, MEAN if len(rows) == 1 else "")
    trained = {tensor for tensor, (adapter, _) in found.items() if tensor not in _under_updates(adapter)}
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
    return UnsupportedError(
        f"is a full tensor (of modules_to_save, or a bias), {fact}: those that differ cannot be added",
        path=name(adapter),
        tensor=tensor,
        hint=f"{hint}its update can be: adapterops fuse BASE {name(adapter)} -o fused; "
        "adapterops extract fused --base BASE --rank 32 -o lora",
    )


def joint(adapters: Sequence[Adapter], module: str) -> Layout:
    """The layout of a sum: the shape that all share, the sum of the ranks, the widest dtype.

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
    return Layout(
        layouts[0].shape,
        sum(layout.rank for layout in layouts),
        widest([layout.dtype for layout in layouts]),
        any(layout.dense for layout in layouts),
        kernel=layouts[0].kernel,
        matrix=all(layout.matrix for layout in layouts),
        working=working(layouts),
    )


def name(adapter: Adapter) -> str:
    """How messages call an adapter: by the path it was opened from, whatever was made of it alone."""
    history = adapter.history
    while isinstance(history, Step) and len(history.inputs) == 1:
        history = history.inputs[0]
    return history.name if isinstance(history, Source) else f"({history.operation})"
